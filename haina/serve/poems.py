"""POST /v1/poems: verse in a form, with its tones, rhymes and why it stands where it stands.

It knows the fields of a request; how poems are written, haina/apps/poem does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Literal
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from haina.apps.poem.desk import writing
from haina.apps.poem.form import KINDS_OF_SHI, SHI
from haina.apps.poem.show import record
from haina.apps.poem.tunes import tunes
from haina.apps.poem.write import Poem, Poet, Writing
from haina.engine.request import Asked, Event
from haina.options.poem import PoemOptions
from haina.serve.asgi import tenant_of
from haina.serve.engine_thread import EngineThread, Progress
from haina.serve.errors import told
from haina.serve.shelf import Served, Shelf
from haina.serve.strict import Strict, documented, read

Short = Annotated[str, Field(max_length=200)]
Long = Annotated[str, Field(max_length=2000)]


class PoemBody(Strict):
    """The fields of `haina poem`."""

    model: str | None = None
    form: Short = "五言绝句"
    theme: Long = ""
    author: Short = ""
    keywords: Short = ""
    acrostic: Short = ""
    at: Annotated[int, Field(ge=-50, le=50)] = 1
    given: Long = ""
    scope: Literal["keep", "line", "couplet", "all"] = "keep"
    couplet: Short = ""
    quote: bool = False
    rhyme: Short = ""
    book: Literal["平水韵", "词林正韵", "中华新韵"] | None = None
    pattern: Short = ""
    number: Annotated[int, Field(ge=1, le=100)] = 1
    lines: Annotated[int, Field(ge=0, le=100)] = 0
    twists: bool = False
    near: bool = False
    poems: Annotated[int, Field(ge=1, le=16)] = 1
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    references: bool = False


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """The endpoints, over the models of a shelf."""
    router = APIRouter()
    poets: WeakKeyDictionary[EngineThread, Poet] = WeakKeyDictionary()

    @router.post("/v1/poems", tags=["poems"], openapi_extra=documented(PoemBody))
    async def poems(request: Request) -> Response:
        """Poems in a form, best first."""
        body = await read(request, PoemBody, lenient=lenient)
        options = PoemOptions(**body.model_dump(exclude={"model"}))
        with told():
            async with shelf.lend(body.model) as served:
                if (poet := poets.get(served.thread)) is None:
                    poet = poets[served.thread] = await asyncio.to_thread(Poet, served.model)
                found = await _settled(served, poet, options, tenant_of(request.scope))
            return JSONResponse({"poems": await asyncio.to_thread(_shown, found, options)})

    @router.get("/v1/poems/forms", tags=["poems"])
    async def forms() -> Response:
        """Every form there is: those of 诗, and the tunes with their names and how many forms each has."""
        shi = [length + kind for length in SHI for kind in KINDS_OF_SHI]
        found = [
            {"names": tune.names, "forms": len(tune.patterns), "sections": tune.sections} for tune in tunes()
        ]
        return JSONResponse({"shi": shi, "tunes": found})

    return router


def _shown(poems: Sequence[Poem], options: PoemOptions) -> list[dict[str, object]]:
    return [record(poem, references=options.references) for poem in poems[: options.poems]]


async def _settled(served: Served, poet: Poet, options: PoemOptions, tenant: str) -> list[Poem]:
    """The poems, by the engine of another thread. Laws are made beside the loop: some take a tenth of a second."""
    made = await asyncio.to_thread(writing, poet, options)
    heard: Sequence[Sequence[Event]] | None = None
    while True:
        asked = await asyncio.to_thread(_next, made, heard)
        if isinstance(asked, _Done):
            return asked.poems
        heard = await asyncio.gather(*(_events(served, one, tenant) for one in asked))


class _Done:
    """StopIteration may not leave a thread."""

    def __init__(self, poems: list[Poem]):
        self.poems = poems


def _next(writing: Writing, heard: Sequence[Sequence[Event]] | None) -> Sequence[Asked] | _Done:
    try:
        return next(writing) if heard is None else writing.send(heard)
    except StopIteration as end:
        return _Done(end.value)


async def _events(served: Served, asked: Asked, tenant: str) -> list[Event]:
    async with aclosing(served.events(replace(asked, tenant=tenant))) as events:
        return [event async for event in events if not isinstance(event, Progress)]
