"""OpenAI's older dialect: POST /v1/completions, a text that goes on. It does not know how it is made."""

from __future__ import annotations

import asyncio
import codecs
import math
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from haina.engine.sampling import Sampling
from haina.serve.answers import Piece, Question, Said, Usage
from haina.serve.engine_thread import Progress
from haina.serve.openai import (
    apart,
    asked,
    check_stream,
    contradiction,
    counts,
    events,
    failed,
    inputs,
    nats,
    output_of,
    sampled,
    stops,
)
from haina.serve.openai_schema import CompletionBody
from haina.serve.shelf import Shelf
from haina.serve.sse import Stream, begun
from haina.serve.strict import documented, read

MOST_PROMPTS = 64
MOST_TEXTS = 256  # of all prompts together, those that are made for `best_of` among them


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """The endpoint, over the models of a shelf."""
    router = APIRouter()

    @router.post("/v1/completions", tags=["openai"], openapi_extra=documented(CompletionBody))
    async def complete(request: Request) -> Response:
        """A text that goes on; or several, side by side."""
        body = await read(request, CompletionBody, lenient=lenient)
        _check(body)
        prompts = inputs(body.prompt, "prompt")
        if len(prompts) > MOST_PROMPTS:
            text = f"{len(prompts)} prompts are too many at once; {MOST_PROMPTS} are the most"
            raise contradiction("prompt", text, f"一次 {len(prompts)} 个提示过多；最多 {MOST_PROMPTS} 个")
        _check_many(body, len(prompts))
        usages = [Usage() for _ in prompts]
        chunks = Texts(body, body.model or shelf.names[0], usages)
        items = side_by_side(
            [
                asked(
                    shelf,
                    request,
                    body.model,
                    lambda served, prompt=prompt: question_of(body, prompt, served.settings.sampling),  # type: ignore[misc]
                    usage,
                    prompt="prompt",
                )
                for prompt, usage in zip(prompts, usages, strict=True)
            ],
            body.n or 1,
        )
        if body.stream:
            return Stream(events(chunks, await begun(items)), failed)
        return JSONResponse(await _whole(chunks, items))

    return router


def _check(body: CompletionBody) -> None:
    check_stream(body)
    if body.max_tokens == 0 and not body.echo:
        text = "max_tokens is 0, so there would be no answer; raise it, or add echo: true"
        raise contradiction("max_tokens", text, "max_tokens 为 0，不会有任何回答；请调大，或加上 echo: true")
    if body.best_of is not None and body.best_of < (body.n or 1):
        raise contradiction("best_of", "best_of is less than n", "best_of 小于 n")
    if body.best_of is not None and body.best_of > (body.n or 1) and body.stream:
        text = "best_of cannot be streamed: which is best is known at the end"
        raise contradiction("best_of", text, "best_of 不能流式输出：结束时才知道哪个最好")


def _check_many(body: CompletionBody, prompts: int) -> None:
    each = max(body.n or 1, body.best_of or 1)
    if prompts * each > MOST_TEXTS:
        text = f"{prompts} prompts × {each} texts are too many at once; {MOST_TEXTS} texts are the most"
        zh = f"{prompts} 个提示各 {each} 份文本，一次过多；总共最多 {MOST_TEXTS} 份"
        raise contradiction("prompt", text, zh)


def question_of(body: CompletionBody, prompt: str | tuple[int, ...], sampling: Sampling) -> Question:
    """What is asked of one prompt; `sampling` holds the model's own settings."""
    return Question(
        prompt=prompt,
        sampling=replace(sampled(body, sampling), top_logprobs=body.logprobs or 0),
        max_new_tokens=body.max_tokens,
        stop=stops(body),
        n=body.n or 1,
        best_of=body.best_of if (body.best_of or 0) > (body.n or 1) else None,
        output=output_of(body.response_format),
        logprobs=body.logprobs is not None,
        echo=bool(body.echo),
    )


async def side_by_side(
    generators: Sequence[AsyncGenerator[Piece | Progress, None]], n: int
) -> AsyncGenerator[Piece | Progress, None]:
    """Several answers at once: the choices of the second one are numbered from n, and so on.

    Nothing is given before each has begun: if one is refused, all are.
    """
    heard: asyncio.Queue[tuple[int, Piece | Progress | None]] = asyncio.Queue()

    async def listen(number: int) -> None:
        try:
            async with aclosing(generators[number]) as items:
                async for item in items:
                    if isinstance(item, Piece):
                        item = replace(item, choice=number * n + item.choice)
                    heard.put_nowait((number, item))
        finally:
            heard.put_nowait((number, None))

    tasks = [asyncio.create_task(listen(number)) for number in range(len(generators))]
    silent, early, running = set(range(len(tasks))), list[Piece | Progress](), len(tasks)
    try:
        while running:
            number, item = await heard.get()
            silent.discard(number)
            if item is None:
                running -= 1
                await tasks[number]
            else:
                early.append(item)
            if not silent:
                for item in early:
                    yield item
                early.clear()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Texts:
    """The chunks of some texts that go on, in their order."""

    def __init__(self, body: CompletionBody, model: str, usages: Sequence[Usage]):
        self._body, self._usages = body, usages
        self._about = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self.wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._logs = [OldLogprobs() for _ in range(len(usages) * (body.n or 1))]

    def start(self) -> Iterator[dict[str, Any]]:
        yield from ()

    def progress(self, progress: Progress) -> None:
        return None

    def of(self, piece: Piece) -> Iterator[dict[str, Any]]:
        one = self._choice(piece.choice, [piece])
        yield {**self._about, "choices": [one], **({"usage": None} if self.wants_usage else {})}

    def usage(self) -> dict[str, Any]:
        return {**self._about, "choices": [], "usage": self._counts()}

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        choices = [self._choice(number, said) for number, said in enumerate(apart(pieces, len(self._logs)))]
        return {**self._about, "choices": choices, "usage": self._counts()}

    def _choice(self, number: int, pieces: Sequence[Piece]) -> dict[str, Any]:
        said = [one for piece in pieces for one in piece.said]
        return {
            "index": number,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": None if self._body.logprobs is None else self._logs[number].of(said),
            "finish_reason": next((piece.finish for piece in pieces if piece.finish), None),
        }

    def _counts(self) -> dict[str, Any]:
        parts = ((usage.prompt_tokens, usage.cached_tokens, usage.new_tokens) for usage in self._usages)
        return counts(Usage(*map(sum, zip(*parts, strict=True))))


class OldLogprobs:
    """Tokens in the older shape; where each begins in the text is counted over all chunks."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._offset = 0

    def of(self, said: Iterable[Said]) -> dict[str, Any]:
        told: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for one in said:
            told["tokens"].append(_shown(one.text_bytes))
            first = math.isnan(one.nats)  # of an echoed prompt: there is nothing before it
            told["token_logprobs"].append(None if first else nats(one.nats))
            top = {_shown(text): nats(value) for _, text, value in one.top}
            told["top_logprobs"].append(None if first else {_shown(one.text_bytes): nats(one.nats)} | top)
            told["text_offset"].append(self._offset)
            self._offset += len(self._utf8.decode(one.text_bytes))
        return told


def _shown(text_bytes: bytes) -> str:
    r"""A token as text, or, where it is part of a character, as OpenAI writes it: bytes:\xe4\xbd."""
    try:
        return text_bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text_bytes)


async def _whole(chunks: Texts, items: AsyncGenerator[Piece | Progress, None]) -> dict[str, Any]:
    async with aclosing(items):
        return chunks.whole([item async for item in items if isinstance(item, Piece)])
