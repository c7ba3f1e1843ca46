"""POST /v1/search: a question in, an answer that quotes the operator's documents out.

Asked is the index that `haina serve --search` names, and no other: who may ask the server may read what is in it. It
knows the fields of a request; how answers are found, haina/apps/search does.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from haina.apps.search.desk import Search, described
from haina.options.search import SearchOptions
from haina.serve.errors import ApiError, told
from haina.serve.strict import Strict, documented, read
from haina.wording import say


class SearchBody(Strict):
    """A question, the questions before it in this conversation, and how many passages are wanted."""

    question: Annotated[str, Field(max_length=100_000)]
    before: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=100)] = Field(
        default=[]
    )
    top: Annotated[int, Field(ge=1, le=100)] = 10


def routes(index: str | None, *, lenient: bool) -> APIRouter:
    """The endpoint, over one index; None: there is none, and every question is told so."""
    router = APIRouter()
    opened = cache(lambda: Search(index or ""))

    @router.post("/v1/search", tags=["search"], openapi_extra=documented(SearchBody))
    async def search(request: Request) -> Response:
        """An answer with its citations, and the passages that fit best."""
        body = await read(request, SearchBody, lenient=lenient)
        if not index:
            text = say(
                "no index is served here; start with: haina serve --search INDEX",
                "本服务没有提供索引；请用 haina serve --search 索引文件 启动",
            )
            raise ApiError(404, text, "not_found")
        with told():
            options = SearchOptions(top=body.top)
            found = await asyncio.to_thread(lambda: opened().ask(body.question, options, before=body.before))
            return JSONResponse(described(found))

    return router
