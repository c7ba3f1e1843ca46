"""OpenAI's dialect: chat completions, embeddings. Others: completions.py, responses.py, models.py.

Pure functions take a body to a Question and Pieces to chunks; an answer in one part is the chunks put together. It
does not know how an answer is made. Formats: openai-python 3.54 (types/), OpenAI's API reference.
"""

from __future__ import annotations

import base64
import math
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from haina.engine.sampling import Sampling
from haina.serve.answers import Piece, Question, Said, Usage, answer
from haina.serve.asgi import tenant_of
from haina.serve.engine_thread import Progress
from haina.serve.errors import ApiError, shaped, told
from haina.serve.openai_schema import (
    AllowedToolChoice,
    Asked,
    AssistantMessage,
    ChatCompletionBody,
    ChatMessage,
    Content,
    EmbeddingBody,
    Inputs,
    NamedTool,
    ResponseFormat,
    Sampled,
    TextFormat,
)
from haina.serve.shelf import Served, Shelf
from haina.serve.sse import Comments, Stream, begun, data, with_list
from haina.serve.strict import documented, read
from haina.serve.tools import Tool, Turn, in_words, offered
from haina.serve.vectors import embed
from haina.wording import say

LEAST_NATS = -9999.0  # OpenAI's number for what cannot be: JSON has no infinity
PATH = "/v1/chat/completions"
SETTINGS = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty")
PENALTIES = ("frequency_penalty", "presence_penalty")


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """The endpoints, over the models of a shelf."""
    router = APIRouter()

    @router.post(PATH, tags=["openai"], openapi_extra=documented(ChatCompletionBody))
    async def chat(request: Request) -> Response:
        """An answer to a conversation."""
        body = await read(request, ChatCompletionBody, lenient=lenient)
        usage = Usage()
        items = asked(
            shelf,
            request,
            body.model,
            lambda served: question_of(body, served.settings.sampling),
            usage,
            longest="max_completion_tokens" if body.max_completion_tokens else "max_tokens",
        )
        chunks = Chunks(body, body.model or shelf.names[0], usage)
        if body.stream:
            return Stream(events(chunks, await begun(items)), failed)
        return JSONResponse(await _whole(chunks, items))

    @router.post("/v1/embeddings", tags=["openai"], openapi_extra=documented(EmbeddingBody))
    async def embeddings(request: Request) -> Response:
        """A vector for each text."""
        body = await read(request, EmbeddingBody, lenient=lenient)
        return await _embeddings(shelf, body, tenant_of(request.scope))

    return router


async def asked(
    shelf: Shelf,
    request: Request,
    model: str | None,
    question: Callable[[Served], Question],
    usage: Usage,
    *,
    prompt: str = "messages",
    longest: str = "max_tokens",
) -> AsyncGenerator[Piece | Progress, None]:
    """The pieces of an answer; errors are ApiErrors. The model is lent until the generator ends.

    `prompt` and `longest`: the fields that are at fault when it is too long, see errors.py.
    """
    tenant = tenant_of(request.scope)
    with told(prompt, longest):
        async with shelf.lend(model) as served:
            made = replace(question(served), tenant=tenant)
            async with aclosing(answer(served, made, usage)) as items:
                async for item in items:
                    yield item


# -- what is asked ----------------------------------------------------------------------------------------------


def question_of(body: ChatCompletionBody, sampling: Sampling) -> Question:
    """What is asked; `sampling` holds the model's own settings. ApiError: fields that contradict each other."""
    _check(body)
    tools = tuple(
        Tool(tool.function.name, tool.function.description or "", tool.function.parameters or {})
        for tool in body.tools or ()
    )
    tools, choice = _chosen(body, tools)
    return Question(
        messages=in_words([turn_of(message) for message in body.messages], tools, choice),
        sampling=replace(sampled(body, sampling), top_logprobs=body.top_logprobs or 0),
        max_new_tokens=body.max_completion_tokens or body.max_tokens,
        stop=stops(body),
        n=body.n or 1,
        output=output_of(body.response_format),
        tools=tools,
        tool_choice=choice,
        parallel_calls=body.parallel_tool_calls is not False,
        logprobs=bool(body.logprobs),
        truncate=body.truncation == "auto",
    )


def _check(body: ChatCompletionBody) -> None:
    if body.top_logprobs and not body.logprobs:
        raise contradiction(
            "top_logprobs", "top_logprobs needs logprobs: true", "top_logprobs 需要 logprobs: true"
        )
    longest = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(longest) > 1:
        text = "max_tokens and max_completion_tokens differ; give one of them"
        raise contradiction("max_tokens", text, "max_tokens 与 max_completion_tokens 不同；请只给出一个")
    if body.tool_choice not in (None, "none", "auto") and not body.tools:
        raise contradiction("tool_choice", "tool_choice needs tools", "tool_choice 需要 tools")
    check_stream(body)


def check_stream(body: Asked) -> None:
    if body.stream_options is not None and not body.stream:
        text = "stream_options needs stream: true"
        raise contradiction("stream_options", text, "stream_options 需要 stream: true")


def contradiction(param: str, en: str, zh: str) -> ApiError:
    return ApiError(400, say(en, zh), param=param, code="invalid_value")


def _chosen(body: ChatCompletionBody, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], str]:
    """The tools that may be called, and which of them: auto, none, required or a name."""
    match body.tool_choice:
        case NamedTool(function=function):
            return tools, function.name
        case AllowedToolChoice(allowed_tools=allowed):
            names = [tool.function.name for tool in allowed.tools]
            return offered(tools, names, allowed.mode), allowed.mode
        case str(choice):
            return tools, choice
    return tools, "auto"


def turn_of(message: ChatMessage) -> Turn:
    role = "system" if message.role == "developer" else message.role
    calls: tuple[tuple[str, str], ...] = ()
    if isinstance(message, AssistantMessage):
        calls = tuple((call.function.name, call.function.arguments) for call in message.tool_calls or ())
    return Turn(role, _text(message.content), calls)


def _text(content: Content | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


def sampled(body: Sampled, sampling: Sampling) -> Sampling:
    """The model's settings, and over them what was asked for."""
    names = SETTINGS + (PENALTIES if isinstance(body, Asked) else ())
    given = {name: value for name in names if (value := getattr(body, name)) is not None}
    if isinstance(body, Asked):
        given["seed"] = body.seed if body.seed is None else body.seed % (1 << 64)
        given["logit_bias"] = tuple((int(id), bias) for id, bias in (body.logit_bias or {}).items())
    return replace(sampling, **given)


def stops(body: Asked) -> tuple[str, ...]:
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())


def output_of(format: ResponseFormat | None) -> dict[str, Any] | None:
    if format is None or isinstance(format, TextFormat):
        return None
    asked = format.model_dump(by_alias=True)
    return {"type": "json_schema", **asked["json_schema"]} if "json_schema" in asked else asked


# -- what is answered -------------------------------------------------------------------------------------------


class Chunks:
    """The chunks of one answer, in their order."""

    kind = "chat.completion"

    def __init__(self, body: ChatCompletionBody, model: str, usage: Usage):
        self._body, self._usage = body, usage
        self._began = time.time()
        self._about = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": f"{self.kind}.chunk",
            "created": int(self._began),
            "model": model,
        }
        self.wants_usage = bool(body.stream_options and body.stream_options.include_usage)

    def start(self) -> Iterator[dict[str, Any]]:
        for choice in range(self._body.n or 1):
            yield self._chunk(choice, {"role": "assistant", "content": "", "refusal": None})

    def of(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """What a piece adds; with its `finish` the answer ends."""
        if piece.text or piece.said:
            yield self._chunk(piece.choice, {"content": piece.text}, said=piece.said)
        if piece.call:
            call = piece.call
            part: dict[str, Any] = {"index": call.index, "function": {"arguments": call.arguments}}
            if call.name:
                part |= {"id": call.id, "type": "function"}
                part["function"] = {"name": call.name, "arguments": call.arguments}
            yield self._chunk(piece.choice, {"tool_calls": [part]})
        if piece.finish:
            yield self._chunk(piece.choice, {}, finish=piece.finish)

    def progress(self, progress: Progress) -> dict[str, Any] | None:
        """As llama.cpp says how much of the prompt has been read, if that was asked for."""
        if not self._body.return_progress:
            return None
        told = {
            "total": progress.total,
            "cache": self._usage.cached_tokens,
            "processed": progress.done,
            "time_ms": int((time.time() - self._began) * 1000),
        }
        return {**self._about, "choices": [], "prompt_progress": told}

    def usage(self) -> dict[str, Any]:
        """The last chunk of a stream that was asked for it."""
        return {**self._about, "choices": [], **self._sums()}

    def whole(self, pieces: Iterable[Piece]) -> dict[str, Any]:
        """The answer in one part."""
        choices = [self._choice(number, said) for number, said in enumerate(apart(pieces, self._body.n or 1))]
        return {**self._about, "object": self.kind, "choices": choices, **self._sums()}

    def _sums(self) -> dict[str, Any]:
        rounds = self._usage.dropped_rounds
        return {"usage": counts(self._usage), **({"dropped_rounds": rounds} if rounds else {})}

    def _choice(self, number: int, pieces: list[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        calls: list[dict[str, Any]] = []
        for call in (piece.call for piece in pieces if piece.call):
            if call.name:
                function = {"name": call.name, "arguments": ""}
                calls.append({"id": call.id, "type": "function", "function": function})
            calls[-1]["function"]["arguments"] += call.arguments
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message |= {"content": text or None, "tool_calls": calls}
        return {
            "index": number,
            "message": message,
            "logprobs": self._logprobs(said for piece in pieces for said in piece.said),
            "finish_reason": next(piece.finish for piece in pieces if piece.finish),
        }

    def _chunk(
        self, choice: int, delta: dict[str, Any], *, said: tuple[Said, ...] = (), finish: str | None = None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(said) if said else None
        one = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**self._about, "choices": [one], **({"usage": None} if self.wants_usage else {})}

    def _logprobs(self, said: Iterable[Said]) -> dict[str, Any] | None:
        if not self._body.logprobs:
            return None
        return {"content": [logprob(one) for one in said], "refusal": None}


def apart(pieces: Iterable[Piece], choices: int) -> list[list[Piece]]:
    """The pieces of each choice."""
    found: list[list[Piece]] = [[] for _ in range(choices)]
    for piece in pieces:
        found[piece.choice].append(piece)
    return found


def logprob(said: Said) -> dict[str, Any]:
    top = [_token(text_bytes, value) for _, text_bytes, value in said.top]
    return {**_token(said.text_bytes, said.nats), "top_logprobs": top}


def _token(text_bytes: bytes, value: float) -> dict[str, Any]:
    return {"token": text_bytes.decode(errors="replace"), "logprob": nats(value), "bytes": list(text_bytes)}


def nats(value: float) -> float:
    return value if math.isfinite(value) else LEAST_NATS


def counts(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.new_tokens,
        "total_tokens": usage.prompt_tokens + usage.new_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


async def events(chunks: Any, items: AsyncGenerator[Piece | Progress, None]) -> AsyncGenerator[bytes, None]:
    """Server-sent events of chunks (Chunks, or completions.py's), with comments while the prompt is read."""
    comments = Comments()
    async with aclosing(items):
        for chunk in chunks.start():
            yield data(chunk)
        async for item in items:
            if isinstance(item, Progress):
                told = chunks.progress(item)
                yield data(told) if told else comments.of(item)
                continue
            yield b"".join(map(data, chunks.of(item)))
    if chunks.wants_usage:
        yield data(chunks.usage())
    yield b"data: [DONE]\n\n"


def failed(error: ApiError) -> bytes:
    """How a stream says that it cannot go on."""
    return data(shaped(PATH, error))


async def _whole(chunks: Chunks, items: AsyncGenerator[Piece | Progress, None]) -> dict[str, Any]:
    async with aclosing(items):
        return chunks.whole([item async for item in items if isinstance(item, Piece)])


# -- vectors ----------------------------------------------------------------------------------------------------


def inputs(given: Inputs, name: str = "input") -> list[str | tuple[int, ...]]:
    """A text, texts, ids or lists of ids, as a list. ApiError: there is none."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise contradiction(name, f"{name} is empty; give a text", f"{name} 为空；请给出文本")
    if isinstance(given[0], int):
        return [tuple(id for id in given if isinstance(id, int))]
    return [one if isinstance(one, str) else tuple(one) for one in given if not isinstance(one, int)]


async def _embeddings(shelf: Shelf, body: EmbeddingBody, tenant: str) -> Response:
    usage = Usage()
    with told("input"):
        async with shelf.lend(body.model) as served:
            texts = inputs(body.input)
            vectors = await embed(served, texts, usage, tenant=tenant, dimensions=body.dimensions)
    form = _base64 if body.encoding_format == "base64" else np.ndarray.tolist
    rows = (
        {"object": "embedding", "index": index, "embedding": form(vector)}
        for index, vector in enumerate(vectors)
    )
    tokens = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
    about = {"object": "list", "model": body.model or shelf.names[0], "usage": tokens}
    return await with_list(about, "data", rows)


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
