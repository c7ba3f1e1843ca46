"""Unharmed: while somebody asks for much that is allowed, or does not read, or does not end, others are served."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from haina.options.serving import ServeOptions
from haina.serve import limits, run
from haina.serve.asgi import App, Receive, Scope, Send, answer
from haina.serve.errors import ApiError
from haina.serve.sse import Stream, begun

HEALTH_S = 0.5  # alone on its machine it is less than 0.1
HELLO = [{"role": "user", "content": "你好"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
STOPS = ["".join(chr(0x4E00 + (i * 7919 + j * 31) % 20000) for j in range(1000)) for i in range(4)]
PATTERNS = {f"p{i}": {"type": "string", "pattern": f"^[a-z]{{1,{i % 50 + 1}}}x[0-9]*$"} for i in range(300)}
COSTLY: dict[str, tuple[str, dict[str, Any]]] = {
    "vectors": ("/v1/embeddings", {"input": ["a"] * 2048}),
    "Ollama's vectors": ("/api/embed", {"model": "haina-brook", "input": ["a"] * 2048}),
    "one long text": ("/api/embed", {"model": "haina-brook", "input": "你好世界" * 1_000_000, "truncate": True}),
    "texts": (TEXT, {"prompt": ["a"] * 64, "n": 4, "max_tokens": 2}),
    "choices": (CHAT, {"messages": HELLO, "n": 64, "max_tokens": 2, "stop": STOPS}),
    "stops": (
        "/v1/messages",
        {"model": "haina-brook", "max_tokens": 2, "messages": HELLO, "stop_sequences": STOPS * 4},
    ),
    "patterns": (
        CHAT,
        {
            "messages": HELLO,
            "max_tokens": 2,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"type": "object", "properties": PATTERNS}},
            },
        },
    ),
}  # fmt: skip
TOO_MUCH: dict[str, tuple[str, dict[str, Any], str]] = {
    "vectors": ("/v1/embeddings", {"input": ["a"] * 2049}, "input"),
    "Ollama's vectors": ("/api/embed", {"model": "haina-brook", "input": ["a"] * 2049}, "input"),
    "texts": (TEXT, {"prompt": ["a"] * 64, "n": 8}, "256"),
    "texts to choose from": (TEXT, {"prompt": ["a"] * 64, "best_of": 8}, "256"),
    "Anthropic's stops": (
        "/v1/messages",
        {"model": "haina-brook", "max_tokens": 2, "messages": HELLO, "stop_sequences": ["a" * 1001]},
        "stop_sequences",
    ),
    "Ollama's stops": (
        "/api/generate",
        {"model": "haina-brook", "prompt": "a", "options": {"stop": ["a"] * 17}},
        "stop",
    ),
    "one of two streams": (TEXT, {"prompt": ["a", "长" * 600], "stream": True, "max_tokens": 2}, "512"),
    "a schema behind a prompt": (
        CHAT,
        {"messages": [{"role": "user", "content": "长" * 600}], "response_format": {"type": "json_object"}},
        "512",
    ),
}
Running = Callable[[App], AbstractContextManager[str]]


@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_much_holds_up_nobody(
    name: str, server: str, record_property: pytest.RecordProperty
) -> None:
    path, body = COSTLY[name]
    worst_s = 0.0
    with ThreadPoolExecutor(1) as pool, httpx2.Client(base_url=server, timeout=60) as client:
        asking = pool.submit(httpx2.post, server + path, json=body, timeout=60)
        while not asking.done():
            began = time.perf_counter()
            assert client.get("/healthz").status_code == 200
            worst_s = max(worst_s, time.perf_counter() - began)
            time.sleep(0.005)
    assert asking.result().status_code == 200, asking.result().text[:300]
    record_property("healthz_ms", f"{name} {1e3 * worst_s:.0f}")
    assert worst_s < HEALTH_S


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_would_cost_too_much_is_refused(name: str, server: str) -> None:
    path, body, named = TOO_MUCH[name]
    began = time.perf_counter()
    answer = httpx2.post(server + path, json=body, timeout=60)
    assert answer.status_code == 400 and named in answer.text and time.perf_counter() - began < 2


def test_vectors_are_told_as_they_were_asked(server: str) -> None:
    texts = [chr(0x4E00 + number) for number in range(150)]
    many = httpx2.post(f"{server}/v1/embeddings", json={"input": texts}).json()["data"]
    assert [one["index"] for one in many] == list(range(150))
    for at in (0, 70, 149):
        alone = httpx2.post(f"{server}/v1/embeddings", json={"input": texts[at]}).json()["data"][0]
        assert alone["embedding"] == pytest.approx(many[at]["embedding"], abs=1e-3)


# -- those who do not read, and those who do not end ----------------------------------------------------------


@pytest.fixture
def endless(running_app: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A server of streams that never end, where an answer has a second; and how each has ended."""
    monkeypatch.setattr(run, "STALLED_S", 0.2)
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/whole":
            await answer(send, 200, b" " * (64 << 20), "text/plain")
            return
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
        finally:
            ended.append(scope["path"])

    with running_app(run.bounded(app, ServeOptions(timeout=1))) as address:
        yield address, ended


def begin(address: str, head: str) -> socket.socket:
    """A client that asks and does not read."""
    line = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=20)
    line.sendall(head.encode() + b"host: localhost\r\n\r\n")
    return line


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("path", ["/stream", "/whole"])
def test_whoever_does_not_read_is_let_go(path: str, endless: tuple[str, list[str]]) -> None:
    address, ended = endless
    before = open_files()
    lines = [begin(address, f"GET {path} HTTP/1.1\r\nconnection: close\r\n") for _ in range(3)]
    end = time.monotonic() + 8
    while open_files() > before + len(lines) or (path == "/stream" and not ended):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert ended == (["/stream"] * 3 if path == "/stream" else [])
    for line in lines:
        line.close()


def test_whoever_reads_slowly_hears_it_all(endless: tuple[str, list[str]]) -> None:
    line, heard = begin(endless[0], "GET /whole HTTP/1.1\r\nconnection: close\r\n"), 0
    while part := line.recv(1 << 20):
        heard += len(part)
        time.sleep(0.02)
    line.close()
    assert heard > 64 << 20


def test_bodies_on_their_way_take_no_place(running_app: Running) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 200, (await receive())["body"], "text/plain")

    head = "POST /v1/completions HTTP/1.1\r\ncontent-length: 9\r\n"
    with running_app(run.bounded(app, ServeOptions(queue=2))) as address:
        lines = [begin(address, head) for _ in range(8)]
        assert httpx2.post(f"{address}/v1/completions", content=b"x").text == "x"
        for line in lines:
            line.close()


def test_large_bodies_share_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_ARRIVING_BYTES", 1 << 20)
    part = {"type": "http.request", "body": b" " * (1 << 19), "more_body": True}

    async def read(attended: limits.Attended, parts: list[dict[str, Any]]) -> bytes:
        async def receive() -> dict[str, Any]:
            return parts.pop() if parts else await asyncio.Event().wait()  # type: ignore[func-returns-value]

        return await attended._read(receive)

    async def all() -> None:
        async def nothing(scope: Scope, receive: Receive, send: Send) -> None: ...

        attended = limits.Attended(nothing, timeout_s=1)
        slow = asyncio.create_task(read(attended, [part, part]))
        await asyncio.sleep(0)
        assert await read(attended, [{**part, "body": b"{}", "more_body": False}]) == b"{}"
        with pytest.raises(ApiError) as error:
            await read(attended, [part])
        assert error.value.status == 429 and int(error.value.headers["retry-after"]) > 0
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert len(await read(attended, [{**part, "more_body": False}])) == 1 << 19

    asyncio.run(all())


@pytest.mark.parametrize("stage", ["head", "first part", "second part"])
def test_whatever_a_stream_was_given_is_closed(stage: str) -> None:
    """Its client goes while it is sent: what was begun ends, however little of it was heard."""
    closed: list[bool] = []

    async def items() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    async def sent(numbers: AsyncGenerator[int, None]) -> AsyncGenerator[bytes, None]:
        try:
            yield b"start"
            async for number in numbers:
                yield b"%d" % number
        finally:
            await numbers.aclose()

    async def all() -> None:
        heard = 0

        async def send(message: Any) -> None:
            nonlocal heard
            if heard == ["head", "first part", "second part"].index(stage):
                await asyncio.Event().wait()
            heard += 1

        async def receive() -> Any:
            await asyncio.Event().wait()

        stream = Stream(sent(await begun(items())), lambda error: json.dumps(str(error)).encode())
        sending = asyncio.create_task(stream({}, receive, send))
        await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert closed == [True]

    asyncio.run(all())
