"""Run: `haina serve` from its options to the end of the process: what is refused, the socket, the models, the server.

Around the application (serve/app.py) it puts, from the outside in: the log, the hosts, the keys, health, the attention
to clients that leave, and the queue. It does not know what they do, nor any dialect.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from haina import __version__
from haina.apps.screen import Status, note, report
from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.asgi import LAST_WORD_S, App, Scope
from haina.serve.check import check_server
from haina.serve.health import HEALTH, Health
from haina.serve.history import History, place
from haina.serve.keys import Keyed, KeyFile, new_key
from haina.serve.limits import LARGEST_HEADERS_BYTES, Attended, Hosts, Queue, is_loopback, shared
from haina.serve.logs import Errors, Log, Logged
from haina.serve.metrics import Metrics
from haina.serve.page import OTHERS
from haina.serve.settings import settled, shown
from haina.serve.shelf import Shelf, named_folders
from haina.wording import say

HEADERS_S = 20.0  # a connection on which no whole request has come for so long is closed
STALLED_S = 10.0  # one that is to be closed, and of whose answer nothing is read for so long, is cut off
KEEP_S = 75  # an idle one that had a request; longer than clients keep theirs, so that they close first
DRAIN_S = 60  # after SIGTERM, for answers on their way
MOST_FILES = 65536


def make_key(name: str, file: str | None) -> str:
    """The key, which exists nowhere else from now on. ValueError without a file, or for a name that has one."""
    if not file:
        raise ValueError(
            say(
                "--new-key: where to? add --api-key-file FILE",
                "--new-key：请用 --api-key-file 文件 指明写入何处",
            )
        )
    key = new_key(name, Path(file))
    report(
        say(
            f"the key of {name}, shown this once; {file} has its hash, and takes limits behind it: "
            "per-minute=60 at-once=4",
            f"以下为 {name} 的密钥，仅显示这一次；{file} 中只存其散列值，其后可加限额：per-minute=60 at-once=4",
        )
    )
    return key


def serve(given: Mapping[str, Any], default: str) -> None:
    """Serve until SIGTERM or Ctrl-C, or only make a key, check, or show the settings. ValueError: why it cannot be.

    `given` is what the command line says, and `default` the model when nobody names one: see settings.py.
    """
    settings = settled(given, default)
    models, options = settings.models, settings.options
    if options.show_settings:
        print(shown(settings), end="")
        return
    if options.new_key is not None:
        print(make_key(options.new_key, options.api_key_file))
        return
    if options.check:
        key = os.environ.get("HAINA_API_KEY", "none")
        if failed := check_server(_url(options.host, options.port), key=key):
            raise ValueError(say(f"{failed} checks failed; see above", f"{failed} 项检查未通过，见上"))
        return
    log, metrics = Log(options.log), Metrics()
    shelf = Shelf(named_folders(models), options, watcher=metrics)
    _allow_many_files()
    with (
        _bound(options.host, options.port, guarded=options.api_key_file is not None) as listener,
        closing(History(place())) as history,
        closing(shelf),
    ):
        app = operated(create_app(shelf, options, history), shelf, metrics, log, options)
        _load(shelf)
        if history.begin():
            log.write("warning", message=history.unsaved)
        _run(app, listener, log, lambda: _banner(shelf, listener, options))


def _load(shelf: Shelf) -> None:
    """The default model, before anybody asks. What is wrong with it or with the others is said here: ValueError."""
    for doubt in [doubt for name in shelf.names[1:] for doubt in shelf.check(name)]:
        report(doubt)
    with Status() as status:
        served = shelf.load(progress=status.progress)
    for text in served.model.checkpoint.notes:
        note(text)


def operated(app: App, shelf: Shelf, metrics: Metrics, log: Log, options: ServeOptions) -> App:
    """The application with all that is around it. ValueError: a key file that is wrong."""
    return guarded(Health(bounded(app, options), shelf, metrics), log, options)


def bounded(app: App, options: ServeOptions) -> App:
    """With a queue before it, for those whose whole request is here, and an eye on who asks."""
    return Attended(Queue(app, options.queue, counts=_asks), timeout_s=options.timeout)


def guarded(app: App, log: Log, options: ServeOptions) -> App:
    """With a log, and with keys, or hosts where there are none. ValueError: a key file that is wrong."""
    if options.api_key_file:
        keys = KeyFile(Path(options.api_key_file), log)
        around: App = Keyed(app, keys, open=_open, counts=_asks)
    else:
        around = Hosts(app, options.allow_host, options.allow_origin)
    around = shared(around, options.allow_origin)
    return Logged(around, log, prompts=options.log_prompts, quiet=(*HEALTH, "/metrics"))


def _open(scope: Scope) -> bool:
    """Needs no key: it tells nothing, or is the page itself, which asks for the key."""
    return scope["path"] in (*HEALTH, "/", *OTHERS) or scope["path"].startswith("/page/files/")


def _asks(scope: Scope) -> bool:
    """Whether it is work for a model, for which there are limits."""
    return scope["method"] == "POST" and not scope["path"].startswith("/page/")


# -- the socket -----------------------------------------------------------------------------------------------


def _bound(host: str, port: int, *, guarded: bool) -> socket.socket:
    """A socket at the address. ValueError: nobody would guard it, it is taken, or it is not this machine's."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise ValueError(
            say(
                f"--host {host}: no such address; use 127.0.0.1",
                f"--host {host}：没有这个地址；请用 127.0.0.1",
            )
        ) from None
    if not guarded and not is_loopback(str(address[0])):
        raise ValueError(
            say(
                f"--host {host}: others could reach this without a key; make one with "
                "haina serve --new-key NAME --api-key-file FILE, and add --api-key-file FILE",
                f"--host {host}：他人无需密钥即可访问，因此拒绝；请先用 haina serve --new-key 名称 --api-key-file 文件"
                " 生成密钥，再加上 --api-key-file 文件",
            )
        )
    listener = socket.socket(family, kind)
    if sys.platform != "win32":  # there it would share the port with another program
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise _not_bound(host, port, error) from None
    return listener


def _not_bound(host: str, port: int, error: OSError) -> ValueError:
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 8080
        return ValueError(
            say(
                f"port {port} is in use, perhaps by another haina; choose another: --port {other}",
                f"端口 {port} 已被占用，也许另有 haina 在运行；请另选：--port {other}",
            )
        )
    return ValueError(
        say(
            f"--host {host} --port {port}: {error.strerror}", f"--host {host} --port {port}：{error.strerror}"
        )
    )


def _allow_many_files() -> None:
    """A thousand connections that say nothing must not use up what a process may open."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


# -- the server -----------------------------------------------------------------------------------------------


class _Line:
    """A transport that, once it is closed, waits for its client to read the rest, but only while the client does."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop, patience_s: Callable[[], float]):
        """`patience_s`: how long nothing may be read."""
        self._transport, self._loop, self._patience_s = transport, loop, patience_s
        self._left_bytes = -1  # when it was last looked at; -1 before it is closed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._transport.close()
        if self._left_bytes < 0:
            self._look()

    def _look(self) -> None:
        before, self._left_bytes = self._left_bytes, self._transport.get_write_buffer_size()
        if self._left_bytes == before:
            self._transport.abort()
        elif self._left_bytes:
            self._loop.call_later(self._patience_s(), self._look)


class _Protocol(H11Protocol):
    """uvicorn's, less its patience with connections that do not bring a whole request, or do not read the answer."""

    _waiting: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(_Line(transport, self.loop, self._patience_s))  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _patience_s(self) -> float:
        """Little where the answer has broken off: then Attended has waited before."""
        whole = self.cycle is None or self.cycle.response_complete
        return STALLED_S if whole else LAST_WORD_S

    def _watch(self) -> None:
        """Count the time while no request is in hand."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(HEADERS_S, self._enough)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _enough(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class _Server(uvicorn.Server):
    """Tells when it listens, and when it stops."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], log: Log):
        super().__init__(config)
        self._tell, self._log = started, log

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if under_way := len(self.server_state.tasks):  # they are finished first
            self._log.write("stopping", answers=under_way)
        await super().shutdown(sockets)


def configured(app: App) -> uvicorn.Config:
    """How the server is run: no websockets, no lines of its own in the log, bounds on what connections bring."""
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        h11_max_incomplete_event_size=LARGEST_HEADERS_BYTES,
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_S,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _run(app: App, listener: socket.socket, log: Log, started: Callable[[], None]) -> None:
    """Until a signal; then answers on their way are finished first, for DRAIN_S at most."""
    for name in ("uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).addHandler(Errors(log))
        logging.getLogger(name).propagate = False
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when it has ended
    hook, threading.excepthook = threading.excepthook, partial(_thread_died, log)
    try:
        _Server(configured(app), started, log).run(sockets=[listener])
    finally:
        threading.excepthook = hook
        signal.signal(signal.SIGTERM, before)


def _thread_died(log: Log, what: threading.ExceptHookArgs) -> None:
    """As an engine's does when it fails for good."""
    name = what.thread.name if what.thread else "?"
    trace = "".join(traceback.format_exception(what.exc_type, what.exc_value, what.exc_traceback))
    log.write("error", message=f"the thread {name} has ended", trace=trace)


def _url(host: str, port: int) -> str:
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def _banner(shelf: Shelf, listener: socket.socket, options: ServeOptions) -> None:
    """Where it is, what it speaks, and what to paste into a shell."""
    host, port = listener.getsockname()[:2]
    url = _url(host, port)
    key = say("YOUR-KEY", "您的密钥") if options.api_key_file else "none"
    lines = [
        f"haina {__version__} · {', '.join(shelf.names)} · {url}",
        say("  page /   reference /docs", "  页面 /   接口文档 /docs")
        + "   OpenAI /v1   Anthropic /v1/messages   Ollama /api   /openapi.json /metrics /healthz",
        f"  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}",
        f"  export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}",
        f"  export OLLAMA_HOST={url}",
    ]
    if not is_loopback(host):
        lines.append(
            say(
                "  others can reach this, unencrypted: put a proxy with TLS before it",
                "  他人可以访问此服务，且未加密；请在前面设置带 TLS 的反向代理",
            )
        )
    print("\n".join(lines), flush=True)
