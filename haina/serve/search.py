"""/v1/search: a question in, an answer that quotes the operator's documents out, whole or as it is found.

Asked is the index that `haina serve --search` names, and no other: who may ask the server may read what is in it. With
`model` that model chooses what is quoted, under the rule of quoting. It knows the fields of a request and the events
of a stream; how answers are found, haina/apps/search does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from haina.apps.search.answer import Answer, pieces
from haina.apps.search.desk import Search, described, passages_described
from haina.apps.search.write import Writer, written
from haina.engine.request import Token
from haina.options.search import SearchOptions
from haina.serve.asgi import tenant_of
from haina.serve.engine_thread import EngineThread
from haina.serve.errors import ApiError, told
from haina.serve.openai import failed
from haina.serve.shelf import Served, Shelf
from haina.serve.sse import Stream, begun, data
from haina.serve.strict import Strict, documented, read
from haina.text.stream import TextStream
from haina.wording import say

Events = AsyncGenerator[tuple[str, dict[str, Any]], None]


class SearchBody(Strict):
    """A question, the questions before it in this conversation, and how it is to be answered."""

    question: Annotated[str, Field(max_length=100_000)]
    before: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=100)] = Field(
        default=[]
    )
    top: Annotated[int, Field(ge=1, le=100)] = 10
    model: str | None = None
    own_words: bool = False
    stream: bool = False


def routes(shelf: Shelf, index: str | None, *, lenient: bool) -> APIRouter:
    """The endpoints over one index; None: there is none, and every question is told so."""
    router = APIRouter()
    opened = cache(lambda: _opened(index))
    writers: WeakKeyDictionary[EngineThread, Writer] = WeakKeyDictionary()

    @router.post("/v1/search", tags=["search"], openapi_extra=documented(SearchBody))
    async def search(request: Request) -> Response:
        """An answer with its citations, and the passages that fit best."""
        body = await read(request, SearchBody, lenient=lenient)
        events = _events(shelf, await asyncio.to_thread(opened), writers, body, tenant_of(request.scope))
        if body.stream:
            return Stream(_sent(await begun(events)), failed)
        async with aclosing(events):
            *_, (_, answer) = [event async for event in events]
        return JSONResponse(answer)

    @router.get("/v1/search", tags=["search"])
    async def contents() -> dict[str, Any]:
        """How much the index holds."""
        return await asyncio.to_thread(lambda: opened().contents())

    @router.get("/v1/search/document", tags=["search"])
    async def document(
        path: Annotated[str, Query(max_length=10_000)],
        start: Annotated[int, Query(ge=0, lt=1 << 31)],
        end: Annotated[int, Query(ge=0, lt=1 << 31)],
    ) -> dict[str, Any]:
        """A stretch of a document with what stands around it. 404: there is no such document."""
        found = await asyncio.to_thread(lambda: opened().stretch(path, start, end))
        if found is None:
            raise ApiError(404, say("no such document in the index", "索引中没有这篇文档"), "not_found")
        return found

    return router


def _opened(index: str | None) -> Search:
    """ApiError: none is served, or it cannot be opened."""
    if not index:
        text = say(
            "no index is served here; make one: haina search add FOLDER, "
            "and name it: haina serve --search INDEX",
            "本服务没有提供索引；请先建立：haina search add 目录，再启动：haina serve --search 索引文件",
        )
        raise ApiError(404, text, "not_found", code="no_index")
    with told():
        return Search(index)


async def _events(
    shelf: Shelf,
    search: Search,
    writers: WeakKeyDictionary[EngineThread, Writer],
    body: SearchBody,
    tenant: str,
) -> Events:
    """`passages`, then `text` for each piece of the answer, then `answer`, which is the whole. Errors are ApiErrors."""
    with told("question"):
        asked = SearchOptions(top=body.top)
        answer = await asyncio.to_thread(lambda: search.ask(body.question, asked, before=body.before))
        yield "passages", {"passages": passages_described(answer)}
        if body.model is None or not answer.found:
            for piece in pieces(answer.citations):
                yield "text", {"text": piece}
        else:
            async with shelf.lend(body.model) as served:
                if (writer := writers.get(served.thread)) is None:
                    writer = writers[served.thread] = await asyncio.to_thread(Writer, served.model)
                said = ""
                async with aclosing(_said(served, writer, answer, body, tenant)) as parts:
                    async for piece in parts:
                        said += piece
                        yield "text", {"text": piece}
                answer = written(said, answer)
        yield "answer", described(answer)


async def _said(
    served: Served, writer: Writer, answer: Answer, body: SearchBody, tenant: str
) -> AsyncGenerator[str, None]:
    """What a model says, piece by piece."""
    asked = await asyncio.to_thread(
        lambda: writer.request(body.question, answer.passages, own_words=body.own_words)
    )
    stream = TextStream(served.model.tokenizer)
    async with aclosing(served.events(replace(asked, tenant=tenant))) as events:
        async for event in events:
            if isinstance(event, Token):
                if event.error:
                    raise ValueError(event.error)
                if event.id not in asked.stop_ids and (piece := stream.push(event.id)):
                    yield piece
    if piece := stream.close():
        yield piece


async def _sent(events: Events) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for name, value in events:
            yield data(value, name)
