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
from typing import Any

import pytest
import uvicorn

import haina
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Event, Request, Token
from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.engine_thread import EngineThread
from haina.serve.history import History
from haina.serve.logs import Log
from haina.serve.metrics import Metrics
from haina.serve.run import configured, operated
from haina.serve.shelf import Shelf

REQUESTS = 1000 * int(os.environ.get("HAINA_TORTURE", 0)) or 300  # 20,000 by `make torture`
GONE = 0.3
AT_ONCE = 24
OWN_TASKS = 2  # of uvicorn: serving, and its lifespan
OPTIONS = ServeOptions(threads=1, conversations=4, queue=2 * AT_ONCE, log="off")


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Of every dialect: a body, where the number of new tokens stands in it, and what ends a stream.
TEXT, CHAT = (
    {"model": "haina-brook"},
    {"model": "haina-brook", "messages": [{"role": "user", "content": "你好"}]},
)
DIALECTS: dict[str, tuple[dict[str, Any], str, bytes]] = {
    "/v1/completions": ({**TEXT, "prompt": "春眠"}, "max_tokens", b"data: [DONE]"),
    "/v1/chat/completions": (CHAT, "max_tokens", b"data: [DONE]"),
    "/v1/responses": ({**TEXT, "input": "春眠"}, "max_output_tokens", b'"status":"'),
    "/v1/messages": (CHAT, "max_tokens", b"message_stop"),
    "/api/chat": (CHAT, "num_predict", b'"done":true'),
    "/api/generate": ({**TEXT, "prompt": "春眠"}, "num_predict", b'"done":true'),
}
WHOLE = {"/v1/embeddings": {**TEXT, "input": ["春眠", "不觉晓"]}, "/tokenize": {"content": "春眠"}}


def request(chance: random.Random, tokens: int) -> tuple[bytes, bytes]:
    """Of any dialect, streamed or not, as it goes over the wire; and what must be in the answer."""
    path, stream = chance.choice([*DIALECTS, *WHOLE]), chance.random() < 0.7
    if path in WHOLE:
        body, end = WHOLE[path], b"}"
    else:
        about, limit, end = DIALECTS[path]
        count = {"options": {limit: tokens}} if path.startswith("/api") else {limit: tokens}
        body = {**about, **count, "stream": stream}
        end = end if stream else b"}"
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content, end


async def client(port: int, chance: random.Random) -> bool:
    """Ask, and read to the end, or not. Whether it stayed."""
    stays = chance.random() >= GONE
    wire, end = request(chance, chance.randint(1, 40) if stays else 400)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if not stays:
            await leave(reader, writer, wire, chance)
            return False
        writer.write(wire)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200") and end in answer, (wire, answer)
        return True
    finally:
        writer.transport.abort()


async def leave(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes, chance: random.Random
) -> None:
    """In the middle of the request, before the answer begins or at any time, or in the middle of what is heard.

    Or of what is not: the lines of those that are deaf fill up, and their answers wait for them in vain.
    """
    moment = chance.choice(("asking", "waiting", "hearing", "deaf"))
    if moment == "deaf":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(wire[: chance.randrange(len(wire))] if moment == "asking" else wire)
    if moment in ("waiting", "deaf"):
        await asyncio.sleep(chance.random() * 0.05)
    for _ in range(chance.randint(1, 20) if moment == "hearing" else 0):
        await reader.read(chance.randint(1, 300))


async def crowd(port: int, requests: int, chance: random.Random) -> int:
    """How many of them stayed."""
    left = iter(range(requests))

    async def one_after_another() -> int:
        return sum([await client(port, chance) for _ in left])

    return sum(await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE))))


def settled(engine: Engine, server: uvicorn.Server) -> bool:
    """Whether, before long, nothing is in flight: no request, no task, and no page is read."""
    loop = server.servers[0].get_loop()
    end = time.monotonic() + 5
    while time.monotonic() < end and (engine.busy or len(asyncio.all_tasks(loop)) > OWN_TASKS):
        time.sleep(0.01)
    left = asyncio.all_tasks(loop)
    return not engine.busy and len(left) == OWN_TASKS and not any(engine.pages.readers)


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


def test_whoever_goes_has_no_more_than_the_step_that_runs() -> None:
    engine = Engine.open(Checkpoint.open(Path(haina.__file__).with_name("weights")), threads=1)
    thread, step, steps = EngineThread(engine), engine.step, 0

    def counted() -> list[Event]:
        nonlocal steps
        steps += 1
        return step()

    engine.step = counted  # type: ignore[method-assign]

    async def leave() -> int:
        heard = thread.events(Request((300, 301), 400))
        while not isinstance(await anext(heard), Token):
            pass
        await heard.aclose()
        return steps

    for _ in range(20):
        before = asyncio.run(leave())
        while engine.busy:
            time.sleep(0.001)
        assert steps - before <= 1 and engine.pages.free == engine.pages.count
    thread.close()
