"""POST /v1/words: words for a description, by the reverse dictionary of this machine.

No model is asked, so `model` may be left out; what is not known is refused by name as everywhere. The index is opened
when the first description comes.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from haina.apps.words.desk import LONGEST, Dictionary, described, open_dictionary
from haina.options.words import WordsOptions
from haina.serve.errors import told
from haina.serve.shelf import Shelf
from haina.serve.strict import Strict, documented, read

Short = Annotated[str, Field(max_length=64)]


class WordsBody(Strict):
    """A description and what the words have to be like; the fields are the options of `haina words`."""

    model: str | None = None
    description: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    top: Annotated[int, Field(ge=1, le=1000)] = 100
    to: Literal["en", "zh"] | None = None
    pos: Literal["noun", "verb", "adjective", "adverb"] | None = None
    length: Short = ""
    initial: Short = ""
    containing: Short = ""
    pattern: Short = ""
    pinyin: Short = ""
    rhyme: Short = ""
    tones: Short = ""
    strokes: Short = ""
    hsk: Annotated[int, Field(ge=1, le=7)] | None = None
    common: Annotated[float, Field(ge=0)] | None = None
    style: Literal["formal", "informal", "old"] | None = None
    idioms: bool = False
    single: bool = False
    sort: Literal["relevance", "frequency", "length", "alphabet", "strokes"] = "relevance"
    clusters: bool = False
    details: bool = False


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """The endpoint; the shelf is the same for all dialects and not needed here."""
    router = APIRouter()

    @router.post("/v1/words", tags=["words"], openapi_extra=documented(WordsBody))
    async def words(request: Request) -> Response:
        """Words, the best first, each with the definition that matched."""
        body = await read(request, WordsBody, lenient=lenient)
        with told():
            return JSONResponse(await asyncio.to_thread(_answer, body))

    return router


@cache
def _dictionary() -> Dictionary:
    return open_dictionary()


def _answer(body: WordsBody) -> dict[str, Any]:
    asked = WordsOptions(**body.model_dump(exclude={"model", "description"}))
    return described(_dictionary().search(body.description, asked), asked)
