"""The application: every dialect's routes, one document of them all, and errors in the dialect of who asked.

What stands around it (keys, limits, logs) is put there by serve/run.py. It does not know how an answer is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haina import __version__
from haina.options.serving import ServeOptions
from haina.serve import (
    anthropic,
    completions,
    input,
    models,
    ollama,
    ollama_models,
    openai,
    page,
    poems,
    responses,
    search,
    tokens,
    words,
)
from haina.serve.document import document
from haina.serve.errors import ApiError, Kind, broken, shaped
from haina.serve.history import History, place
from haina.serve.shelf import Shelf
from haina.serve.strict import reason
from haina.wording import say

KINDS: dict[int, Kind] = {404: "not_found", 413: "too_large"}
DIALECTS = (models, openai, completions, responses, tokens, poems, words, anthropic, ollama, ollama_models)
_PLAIN = re.compile(r"[\w.\[\]?-]+", re.ASCII)
LONGEST_NAME, MOST_NAMES = 64, 32  # of what --lenient dropped, in a header


def create_app(shelf: Shelf, options: ServeOptions, history: History | None = None) -> FastAPI:
    """All routes over the models of a shelf. `history` holds the page's conversations; None: where it always is."""

    @asynccontextmanager
    async def begun(app: FastAPI) -> AsyncIterator[None]:
        shelf.begin()
        yield

    app = FastAPI(title="haina 海纳", version=__version__, docs_url=None, redoc_url=None, lifespan=begun)
    history = history or History(place())
    for dialect in DIALECTS:
        app.include_router(dialect.routes(shelf, lenient=options.lenient))
    app.include_router(search.routes(shelf, options.search, lenient=options.lenient))
    app.include_router(input.routes(shelf, history.file.with_name("input"), lenient=options.lenient))
    app.include_router(page.routes(shelf, history))
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _broken)
    if options.lenient:
        app.add_middleware(NamesIgnored)
    app.openapi = cache(lambda: document(app, shelf.names[0]))  # type: ignore[method-assign]
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(shaped(request.url.path, error), error.status, dict(error.headers))


def _http(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    kind, what = KINDS.get(error.status_code, "invalid_request"), f"{request.method} {request.url.path}"
    known = {
        404: ("no such path; /docs lists them", "没有这个路径；见 /docs"),
        405: ("not this method; see /docs", "不支持这个方法；见 /docs"),
    }
    en, zh = known.get(error.status_code, (error.detail, error.detail))
    text = say(f"{what}: {en}", f"{what}：{zh}")
    return _refused(request, ApiError(error.status_code, text, kind, headers=error.headers or {}))


def _invalid(request: Request, error: Exception) -> Response:
    """A path or a query that is wrong, and the bodies of the page."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = ".".join(map(str, first["loc"]))
    code = "unknown_parameter" if first["type"] == "extra_forbidden" else "invalid_value"
    return _refused(request, ApiError(400, f"{param}: {reason(first)}", param=param, code=code))


def _broken(request: Request, error: Exception) -> Response:
    """Nobody foresaw it. Starlette raises it again, and serve/logs.py writes it down."""
    return _refused(request, broken(getattr(request.state, "id", "?")))


def _listed(names: Sequence[str]) -> bytes:
    """Names as a header can hold them: plain ones as they are, others as JSON, and not without end."""
    shown = [name if _PLAIN.fullmatch(name) else json.dumps(name) for name in names]
    shown = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in shown]
    more = [f"and {len(shown) - MOST_NAMES} more"] if len(shown) > MOST_NAMES else []
    return ", ".join([*shown[:MOST_NAMES], *more]).encode("ascii")


class NamesIgnored:
    """Puts what --lenient dropped into a header."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            ignored = scope.get("state", {}).get("ignored")
            if ignored and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-haina-ignored", _listed(ignored))]
            await send(message)

        await self._app(scope, receive, sent)
