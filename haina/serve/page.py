"""The page: its files, and the small JSON interface to what only the page has, its conversations.

Answers come by /v1/chat/completions, as for everyone else. The files are read once and looked up by their whole
name, so no path leads out of the folder. What a model says is untrusted: the policy below lets a browser run the
page's own files and nothing else, load nothing from elsewhere, and send nothing elsewhere; Trusted Types leaves
DOMPurify as the one way from a string to markup. It does not know the engine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from haina import __version__
from haina.apps.chat import Settings
from haina.checkpoint.checkpoint import Checkpoint
from haina.options.talk import ChatOptions
from haina.serve.asgi import tenant_of
from haina.serve.errors import ApiError, told
from haina.serve.history import Conversation, History, Missing, as_json, as_markdown
from haina.serve.shelf import Shelf
from haina.wording import say

FOLDER = Path(__file__).with_name("page")
OTHERS = {
    "/poem": "poem.html",
    "/words": "reverse.html",
    "/input": "input.html",
    "/search": "search.html",
    "/about": "about.html",
    "/docs": "docs.html",
}
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types dompurify"
    ),
    "Cache-Control": "no-cache",  # asked again each time, answered by 304: an update is seen at once
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LONGEST_CARD_BYTES = 1 << 18
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Asset:
    """A file of the page, and the tag by which a browser knows that it has it already."""

    content: bytes
    kind: str
    tag: str


def assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """All of them, by their path under the folder."""
    return {
        path.relative_to(folder).as_posix(): _asset(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in KINDS
    }


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, KINDS[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _whole(text: str) -> str:
    text.encode()  # ValueError for half a character, which JSON can say
    return text


Text = Annotated[str, AfterValidator(_whole)]
Title = Annotated[Text, Field(max_length=200)]
Id = Annotated[str, InPath(pattern="^[0-9a-f]{16}$")]
Number = Annotated[int, Field(ge=1, lt=1 << 31)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]  # what JavaScript counts exactly


class Panel(_Closed):
    """What the panel holds; what is absent is the model's own."""

    model: Annotated[Text, Field(max_length=500)] | None = None
    system: Text | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    truncation: Literal["auto"] | None = None
    seed: Count | None = None

    def kept(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class New(_Closed):
    title: Title = ""
    settings: Panel = Panel()


class Change(_Closed):
    title: Title | None = None
    settings: Panel | None = None
    leaf: Number | None = None


class About(_Closed):
    """How an answer was made, as the page measured it."""

    model: Text | None = None
    finish: Text | None = None
    prompt_tokens: Count | None = None
    new_tokens: Count | None = None
    tokens_per_s: Annotated[float, Field(ge=0)] | None = None
    first_s: Annotated[float, Field(ge=0)] | None = None


class NewMessage(_Closed):
    parent: Number | None = None
    role: Literal["user", "assistant"]
    content: Annotated[Text, Field(max_length=1 << 20)]
    about: About = About()


def routes(shelf: Shelf, history: History) -> APIRouter:
    """`/`, the page's files and its conversations."""
    router = APIRouter()
    _files(router, assets())
    _models(router, shelf, history)
    _conversations(router, history)
    return router


def _files(router: APIRouter, files: dict[str, Asset]) -> None:
    def send(request: Request, name: str) -> Response:
        asset = files.get(name)
        if asset is None:
            raise ApiError(404, say(f"no such file: {name}", f"没有文件 {name}"), "not_found")
        headers = HEADERS | {"ETag": asset.tag}
        if asset.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.kind, headers=headers)

    @router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        """The page for a browser; what Ollama's clients look for, for them."""
        if "text/html" in request.headers.get("accept", ""):
            shown = send(request, "index.html")
            shown.headers["Vary"] = "Accept"
            return shown
        return Response("Ollama is running", media_type="text/plain", headers={"Vary": "Accept"})

    async def other(request: Request) -> Response:
        """An application, or the reference for people."""
        return send(request, OTHERS[request.scope["route"].path])

    for path in OTHERS:
        router.add_api_route(path, other, methods=["GET", "HEAD"], include_in_schema=False)

    @router.get("/page/files/{name:path}", include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        return send(request, name)


def _models(router: APIRouter, shelf: Shelf, history: History) -> None:
    @router.get("/page/models", tags=["page"])
    async def names() -> dict[str, Any]:
        """Models by name, the first is the default; and the file in which conversations cannot be kept."""
        unsaved = str(history.file) if history.unsaved else None
        return {"version": __version__, "models": shelf.names, "unsaved": unsaved}

    @router.get("/page/model", tags=["page"])
    async def model(name: str | None = None) -> dict[str, Any]:
        """One model: its context, and the settings it takes where a request says nothing. It is loaded if need be."""
        with told():
            async with shelf.lend(name) as served:
                return {
                    "name": served.name,
                    "context": served.model.context,
                    "chat": served.model.template is not None,
                    "defaults": _defaults(served.model.checkpoint),
                }

    @router.get("/page/card", tags=["page"])
    async def card(name: str | None = None) -> dict[str, Any]:
        """What a model's folder says of it, as Markdown; empty: nothing. The model is loaded if need be."""
        with told():
            async with shelf.lend(name) as served:
                return {"name": served.name, "card": _card(served.model.checkpoint.folder)}


def _card(folder: Path) -> str:
    """CARD.md or README.md, without the fields that the hub puts before the text."""
    file = next((folder / name for name in ("CARD.md", "README.md") if (folder / name).is_file()), None)
    if file is None:
        return ""
    with file.open("rb") as opened:
        text = opened.read(LONGEST_CARD_BYTES).decode("utf-8", "replace")
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)


def _defaults(checkpoint: Checkpoint) -> dict[str, float]:
    """What a request gets that sets nothing."""
    own = Settings.of(checkpoint, ChatOptions())
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return {name: getattr(own.sampling, name) for name in names} | {"max_tokens": own.max_new_tokens}


def _conversations(router: APIRouter, history: History) -> None:
    @router.get("/page/conversations", tags=["page"])
    @_told
    def all(request: Request) -> Response:
        """Without their messages, the last changed first."""
        return _private([_head(one) for one in history.all(tenant_of(request.scope))])

    @router.post("/page/conversations", tags=["page"])
    @_told
    def create(request: Request, new: New) -> Response:
        made = history.create(tenant_of(request.scope), new.title, new.settings.kept())
        return _private(as_json(made))

    @router.delete("/page/conversations", tags=["page"])
    @_told
    def delete_all(request: Request) -> Response:
        return _private({"deleted": history.delete_all(tenant_of(request.scope))})

    @router.get("/page/export", tags=["page"])
    @_told
    def export_all(request: Request) -> Response:
        """Everything, as one JSON file."""
        owner = tenant_of(request.scope)
        kept = [as_json(history.get(owner, one.id)) for one in history.all(owner)]
        return _download(JSONResponse({"haina": __version__, "conversations": kept}), "haina.json")

    @router.get("/page/conversations/{id}", tags=["page"])
    @_told
    def get(request: Request, id: Id) -> Response:
        return _private(as_json(history.get(tenant_of(request.scope), id)))

    @router.patch("/page/conversations/{id}", tags=["page"])
    @_told
    def change(request: Request, id: Id, change: Change) -> Response:
        settings = change.settings.kept() if change.settings else None
        owner = tenant_of(request.scope)
        history.change(owner, id, title=change.title, settings=settings, leaf=change.leaf)
        return _private(_head(history.get(owner, id)))

    @router.delete("/page/conversations/{id}", tags=["page"])
    @_told
    def delete(request: Request, id: Id) -> Response:
        history.delete(tenant_of(request.scope), id)
        return _private({"deleted": 1})

    @router.post("/page/conversations/{id}/messages", tags=["page"])
    @_told
    def append(request: Request, id: Id, new: NewMessage) -> Response:
        said = history.append(
            tenant_of(request.scope),
            id,
            parent=new.parent,
            role=new.role,
            content=new.content,
            about=new.about.model_dump(exclude_none=True),
        )
        return _private(asdict(said))

    @router.get("/page/conversations/{id}/export", tags=["page"])
    @_told
    def export(request: Request, id: Id, form: Literal["json", "md"] = "json") -> Response:
        """All branches as JSON, or the branch in view as Markdown."""
        kept = history.get(tenant_of(request.scope), id)
        name = re.sub(r"[^\w.-]+", "-", kept.title)[:60].strip("-.") or id
        if form == "json":
            return _download(JSONResponse(as_json(kept)), f"{name}.json")
        return _download(Response(as_markdown(kept), media_type="text/markdown"), f"{name}.md")


def _told(route: Callable[..., Response]) -> Callable[..., Response]:
    @wraps(route)
    def guarded(*args: Any, **named: Any) -> Response:
        try:
            return route(*args, **named)
        except Missing as missing:
            raise ApiError(404, str(missing), "not_found") from None
        except ValueError as error:
            raise ApiError(503, str(error), "api", code="history_unavailable") from error

    return guarded


def _head(conversation: Conversation) -> dict[str, Any]:
    return {name: value for name, value in as_json(conversation).items() if name != "messages"}


def _private(content: Any) -> Response:
    return JSONResponse(content, headers=PRIVATE)


def _download(response: Response, name: str) -> Response:
    response.headers.update(PRIVATE)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    return response
