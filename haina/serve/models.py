"""GET /v1/models: what is served, as OpenAI tells it, or Anthropic, to whoever sends the header anthropic-version.

It reads names and configurations; nothing is loaded. Formats: openai-python 3.54 (types/model.py), anthropic-sdk-python
2.12 (types/model_info.py).
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from haina.serve import anthropic
from haina.serve.errors import ApiError, shaped, told
from haina.serve.shelf import Shelf


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """The list, and one model by its name, in which there may be slashes."""
    router = APIRouter(tags=["openai"])

    @router.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """What is served."""
        if not _asks_anthropic(request):
            return {"object": "list", "data": [_openai(shelf, name) for name in shelf.names]}
        data = [await asyncio.to_thread(_anthropic, shelf, name) for name in shelf.names]
        return {"data": data, "has_more": False, "first_id": shelf.names[0], "last_id": shelf.names[-1]}

    @router.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        """One model."""
        try:
            with told():
                if _asks_anthropic(request):
                    return JSONResponse(await asyncio.to_thread(_anthropic, shelf, name))
                return JSONResponse(_openai(shelf, name))
        except ApiError as error:
            path = anthropic.PATH if _asks_anthropic(request) else request.url.path
            return JSONResponse(shaped(path, error), error.status)

    return router


def _asks_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _openai(shelf: Shelf, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _changed_s(shelf.folder(name)), "owned_by": "haina"}


def _changed_s(folder: Path) -> int:
    """When, since 1970; 0 if somebody has removed it: what is loaded is served still."""
    try:
        return int(folder.stat().st_mtime)
    except OSError:
        return 0


def _anthropic(shelf: Shelf, name: str) -> dict[str, Any]:
    """One that cannot be read has no figures."""
    created = datetime.fromtimestamp(_changed_s(shelf.folder(name)), timezone.utc)
    try:
        context: int | None = shelf.context(name)
    except ValueError:
        context = None
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }
