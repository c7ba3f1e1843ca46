"""Ollama's dialect: /api/chat, /api/generate, /api/embed and /api/embeddings, in lines of JSON.

Pure functions take a body to a Question and Pieces to the objects of a stream, which is the default here. The routes
at the end join them with HTTP. It does not know how an answer is made. Formats: ollama's docs/api.md and ollama-python
0.6.3 (_types.py).

Where we differ on purpose: a prompt that is too long is refused where Ollama cuts it silently (`truncate` true leaves
out the oldest rounds, and the answer says how many), `options` that would change the answer and are not ours are
refused where Ollama ignores them, and no model is pulled or deleted from here.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from haina.engine.sampling import Sampling
from haina.serve.answers import UNLIMITED, Question, Usage, answer, opening, text_ids, unhurried
from haina.serve.asgi import tenant_of
from haina.serve.engine_thread import Progress
from haina.serve.errors import ApiError, told
from haina.serve.ollama_lines import Clock, Line, Lines, failed, line, put_together
from haina.serve.ollama_models import name_of
from haina.serve.ollama_schema import (
    AnswerBody,
    ChatBody,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    KeptBody,
    OllamaMessage,
    OllamaOptions,
)
from haina.serve.shelf import Served, Shelf
from haina.serve.sse import Stream, all_of, begun, with_list
from haina.serve.strict import documented, read
from haina.serve.tools import Tool, Turn, in_words
from haina.serve.vectors import Texts, embed
from haina.wording import say

_SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_penalty": "repetition_penalty",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}


def chat_question(body: ChatBody, sampling: Sampling) -> Question:
    """What /api/chat asks; `sampling` holds the model's own settings."""
    tools = tuple(
        Tool(tool.function.name, tool.function.description or "", tool.function.parameters or {})
        for tool in body.tools or []
    )
    messages = in_words([_turn(message) for message in body.messages], tools)
    return replace(_question(body, sampling), messages=messages, tools=tools)


def generate_question(body: GenerateBody, sampling: Sampling, *, chats: bool) -> Question:
    """What /api/generate asks: an answer to the prompt, or with `raw`, or of a base model, the text going on."""
    question = _question(body, sampling)
    if body.raw or not chats:
        return replace(question, prompt=body.system + body.prompt)
    return replace(question, messages=in_words([Turn("system", body.system), Turn("user", body.prompt)]))


def _turn(message: OllamaMessage) -> Turn:
    calls = tuple(
        (call.function.name, json.dumps(call.function.arguments, ensure_ascii=False))
        for call in message.tool_calls or []
    )
    return Turn(message.role, message.content or "", calls)


def _question(body: AnswerBody, sampling: Sampling) -> Question:
    options = body.options or OllamaOptions()
    return Question(
        sampling=_sampling(options, sampling, body.top_logprobs),
        max_new_tokens=_longest(options.num_predict),
        at_most=options.num_predict is not None and options.num_predict < 1,
        stop=(options.stop,) if isinstance(options.stop, str) else options.stop,
        output=_output(body.format),
        logprobs=body.logprobs,
    )


def _longest(num_predict: int | None) -> int | None:
    """Tokens; 0 and less ask for all the room."""
    return UNLIMITED if num_predict is not None and num_predict < 1 else num_predict


def _sampling(options: OllamaOptions, sampling: Sampling, top_logprobs: int) -> Sampling:
    given = {
        ours: value for theirs, ours in _SAMPLING.items() if (value := getattr(options, theirs)) is not None
    }
    seed = None if (options.seed or 0) < 0 else options.seed  # -1: a different answer each time
    return replace(sampling, **given, seed=seed, top_logprobs=top_logprobs)


def _output(format: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if isinstance(format, dict):
        return {"type": "json_schema", "schema": format}
    return {"type": "json_object"} if format else None


# -- over HTTP --------------------------------------------------------------------------------------------------


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """Answers and embeddings; what tells about models is in ollama_models.py."""
    router = APIRouter(tags=["ollama"])

    @router.post("/api/chat", openapi_extra=documented(ChatBody))
    async def chat(request: Request) -> Response:
        """An answer to a conversation."""
        return await _answered(request, shelf, await read(request, ChatBody, lenient=lenient))

    @router.post("/api/generate", openapi_extra=documented(GenerateBody))
    async def generate(request: Request) -> Response:
        """An answer to a prompt, or with `raw` the text that follows it."""
        return await _answered(request, shelf, await read(request, GenerateBody, lenient=lenient))

    @router.post("/api/embed", openapi_extra=documented(EmbedBody))
    async def embed_(request: Request) -> Response:
        """A vector for each text."""
        body = await read(request, EmbedBody, lenient=lenient)
        vectors, about = await _embedded(shelf, body, tenant_of(request.scope))
        return await with_list(about, "embeddings", map(np.ndarray.tolist, vectors))

    @router.post("/api/embeddings", openapi_extra=documented(EmbeddingsBody))
    async def embeddings(request: Request) -> Response:
        """The vector of one text, as it was asked for before /api/embed."""
        body = await read(request, EmbeddingsBody, lenient=lenient)
        asked = EmbedBody(
            model=name_of(body), input=body.prompt, keep_alive=body.keep_alive, options=body.options
        )
        vectors, _ = await _embedded(shelf, asked, tenant_of(request.scope))
        return JSONResponse({"embedding": vectors[0].tolist()})

    return router


async def _answered(request: Request, shelf: Shelf, body: ChatBody | GenerateBody) -> Response:
    tenant = tenant_of(request.scope)
    lines = await begun(_lines(shelf, body, tenant))
    if body.stream:
        return Stream(sent(lines), failed, media_type="application/x-ndjson")
    return JSONResponse(put_together(await all_of(lines)))


async def _lines(shelf: Shelf, body: ChatBody | GenerateBody, tenant: str) -> AsyncGenerator[Line, None]:
    """An answer as it comes; of a body without a prompt the news that the model is loaded. ApiError, any time."""
    usage, clock, name = Usage(), Clock(), name_of(body)
    lines = Lines(body.model or body.name, usage, clock, chat=isinstance(body, ChatBody))
    empty = not (body.messages if isinstance(body, ChatBody) else body.prompt)
    with told("messages" if isinstance(body, ChatBody) else "prompt", "options.num_predict"):
        if empty and unloads(body):
            await shelf.unload(name)
            yield lines.last("unload")
            return
        async with shelf.lend(name) as served:
            clock.loaded = time.perf_counter_ns()
            if empty:
                yield lines.last("load")
                return
            question = replace(_asked(served, body), tenant=tenant)
            async with aclosing(answer(served, question, usage)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Progress):
                        yield lines.reading(piece.done, piece.total)
                        continue
                    for made in lines.of(piece):
                        yield made
        if unloads(body):
            await shelf.unload(name)


def _asked(served: Served, body: ChatBody | GenerateBody) -> Question:
    """ApiError: fields that contradict each other."""
    sampling = served.settings.sampling
    if body.top_logprobs and not body.logprobs:
        message = say("top_logprobs needs logprobs: true", "top_logprobs 需要 logprobs: true")
        raise ApiError(400, message, param="top_logprobs", code="invalid_value")
    if isinstance(body, ChatBody):
        return replace(chat_question(body, sampling), truncate=bool(body.truncate))
    return generate_question(body, sampling, chats=served.model.template is not None)


def unloads(body: KeptBody) -> bool:
    """Whether the model is to go when nobody uses it."""
    return body.keep_alive is not None and not set("123456789") & set(str(body.keep_alive))


async def sent(lines: AsyncGenerator[Line, None]) -> AsyncGenerator[bytes, None]:
    """Lines as they go out."""
    async with aclosing(lines):
        async for made in lines:
            yield line(made)


async def _embedded(shelf: Shelf, body: EmbedBody, tenant: str) -> tuple[np.ndarray, dict[str, Any]]:
    """The vectors, and what else is told; `truncated`, ours, names the texts of which the end was left out."""
    usage, clock, name = Usage(), Clock(), name_of(body)
    texts = [body.input] if isinstance(body.input, str) else body.input
    with told():
        async with shelf.lend(name) as served:
            clock.loaded = time.perf_counter_ns()
            rows: Texts = texts
            long: list[int] = []
            if body.truncate:
                length = sum(map(len, texts))
                rows, long = await unhurried(length, lambda: _shortened(served, texts))
            vectors = np.zeros((0, 0))
            if rows:
                vectors = await embed(served, rows, usage, tenant=tenant, dimensions=body.dimensions)
        if unloads(body):
            await shelf.unload(name)
    durations = clock.durations(usage)
    kept = {key: durations[key] for key in ("total_duration", "load_duration", "prompt_eval_count")}
    return vectors, {"model": name, **kept} | ({"truncated": long} if long else {})


def _shortened(served: Served, texts: Sequence[str]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The ids of texts, as many as the context holds; and which texts were too long."""
    context = served.model.context
    rows = [text_ids(served, opening(served, text)) for text in texts]
    long = [at for at, ids in enumerate(rows) if len(ids) > context]
    return [ids[:context] for ids in rows], long
