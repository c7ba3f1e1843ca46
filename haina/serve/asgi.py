"""What the parts around the application share: ASGI's types, reading a header, refusing in the caller's dialect.

It does not know why something is refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from haina.serve.errors import ApiError, shaped

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


FAILED = (
    "failed"  # of a scope's state, once a stream has begun: its dialect's way to say an ApiError, as bytes
)
LAST_WORD_S = 1.0  # for a client that does not read


def tenant_of(scope: Scope) -> str:
    """Whose key it is (keys.py); without keys there is one tenant."""
    name: str = scope.get("state", {}).get("tenant", "")
    return name


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header, whose name is given in lower case; of several the first."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


async def end_stream(scope: Scope, send: Send, error: ApiError) -> None:
    """The last part of a stream that cannot go on; of an answer that is none, nothing: it just breaks off."""
    if failed := scope.get("state", {}).get(FAILED):
        last = {"type": "http.response.body", "body": failed(error), "more_body": False}
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(send(last), LAST_WORD_S)


async def counted(app: App, scope: Scope, receive: Receive, send: Send, leave: Callable[[], None]) -> None:
    """Runs `app` and calls `leave` once: before the end of the answer goes out, or when there is none.

    So whoever has heard all of an answer may ask again at once.
    """
    inside = True

    async def sent(message: Message) -> None:
        nonlocal inside
        if inside and message["type"] == "http.response.body" and not message.get("more_body"):
            inside = False
            leave()
        await send(message)

    try:
        await app(scope, receive, sent)
    finally:
        if inside:
            leave()


async def refuse(scope: Scope, send: Send, error: ApiError) -> None:
    """Answer with an error, shaped as the clients of this path expect it."""
    await answer_json(send, error.status, shaped(scope["path"], error), headers=error.headers)


async def answer_json(
    send: Send, status: int, content: Any, *, headers: Mapping[str, str] | None = None
) -> None:
    body = json.dumps(content, ensure_ascii=False).encode()
    await answer(send, status, body, "application/json", headers=headers)


async def answer(
    send: Send, status: int, body: bytes, kind: str, *, headers: Mapping[str, str] | None = None
) -> None:
    """A whole answer at once."""
    lines = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
