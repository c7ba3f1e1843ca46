"""Soak: requests come, three in ten of their clients go in mid-air, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import uvicorn

import haina
from haina.engine.engine import Engine
from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.history import History
from haina.serve.logs import Log
from haina.serve.metrics import Metrics
from haina.serve.run import configured, operated
from haina.serve.shelf import Shelf

REQUESTS = 1000 * int(os.environ.get("HAINA_TORTURE", 0)) or 300  # 20,000 by `make torture`
GONE = 0.3
AT_ONCE = 24
OPTIONS = ServeOptions(threads=1, conversations=4, queue=2 * AT_ONCE, log="off")


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def client(port: int, chance: random.Random) -> bool:
    """Ask, and read to the end, or not. Whether it stayed."""
    stays, stream = chance.random() >= GONE, chance.random() < 0.7
    body = {
        "model": "haina-brook",
        "prompt": "".join(chance.choices("春眠不觉晓处处闻啼鸟", k=chance.randint(1, 60))),
        "max_tokens": chance.randint(1, 40) if stays else 400,
        "stream": stream,
        "temperature": 2,
    }
    content = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    try:
        if not stays:
            await asyncio.sleep(chance.random() * 0.05)
            return False
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200") and (not stream or b"data: [DONE]" in answer), answer
        return True
    finally:
        writer.transport.abort()


async def crowd(port: int, requests: int, chance: random.Random) -> int:
    """How many of them stayed."""
    left = iter(range(requests))

    async def one_after_another() -> int:
        return sum([await client(port, chance) for _ in left])

    return sum(await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE))))


def settled(engine: Engine, server: uvicorn.Server) -> bool:
    """Whether, before long, nothing is in flight."""
    end = time.monotonic() + 5
    while time.monotonic() < end and (engine.busy or server.server_state.tasks):
        time.sleep(0.01)
    return not engine.busy and not server.server_state.tasks and not any(engine.pages.readers)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_nothing_is_left_behind(tmp_path: Path) -> None:
    metrics = Metrics()
    shelf = Shelf({"haina-brook": Path(haina.__file__).with_name("weights")}, OPTIONS, watcher=metrics)
    engine = shelf.load().thread.engine
    history = History(tmp_path / "conversations.sqlite")
    app = operated(create_app(shelf, OPTIONS, history), shelf, metrics, Log("off"), OPTIONS)
    server = uvicorn.Server(configured(app))
    chance = random.Random(0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            asyncio.run(crowd(port, REQUESTS // 2, chance))
            assert settled(engine, server)
            files, n_bytes = open_files(), resident_bytes()
            stayed = asyncio.run(crowd(port, REQUESTS // 2, chance))
            assert 0.5 < stayed / (REQUESTS // 2) < 0.9
            assert settled(engine, server) and engine.pages.free == engine.pages.count
            assert open_files() <= files and resident_bytes() < 1.03 * n_bytes
        finally:
            server.should_exit = True
            thread.join(30)
            shelf.close()
            history.close()
