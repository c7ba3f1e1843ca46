"""Keys: hashed in their file, read again when it changes, with limits; and nobody passes without one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from haina.serve.asgi import Message, Receive, Scope, Send, answer
from haina.serve.keys import Key, Keyed, KeyFile, new_key, read_keys
from haina.serve.logs import Log


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Says whose request it is; waits if it is told to."""
    if wait := scope.get("wait"):
        await wait.wait()
    await answer(send, 200, scope.get("state", {}).get("tenant", "").encode(), "text/plain")


async def ask(
    app: Keyed, key: str = "", path: str = "/v1/x", **more: Any
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body. The key goes as Bearer, or as it is when it names its header."""
    name, _, value = key.partition(": ") if ": " in key else ("authorization", "", f"Bearer {key}")
    headers = [(name.encode(), value.encode())] if key else []
    scope = {"type": "http", "path": path, "method": "POST", "headers": headers, **more}
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await app(scope, receive, send)
    return said[0]["status"], {k.decode(): v.decode() for k, v in said[0]["headers"]}, said[1]["body"]


def keyed(file: Path, clock: Clock, log: Log | None = None) -> Keyed:
    keys = KeyFile(file, log or Log("off"), clock=clock)
    return Keyed(inner, keys, open=lambda s: s["path"] == "/open", counts=lambda s: True, clock=clock)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def test_the_file_holds_no_key(file: Path) -> None:
    key = new_key("alice", file)
    other = new_key("鲍勃", file)
    text = file.read_text("utf-8")
    assert key not in text and other not in text and len(set(key)) > 10
    assert {key.name for key in read_keys(file).values()} == {"alice", "鲍勃"}
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_name_has_one_key(file: Path) -> None:
    new_key("alice", file)
    before = file.read_bytes()
    for name, words in (("alice", "already"), ("a b", "letters"), ("", "letters")):
        with pytest.raises(ValueError, match=words):
            new_key(name, file)
    assert file.read_bytes() == before


def test_comments_and_limits_are_read(file: Path) -> None:
    new_key("alice", file)
    line = file.read_text("utf-8").strip()
    file.write_text(f"# who may ask\n\n{line}  per-minute=60 at-once=4  # the team\n", encoding="utf-8")
    assert list(read_keys(file).values()) == [Key("alice", 60, 4)]


@pytest.mark.parametrize(
    "line",
    ["alice haina-secret", "alice sha256:12", f"alice sha256:{'0' * 64} at-once=0", f"sha256:{'0' * 64}"],
)
def test_a_wrong_line_is_named_and_not_shown(file: Path, line: str) -> None:
    file.write_text(f"# x\n{line}\n")
    with pytest.raises(ValueError, match=r"keys.txt, line 2: .*a line is NAME") as error:
        read_keys(file)
    assert "secret" not in str(error.value)


def test_an_empty_file_lets_nobody_in_and_says_so(file: Path) -> None:
    file.write_text("# nobody yet\n")
    with pytest.raises(ValueError, match="no key"):
        read_keys(file)


def test_who_has_a_key_passes_under_its_name(file: Path) -> None:
    key, app = new_key("alice", file), keyed(file, Clock())

    async def all() -> None:
        assert (await ask(app, key))[::2] == (200, b"alice")
        assert (await ask(app, f"x-api-key: {key}"))[::2] == (200, b"alice")
        assert (await ask(app, path="/open"))[::2] == (200, b"")
        for wrong in ("", "haina-wrong", key[:-1], key + "x", f"authorization: Basic {key}", "x-api-key: é"):
            status, headers, body = await ask(app, wrong)
            assert status == 401 and headers["www-authenticate"] == "Bearer"
            assert json.loads(body)["error"]["code"] == "invalid_api_key" and b"wrong" not in body

    asyncio.run(all())


def test_a_minute_has_so_many_requests(file: Path) -> None:
    key, clock = new_key("alice", file), Clock()
    other = new_key("bob", file)
    file.write_text(file.read_text("utf-8").replace("\nbob", " per-minute=3\nbob"), encoding="utf-8")
    app = keyed(file, clock)

    async def all() -> None:
        assert [(await ask(app, key))[0] for _ in range(4)] == [200, 200, 200, 429]
        status, headers, body = await ask(app, key)
        assert status == 429 and 0 < int(headers["retry-after"]) <= 21 and b"3 a minute" in body
        assert (await ask(app, other))[0] == 200
        clock.now += int(headers["retry-after"])
        assert [(await ask(app, key))[0] for _ in range(2)] == [200, 429]

    asyncio.run(all())


def test_so_many_at_once(file: Path) -> None:
    key = new_key("alice", file)
    file.write_text(file.read_text("utf-8").strip() + " at-once=2\n", encoding="utf-8")
    app = keyed(file, Clock())

    async def all() -> None:
        wait = asyncio.Event()
        slow = [asyncio.create_task(ask(app, key, wait=wait)) for _ in range(2)]
        await asyncio.sleep(0)
        assert (await ask(app, key))[0] == 429
        slow[0].cancel()
        await asyncio.sleep(0)
        assert (await ask(app, key))[0] == 200
        wait.set()
        assert (await slow[1])[0] == 200

    asyncio.run(all())


def test_a_key_that_is_taken_out_opens_nothing(file: Path) -> None:
    key, clock, said = new_key("alice", file), Clock(), io.StringIO()
    app = keyed(file, clock, Log("json", said))
    other = new_key("bob", file)

    async def all() -> None:
        assert [(await ask(app, one))[0] for one in (key, other)] == [200, 401]
        clock.now += 2
        assert [(await ask(app, one))[0] for one in (key, other)] == [200, 200]
        lines = file.read_text("utf-8").splitlines()
        os.unlink(file)
        clock.now += 2
        assert (await ask(app, key))[0] == 200  # a file that is not there takes nobody's key
        file.write_text(lines[1] + "\n", encoding="utf-8")
        clock.now += 2
        assert [(await ask(app, one))[0] for one in (key, other)] == [401, 200]

    asyncio.run(all())
    assert [json.loads(line)["event"] for line in said.getvalue().splitlines()] == ["keys", "error", "keys"]
