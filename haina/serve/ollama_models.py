"""Ollama's dialect about models: /api/tags, /api/ps, /api/show, /api/version; and what is refused: pull, copy, delete.

It reads configurations and sizes, as `haina show` does. Models are named as the server names them; `:latest`, which
Ollama's clients put behind every name, is none of ours and is taken off.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from haina import __version__
from haina.apps.show import describe
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.sampling import Sampling
from haina.serve.errors import ApiError, told
from haina.serve.ollama_lines import failed, line
from haina.serve.ollama_schema import ModelBody, PullBody, ShowBody
from haina.serve.shelf import Served, Shelf
from haina.serve.sse import Stream
from haina.serve.strict import documented, read
from haina.wording import say

NEVER = "9999-12-31T23:59:59Z"  # when a model goes that stays: clients parse a time
REFUSED = ("push", "create", "copy", "delete")
_PARAMETERS = {"repetition_penalty": "repeat_penalty"}
_SHAPE = {
    "vocab_size": "vocab_size",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
}


def name_of(body: ModelBody) -> str:
    """The model that a body asks for. ApiError: none."""
    name = body.model or body.name
    if not name:
        message = say("The field model is missing.", "缺少字段 model。")
        raise ApiError(400, message, param="model", code="missing_required_parameter")
    return name.removesuffix(":latest")


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """What a client can learn about models; POST and DELETE of what is refused."""
    router = APIRouter(tags=["ollama"])

    @router.get("/api/version")
    async def version() -> dict[str, str]:
        """The server's version."""
        return {"version": __version__}

    @router.get("/api/tags")
    async def tags() -> dict[str, Any]:
        """What is served."""
        return {"models": [await _entry(shelf, name) for name in shelf.names]}

    @router.get("/api/ps")
    async def ps() -> dict[str, Any]:
        """What is in memory."""
        return {
            "models": [await _entry(shelf, served.name) | _running(shelf, served) for served in shelf.loaded]
        }

    @router.post("/api/show", openapi_extra=documented(ShowBody))
    async def show(request: Request) -> dict[str, Any]:
        """Everything about one model."""
        name = name_of(await read(request, ShowBody, lenient=lenient))
        with told():
            return await asyncio.to_thread(_shown, name, shelf.folder(name))

    @router.post("/api/pull", openapi_extra=documented(PullBody))
    async def pull(request: Request) -> Response:
        """Nothing to do for a model that is here; no other is fetched."""
        body = await read(request, PullBody, lenient=lenient)
        if (name := name_of(body)) not in shelf.names:
            raise _no_changes(f"pull {name}", f"haina pull {name}")
        done = {"status": "success"}
        return (
            Stream(_one(line(done)), failed, media_type="application/x-ndjson")
            if body.stream
            else JSONResponse(done)
        )

    for verb in REFUSED:
        router.add_api_route(
            f"/api/{verb}", _refusal(verb), methods=["DELETE" if verb == "delete" else "POST"]
        )
    return router


def _refusal(verb: str) -> Any:
    async def refuse() -> None:
        raise _no_changes(verb, "haina --help")

    refuse.__name__ = f"refuse_{verb}"
    return refuse


def _no_changes(what: str, command: str) -> ApiError:
    message = say(
        f"{what}: this server fetches and changes no models; its operator does, with: {command}",
        f"{what}：本服务不下载也不更改模型；请由管理员运行：{command}",
    )
    return ApiError(400, message, code="unsupported")


async def _one(part: bytes) -> AsyncGenerator[bytes, None]:
    yield part


async def _entry(shelf: Shelf, name: str) -> dict[str, Any]:
    """A model in a list; one that cannot be read is in it, too, and /api/show says what is wrong."""
    folder = shelf.folder(name)
    try:
        record = await asyncio.to_thread(_record, folder)
    except ValueError:
        record = {}
    return {
        "name": name,
        "model": name,
        "modified_at": _modified(folder),
        "size": record.get("disk_bytes", 0),
        "digest": _digest(folder),
        "details": _details(folder, record) if record else {},
    }


def _running(shelf: Shelf, served: Served) -> dict[str, Any]:
    record = _record(served.model.checkpoint.folder)
    memory = record["memory"]["bytes_as_stored"]
    on_cpu = served.model.device in ("cpu", "torch")
    return {
        "expires_at": _expires(shelf.idle_s(served.name)),
        "size": memory,
        "size_vram": 0 if on_cpu else memory,
        "context_length": served.model.context,
    }


def _expires(idle_s: float | None) -> str:
    if idle_s is None:
        return NEVER
    return (datetime.now(timezone.utc) + timedelta(seconds=idle_s)).isoformat().replace("+00:00", "Z")


@lru_cache(64)
def _record(folder: Path) -> dict[str, Any]:
    return describe(Checkpoint.open(folder, verify=False))


def _details(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf" if folder.suffix == ".gguf" else "safetensors",
        "family": record["family"],
        "families": [record["family"]],
        "parameter_size": _many(record["parameters"]),
        "quantization_level": record["precision"],
    }


def _shown(name: str, folder: Path) -> dict[str, Any]:
    record = _record(folder)
    parameters = _parameters(record["settings"]["sampling"])
    architecture = record["architecture"]
    about = {f"{architecture}.{theirs}": record["shape"][ours] for ours, theirs in _SHAPE.items()}
    licences = [
        path for path in Checkpoint.open(folder, verify=False).license_files() if path.suffix != ".md"
    ]
    return {
        "license": "\n".join(path.read_text("utf-8", "replace") for path in licences)
        or record["source"].get("licence", ""),
        "modelfile": "\n".join([f"FROM {name}", *(f"PARAMETER {line}" for line in parameters)]),
        "parameters": "\n".join(parameters),
        "template": "",  # ours is no Go template
        "details": _details(folder, record),
        "model_info": {
            "general.architecture": architecture,
            "general.basename": record["name"],
            "general.parameter_count": record["parameters"],
            f"{architecture}.context_length": record["context_tokens"],
            **about,
        },
        "capabilities": ["completion", *(["tools"] if record["chat"] else []), "embedding"],
        "modified_at": _modified(folder),
    }


def _parameters(sampling: dict[str, Any]) -> list[str]:
    """What differs from a plain draw, by Ollama's names."""
    plain = Sampling()
    return [
        f"{_PARAMETERS.get(name, name)} {value}"
        for name, value in sampling.items()
        if value != getattr(plain, name) and isinstance(value, int | float)
    ]


def _many(parameters: int) -> str:
    """4.6M, 13.3B."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.1f}M"


def _modified(folder: Path) -> str:
    seconds = folder.stat().st_mtime if folder.exists() else 0
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def _digest(folder: Path) -> str:
    """Of the manifest, which has the hash of every file; without one of the place and the time."""
    manifest = folder / "manifest.json"
    what = manifest.read_bytes() if manifest.is_file() else f"{folder} {_modified(folder)}".encode()
    return hashlib.sha256(what).hexdigest()
