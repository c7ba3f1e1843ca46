"""Attacks, as bytes on a line of a real server: each is refused at once, leaves nothing behind and harms nobody else.

What test_operations.py and test_strict.py try already (depth, hosts, websockets, a million errors) is not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from haina.options.serving import ServeOptions
from haina.serve import run
from haina.serve.app import create_app
from haina.serve.history import History
from haina.serve.logs import Log
from haina.serve.metrics import Metrics
from haina.serve.shelf import Shelf

CHAT = "/v1/chat/completions"
PATIENCE_S = 0.4  # of the server under test, with headers that do not come
QUICK_S = 2.0  # for a machine that does other things, too; alone it is milliseconds
HELLO = [{"role": "user", "content": "你好"}]
SHORT = {"messages": HELLO, "max_tokens": 4}


@dataclass
class Attacked:
    """A server in a thread, and what it holds."""

    port: int
    loop: asyncio.AbstractEventLoop
    shelf: Shelf

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, wire: bytes) -> tuple[int, bytes, float]:
        """The status, the answer, and after how many seconds it began. Status 0: it has hung up."""
        with self.connect() as line:
            began = time.perf_counter()
            with contextlib.suppress(ConnectionError), http.client.HTTPResponse(line) as answer:
                line.sendall(wire)
                answer.begin()
                took_s = time.perf_counter() - began
                return answer.status, answer.read(), took_s
            return 0, b"", time.perf_counter() - began

    def ask(self, body: Any, path: str = CHAT) -> tuple[int, bytes, float]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(posted(path, content))

    def held(self) -> tuple[int, int, int]:
        """Files, tasks and pages."""
        files = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
        pages = sum(one.thread.engine.pages.count - one.thread.engine.pages.free for one in self.shelf.loaded)
        return files, len(asyncio.all_tasks(self.loop)), pages

    def well(self) -> bool:
        status, answer, took_s = self.ask(SHORT)
        return status == 200 and b"chat.completion" in answer and took_s < QUICK_S


def posted(path: str, content: bytes, *headers: str) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "host: localhost",
        "connection: close",
        f"content-length: {len(content)}",
        *headers,
    )
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


@pytest.fixture(scope="module")
def server(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    options = ServeOptions(log="off")
    history = History(tmp_path_factory.mktemp("attacks") / "conversations.sqlite")
    app = run.operated(create_app(shelf, options, history), shelf, Metrics(), Log("off"), options)
    made = uvicorn.Server(run.configured(app))
    loops: list[asyncio.AbstractEventLoop] = []

    async def serving(listener: socket.socket) -> None:
        loops.append(asyncio.get_running_loop())
        await made.serve([listener])

    with (
        pytest.MonkeyPatch.context() as patch,
        socket.create_server(("127.0.0.1", 0), backlog=2048) as listener,
    ):
        patch.setattr(run, "HEADERS_S", PATIENCE_S)
        thread = threading.Thread(target=lambda: asyncio.run(serving(listener)), daemon=True)
        thread.start()
        assert wait_for(lambda: made.started)
        attacked = Attacked(listener.getsockname()[1], loops[0], shelf)
        assert attacked.well()
        yield attacked
        made.should_exit = True
        thread.join(20)


@pytest.fixture(autouse=True)
def nothing_is_left(server: Attacked) -> Iterator[None]:
    """Before and after each attack there are as many files, tasks and pages, and others are served."""
    assert wait_for(lambda: server.held()[2] == 0)
    gc.collect()
    before = server.held()
    yield
    assert wait_for(lambda: all(now <= then for now, then in zip(server.held(), before, strict=True)))
    assert server.well()


def test_attacks_would_be_seen(server: Attacked) -> None:
    """What the other tests rely on: an open line and a task more are counted."""
    before = server.held()
    with server.connect():
        assert wait_for(lambda: server.held() > before)


def wait_for(condition: Callable[[], bool], within_s: float = 10) -> bool:
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


BODIES = {
    "truncated": (b'{"messages": [{"role": "user", "content": "a', 400),
    "after the end": (b'{"messages": []} {}', 400),
    "a byte order mark": (b"\xef\xbb\xbf{}", 400),
    "utf-16": ('{"messages": []}'.encode("utf-16"), 400),
    "half a character": (b'{"messages": [{"role": "user", "content": "\\ud83d"}], "max_tokens": 2}', 400),
    "overlong utf-8": (b'{"a": "\xc0\x80"}', 400),
    "NaN": (b'{"messages": [{"role": "user", "content": "a"}], "temperature": NaN}', 400),
    "Infinity": (b'{"messages": [{"role": "user", "content": "a"}], "top_p": -Infinity}', 400),
    "a huge exponent": (b'{"messages": [{"role": "user", "content": "a"}], "temperature": 1e999}', 400),
    "a huge integer": (b'{"messages": [], "seed": ' + b"9" * 5000 + b"}", 400),
    "deep in the middle": (b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400),
}  # fmt: skip

FIELDS: dict[str, dict[str, Any]] = {
    "negative length": {"max_tokens": -1},
    "length of nothing": {"max_tokens": 0},
    "negative temperature": {"temperature": -0.1},
    "negative penalty": {"repetition_penalty": -1},
    "a million choices": {"n": 1_000_000},
    "an image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]}]},
    "a sound": {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
    "a lookaround": {"response_format": {"type": "regex", "pattern": "(?=a)b"}},
    "a backreference": {"response_format": {"type": "regex", "pattern": r"(a+)\1"}},
    "an endless regex": {"response_format": {"type": "regex", "pattern": "(" * 2000 + "a" + ")" * 2000}},
    "a schema without end": {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}},
    "a schema from elsewhere": {
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "file:///etc/passwd"}}}
    },
    "a grammar that is none": {"response_format": {"type": "grammar", "grammar": "start: start start"}},
    "a model by a path": {"model": "../../../../etc/passwd"},
    "a prompt that does not fit": {"messages": [{"role": "user", "content": "海" * 100_000}]},
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_no_json(name: str, server: Attacked) -> None:
    body, expected = BODIES[name]
    status, answer, took_s = server.ask(body)
    assert (status, b'"error"' in answer) == (expected, True) and took_s < QUICK_S, answer


@pytest.mark.parametrize("name", FIELDS)
def test_values_that_cannot_be(name: str, server: Attacked) -> None:
    status, answer, took_s = server.ask({**SHORT, **FIELDS[name]})
    assert status in (400, 404) and b'"error"' in answer and b"root:" not in answer and took_s < QUICK_S, (
        answer
    )


def test_a_regex_of_a_billion_states_costs_no_more_than_another(server: Attacked) -> None:
    format = {"type": "regex", "pattern": "((a{1,1000}){1,1000}){1,1000}"}
    status, _, took_s = server.ask({**SHORT, "response_format": format})
    assert status in (200, 400) and took_s < QUICK_S


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"model": "x", "max_tokens": 1, "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": ""}}]}]}),
        ("/api/chat", {"model": "haina-brook", "messages": [{"role": "user", "content": "a", "images": ["aGk="]}]}),
        ("/api/generate", {"model": "haina-brook", "prompt": "a", "images": ["aGk="]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}),
    ],
)  # fmt: skip
def test_images_where_there_is_only_text(path: str, body: dict[str, Any], server: Attacked) -> None:
    status, answer, _ = server.ask(body, path)
    assert status == 400 and b"error" in answer


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", (400,)),
        (b"GET /v1/models HTTP/1.0\r\nhost: localhost\r\n\r\n", (200,)),
        (b"GET /\x00 HTTP/1.1\r\nhost: localhost\r\n\r\n", (400,)),
        (b"nonsense\r\n\r\n", (400,)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", (400,)),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 405)),
        (b"GET /page/files/..%2f..%2frun.py HTTP/1.1\r\nhost: localhost\r\n\r\n", (404,)),
        (b"GET /page/files/..\\..\\run.py HTTP/1.1\r\nhost: localhost\r\n\r\n", (404, 400)),
        (b"GET /page/files/%c0%ae%c0%ae/run.py HTTP/1.1\r\nhost: localhost\r\n\r\n", (404,)),
        (b"GET /page/files/%00 HTTP/1.1\r\nhost: localhost\r\n\r\n", (404,)),
        (b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000 + b"\r\n\r\n", (0, 400, 431)),
        (b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 20_000 + b"\r\n", (0, 400, 431)),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", (0, 404, 414, 431)),
        (b"DELETE /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\r\n", (405,)),
        (b"TRACE / HTTP/1.1\r\nhost: localhost\r\n\r\n", (405,)),
        (b"POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", (405,)),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n", (400,)),
        (b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", (400,)),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", (400,)),
        (b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", (200, 400)),
    ],
    ids=lambda value: value[:60] if isinstance(value, bytes) else None,
)  # fmt: skip
def test_lines_that_are_no_requests(wire: bytes, expected: tuple[int, ...], server: Attacked) -> None:
    status, answer, took_s = server.send(wire)
    assert status in expected and b"root:" not in answer and b"import " not in answer and took_s < QUICK_S, (
        answer
    )


def test_a_hundred_megabytes_in_chunks(server: Attacked) -> None:
    """They are not kept, and the answer does not wait for them."""
    part = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with server.connect() as line:
        line.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        began = time.perf_counter()
        with contextlib.suppress(ConnectionError):  # it hangs up
            for _ in range(100):
                line.sendall(part)
        assert line.recv(12) in (b"HTTP/1.1 413", b"") and time.perf_counter() - began < 10


def test_what_content_type_says_does_not_matter(server: Attacked) -> None:
    """curl says it is a form, old clients say nothing; the body is JSON or it is refused."""
    body = json.dumps(SHORT).encode()
    for kind in (
        (),
        ("content-type: application/x-www-form-urlencoded",),
        ("content-type: text/plain; charset=x",),
    ):
        assert server.send(posted(CHAT, body, *kind))[0] == 200
        assert server.send(posted(CHAT, b"messages=a", *kind))[0] == 400


def test_of_a_name_given_twice_the_last_counts(server: Attacked) -> None:
    """As in every reader of JSON that its clients have; no value goes unchecked."""
    body = b'{"max_tokens": 100, "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}'
    status, answer, _ = server.ask(body)
    assert status == 200 and b'"completion_tokens":1' in answer.replace(b" ", b"")
    assert server.ask(body.replace(b'"max_tokens": 1,', b'"max_tokens": -1,'))[0] == 400


def test_headers_that_come_a_byte_at_a_time(server: Attacked) -> None:
    lines = [server.connect() for _ in range(50)]
    began = time.monotonic()
    try:
        while time.monotonic() - began < 20 * PATIENCE_S:
            for line in lines:
                line.sendall(b"X")
            time.sleep(0.02)
    except OSError:  # hung up on
        pass
    assert PATIENCE_S / 2 < time.monotonic() - began < 15 * PATIENCE_S
    for line in lines:
        line.close()


@pytest.mark.skipif(os.name == "nt", reason="so many files")
def test_a_thousand_that_say_nothing_are_sent_away(server: Attacked) -> None:
    lines = [server.connect() for _ in range(1000)]
    began = time.perf_counter()
    assert server.well() and time.perf_counter() - began < QUICK_S
    lines[0].settimeout(20)
    assert lines[0].recv(1) == b"" == lines[-1].recv(1)
    for line in lines:
        line.close()


def test_lines_that_break_off_in_the_middle(server: Attacked) -> None:
    whole = posted(CHAT, json.dumps({**SHORT, "stream": True, "max_tokens": 200}).encode())
    for end in (1, 10, 30, len(whole) - 5, len(whole)):
        for _ in range(5):
            with server.connect() as line:
                line.sendall(whole[:end])
