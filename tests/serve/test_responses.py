"""/v1/responses, as OpenAI's own client sees it: against a running server with the embedded model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, ConfigDict

NAME = "haina-brook"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["北京", "Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture
def client(server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as made:
        yield made


def respond(client: openai.OpenAI, **fields: Any) -> Any:
    asked = {"model": NAME, "input": "你好", "max_output_tokens": 60, "temperature": 0, **fields}
    return client.responses.create(**asked)


def test_an_answer_and_the_same_answer_streamed(client: openai.OpenAI) -> None:
    whole = respond(client, instructions="用中文回答。")
    assert whole.status == "completed" and whole.output_text and whole.output[0].role == "assistant"
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    events = list(respond(client, instructions="用中文回答。", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text == events[-1].response.output_text
    assert events[-1].response.usage.output_tokens == whole.usage.output_tokens


def test_a_length_that_is_reached(client: openai.OpenAI) -> None:
    answer = respond(client, max_output_tokens=2)
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 2


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    good: bool


def test_structured_output(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model=NAME, input="你好", text_format=Verdict, max_output_tokens=200)
    assert isinstance(parsed.output_parsed, Verdict)
    with client.responses.stream(
        model=NAME, input="你好", text_format=Verdict, max_output_tokens=200
    ) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Verdict)


def test_a_call_and_its_result(client: openai.OpenAI) -> None:
    asked = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    answer = respond(client, **asked)
    (call,) = answer.output
    assert call.type == "function_call" and json.loads(call.arguments)["city"] in ("北京", "Paris")
    parts = [
        event.delta
        for event in respond(client, stream=True, **asked)
        if event.type == "response.function_call_arguments.delta"
    ]
    assert "".join(parts) == call.arguments
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "晴"}
    said: Any = [{"role": "user", "content": "你好"}, *answer.output, result]
    assert respond(client, input=said, tools=[WEATHER]).output_text


def test_an_answer_is_taken_back(client: openai.OpenAI) -> None:
    first = respond(client)
    more: Any = {"role": "user", "content": [{"type": "input_text", "text": "再见"}]}
    assert respond(client, input=[{"role": "user", "content": "你好"}, *first.output, more]).output_text


def test_logprobs(client: openai.OpenAI) -> None:
    answer = respond(client, include=["message.output_text.logprobs"], top_logprobs=2)
    part = answer.output[0].content[0]
    assert b"".join(bytes(one.bytes) for one in part.logprobs).decode() == part.text
    assert all(len(one.top_logprobs) == 2 for one in part.logprobs)


def test_no_token_is_without_its_logprob(client: openai.OpenAI) -> None:
    asked = {"include": ["message.output_text.logprobs"], "temperature": 2.0, "max_output_tokens": 60}
    answer = respond(client, **asked)
    assert len(answer.output[0].content[0].logprobs) >= answer.usage.output_tokens - 1  # the end says nothing


def test_the_oldest_rounds_are_left_out_if_asked_to(client: openai.OpenAI) -> None:
    rounds: Any = [
        {"role": role, "content": text * 80} for text in "春夏秋冬" for role in ("user", "assistant")
    ]
    asked: Any = {"input": [*rounds, {"role": "user", "content": "你好"}], "max_output_tokens": 8}
    with pytest.raises(openai.BadRequestError, match="context is 512"):
        respond(client, truncation="disabled", **asked)
    answer = respond(client, truncation="auto", **asked)
    assert answer.truncation == "auto" and 1 <= answer.dropped_rounds < 4
    assert 256 < answer.usage.input_tokens <= 504 and answer.output_text
    *_, last = respond(client, truncation="auto", stream=True, **asked)
    assert last.response.dropped_rounds == answer.dropped_rounds
    assert not hasattr(respond(client, truncation="auto"), "dropped_rounds")
    with pytest.raises(openai.BadRequestError):
        respond(client, truncation="auto", input="长" * 2000)


def test_what_is_not_remembered_is_said(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="whole conversation"):
        respond(client, previous_response_id="resp_1")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"background": True}, "background", "invalid_value"),
        ({"store": True}, "store", "invalid_value"),
        ({"extra_body": {"instruction": "x"}}, "instruction", "unknown_parameter"),
        ({"input": "长" * 2000}, "input", "context_length_exceeded"),
        (
            {"input": [{"role": "user", "content": "x", "statsu": "y"}]},
            "input[0].statsu",
            "unknown_parameter",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "invalid_value"),
    ],
)
def test_what_is_refused(client: openai.OpenAI, fields: Any, param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        respond(client, **fields)
    assert (error.value.param, error.value.code) == (param, code)
