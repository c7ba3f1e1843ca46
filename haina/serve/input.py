"""/v1/input: texts for typed pinyin, behind what stands before the cursor; and words that may come next.

The trigram answers at once; the model then ranks its candidates, unless the request wants them `quick` or the model
takes longer than anybody waits. Keys are not kept. Words are, when /v1/input/words is told to learn them: in a file of
the one API key that told them, so that no other key meets them; without keys there is one file, of the machine's user.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from haina.apps.pinyin.answer import record
from haina.apps.pinyin.decoder import Candidate
from haina.apps.pinyin.learn import UserWords, spelled
from haina.apps.pinyin.method import InputMethod, spelling
from haina.apps.pinyin.neural import question, weighed, worth_asking
from haina.apps.pinyin.prior import Language
from haina.engine.request import Score, Scores
from haina.serve.answers import unhurried
from haina.serve.asgi import tenant_of
from haina.serve.errors import told
from haina.serve.shelf import Shelf
from haina.serve.strict import Strict, documented, read

if TYPE_CHECKING:
    from haina.serve.shelf import Served

PATIENCE_S = 1.0  # with the model; then the trigram's order stands
language = cache(Language.open)
Word = Annotated[str, Field(min_length=1, max_length=16)]


class InputBody(Strict):
    """Keys and what stands before them; without keys, the words that may come next are asked for."""

    model: str | None = None
    keys: Annotated[str, Field(max_length=1000)] = ""
    context: Annotated[str, Field(max_length=10_000)] = ""
    top: Annotated[int, Field(ge=1, le=100)] = 10
    scheme: Literal["full", "xiaohe", "ziranma", "microsoft"] = "full"
    fuzzy: Annotated[list[str], Field(max_length=20)] = Field(default=[])
    quick: bool = False


class WordsLearnt(Strict):
    """Words that were chosen: each counts once more."""

    words: Annotated[list[Word], Field(max_length=1000)]


class Taught:
    """The words of each tenant, in a file of their own; there is none before a word is learnt."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._open: dict[str, UserWords] = {}

    def of(self, tenant: str, *, begin: bool = False) -> UserWords | None:
        """ValueError: the file cannot be opened."""
        file = self._folder / f"{hashlib.sha256(tenant.encode()).hexdigest()[:32]}.sqlite"
        if tenant not in self._open and (begin or file.exists()):
            self._open[tenant] = UserWords(file)
        return self._open.get(tenant)


def routes(shelf: Shelf, folder: Path, *, lenient: bool) -> APIRouter:
    """The endpoints, over the models of a shelf; words that are learnt go into the folder."""
    router, taught = APIRouter(), Taught(folder)

    @router.post("/v1/input", tags=["input"], openapi_extra=documented(InputBody))
    async def typed(request: Request) -> Response:
        """Candidates for keys, the likeliest first."""
        body, tenant = await read(request, InputBody, lenient=lenient), tenant_of(request.scope)
        with told():
            method = InputMethod(language(), spelling(body.scheme, ",".join(body.fuzzy)), taught.of(tenant))
            if method.user:  # its words are sorted anew when they have changed
                await asyncio.to_thread(method.user.trie, method.language)
            if not body.keys:
                found = method.next_words(body.context, body.top)
            elif body.quick:
                keys, context = body.keys, body.context
                found = await unhurried(len(keys), lambda: method.candidates(keys, context, body.top))
            else:
                typing = method.compose(body.context)
                whole = await unhurried(len(body.keys), lambda: typing.whole(body.keys))
                async with shelf.lend(body.model) as served:
                    whole = await _ranked(served, body, whole, tenant)
                found = typing.with_words(whole, body.top)
            return JSONResponse({"candidates": [record(each) for each in found]})

    @router.get("/v1/input/words", tags=["input"])
    async def words(request: Request) -> Response:
        """The words that were learnt, those chosen most first."""
        with told():
            kept = taught.of(tenant_of(request.scope))
            rows = await asyncio.to_thread(kept.all) if kept else []
        fields = ("text", "reading", "times")
        return JSONResponse({"words": [dict(zip(fields, row, strict=True)) for row in rows]})

    @router.post("/v1/input/words", tags=["input"], openapi_extra=documented(WordsLearnt))
    async def learn(request: Request) -> Response:
        """How many of the words have a reading, and were learnt."""
        body = await read(request, WordsLearnt, lenient=lenient)
        with told():
            lessons = spelled(body.words)
            kept = taught.of(tenant_of(request.scope), begin=bool(lessons))
            if kept:
                await asyncio.to_thread(kept.learn, lessons)
            return JSONResponse({"learnt": len(lessons)})

    @router.delete("/v1/input/words", tags=["input"])
    async def forget(request: Request) -> Response:
        """All of them."""
        with told():
            kept = taught.of(tenant_of(request.scope))
            return JSONResponse({"forgotten": await asyncio.to_thread(kept.forget_all) if kept else 0})

    return router


async def _ranked(served: Served, body: InputBody, whole: list[Candidate], tenant: str) -> list[Candidate]:
    """The texts of all keys in the order of both minds; in the trigram's, if the model takes too long."""
    asked = worth_asking(body.keys, whole)
    if not asked:
        return whole
    score = question(served.model.tokenizer, body.context, [candidate.text for candidate in asked], tenant)
    try:
        return weighed(whole, await asyncio.wait_for(_nats(served, score), PATIENCE_S))
    except asyncio.TimeoutError:
        return whole


async def _nats(served: Served, score: Score) -> tuple[float, ...]:
    nats: tuple[float, ...] = ()
    async with aclosing(served.events(score)) as events:
        async for event in events:
            if isinstance(event, Scores):
                if event.error:
                    raise ValueError(event.error)
                nats = event.nats
    return nats
