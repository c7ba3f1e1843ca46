"""POST /tokenize and /detokenize: the ids of a text and the text of ids, as llama.cpp and vLLM offer them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from haina.serve.answers import Question, prompt_ids, text_ids, unhurried
from haina.serve.errors import ApiError, told
from haina.serve.openai import contradiction, turn_of
from haina.serve.openai_schema import DetokenizeBody, TokenizeBody
from haina.serve.shelf import Shelf
from haina.serve.strict import documented, read
from haina.serve.tools import in_words
from haina.wording import say


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """Both endpoints, over the models of a shelf."""
    router = APIRouter()

    @router.post("/tokenize", tags=["tokens"], openapi_extra=documented(TokenizeBody))
    async def tokenize(request: Request) -> Response:
        """The ids of a text, or of the prompt that a conversation becomes."""
        body = await read(request, TokenizeBody, lenient=lenient)
        given = [value for value in (body.content, body.prompt, body.messages) if value is not None]
        if len(given) != 1:
            en = "give one of content, prompt and messages"
            raise contradiction("content", en, "请给出 content、prompt、messages 之一")
        with told():
            async with shelf.lend(body.model) as served:
                if body.messages:
                    question = Question(in_words([turn_of(message) for message in body.messages]))
                    ids = await unhurried(question.length, lambda: prompt_ids(served, question))
                else:
                    text = body.content or body.prompt or ""
                    ids = await unhurried(len(text), lambda: text_ids(served, text))
                return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": served.model.context})

    @router.post("/detokenize", tags=["tokens"], openapi_extra=documented(DetokenizeBody))
    async def detokenize(request: Request) -> Response:
        """The text of ids."""
        body = await read(request, DetokenizeBody, lenient=lenient)
        with told():
            async with shelf.lend(body.model) as served:
                _known(body.tokens, served.model.tokenizer.size)
                text = await unhurried(len(body.tokens), lambda: served.model.tokenizer.decode(body.tokens))
                return JSONResponse({"content": text, "prompt": text})

    return router


def _known(ids: list[int], size: int) -> None:
    """ApiError, if one of them is no token."""
    if unknown := next((id for id in ids if id >= size), None):
        text = say(
            f"tokens: {unknown} is no token; they go from 0 to {size - 1:,}",
            f"tokens：{unknown} 不是词元；编号从 0 到 {size - 1:,}",
        )
        raise ApiError(400, text, param="tokens", code="invalid_value")
