"""Logs: a line on stderr for every request and for what goes wrong, as text for people or as JSON for programs.

What was asked and answered is never in it, unless the operator asks for what was asked (--log-prompts).
It knows ASGI; it does not know dialects, keys or models, whose names are put into `about` by those who do.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Literal, TextIO

from haina.apps.screen import one_line
from haina.serve.asgi import App, Message, Receive, Scope, Send, end_stream, header, refuse
from haina.serve.errors import broken

_PLAIN_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)
_PLAIN = re.compile(r'[^\s="]*')  # cannot be taken for more than one word of a line

# The line of the request at hand: whoever knows something about it adds it.
about: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)


class Log:
    """One event a line."""

    def __init__(self, form: Literal["text", "json", "off"], stream: TextIO | None = None):
        self._form, self._stream = form, stream or sys.stderr

    def write(self, event: str, **fields: Any) -> None:
        """`fields` that are None are left out."""
        if self._form == "off" or self._stream is None:
            return
        kept = {name: value for name, value in fields.items() if value is not None}
        line = _json(event, kept) if self._form == "json" else _text(event, kept)
        try:
            print(line, file=self._stream, flush=True)
        except OSError:  # a full disk or a closed pipe is no reason to stop serving
            self._form = "off"


def _json(event: str, fields: dict[str, Any]) -> str:
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    return json.dumps({"time": stamp, "event": event, **fields}, ensure_ascii=False, default=str)


def _text(event: str, fields: dict[str, Any]) -> str:
    words = [time.strftime("%H:%M:%S"), event]
    for name, value in fields.items():
        shown = str(value)
        if name not in ("trace", "message") and not _PLAIN.fullmatch(shown):
            shown = json.dumps(shown, ensure_ascii=False)
        words.append(shown if name in ("method", "path", "status") else f"{name}={shown}")
    return one_line(" ".join(words))


class Errors(logging.Handler):
    """What the web server itself complains about, as lines of our log."""

    def __init__(self, log: Log):
        super().__init__(logging.ERROR)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        self._log.write("error", message=record.getMessage().strip(), trace=trace)


class Logged:
    """Gives every request an id and a line in the log; what nobody else caught becomes a 500 without details."""

    def __init__(self, app: App, log: Log, *, prompts: bool = False, quiet: Iterable[str] = ()):
        """`prompts`: log what was asked, too. `quiet`: paths that are asked for ever, and logged when they fail."""
        self._app, self._log, self._prompts, self._quiet = app, log, prompts, set(quiet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, ended = time.perf_counter(), 0, False
        number = _request_id(scope)
        line: dict[str, Any] = {}
        asked = bytearray()
        about.set(line)
        scope.setdefault("state", {})["id"] = number

        async def heard() -> Message:
            message = await receive()
            if self._prompts:
                asked.extend(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            nonlocal status, ended
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                status = message["status"]
                ids = [(b"x-request-id", number.encode()), (b"request-id", number.encode())]
                message = {**message, "headers": [*message.get("headers", ()), *ids]}
            await send(message)

        try:
            await self._app(scope, heard, sent)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            self._log.write("error", id=number, path=scope["path"], trace=trace)
            if not ended:
                await (end_stream if status else refuse)(scope, sent, broken(number))
        finally:
            if status != 200 or scope["path"] not in self._quiet:
                self._write(scope, status, time.perf_counter() - began, number, line, asked)

    def _write(
        self, scope: Scope, status: int, seconds: float, number: str, line: dict[str, Any], asked: bytearray
    ) -> None:
        self._log.write(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status or "gone",
            seconds=round(seconds, 4),
            id=number,
            client=(scope.get("client") or [None])[0],
            **line,
            asked=asked.decode("utf-8", "replace") if asked else None,
        )


def _request_id(scope: Scope) -> str:
    """The client's own, if it is plain; or a new one."""
    given = header(scope, b"x-request-id") or ""
    return given if _PLAIN_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
