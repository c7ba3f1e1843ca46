"""POST /v1/input: texts for typed pinyin, behind what stands before the cursor; and words that may come next.

The trigram answers at once; the model then ranks its candidates, unless the request wants them `quick`. Nothing that
is typed is kept: what a user has taught an input method stays on their own machine (haina/apps/pinyin/learn.py).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from haina.apps.pinyin.answer import record
from haina.apps.pinyin.decoder import Candidate
from haina.apps.pinyin.method import BEFORE_RANKING, InputMethod, spelling
from haina.apps.pinyin.neural import before, ids, weighed, worth_asking
from haina.apps.pinyin.prior import Language
from haina.engine.request import Score, Scores
from haina.serve.answers import unhurried
from haina.serve.errors import told
from haina.serve.shelf import Shelf
from haina.serve.strict import Strict, documented, read

if TYPE_CHECKING:
    from haina.serve.shelf import Served

language = cache(Language.open)


class InputBody(Strict):
    """Keys and what stands before them; without keys, the words that may come next are asked for."""

    model: str | None = None
    keys: Annotated[str, Field(max_length=1000)] = ""
    context: Annotated[str, Field(max_length=10_000)] = ""
    top: Annotated[int, Field(ge=1, le=100)] = 10
    scheme: Literal["full", "xiaohe", "ziranma", "microsoft"] = "full"
    fuzzy: Annotated[list[str], Field(max_length=20)] = Field(default=[])
    quick: bool = False


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """The endpoint, over the models of a shelf."""
    router = APIRouter()

    @router.post("/v1/input", tags=["input"], openapi_extra=documented(InputBody))
    async def typed(request: Request) -> Response:
        """Candidates for keys, the likeliest first."""
        body = await read(request, InputBody, lenient=lenient)
        with told():
            method = InputMethod(language(), spelling(body.scheme, ",".join(body.fuzzy)))
            if not body.keys:
                found = method.next_words(body.context, body.top)
            elif body.quick:
                found = await unhurried(len(body.keys), lambda: _candidates(method, body, body.top))
            else:
                more = max(body.top, BEFORE_RANKING)
                found = await unhurried(len(body.keys), lambda: _candidates(method, body, more))
                async with shelf.lend(body.model) as served:
                    found = await _ranked(served, body, found)
            return JSONResponse({"candidates": [record(each) for each in found[: body.top]]})

    return router


def _candidates(method: InputMethod, body: InputBody, top: int) -> list[Candidate]:
    return method.candidates(body.keys, body.context, top)


async def _ranked(served: Served, body: InputBody, found: list[Candidate]) -> list[Candidate]:
    """The texts of all keys in the order of both minds, then the words."""
    whole = [candidate for candidate in found if candidate.keys == len(body.keys)]
    asked = worth_asking(body.keys, whole)
    tokenizer = served.model.tokenizer
    answers = tuple(tuple(ids(tokenizer, candidate.text)) for candidate in asked)
    nats: tuple[float, ...] = ()
    if asked:
        async for event in served.events(Score(tuple(before(tokenizer, body.context)), answers)):
            if isinstance(event, Scores):
                if event.error:
                    raise ValueError(event.error)
                nats = event.nats
    return weighed(whole, nats) + found[len(whole) :]
