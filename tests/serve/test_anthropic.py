"""Anthropic's dialect: their own client against the real server, and the mapping by itself."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import anthropic
import pytest

from haina.engine.sampling import Sampling
from haina.serve.answers import Piece, Usage
from haina.serve.anthropic import Events, failed, put_together, question_of, sent
from haina.serve.anthropic_schema import MessagesBody
from haina.serve.engine_thread import Progress
from haina.serve.errors import ApiError
from haina.serve.shelf import Shelf
from haina.serve.sse import Stream
from haina.serve.tools import Call

NAME = "haina-brook"  # as conftest.py serves it
HELLO = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "你好"}]}
WEATHER = {
    "name": "weather",
    "description": "of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["北京", "Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def body(**fields: Any) -> MessagesBody:
    return MessagesBody.model_validate(HELLO | fields)


def events(*pieces: Piece, usage: Usage | None = None) -> list[dict[str, Any]]:
    made = Events("msg_1", "m", usage or Usage(10, 4, 3))
    return [made.start(), *(event for piece in pieces for event in made.of(piece))]


def test_what_is_asked() -> None:
    question = question_of(
        body(
            system=[{"type": "text", "text": "一"}, {"type": "text", "text": "二"}],
            temperature=0.5,
            top_k=7,
            stop_sequences=["。"],
        ),
        Sampling(top_p=0.85, temperature=0.3),
    )
    assert [(m.role, m.content) for m in question.messages] == [("system", "一\n二"), ("user", "你好")]
    assert question.sampling == Sampling(temperature=0.5, top_k=7, top_p=0.85)
    assert (question.max_new_tokens, question.stop, question.n) == (8, ("。",), 1)


@pytest.mark.parametrize(
    ("choice", "asked", "parallel"),
    [
        (None, "auto", True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", False),
        ({"type": "any"}, "required", True),
        ({"type": "tool", "name": "weather"}, "required", True),
        ({"type": "none"}, "none", True),
    ],
)
def test_tool_choice(choice: dict[str, Any] | None, asked: str, parallel: bool) -> None:
    time = {"name": "time", "input_schema": {}}
    question = question_of(body(tools=[time, WEATHER], tool_choice=choice), Sampling())
    assert (question.tool_choice, question.parallel_calls) == (asked, parallel)
    assert question.tools[-1].parameters == WEATHER["input_schema"]
    assert len(question.tools) == (1 if choice and "name" in choice else 2)


def test_calls_and_results_go_into_the_conversation() -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "北京"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "晴"}]}
    asked = body(
        messages=[
            {"role": "user", "content": "天气？"},
            {"role": "assistant", "content": [{"type": "text", "text": "看看。"}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "如何？"}]},
        ]
    )
    messages = question_of(asked, Sampling()).messages
    assert [message.role for message in messages] == ["user", "assistant", "user", "user"]
    assert "看看。" in messages[1].content and '"city": "北京"' in messages[1].content
    assert "晴" in messages[2].content and messages[3].content == "如何？"


def test_text_is_one_block_and_its_end_has_the_counts() -> None:
    told = events(Piece(0, "你"), Piece(0, "好"), Piece(0, finish="stop"))
    assert [event["type"] for event in told] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert told[-2]["usage"] == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 3,
    }
    message = put_together(told)
    assert message["content"] == [{"type": "text", "text": "你好"}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)


def test_calls_are_blocks_of_their_own() -> None:
    told = events(
        Piece(0, call=Call(0, "call_a", "weather", "")),
        Piece(0, call=Call(0, "", "", '{"city": ')),
        Piece(0, call=Call(0, "", "", '"北京"}')),
        Piece(0, call=Call(1, "call_b", "time", "{}"), finish="tool_calls"),
    )
    assert [event["index"] for event in told if "index" in event] == [0, 0, 0, 0, 1, 1, 1]
    message = put_together(told)
    assert message["stop_reason"] == "tool_use"
    assert [(block["name"], block["input"]) for block in message["content"]] == [
        ("weather", {"city": "北京"}),
        ("time", {}),
    ]


def test_a_call_that_was_cut_short_says_so() -> None:
    message = put_together(events(Piece(0, call=Call(0, "call_a", "weather", '{"ci'), finish="length")))
    assert message["stop_reason"] == "max_tokens" and message["content"][0]["input"] == {}


def test_a_stop_string_is_named() -> None:
    message = put_together(events(Piece(0, "你"), Piece(0, finish="stop", stop_string="。")))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "。")


def test_an_answer_without_words_has_a_block_all_the_same() -> None:
    assert put_together(events(Piece(0, finish="stop")))["content"] == [{"type": "text", "text": ""}]


# -- their client ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server, api_key="none", max_retries=0) as made:
        yield made


ASKED: dict[str, Any] = {
    "model": NAME,
    "max_tokens": 120,
    "messages": [{"role": "user", "content": "你好"}],
    "extra_body": {"temperature": 0},
}


def test_an_answer(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ASKED)
    (block,) = message.content
    assert block.type == "text" and re.search("你好|海纳", block.text) and message.stop_reason == "end_turn"
    assert message.id.startswith("msg_") and message.model == NAME
    used = message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
    assert used == client.messages.count_tokens(model=NAME, messages=ASKED["messages"]).input_tokens


def test_a_stream_says_what_an_answer_says(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASKED)
    with client.messages.stream(**ASKED) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert [block.to_dict() for block in message.content] == [block.to_dict() for block in whole.content]
    assert text == whole.content[0].text and message.stop_reason == whole.stop_reason
    assert message.usage.output_tokens == whole.usage.output_tokens


def test_max_tokens_and_stop_sequences(client: anthropic.Anthropic) -> None:
    short = client.messages.create(**ASKED | {"max_tokens": 2})
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)
    said = client.messages.create(**ASKED).content[0].text
    stopped = client.messages.create(**ASKED, stop_sequences=["\0", said[2]])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", said[2])
    assert stopped.content[0].text == said[: said.index(said[2])]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_forced_call_follows_its_schema(client: anthropic.Anthropic, choice: dict[str, Any]) -> None:
    asked = ASKED | {"tools": [WEATHER], "tool_choice": choice | {"disable_parallel_tool_use": True}}
    message = client.messages.create(**asked)
    (block,) = message.content
    assert message.stop_reason == "tool_use" and block.type == "tool_use" and block.name == "weather"
    assert block.id.startswith("toolu_") and block.input["city"] in ("北京", "Paris")
    with client.messages.stream(**asked) as stream:
        assert [event.type for event in stream][-2:] == ["message_delta", "message_stop"]
        (streamed,) = stream.get_final_message().content
    assert streamed.type == "tool_use" and streamed.input == block.input
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "晴"}
    again = [
        *ASKED["messages"],
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result]},
    ]
    said = client.messages.create(
        **ASKED | {"messages": again}, tools=[WEATHER], tool_choice={"type": "none"}
    )
    assert said.content[0].type == "text"


def test_a_schema_is_kept_to(client: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    format = {"type": "json_schema", "schema": schema | {"additionalProperties": False}}
    message = client.messages.create(**ASKED, output_config={"format": format})
    assert isinstance(json.loads(message.content[0].text)["ok"], bool)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"extra_body": {"temprature": 1}}, "Did you mean temperature"),
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
        ({"extra_body": {"top_p": -1}}, "top_p"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
            "results",
        ),
        ({"messages": [{"role": "user", "content": "春" * 600}]}, "512"),
        ({"container": "c"}, "container"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "time"}}, "time"),
        ({"tools": [WEATHER, WEATHER]}, "same name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}
                ]
            },
            "image",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_done_is_refused_by_name(
    client: anthropic.Anthropic, fields: dict[str, Any], named: str, stream: bool
) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(**ASKED | fields, stream=stream)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    assert named in refused.value.body["error"]["message"]


def test_an_unknown_model(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match=NAME):
        client.messages.create(**ASKED | {"model": "claude"})


def test_many_at_once(server: str) -> None:
    async def all_at_once() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=server, api_key="none", max_retries=0) as client:
            messages = await asyncio.gather(*(client.messages.create(**ASKED) for _ in range(12)))
            return [message.content[0].text for message in messages]

    assert len(set(asyncio.run(all_at_once()))) == 1


# -- when something ends early --------------------------------------------------------------------------------

LONG = {"type": "array", "items": {"type": "string", "minLength": 8}, "minItems": 200}
ENDLESS = ASKED | {"max_tokens": 400, "output_config": {"format": {"type": "json_schema", "schema": LONG}}}


def test_an_answer_that_fills_the_context_says_so(client: anthropic.Anthropic) -> None:
    assert client.messages.create(**ASKED | {"max_tokens": 5000}).stop_reason == "end_turn"
    message = client.messages.create(**ENDLESS | {"max_tokens": 5000})
    assert message.stop_reason == "model_context_window_exceeded"
    assert (
        message.usage.input_tokens + message.usage.cache_read_input_tokens + message.usage.output_tokens
        == 512
    )


def test_whoever_leaves_frees_the_pages(client: anthropic.Anthropic, shelf: Shelf) -> None:
    with client.messages.create(**ENDLESS, stream=True) as stream:
        assert next(stream).type == "message_start" and next(stream).type == "content_block_start"
    (served,) = shelf.loaded
    pages, end = served.model.engine.pages, time.monotonic() + 5
    while pages.free < pages.count and time.monotonic() < end:
        time.sleep(0.01)
    assert pages.free == pages.count


def test_an_error_in_the_middle_is_the_last_event() -> None:
    async def broken() -> AsyncGenerator[Any, None]:
        yield Progress(256, 480)
        yield events()[0]
        raise ApiError(503, "the engine has stopped", "overloaded")

    heard: list[bytes] = []

    async def send(message: Any) -> None:
        heard.append(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    asyncio.run(Stream(sent(broken()), failed)({}, receive, send))
    _, comment, start, error = heard
    assert comment == b": prompt 256/480\n\n" and start.startswith(b"event: message_start\ndata: {")
    assert error.startswith(b"event: error\ndata: {") and b'"overloaded_error"' in error


def test_what_is_served(client: anthropic.Anthropic) -> None:
    (listed,) = client.models.list().data
    assert (listed.id, listed.type, listed.max_input_tokens) == (NAME, "model", 512)
    assert listed.created_at.year > 2000 and client.models.retrieve(NAME) == listed
    with pytest.raises(anthropic.NotFoundError) as error:
        client.models.retrieve("a/b")
    assert error.value.body["type"] == "error"  # type: ignore[index, call-overload]
