"""OpenAI's dialect, as their own client sees it: against a running server with the embedded model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from enum import Enum
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from pydantic import BaseModel, ConfigDict

from haina.options.serving import ServeOptions
from haina.serve.shelf import Shelf

NAME = "haina-brook"
HELLO: Any = [{"role": "user", "content": "你好"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/City"}, "metric": {"type": "boolean"}},
            "required": ["city", "metric"],
            "additionalProperties": False,
            "$defs": {"City": {"type": "string", "enum": ["北京", "Paris"]}},
        },
    },
}


WILD: Any = {"temperature": 2, "top_p": 1, "extra_body": {"top_k": 0}}


@pytest.fixture
def client(server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as made:
        yield made


def chat(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(
        **{"model": NAME, "messages": HELLO, "max_tokens": 24, "seed": 7} | fields
    )


def streamed(client: openai.OpenAI, **fields: Any) -> list[Any]:
    return list(chat(client, stream=True, **fields))


def test_models(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == (NAME, "model", "haina")
    assert client.models.retrieve(NAME) == model
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("a/b")
    assert error.value.code == "model_not_found" and NAME in error.value.message


def test_an_answer_and_the_same_answer_streamed(client: openai.OpenAI) -> None:
    whole = chat(client)
    *chunks, last = streamed(client, stream_options={"include_usage": True})
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices == [] and all(chunk.usage is None for chunk in chunks)
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_the_length_is_exact(client: openai.OpenAI) -> None:
    answer = chat(client, max_tokens=openai.omit, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


def test_a_stop_string_is_not_shown(client: openai.OpenAI) -> None:
    text = chat(client).choices[0].message.content
    for stop in (text[2:4], ["不会出现", text[3]]):
        answer = chat(client, stop=stop)
        end = text.index(stop if isinstance(stop, str) else stop[1])
        assert answer.choices[0].message.content == text[:end]
        assert answer.choices[0].finish_reason == "stop"


def test_several_answers(client: openai.OpenAI) -> None:
    answer = chat(client, n=3, **WILD)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    texts = ["", "", ""]
    for chunk in streamed(client, n=3, **WILD):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [choice.message.content for choice in answer.choices]


def test_logprobs_have_the_bytes_of_the_text(client: openai.OpenAI) -> None:
    choice = chat(client, logprobs=True, top_logprobs=3, temperature=0).choices[0]
    said = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
    assert said.decode(errors="replace") == choice.message.content
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 3 and token.logprob <= 0
    parts = [chunk.choices[0].logprobs for chunk in streamed(client, logprobs=True, temperature=0)]
    assert sum(len(part.content) for part in parts if part) == len(choice.logprobs.content)


def test_a_bias_rules_a_token_out(client: openai.OpenAI, server: str) -> None:
    first = chat(client, temperature=0, max_tokens=1, logprobs=True).choices[0].logprobs.content[0].token
    ids = httpx2.post(f"{server}/tokenize", json={"content": first}).json()["tokens"]
    other = chat(client, temperature=0, max_tokens=1, logit_bias={str(id): -100 for id in ids})
    assert other.choices[0].message.content != first


class City(str, Enum):
    BEIJING = "北京"
    PARIS = "Paris"


class Trip(BaseModel):
    model_config = ConfigDict(extra="forbid")
    to: City
    by_train: bool


def test_structured_output(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(model=NAME, messages=HELLO, response_format=Trip, max_tokens=200)
    assert isinstance(parsed.choices[0].message.parsed, Trip)
    with client.chat.completions.stream(
        model=NAME, messages=HELLO, response_format=Trip, max_tokens=200
    ) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Trip)


def test_other_forms_of_output(client: openai.OpenAI) -> None:
    for format, right in (
        ({"type": "regex", "pattern": "[0-9]{3}"}, str.isdigit),
        ({"type": "choice", "choices": ["是", "不是"]}, ["是", "不是"].__contains__),
        ({"type": "grammar", "grammar": 'start: "天" "地"'}, "天地".__eq__),
    ):
        answer = chat(client, extra_body={"response_format": format})
        assert right(answer.choices[0].message.content), answer


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_can_always_be_parsed(client: openai.OpenAI, choice: Any) -> None:
    for seed in range(5):
        asked = {"tools": [WEATHER], "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 100}
        answer = chat(client, seed=seed, **WILD, stop=["P", "京"], **asked).choices[0]
        assert answer.finish_reason == "tool_calls" and answer.message.content is None
        (call,) = answer.message.tool_calls
        arguments = json.loads(call.function.arguments)
        assert call.function.name == "get_weather" and arguments["city"] in ("北京", "Paris")
        deltas = [
            delta
            for chunk in streamed(client, seed=seed, **WILD, **asked)
            for delta in chunk.choices[0].delta.tool_calls or ()
        ]
        assert "".join(delta.function.arguments for delta in deltas) == call.function.arguments
        assert deltas[0].id and all(delta.id is None for delta in deltas[1:])


def test_tools_that_are_not_called(client: openai.OpenAI) -> None:
    for choice in ("auto", "none"):
        answer = chat(client, tools=[WEATHER], tool_choice=choice, temperature=0).choices[0]
        assert (
            answer.message.content
            and answer.message.tool_calls is None
            and answer.finish_reason != "tool_calls"
        )


def test_a_call_that_is_cut_off_is_no_text(client: openai.OpenAI) -> None:
    for length in range(1, 13):
        asked = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": length}
        message = chat(client, **asked).choices[0].message
        assert not message.content, length
        assert "".join(part.choices[0].delta.content or "" for part in streamed(client, **asked)) == ""


@pytest.mark.parametrize(("mode", "names"), [("required", ["nope"]), ("required", []), ("auto", ["nope"])])
def test_only_tools_that_are_there_may_be_allowed(client: openai.OpenAI, mode: str, names: list[str]) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    with pytest.raises(openai.BadRequestError, match="nope" if names else "allows no tool"):
        chat(client, tools=[WEATHER], tool_choice=allowed)


def test_a_conversation_with_a_call_goes_on(client: openai.OpenAI) -> None:
    first = chat(client, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=100)
    said = first.choices[0].message
    result: Any = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "晴"}
    answer = chat(client, messages=[*HELLO, said, result], tools=[WEATHER])
    assert answer.choices[0].message.content


def test_a_text_goes_on(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": NAME, "max_tokens": 6, "temperature": 0}
    many = client.completions.create(prompt=["白日依山尽", "床前明月光"], n=2, echo=True, **asked)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    starts = [choice.text[:5] for choice in many.choices]
    assert starts == ["白日依山尽"] * 2 + ["床前明月光"] * 2
    one = client.completions.create(prompt="床前明月光", **asked)
    assert many.choices[2].text == "床前明月光" + one.choices[0].text
    parts = list(client.completions.create(prompt="床前明月光", stream=True, **asked))
    assert "".join(part.choices[0].text for part in parts) == one.choices[0].text
    assert many.usage and one.usage and many.usage.completion_tokens > one.usage.completion_tokens


def test_a_text_as_ids(client: openai.OpenAI, server: str) -> None:
    ids = httpx2.post(f"{server}/tokenize", json={"content": "床前明月光"}).json()["tokens"]
    back = httpx2.post(f"{server}/detokenize", json={"tokens": ids}).json()
    assert back["content"] == "床前明月光"
    asked: dict[str, Any] = {"model": NAME, "max_tokens": 6, "temperature": 0}
    texts = [client.completions.create(prompt=prompt, **asked) for prompt in ("床前明月光", ids, [ids])]
    assert len({text.choices[0].text for text in texts}) == 1


def test_old_logprobs(client: openai.OpenAI) -> None:
    choice = client.completions.create(model=NAME, prompt="春风", max_tokens=8, logprobs=0, seed=1).choices[0]
    logs = choice.logprobs
    assert logs and logs.tokens and logs.text_offset and logs.token_logprobs and logs.top_logprobs
    assert len(logs.tokens) == len(logs.token_logprobs) == len(logs.text_offset)
    assert all(list(top) == [token] for top, token in zip(logs.top_logprobs, logs.tokens, strict=True))
    assert all(choice.text[at:].startswith(t) for at, t in zip(logs.text_offset, logs.tokens, strict=True))


def test_a_prompt_with_its_logprobs(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": NAME, "prompt": "床前明月光，疑是地上霜。", "echo": True, "logprobs": 3}
    whole = client.completions.create(max_tokens=0, **asked)
    (choice,) = whole.choices
    logs: Any = choice.logprobs
    assert choice.text == asked["prompt"] and choice.finish_reason == "length"
    assert whole.usage and (whole.usage.completion_tokens, whole.usage.prompt_tokens) == (0, len(logs.tokens))
    assert logs.token_logprobs[0] is None and logs.top_logprobs[0] is None
    assert all(choice.text[at:].startswith(t) for at, t in zip(logs.text_offset, logs.tokens, strict=True))
    for token, nats, top in list(zip(logs.tokens, logs.token_logprobs, logs.top_logprobs, strict=True))[1:]:
        assert 3 <= len(top) <= 4 and top[token] == nats <= max(top.values()) <= 0
    more = client.completions.create(max_tokens=2, temperature=0, **asked).choices[0]
    assert more.logprobs and more.logprobs.token_logprobs
    assert more.logprobs.token_logprobs[1 : len(logs.tokens)] == pytest.approx(
        logs.token_logprobs[1:], abs=1e-4
    )
    again = client.completions.create(**asked | {"prompt": more.text}, max_tokens=0).choices[0].logprobs
    assert again and again.token_logprobs and again.tokens == more.logprobs.tokens
    assert again.token_logprobs[-1] == pytest.approx(more.logprobs.token_logprobs[-1], abs=0.02)
    with pytest.raises(openai.BadRequestError, match="echo"):
        client.completions.create(model=NAME, prompt="春", max_tokens=0)


def test_best_of(client: openai.OpenAI) -> None:
    choice = client.completions.create(model=NAME, prompt="春风", max_tokens=8, best_of=4, seed=1).choices
    assert len(choice) == 1 and choice[0].text


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_embeddings(client: openai.OpenAI) -> None:
    texts = ["春天的风", "春天的雨", "三角函数"]
    by_client = client.embeddings.create(model=NAME, input=texts)  # base64 on the wire
    plain = client.embeddings.create(model=NAME, input=texts, encoding_format="float")
    vectors = np.array([row.embedding for row in by_client.data])
    assert np.allclose(vectors, [row.embedding for row in plain.data], atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert by_client.usage.prompt_tokens > 3
    short = client.embeddings.create(model=NAME, input=texts, dimensions=16)
    assert np.allclose([row.embedding for row in short.data], unit(vectors[:, :16]), atol=1e-6)
    with pytest.raises(openai.BadRequestError, match="ask for fewer"):
        client.embeddings.create(model=NAME, input=texts, dimensions=100_000)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"extra_body": {"logit_biass": {}}}, "logit_biass", "unknown_parameter"),
        ({"extra_body": {"functions": []}}, "functions", "unsupported_parameter"),
        ({"store": True}, "store", "invalid_value"),
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_value"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x", "invalid_value"),
        ({"logit_bias": {"99999999": 1}}, None, "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "invalid_value"),
        ({"max_tokens": 100_000}, "max_tokens", "context_length_exceeded"),
        ({"max_tokens": None, "max_completion_tokens": 512}, "max_completion_tokens", "context_length_exceeded"),
        ({"messages": [{"role": "user", "content": "长" * 2000}]}, "messages", "context_length_exceeded"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": ""}]}, None, "invalid_value"),
        ({"messages": [{"role": "user", "text": "x"}]}, "messages[0].text", "unknown_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}},
         None, "invalid_value"),
    ],
)  # fmt: skip
def test_what_is_refused(client: openai.OpenAI, fields: Any, param: str | None, code: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as error:
            chat(client, stream=stream, **fields)
        assert (error.value.param, error.value.code) == (param, code)
        assert error.value.type == "invalid_request_error" and error.value.message


def test_the_nearest_name_and_the_numbers_are_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Did you mean logit_bias"):
        chat(client, extra_body={"logit_biass": {}})
    with pytest.raises(openai.BadRequestError, match=r"3 tokens and 1,000 new .* 512"):
        chat(client, max_tokens=1000)


def test_bodies_that_are_none(server: str) -> None:
    url = f"{server}/v1/chat/completions"
    for wire in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":NaN}', b"[]", b'{"messages": "\xe4"}'):
        answer = httpx2.post(url, content=wire)
        assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error", wire
    assert httpx2.post(url, content=b" " * (17 << 20)).status_code == 413
    assert httpx2.get(url).status_code == 405
    assert httpx2.get(f"{server}/v1/nothing").json()["error"]["type"] == "not_found_error"


def test_a_long_prompt_tells_its_progress(server: str) -> None:
    body = {"messages": [{"role": "user", "content": "春" * 400}], "max_tokens": 1, "stream": True}
    lines = httpx2.post(f"{server}/v1/chat/completions", json=body).text.splitlines()
    assert any(line.startswith(": prompt ") for line in lines)
    body |= {"return_progress": True, "messages": [{"role": "user", "content": "夏" * 400}]}
    lines = httpx2.post(f"{server}/v1/chat/completions", json=body).text.splitlines()
    told = [json.loads(line[6:]) for line in lines if "prompt_progress" in line]
    assert told and 0 < told[0]["prompt_progress"]["processed"] < told[0]["prompt_progress"]["total"]


def test_the_document_has_every_body(server: str) -> None:
    document = httpx2.get(f"{server}/openapi.json").json()
    schemas = document["components"]["schemas"]
    refs = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert "ChatCompletionBody" in refs and refs <= schemas.keys()


def test_lenient_names_what_it_dropped(serving: Any) -> None:
    with serving(ServeOptions(lenient=True)) as address:
        body = {"messages": [{**HELLO[0], "mood": "好"}], "max_tokens": 1, "num_ctx": 5}
        answer = httpx2.post(f"{address}/v1/chat/completions", json=body)
    assert answer.status_code == 200 and answer.json()["choices"]
    assert set(answer.headers["x-haina-ignored"].split(", ")) == {"messages[0].mood", "num_ctx"}


def _after_a_while(url: str, body: dict[str, Any]) -> None:
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(url, json=body, timeout=0.1)


def _after_the_first_part(url: str, body: dict[str, Any]) -> None:
    with httpx2.stream("POST", url, json={**body, "stream": True}) as answer:
        assert next(answer.iter_bytes())


def test_names_that_are_no_header_are_dropped_all_the_same(serving: Any) -> None:
    wild = {"a\r\nSet-Cookie: x=1": 1, "长" * 5000: 1, **{f"field{n}": n for n in range(50)}}
    with serving(ServeOptions(lenient=True)) as address:
        answer = httpx2.post(
            f"{address}/v1/chat/completions", json={"messages": HELLO, "max_tokens": 1, **wild}
        )
    assert answer.status_code == 200 and "set-cookie" not in answer.headers
    assert answer.headers["x-haina-ignored"].endswith("and 20 more")
    assert len(answer.headers["x-haina-ignored"]) < 4000


def test_who_leaves_before_the_answer_frees_its_pages(server: str, shelf: Shelf) -> None:
    engine = shelf.loaded[0].model.engine
    body = {"prompt": "春", "max_tokens": 400, "n": 8, "logit_bias": {"2": -100}}
    for leave in (_after_a_while, _after_the_first_part):
        leave(f"{server}/v1/completions", body)
        end = time.monotonic() + 3
        while engine.busy and time.monotonic() < end:
            time.sleep(0.01)
        assert not engine.busy and engine.pages.free == engine.pages.count


def test_many_streams_at_once_all_get_on(server: str) -> None:
    asked: dict[str, Any] = {"model": NAME, "messages": HELLO, "max_tokens": 20, "stream": True}

    async def count(client: openai.AsyncOpenAI, seed: int) -> int:
        stream = await client.chat.completions.create(seed=seed, **asked)
        return sum([len(chunk.choices[0].delta.content or "") async for chunk in stream])

    async def all_at_once() -> list[int]:
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(count(client, seed) for seed in range(64)))

    assert all(asyncio.run(all_at_once()))
