"""Anthropic's dialect: POST /v1/messages and /v1/messages/count_tokens, in their shapes and events.

Pure functions take their body to a Question and Pieces to events; an answer in one part is the events put together,
as their own client does it. The routes at the end join them with HTTP. It does not know how an answer is made.
Formats: anthropic-sdk-python 2.12 (types/) and its lib/streaming/_messages.py, which says how events follow each other.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from haina.engine.sampling import Sampling
from haina.serve.answers import Piece, Question, Usage, answer, prompt_ids, unhurried
from haina.serve.anthropic_schema import (
    AnthropicMessage,
    AnyChoice,
    Block,
    CountTokensBody,
    MessagesBody,
    NoneChoice,
    TextBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from haina.serve.asgi import tenant_of
from haina.serve.engine_thread import Progress
from haina.serve.errors import ApiError, shaped, told
from haina.serve.shelf import Shelf
from haina.serve.sse import Comments, Stream, all_of, begun, data
from haina.serve.strict import documented, read
from haina.serve.tools import Call, Tool, Turn, in_words
from haina.wording import say

PATH = "/v1/messages"
STOP_REASONS = {"stop": "end_turn", "tool_calls": "tool_use"}

Event = dict[str, Any]


def question_of(body: CountTokensBody, sampling: Sampling) -> Question:
    """What is asked; `sampling` holds the model's own settings. ApiError: fields that contradict each other."""
    _check(body)
    tools, choice = _offered(body)
    format = body.output_config.format
    question = Question(
        messages=in_words(list(_turns(body)), tools, choice),
        sampling=sampling,
        output=format and {"type": "json_schema", "schema": format.schema_},
        tools=tools,
        tool_choice=choice,
        parallel_calls=not getattr(body.tool_choice, "disable_parallel_tool_use", False),
    )
    if not isinstance(body, MessagesBody):
        return question
    names = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "seed")
    given = {name: value for name in names if (value := getattr(body, name)) is not None}
    return replace(
        question,
        sampling=replace(sampling, **given),
        max_new_tokens=body.max_tokens,
        at_most=True,
        stop=body.stop_sequences,
    )


def _check(body: CountTokensBody) -> None:
    names = [tool.name for tool in body.tools]
    if len(set(names)) < len(names):
        text = say("tools have the same name; each needs its own", "tools 中有重名；名称须各不相同")
        raise ApiError(400, text, param="tools", code="invalid_value")
    for at, message in enumerate(body.messages):
        misplaced = ToolResultBlock if message.role == "assistant" else ToolUseBlock
        if any(isinstance(block, misplaced) for block in _blocks(message)):
            text = say(
                "calls are the assistant's and their results the user's",
                "调用属于 assistant，其结果属于 user",
            )
            raise ApiError(400, text, param=f"messages[{at}].content", code="invalid_value")
    if isinstance(body.tool_choice, AnyChoice) and not names:
        text = say("tool_choice any needs tools", "tool_choice 为 any 时需要 tools")
        raise ApiError(400, text, param="tool_choice", code="invalid_value")
    if isinstance(body.tool_choice, ToolChoice) and body.tool_choice.name not in names:
        text = say(
            f"tool_choice names {body.tool_choice.name!r}, which is none of the tools",
            f"tool_choice 指定的 {body.tool_choice.name!r} 不在 tools 之中",
        )
        raise ApiError(400, text, param="tool_choice.name", code="invalid_value")


def _offered(body: CountTokensBody) -> tuple[tuple[Tool, ...], str]:
    """The tools that may be called, and whether one must be; one that is named is the only one."""
    tools = tuple(Tool(tool.name, tool.description, tool.input_schema) for tool in body.tools)
    match body.tool_choice:
        case ToolChoice(name=name):
            return tuple(tool for tool in tools if tool.name == name), "required"
        case AnyChoice():
            return tools, "required"
        case NoneChoice():
            return tools, "none"
    return tools, "auto"


def _turns(body: CountTokensBody) -> Iterator[Turn]:
    if body.system:
        yield Turn("system", _text(body.system))
    for message in body.messages:
        yield from _turns_of(message)


def _turns_of(message: AnthropicMessage) -> Iterator[Turn]:
    """The results of calls come before what else the user says, as Anthropic asks for it."""
    blocks = _blocks(message)
    for block in blocks:
        if isinstance(block, ToolResultBlock):
            result = _text(block.content)
            yield Turn("tool", f"error: {result}" if block.is_error else result)
    text = _text(message.content)
    calls = tuple(
        (block.name, json.dumps(block.input, ensure_ascii=False))
        for block in blocks
        if isinstance(block, ToolUseBlock)
    )
    if text or calls or not any(isinstance(block, ToolResultBlock) for block in blocks):
        yield Turn(message.role, text, calls)


def _blocks(message: AnthropicMessage) -> Sequence[Block]:
    return () if isinstance(message.content, str) else message.content


def _text(content: str | Sequence[Block]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.text for block in content if isinstance(block, TextBlock))


class Events:
    """The events of one answer, in their order: a start, blocks one after the other, an end."""

    def __init__(self, id: str, model: str, usage: Usage):
        self._id, self._model, self._usage = id, model, usage
        self.at_limit = "max_tokens"  # what the limit of the answer is called
        self._index = -1  # of the open block, or of the last one
        self._open = ""  # its type; "" when none is open

    def start(self) -> Event:
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**self._counts(), "output_tokens": 0},
        }
        return {"type": "message_start", "message": message}

    def of(self, piece: Piece) -> Iterator[Event]:
        """What a piece adds; with its `finish` the answer ends."""
        if piece.text:
            if self._open != "text":
                yield from self._begin({"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": piece.text})
        if piece.call:
            yield from self._call(piece.call)
        if piece.finish:
            yield from self._end(piece)

    def _call(self, call: Call) -> Iterator[Event]:
        if call.name:
            id = f"toolu_{call.id.removeprefix('call_')}"
            yield from self._begin({"type": "tool_use", "id": id, "name": call.name, "input": {}})
        if call.arguments:
            yield self._delta({"type": "input_json_delta", "partial_json": call.arguments})

    def _begin(self, block: dict[str, Any]) -> Iterator[Event]:
        yield from self._close()
        self._index, self._open = self._index + 1, block["type"]
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[Event]:
        if self._open:
            self._open = ""
            yield {"type": "content_block_stop", "index": self._index}

    def _end(self, piece: Piece) -> Iterator[Event]:
        if self._index < 0:  # people write message.content[0].text
            yield from self._begin({"type": "text", "text": ""})
        yield from self._close()
        reason = self.at_limit if piece.finish == "length" else STOP_REASONS[piece.finish or "stop"]
        if piece.stop_string is not None:
            reason = "stop_sequence"
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": piece.stop_string},
            "usage": {**self._counts(), "output_tokens": self._usage.new_tokens},
        }
        yield {"type": "message_stop"}

    def _counts(self) -> dict[str, int]:
        """Their sum is the prompt: what was read now, and what was found as read before."""
        return {
            "input_tokens": self._usage.prompt_tokens - self._usage.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self._usage.cached_tokens,
        }


def put_together(events: Iterable[Event]) -> dict[str, Any]:
    """The message that a stream of events tells."""
    message: dict[str, Any] = {}
    arguments = ""
    for event in events:
        match event:
            case {"type": "message_start"}:
                message = event["message"]
            case {"content_block": block}:
                message["content"].append(block)
                arguments = ""
            case {"delta": {"text": text}}:
                message["content"][-1]["text"] += text
            case {"delta": {"partial_json": part}}:
                arguments += part
            case {"type": "content_block_stop"} if arguments:
                message["content"][-1]["input"] = _whole(arguments)
            case {"type": "message_delta"}:
                message |= event["delta"] | {"usage": event["usage"]}
    return message


def _whole(arguments: str) -> dict[str, Any]:
    """The input of a call; nothing when `max_tokens` cut it short, as the stop_reason says."""
    try:
        read: dict[str, Any] = json.loads(arguments)
    except json.JSONDecodeError:
        return {}
    return read


# -- over HTTP --------------------------------------------------------------------------------------------------


def routes(shelf: Shelf, *, lenient: bool) -> APIRouter:
    """/v1/messages and /v1/messages/count_tokens."""
    router = APIRouter(tags=["anthropic"])

    @router.post(PATH, openapi_extra=documented(MessagesBody))
    async def messages(request: Request) -> Response:
        """An answer to a conversation."""
        body = await read(request, MessagesBody, lenient=lenient)
        tenant = tenant_of(request.scope)
        events = await begun(_events(shelf, body, tenant))
        if body.stream:
            return Stream(sent(events), failed)
        said = await all_of(events)
        return JSONResponse(put_together(event for event in said if not isinstance(event, Progress)))

    @router.post(f"{PATH}/count_tokens", openapi_extra=documented(CountTokensBody))
    async def count_tokens(request: Request) -> Response:
        """How many tokens a conversation would be."""
        body = await read(request, CountTokensBody, lenient=lenient)
        with told():
            async with shelf.lend(body.model) as served:
                question = question_of(body, Sampling())
                ids = await unhurried(question.length, lambda: prompt_ids(served, question))
                return JSONResponse({"input_tokens": len(ids)})

    return router


async def _events(shelf: Shelf, body: MessagesBody, tenant: str) -> AsyncGenerator[Event | Progress, None]:
    """An answer as it comes. ApiError, also in the middle.

    `max_tokens` has to be given, so many give more than there is room for: then the room is the limit, by its name.
    """
    usage, start = Usage(), True
    events = Events(f"msg_{secrets.token_hex(12)}", body.model, usage)
    with told():
        async with shelf.lend(body.model) as served:
            question = replace(question_of(body, served.settings.sampling), tenant=tenant)
            async with aclosing(answer(served, question, usage)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Progress):
                        yield piece
                        continue
                    if start:
                        start = False
                        if usage.prompt_tokens + body.max_tokens > served.model.context:
                            events.at_limit = "model_context_window_exceeded"
                        yield events.start()
                    for event in events.of(piece):
                        yield event


async def sent(events: AsyncGenerator[Event | Progress, None]) -> AsyncGenerator[bytes, None]:
    """Events as they go out, comments while the prompt is read."""
    comments = Comments()
    async with aclosing(events):
        async for event in events:
            part = comments.of(event) if isinstance(event, Progress) else data(event, event["type"])
            if part:
                yield part


def failed(error: ApiError) -> bytes:
    """How a stream says that it cannot go on."""
    return data(shaped(PATH, error), "error")
