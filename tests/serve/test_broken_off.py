"""Streams that cannot go on: each dialect's clients are told so in its own words, and the log knows why."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from haina.options.serving import ServeOptions
from haina.serve import answers
from haina.serve.app import create_app
from haina.serve.engine_thread import EngineStopped
from haina.serve.errors import told
from haina.serve.history import History
from haina.serve.limits import Attended
from haina.serve.logs import Log, Logged
from haina.serve.run import _thread_died
from haina.serve.shelf import NotLoaded, Shelf

HELLO = [{"role": "user", "content": "你好"}]
LONG = {"type": "string", "minLength": 400}
FORMAT = {"type": "json_schema", "schema": LONG}
DIALECTS: dict[str, dict[str, Any]] = {  # each an answer of 400 characters
    "/v1/chat/completions": {
        "messages": HELLO,
        "response_format": {"type": "json_schema", "json_schema": {"schema": LONG}},
    },
    "/v1/completions": {"prompt": "春", "response_format": {"type": "json_schema", "json_schema": {"schema": LONG}}},
    "/v1/responses": {"input": "你好", "text": {"format": {**FORMAT, "name": "long"}}},
    "/v1/messages": {"messages": HELLO, "max_tokens": 480, "output_config": {"format": FORMAT}},
    "/api/chat": {"messages": HELLO, "format": LONG},
    "/api/generate": {"prompt": "春", "format": LONG},
}  # fmt: skip
Serving = Callable[[float], AbstractContextManager[str]]


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def broken(shelf: Shelf, log: io.StringIO, tmp_path: Path, running_app: Any) -> Serving:
    """A server that gives every answer so many seconds."""
    app: FastAPI = create_app(shelf, ServeOptions(), History(tmp_path / "conversations.sqlite"))
    return lambda timeout_s: running_app(Logged(Attended(app, timeout_s=timeout_s), Log("json", log)))


def told_last(path: str, text: str) -> str:
    """The message of the error that a stream ends with, as the dialect says it."""
    last = text.rstrip().split("\n")[-2:]
    if path.startswith("/api/"):
        return str(json.loads(last[1])["error"])
    named, said = "event: error" in last, json.loads(last[1].removeprefix("data: "))
    assert named == (path in ("/v1/messages", "/v1/responses")), text
    if path == "/v1/responses":
        assert said["type"] == "error" and said["sequence_number"] > 1
        return str(said["message"])
    return str(said["error"]["message"])


@contextmanager
def slowly(shelf: Shelf) -> Iterator[None]:
    """Every step of the engine takes a hundredth of a second more."""
    engine = shelf.loaded[0].model.engine
    step = engine.step
    engine.step = lambda: (time.sleep(0.01), step())[1]  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.step = step  # type: ignore[method-assign]


def test_what_takes_too_long_ends_with_an_error(shelf: Shelf, broken: Serving) -> None:
    assert shelf.loaded[0].grammars

    def ask(path: str) -> str:
        body = {"model": "haina-brook", "stream": True, **DIALECTS[path]}
        answer = httpx2.post(address + path, json=body, timeout=30)
        assert answer.status_code == 200
        return told_last(path, answer.text)

    with slowly(shelf), broken(1.0) as address, ThreadPoolExecutor(len(DIALECTS)) as pool:
        messages = list(pool.map(ask, DIALECTS))
    assert all("--timeout" in message for message in messages)
    assert not shelf.loaded[0].model.engine.busy


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("stream", [True, False])
def test_what_nobody_foresaw_is_told_by_its_number(
    path: str, stream: bool, broken: Serving, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, heard = answers._Voice.hear, []

    def surprise(voice: Any, token: Any) -> Any:
        heard.append(token)
        if len(heard) > 20:
            raise RuntimeError("a secret of ours")
        return hear(voice, token)

    monkeypatch.setattr(answers._Voice, "hear", surprise)
    with broken(60) as address:
        body = {"model": "haina-brook", "stream": stream, **DIALECTS[path]}
        answer = httpx2.post(address + path, json=body, timeout=30)
    (entry,) = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "error"]
    assert "a secret of ours" in entry["trace"] and entry["id"] == answer.headers["request-id"]
    assert answer.status_code == (200 if stream else 500)
    message = told_last(path, answer.text) if stream else json.dumps(answer.json())
    assert entry["id"] in message and "secret" not in message


def test_a_thread_that_dies_is_in_the_log(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(threading, "excepthook", partial(_thread_died, Log("json", log)))
    thread = threading.Thread(target=die, name="haina-engine")
    thread.start()
    thread.join()
    line = json.loads(log.getvalue())
    assert "haina-engine" in line["message"] and "MemoryError: no room" in line["trace"]


def test_only_the_engines_own_end_is_a_503() -> None:
    for error, status in ((EngineStopped(), 503), (NotLoaded("no room"), 503), (ValueError("no"), 400)):
        with pytest.raises(Exception) as found, told():
            raise error
        assert found.value.status == status  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="elsewhere"), told():
        raise RuntimeError("elsewhere")
