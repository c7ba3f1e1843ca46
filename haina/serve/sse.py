"""Answers over HTTP: one that is sent while it is made, and one whose long list is written beside the loop.

It does not know what is sent, who leaves (limits.py cancels the work), nor how a dialect says in the middle of a
stream that something went wrong: that it is given, and leaves it in the scope for those around it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from haina.serve.asgi import FAILED
from haina.serve.engine_thread import Progress
from haina.serve.errors import ApiError

T = TypeVar("T")
COMMENT_S = 0.25  # between two comments about a prompt that is being read


class Stream(Response):
    """Parts that are sent as they come; an ApiError in the middle is the last one. The generator is always closed.

    It is begun before anything is sent: closed before it has begun, it would not close what it was given.
    """

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
        last = b""
        async with aclosing(self.parts) as parts:
            part = await anext(parts)
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            try:
                await send({"type": "http.response.body", "body": part, "more_body": True})
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except ApiError as error:
                last = self.failed(error)
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def begun(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same items; but the first is there already, so that a refusal is raised here and not in the middle."""
    again = _first_twice(items)
    await anext(again)
    return again


async def _first_twice(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(items):
        first = await anext(items)
        yield first
        yield first
        async for item in items:
            yield item


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


async def with_list(about: Mapping[str, Any], name: str, rows: Iterable[Any]) -> Response:
    """The object `about` with one list more, as JSON made beside the loop, a row at a time: others run in between."""
    head = to_json(about)[:-1]

    def written() -> bytes:
        return b"%b,%b:[%b]}" % (head, to_json(name), b",".join(map(to_json, rows)))

    return Response(await asyncio.to_thread(written), media_type="application/json")


def compact(value: Any) -> str:
    return to_json(value).decode()


async def all_of(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]
