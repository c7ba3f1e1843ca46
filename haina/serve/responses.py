"""OpenAI's newer dialect: POST /v1/responses, with its items and its events. Nothing is kept: an answer is sent back.

Pure functions take a body to a Question and Pieces to events; the last event has the whole answer in it, which is what
is given when nothing is streamed. It does not know how an answer is made. Formats: openai-python 3.54
(types/responses/), and lib/streaming/responses/_responses.py, which says in which order events must come.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from haina.engine.sampling import Sampling
from haina.serve.answers import Call, Piece, Question, Said, Usage
from haina.serve.engine_thread import Progress
from haina.serve.errors import ApiError
from haina.serve.openai import asked, contradiction, logprob, sampled
from haina.serve.responses_schema import (
    InputCall,
    InputCallOutput,
    InputItemMessage,
    InputText,
    ResponseAllowedTools,
    ResponseBody,
    ResponseToolName,
)
from haina.serve.shelf import Shelf
from haina.serve.sse import Comments, Stream, begun, data
from haina.serve.strict import documented, read
from haina.serve.tools import Tool, Turn, in_words, offered

Event = dict[str, Any]


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """The endpoint, over the models of a shelf."""
    router = APIRouter()

    @router.post("/v1/responses", tags=["openai"], openapi_extra=documented(ResponseBody))
    async def respond(request: Request) -> Response:
        """An answer to what was said, as items."""
        body = await read(request, ResponseBody, lenient=lenient)
        usage = Usage()
        items = asked(
            shelf,
            request,
            body.model,
            lambda served: question_of(body, served.settings.sampling),
            usage,
            prompt="input",
            longest="max_output_tokens",
        )
        made = Events(body, body.model or shelf.names[0], usage)
        if body.stream:
            return Stream(_streamed(made, await begun(items)), made.failed)
        return JSONResponse(await _whole(made, items))

    return router


# -- what is asked ----------------------------------------------------------------------------------------------


def question_of(body: ResponseBody, sampling: Sampling) -> Question:
    """What is asked; `sampling` holds the model's own settings. ApiError: fields that contradict each other."""
    if body.tool_choice not in (None, "none", "auto") and not body.tools:
        raise contradiction("tool_choice", "tool_choice needs tools", "tool_choice 需要 tools")
    tools, choice = _chosen(body)
    return Question(
        messages=in_words(turns_of(body), tools, choice),
        sampling=replace(sampled(body, sampling), top_logprobs=body.top_logprobs or 0),
        max_new_tokens=body.max_output_tokens,
        truncate=body.truncation == "auto",
        output=_output(body),
        tools=tools,
        tool_choice=choice,
        parallel_calls=body.parallel_tool_calls is not False,
        logprobs=wants_logprobs(body),
    )


def wants_logprobs(body: ResponseBody) -> bool:
    return bool(body.top_logprobs) or "message.output_text.logprobs" in (body.include or ())


def _chosen(body: ResponseBody) -> tuple[tuple[Tool, ...], str]:
    tools = tuple(Tool(tool.name, tool.description or "", tool.parameters or {}) for tool in body.tools or ())
    match body.tool_choice:
        case ResponseToolName(name=name):
            return tools, name
        case ResponseAllowedTools(mode=mode, tools=allowed):
            return offered(tools, [tool.name for tool in allowed], mode), mode
        case str(choice):
            return tools, choice
    return tools, "auto"


def turns_of(body: ResponseBody) -> list[Turn]:
    """The conversation. A call is an item of its own here; it joins what the assistant said just before."""
    turns = [Turn("system", body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*turns, Turn("user", body.input)]
    for item in body.input:
        match item:
            case InputItemMessage(role=role):
                turns.append(Turn("system" if role == "developer" else role, _text(item.content)))
            case InputCall(name=name, arguments=arguments):
                before = turns.pop() if turns and turns[-1].role == "assistant" else Turn("assistant")
                turns.append(replace(before, calls=(*before.calls, (name, arguments))))
            case InputCallOutput(output=output):
                turns.append(Turn("tool", _text(output)))
    return turns


def _text(content: str | list[InputText]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _output(body: ResponseBody) -> dict[str, Any] | None:
    format = body.text and body.text.format
    return None if not format or format.type == "text" else format.model_dump(by_alias=True)


# -- what is answered -------------------------------------------------------------------------------------------


class Events:
    """The events of one answer, in their order: a start, items one after the other, an end."""

    def __init__(self, body: ResponseBody, model: str, usage: Usage):
        self._body, self._model, self._usage = body, model, usage
        self._id, self._created = f"resp_{secrets.token_hex(12)}", int(time.time())
        self._number = -1
        self._output: list[dict[str, Any]] = []  # items; the last one may be open
        self._open = False
        self._logprobs: list[dict[str, Any]] = []

    def start(self) -> Iterator[Event]:
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self.response("in_progress"))

    def of(self, piece: Piece) -> Iterator[Event]:
        """What a piece adds; with its `finish` the answer ends."""
        if piece.text or piece.said:
            yield from self._say(piece.text, piece.said)
        if piece.call:
            yield from self._call(piece.call)
        if piece.finish:
            if not self._output:
                yield from self._say("", ())
            whole = piece.finish != "length"
            yield from self._close("completed" if whole else "incomplete")
            kind = "completed" if whole else "incomplete"
            yield self._event(f"response.{kind}", response=self.response(kind))

    def failed(self, error: ApiError) -> bytes:
        """How a stream says that it cannot go on."""
        return _data(self._event("error", code=error.code, message=error.message, param=error.param))

    def response(self, status: str) -> dict[str, Any]:
        """The whole of it, as far as it is there."""
        body = self._body
        done = status != "in_progress"
        choice = body.tool_choice or "auto"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self._model,
            "output": list(self._output) if done else [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": _output(body) or {"type": "text"}},
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": body.truncation or "disabled",
            **({"dropped_rounds": self._usage.dropped_rounds} if self._usage.dropped_rounds else {}),
            "usage": _counts(self._usage) if done else None,
        }

    # -- items ------------------------------------------------------------------------------------------------

    def _say(self, text: str, said: tuple[Said, ...]) -> Iterator[Event]:
        if not self._open:
            item = {"id": _new("msg"), "type": "message", "role": "assistant", "status": "in_progress"}
            yield from self._begin({**item, "content": []})
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield self._of_item("response.content_part.added", content_index=0, part=part)
            self._output[-1]["content"] = [part]
        part = self._output[-1]["content"][0]
        logprobs = [logprob(one) for one in said]
        self._output[-1]["content"] = [
            {**part, "text": part["text"] + text, "logprobs": part["logprobs"] + logprobs}
        ]
        if text:
            about = {"content_index": 0, "delta": text, "logprobs": logprobs}
            yield self._of_item("response.output_text.delta", **about)

    def _call(self, call: Call) -> Iterator[Event]:
        if call.name:
            yield from self._close("completed")
            item = {"id": _new("fc"), "type": "function_call", "status": "in_progress"}
            yield from self._begin({**item, "call_id": call.id, "name": call.name, "arguments": ""})
        if call.arguments:
            self._output[-1]["arguments"] += call.arguments
            yield self._of_item("response.function_call_arguments.delta", delta=call.arguments)

    def _begin(self, item: dict[str, Any]) -> Iterator[Event]:
        self._output.append(item)
        self._open = True
        index = len(self._output) - 1
        yield self._event("response.output_item.added", output_index=index, item=dict(item))

    def _close(self, status: str) -> Iterator[Event]:
        """The end of the open item."""
        if not self._open:
            return
        self._open = False
        item = self._output[-1]
        item["status"] = status
        if item["type"] == "message":
            part = item["content"][0]
            about = {"content_index": 0, "text": part["text"], "logprobs": part["logprobs"]}
            yield self._of_item("response.output_text.done", **about)
            yield self._of_item("response.content_part.done", content_index=0, part=part)
        else:
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield self._of_item("response.function_call_arguments.done", **done)
        index = len(self._output) - 1
        yield self._event("response.output_item.done", output_index=index, item=dict(item))

    def _of_item(self, kind: str, **about: Any) -> Event:
        index = len(self._output) - 1
        return self._event(kind, item_id=self._output[-1]["id"], output_index=index, **about)

    def _event(self, kind: str, **about: Any) -> Event:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **about}


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def _counts(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.new_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.new_tokens,
    }


async def _streamed(
    made: Events, items: AsyncGenerator[Piece | Progress, None]
) -> AsyncGenerator[bytes, None]:
    comments = Comments()
    async with aclosing(items):
        yield b"".join(map(_data, made.start()))
        async for item in items:
            if isinstance(item, Progress):
                yield comments.of(item)
            else:
                yield b"".join(map(_data, made.of(item)))


def _data(event: Event) -> bytes:
    return data(event, event["type"])


async def _whole(made: Events, items: AsyncGenerator[Piece | Progress, None]) -> dict[str, Any]:
    events: list[Event] = []
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Piece):
                events = list(made.of(item)) or events
    response: dict[str, Any] = events[-1]["response"]
    return response
