"""Limits: what is turned away before anybody works on it, and who is no longer listened to.

Hosts keeps other web pages out, `shared` lets some in; Queue keeps the line short; Attended reads a request whole,
within bounds, and ends its work when its client goes or its time is up. Each is an ASGI application around another.
They do not know models.
DNS rebinding, which Hosts is against: CVE-2024-28224.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware

from haina.serve.asgi import App, Message, Receive, Scope, Send, counted, end_stream, header, refuse
from haina.serve.errors import ApiError
from haina.serve.logs import about
from haina.serve.page import OTHERS
from haina.wording import say

LARGEST_HEADERS_BYTES = 32 << 10
LARGEST_BODY_BYTES = 16 << 20
DEEPEST = 100  # levels of JSON
MOST_PARTS = (
    1 << 18
)  # of a body: items of lists and fields of objects; a million take a tenth of a second to read
MOST_QUOTES = 200_000  # each text may be wrong and wants an error of its own
SLOWEST_BODY_S = 30.0
MOST_ARRIVING_BYTES = 256 << 20  # of all bodies that are on their way; small ones are always let in
IN_A_THREAD_BYTES = 1 << 16  # bodies larger than this are checked beside the loop
COME_AGAIN_S = 2

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:\d+)?|[a-z][a-z0-9+.-]*://\[[0-9a-f:]+\](:\d+)?")
_PARTS = (b",", b"[", b"{")  # one of them stands before every value, or before its name
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}  # of depth
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())


class Hosts:
    """Without keys, loopback protects; so a page of another site must not reach it through the person's browser.

    The Host must be a name of this machine or one that is allowed. The Origin that browsers send must be this very
    server, port and all, or one of `origins`, whose pages may ask (`shared`). What another site makes a browser fetch
    without one, an image say, is known by Sec-Fetch-Site; only to open the page itself one may come from anywhere.
    """

    def __init__(self, app: App, allowed: Iterable[str], origins: Iterable[str] = ()):
        self._app, self._named = app, {name.lower() for name in allowed}
        self._allowed = self._named | {"localhost"}
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host, origin = header(scope, b"host"), header(scope, b"origin")
            if host is not None and not self._known(f"//{host}"):
                await self._foreign(scope, send, "Host", host)
                return
            if origin is not None and origin not in self._origins and not self._ours(origin, host):
                await self._foreign(scope, send, "Origin", origin)
                return
            if origin is None and header(scope, b"sec-fetch-site") == "cross-site" and not _opened(scope):
                await self._foreign(scope, send, "Sec-Fetch-Site", "cross-site")
                return
        await self._app(scope, receive, send)

    def _ours(self, origin: str, host: str | None) -> bool:
        """Of the server that was asked; or of a name that is allowed, behind a proxy that asks by another."""
        try:
            found = urlsplit(origin)
        except ValueError:
            return False
        return found.netloc == host or (found.hostname or "") in self._named

    def _known(self, address: str) -> bool:
        try:
            name = urlsplit(address).hostname or ""
        except ValueError:
            return False
        return name in self._allowed or is_loopback(name)

    async def _foreign(self, scope: Scope, send: Send, name: str, value: str) -> None:
        message = say(
            f"{name} {value[:100]!r} is not this server's; if it is meant to be, start it with --allow-host NAME, "
            "or for pages of other sites --allow-origin URL",
            f"{name} {value[:100]!r} 不属于本服务；若确要使用，请以 --allow-host 名称 启动；"
            "供其他网站的页面调用，请用 --allow-origin 网址",
        )
        await refuse(scope, send, ApiError(403, message, "permission", code="foreign_host"))


def _opened(scope: Scope) -> bool:
    """By a link, or typed: a page that tells nothing by itself."""
    navigated = header(scope, b"sec-fetch-mode") == "navigate"
    return navigated and scope["method"] == "GET" and scope["path"] in ("/", *OTHERS)


def shared(app: App, origins: Sequence[str]) -> App:
    """The application, which lets pages of exactly these origins read its answers; a preflight needs no key.

    ValueError: one is no origin, as a browser sends it.
    """
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                say(
                    f"--allow-origin {origin}: no origin; give scheme and host in lower case and nothing behind "
                    "them, such as https://example.org or http://localhost:3000",
                    f"--allow-origin {origin}：不是来源；应为小写的协议与主机，其后不加路径，"
                    "如 https://example.org 或 http://localhost:3000",
                )
            )
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "request-id", "retry-after", "x-haina-ignored"],
    )


def is_loopback(address: str) -> bool:
    """Whether an IP address, as text, is reached from this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Queue:
    """So many at once are answered or wait; whoever comes then is told to come again, at once."""

    def __init__(self, app: App, most: int, *, counts: Callable[[Scope], bool]):
        self._app, self._most, self._counts = app, most, counts
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._counts(scope):
            await self._app(scope, receive, send)
            return
        if self.inside >= self._most:
            message = say(
                f"{self.inside} requests are being answered or wait (--queue); come again in {COME_AGAIN_S} s",
                f"已有 {self.inside} 个请求正在处理或等候（--queue）；请在 {COME_AGAIN_S} 秒后重试",
            )
            headers = {"retry-after": str(COME_AGAIN_S)}
            await refuse(
                scope, send, ApiError(429, message, "rate_limit", code="queue_full", headers=headers)
            )
            return
        self.inside += 1
        await counted(self._app, scope, receive, send, self._leave)

    def _leave(self) -> None:
        self.inside -= 1


class _Gone(Exception):
    """The client has left."""


class Attended:
    """Hands on requests whose body is here; cancels the work when the client goes, or after `timeout_s`.

    By then everything it held has been let go of: an engine's pages are free before its next step.
    """

    def __init__(self, app: App, *, timeout_s: float, largest_bytes: int = LARGEST_BODY_BYTES):
        self._app, self._timeout_s, self._largest_bytes = app, timeout_s, largest_bytes
        self._arriving_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEADERS_BYTES:
                raise ApiError(431, say("the headers are larger than 32 KiB", "请求头超过 32 KiB"))
            if (header(scope, b"upgrade") or "").lower() == "websocket":
                raise ApiError(
                    400, say("no websockets here; use plain HTTP", "不支持 WebSocket；请使用普通 HTTP")
                )
            body = await self._body(scope, receive)
            await _check(body)
        except ApiError as refused:
            await refuse(scope, send, refused)
        except _Gone:
            pass
        else:
            await self._attend(scope, body, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        length = header(scope, b"content-length") or "0"
        if not length.isdigit() or int(length) > self._largest_bytes:
            raise self._too_large()
        if length == "0" and header(scope, b"transfer-encoding") is None:
            return b""
        try:
            return await asyncio.wait_for(self._read(receive), SLOWEST_BODY_S)
        except asyncio.TimeoutError:
            raise ApiError(
                408, say("the body did not come in time", "请求体未能及时送达"), "timeout"
            ) from None

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                body += message.get("body", b"")
                self._arriving_bytes += len(message.get("body", b""))
                if len(body) > self._largest_bytes:
                    raise self._too_large()
                if len(body) > IN_A_THREAD_BYTES and self._arriving_bytes > MOST_ARRIVING_BYTES:
                    raise _crowd()
                if not message.get("more_body"):
                    return bytes(body)
        finally:
            self._arriving_bytes -= len(body)

    def _too_large(self) -> ApiError:
        most = f"{self._largest_bytes >> 20} MiB"
        return ApiError(
            413, say(f"the body is larger than {most}; send less", f"请求体超过 {most}；请减小"), "too_large"
        )

    async def _attend(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """The work and the client's line side by side: whichever ends first ends the other."""
        started = complete = over = False
        rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        forever = asyncio.Event()

        async def once() -> Message:
            if not rest:
                await forever.wait()
            return rest.pop()

        async def sent(message: Message) -> None:
            nonlocal started, complete
            if over:  # what the work still says when it is cancelled
                return
            started = True
            await send(message)  # may wait for a client that does not read
            complete = message["type"] == "http.response.body" and not message.get("more_body")

        work = asyncio.ensure_future(self._app(scope, once, sent))
        line = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({work, line}, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if complete or work.done():
                await work
                return
            gone = line.done()
        finally:
            over = not complete
            line.cancel()
            await _cancelled(work)
        _say_end("gone" if gone else "timeout")
        if not gone:
            await (end_stream if started else refuse)(scope, send, self._late())

    def _late(self) -> ApiError:
        seconds = f"{self._timeout_s:.0f}"
        message = say(
            f"the answer took longer than {seconds} s (--timeout); ask for less",
            f"回答超过 {seconds} 秒（--timeout）；请减少生成长度",
        )
        return ApiError(503, message, "timeout", code="timeout", headers={"x-should-retry": "false"})


def _crowd() -> ApiError:
    message = say(
        f"too many large requests are on their way; come again in {COME_AGAIN_S} s",
        f"正在接收的大请求过多；请在 {COME_AGAIN_S} 秒后重试",
    )
    headers = {"retry-after": str(COME_AGAIN_S)}
    return ApiError(429, message, "rate_limit", code="queue_full", headers=headers)


async def _left(receive: Receive) -> None:
    """Returns when the client has gone. What else may come is the empty body of a GET."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(work: asyncio.Future[None]) -> None:
    """Only when this returns has the work let go of everything."""
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # what went wrong while it ended is no news to anybody


def _say_end(how: str) -> None:
    if (line := about.get()) is not None:
        line["end"] = how


async def _check(body: bytes) -> None:
    """UTF-8, not too many parts, and not too deep; JSON itself is the application's business."""
    if len(body) > IN_A_THREAD_BYTES:
        await asyncio.to_thread(_check_now, body)
    else:
        _check_now(body)


def _check_now(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise ApiError(
            400,
            say(
                f"the body is not UTF-8 (byte {error.start + 1} is 0x{body[error.start]:02X})",
                f"请求体不是 UTF-8（第 {error.start + 1} 个字节为 0x{body[error.start]:02X}）",
            ),
        ) from None
    if crowded(body):
        en, zh = "the body has too many parts; send less at once", "请求体的成分过多；请分次发送"
        raise ApiError(413, say(en, zh), "too_large", code="body_too_large")
    if depth_over(body, DEEPEST):
        raise ApiError(
            400, say(f"the JSON is nested deeper than {DEEPEST} levels", f"JSON 的嵌套超过 {DEEPEST} 层")
        )


def crowded(body: bytes) -> bool:
    """Whether so many values are in it that reading them would hold up everybody else; the length of texts is free.

    Told by what searches bytes at once, without a step for each.
    """
    quotes, parts = body.count(b'"'), sum(map(body.count, _PARTS))
    if quotes <= MOST_QUOTES and parts <= MOST_PARTS:
        return False
    return quotes - body.count(b'\\"') > MOST_QUOTES or sum(map(_plain(body).count, _PARTS)) > MOST_PARTS


def depth_over(body: bytes, most: int) -> bool:
    """Whether brackets outside of texts are open deeper than `most`."""
    if body.count(b"[") + body.count(b"{") <= most:
        return False
    brackets = _plain(body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > most


def _plain(body: bytes) -> bytes:
    """What of JSON is outside of texts."""
    return b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
