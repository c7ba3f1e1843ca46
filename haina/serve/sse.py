"""Answers over HTTP: a response that is sent while it is made, and one that is made unless its caller has gone.

Both end their work at once when the client leaves. It does not know what is sent, nor how a dialect says in the middle
of a stream that something went wrong: that it is given, and leaves it in the scope for those around it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from haina.serve.asgi import FAILED
from haina.serve.engine_thread import Progress
from haina.serve.errors import ApiError

T = TypeVar("T")
COMMENT_S = 0.25  # between two comments about a prompt that is being read


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Stream(Response):
    """Parts that are sent as they come; an ApiError in the middle is the last one. The generator is always closed."""

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        failed: Callable[[ApiError], bytes],
        *,
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
    ):
        """`failed`: how the dialect says an error in a stream."""
        self.status_code, self.background, self.media_type = 200, None, media_type
        self.parts, self.failed = parts, failed
        # a proxy shall not hold parts back (nginx)
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})[FAILED] = self.failed
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self.parts.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = b""
        async with aclosing(self.parts) as parts:
            try:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except ApiError as error:
                last = self.failed(error)
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled when the client leaves. ClientGone."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(request.receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def begun(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same items; but the first is there already, so that a refusal is raised here and not in the middle."""
    try:
        first = await anext(items)
    except BaseException:
        await items.aclose()
        raise
    return _after(first, items)


async def _after(first: T, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(items):
        yield first
        async for item in items:
            yield item


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Comments:
    """Comments for a stream of events while a prompt is read, not more often than somebody can see."""

    def __init__(self) -> None:
        self._told_s = 0.0

    def of(self, progress: Progress) -> bytes:
        """`: prompt 256/480`, or nothing."""
        now = time.monotonic()
        if now - self._told_s < COMMENT_S:
            return b""
        self._told_s = now
        return f": prompt {progress.done}/{progress.total}\n\n".encode()


def data(value: Any, event: str | None = None) -> bytes:
    """One event of server-sent events."""
    name = f"event: {event}\n".encode() if event else b""
    return b"%bdata: %b\n\n" % (name, to_json(value))


def compact(value: Any) -> str:
    return to_json(value).decode()


async def all_of(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]
