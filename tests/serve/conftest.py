"""A server on a free loopback port with the embedded model, once a session, and where it listens; a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import haina
from haina.apps.search.desk import add_folders
from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.asgi import App
from haina.serve.history import History
from haina.serve.logs import Log
from haina.serve.metrics import Metrics
from haina.serve.run import configured, operated
from haina.serve.shelf import Shelf

NAME = "haina-brook"
Serving = Callable[[ServeOptions], AbstractContextManager[str]]
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def shelf() -> Iterator[Shelf]:
    folder = Path(haina.__file__).with_name("weights")
    made = Shelf({NAME: folder}, ServeOptions(threads=1, conversations=16, context=512))
    made.load()
    yield made
    made.close()


@pytest.fixture(scope="session")
def serving(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """Serves the embedded model with other options, for the time of a context: the address."""
    history = History(tmp_path_factory.mktemp("history") / "conversations.sqlite")

    def serve(options: ServeOptions) -> AbstractContextManager[str]:
        app = create_app(shelf, options, history)
        return running(operated(app, shelf, Metrics(), Log("off"), options))

    return serve


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index of search with one document."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.txt").write_text("海纳由四位开发者写成。他们住在杭州。", "utf-8")
    file = str(tmp_path_factory.mktemp("index") / "search.db")
    add_folders([str(folder)], file)
    return file


@pytest.fixture(scope="session")
def server(serving: Serving, index: str) -> Iterator[str]:
    """The address of a running server: http://127.0.0.1:PORT."""
    with serving(ServeOptions(search=index)) as address:
        yield address


@pytest.fixture(scope="session")
def running_app() -> Callable[[App], AbstractContextManager[str]]:
    """Serves any application, for the time of a context: the address."""
    return running


@pytest.fixture(
    scope="module"
)  # its driver holds an event loop, which tests of other modules start themselves
def browser() -> Iterator[Any]:
    """Debian's chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium; apt-get install chromium")
    flags = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=flags)
        yield started
        started.close()


@pytest.fixture
def open_at(browser: Any) -> Iterator[Open]:
    """Opens an address in a fresh profile. Errors there, and requests to anybody else, fail the test."""
    contexts, wrong = [], []

    def open(address: str, path: str = "", *, lang: str = "en-US", **options: Any) -> Any:
        contexts.append(browser.new_context(locale=lang, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
        page.on("request", lambda asked: asked.url.startswith((address, "blob:")) or wrong.append(asked.url))
        page.goto(f"{address}{path}")
        return page

    yield open
    for context in contexts:
        context.close()
    assert wrong == []


def is_wrong(said: Any) -> bool:
    """On the console; a refusal of the server, which the page shows, stands there too."""
    return said.type == "error" and not said.text.startswith("Failed to load resource")


@contextmanager
def running(app: App) -> Iterator[str]:
    """A server in a thread of its own."""
    made = uvicorn.Server(configured(app))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=made.run, args=([listener],), daemon=True)
        thread.start()
        end = time.monotonic() + 20
        while not made.started and time.monotonic() < end:
            time.sleep(0.01)
        assert made.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        made.should_exit = True
        thread.join(20)
