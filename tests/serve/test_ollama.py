"""Ollama's dialect: its own client against the real server, and the mapping by itself."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import httpx
import ollama
import pytest

from haina.engine.sampling import Sampling
from haina.serve.answers import Piece, Said, Usage
from haina.serve.errors import ApiError
from haina.serve.ollama import chat_question, generate_question
from haina.serve.ollama_lines import Clock, Lines, failed, line, put_together
from haina.serve.ollama_schema import ChatBody, GenerateBody
from haina.serve.shelf import Shelf
from haina.serve.tools import Call

NAME = "haina-brook"  # as conftest.py serves it
HELLO = [{"role": "user", "content": "你好"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["北京", "Paris"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def lines(*pieces: Piece, chat: bool = True) -> list[dict[str, Any]]:
    made = Lines("m", Usage(10, 4, 3), Clock(), chat=chat)
    return [line for piece in pieces for line in made.of(piece)]


def test_options_are_ours_by_other_names() -> None:
    asked = ChatBody.model_validate(
        {
            "model": "m",
            "messages": HELLO,
            "options": {"repeat_penalty": 1.2, "seed": 5, "num_predict": 9, "stop": ["。"], "top_k": 3},
            "format": {"type": "object"},
        }
    )
    question = chat_question(asked, Sampling(top_p=0.85))
    assert question.sampling == Sampling(top_p=0.85, repetition_penalty=1.2, seed=5, top_k=3)
    assert (question.max_new_tokens, question.stop) == (9, ("。",))
    assert question.output == {"type": "json_schema", "schema": {"type": "object"}}


@pytest.mark.parametrize(("format", "output"), [(None, None), ("", None), ("json", {"type": "json_object"})])
def test_formats(format: str | None, output: Any) -> None:
    asked = GenerateBody.model_validate({"model": "m", "prompt": "春", "format": format})
    assert generate_question(asked, Sampling(), chats=True).output == output


def test_generate_asks_or_goes_on() -> None:
    asked = GenerateBody.model_validate({"model": "m", "prompt": "春", "system": "答"})
    roles = [message.role for message in generate_question(asked, Sampling(), chats=True).messages]
    assert roles == ["system", "user"]
    raw = asked.model_copy(update={"raw": True, "system": ""})
    question = generate_question(raw, Sampling(), chats=True)
    assert question.prompt == "春" and not question.messages


def test_results_of_tools_go_into_the_conversation() -> None:
    called = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "北京"}}}],
    }
    result = {"role": "tool", "tool_name": "weather", "content": "晴"}
    asked = ChatBody.model_validate({"model": "m", "messages": [*HELLO, called, result], "tools": [WEATHER]})
    question = chat_question(asked, Sampling())
    system, _, call, told = (message.content for message in question.messages)
    assert "weather" in system and '"city": "北京"' in call and "晴" in told


def test_the_last_line_has_the_counts() -> None:
    *said, last = lines(Piece(0, "你"), Piece(0, "好", finish="stop"))
    assert [line["message"]["content"] for line in said] == ["你", "好"] and not said[0]["done"]
    assert last["done"] and last["done_reason"] == "stop" and last["message"]["content"] == ""
    assert (last["prompt_eval_count"], last["eval_count"]) == (10, 3)
    assert 0 <= last["eval_duration"] <= last["total_duration"]


def test_calls_come_whole() -> None:
    told = lines(
        Piece(0, call=Call(0, "call_a", "weather", "")),
        Piece(0, call=Call(0, "", "", '{"city": "北京"}')),
        Piece(0, call=Call(1, "call_b", "time", "{")),
        Piece(0, call=Call(1, "", "", "}"), finish="tool_calls"),
    )
    assert len(told) == 3
    calls = put_together(told)["message"]["tool_calls"]
    assert [(call["id"], call["function"]) for call in calls] == [
        ("call_a", {"index": 0, "name": "weather", "arguments": {"city": "北京"}}),
        ("call_b", {"index": 1, "name": "time", "arguments": {}}),
    ]


def test_a_call_that_was_cut_short_is_left_out() -> None:
    message = put_together(lines(Piece(0, call=Call(0, "a", "weather", '{"ci')), Piece(0, finish="length")))
    assert message["done_reason"] == "length" and "tool_calls" not in message["message"]


def test_logprobs_of_half_a_character() -> None:
    said = Said(7, b"\xe4\xbd", -0.5, ((7, b"\xe4\xbd", -0.5), (8, b"a", -1.5)))
    whole = put_together(lines(Piece(0, "", (said,)), Piece(0, "你", finish="stop"), chat=False))
    assert whole["response"] == "你"
    assert whole["logprobs"][0] == {
        "token": "�",
        "logprob": -0.5,
        "bytes": [0xE4, 0xBD],
        "top_logprobs": [
            {"token": "�", "logprob": -0.5, "bytes": [0xE4, 0xBD]},
            {"token": "a", "logprob": -1.5, "bytes": [97]},
        ],
    }


# -- their client ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[ollama.Client]:
    with ollama.Client(server) as made:
        yield made


GREEDY = {"temperature": 0, "num_predict": 120}


def test_an_answer(client: ollama.Client) -> None:
    answer = client.chat(NAME, HELLO, options=GREEDY)
    assert re.search("你好|海纳", answer.message.content) and answer.done and answer.done_reason == "stop"
    assert answer.eval_count > 5 and answer.prompt_eval_count > 2
    assert 0 < answer.prompt_eval_duration + answer.eval_duration <= answer.total_duration


def test_a_stream_says_what_an_answer_says(client: ollama.Client) -> None:
    whole = client.chat(NAME, HELLO, options=GREEDY)
    *parts, last = client.chat(NAME, HELLO, options=GREEDY, stream=True)
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert last.done and last.eval_count == whole.eval_count and not any(part.done for part in parts)


def test_it_streams_unless_told_otherwise(server: str) -> None:
    answer = httpx.post(f"{server}/api/chat", json={"model": NAME, "messages": HELLO, "options": GREEDY})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len(answer.text.splitlines()) > 3 and json.loads(answer.text.splitlines()[-1])["done"]


def test_generate(client: ollama.Client) -> None:
    answer = client.generate(NAME, "你好", options=GREEDY)
    assert answer.response == client.chat(NAME, HELLO, options=GREEDY).message.content
    *_, last = client.generate(NAME, "春", raw=True, options=GREEDY | {"num_predict": 3}, stream=True)
    assert last.done_reason == "length" and last.eval_count == 3


def test_the_room_that_is_left(client: ollama.Client) -> None:
    long = {"type": "array", "items": {"type": "string", "minLength": 8}, "minItems": 200}
    options = {"num_predict": -1, "seed": 1, "temperature": 2.0}
    answer = client.generate(NAME, "春", raw=True, format=long, options=options)
    assert answer.done_reason == "length" and answer.prompt_eval_count + answer.eval_count == 512


def test_logprobs(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 4}
    answer = client.chat(NAME, HELLO, options=options, logprobs=True, top_logprobs=2)
    assert len(answer.logprobs) == answer.eval_count == 4
    for token in answer.logprobs:
        assert len(token.top_logprobs) == 2 and token.logprob == max(t.logprob for t in token.top_logprobs)


def test_a_schema_is_kept_to(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    format = schema | {"additionalProperties": False}
    for part in (
        client.chat(NAME, HELLO, format=format, options=GREEDY).message.content,
        client.generate(NAME, "你好", format=format, options=GREEDY).response,
    ):
        assert isinstance(json.loads(part)["ok"], bool)


def test_tools_may_be_offered(client: ollama.Client) -> None:
    answer = client.chat(NAME, HELLO, tools=[WEATHER], options=GREEDY)
    assert answer.message.content or answer.message.tool_calls
    for call in answer.message.tool_calls or []:
        assert call.function.arguments["city"] in ("北京", "Paris")
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "weather", "arguments": {}}}],
    }
    result = {"role": "tool", "tool_name": "weather", "content": "晴"}
    assert client.chat(NAME, [*HELLO, called, result], options=GREEDY).done


def test_vectors(client: ollama.Client) -> None:
    vectors = client.embed(NAME, ["春眠不觉晓", "你好"]).embeddings
    assert [round(sum(x * x for x in vector), 3) for vector in vectors] == [1, 1]
    assert client.embeddings(NAME, "你好").embedding == vectors[1]
    (short,) = client.embed(NAME, "你好", dimensions=16).embeddings
    assert len(short) == 16 and round(sum(x * x for x in short), 3) == 1
    assert client.embed(NAME, []).embeddings == []


def test_what_tells_about_models(client: ollama.Client, server: str) -> None:
    (listed,) = client.list().models
    assert listed.model == NAME and listed.size > 1e6 and listed.details.parameter_size.endswith("M")
    client.chat(NAME, [])
    (running,) = client.ps().models
    assert running.context_length == 512 and running.digest == listed.digest
    shown = client.show(NAME)
    assert "tools" in shown.capabilities and shown.modelinfo["general.parameter_count"] > 4e6
    assert "Apache" in shown.license and "temperature 0.3" in shown.parameters
    assert httpx.get(f"{server}/api/version").json()["version"]
    assert httpx.get(server).text == "Ollama is running" and httpx.head(server).status_code == 200


def test_when_a_model_will_go(shelf: Shelf, client: ollama.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.chat(NAME, [])
    assert client.ps().models[0].expires_at.year == 9999
    monkeypatch.setattr(shelf, "_options", replace(shelf._options, idle=30))
    client.chat(NAME, [])
    left_s = (client.ps().models[0].expires_at - datetime.now(timezone.utc)).total_seconds()
    assert 29 * 60 < left_s <= 30 * 60
    monkeypatch.undo()
    client.chat(NAME, [])  # it stays again


def test_loading_and_unloading(client: ollama.Client) -> None:
    assert client.chat(NAME, []).done_reason == "load" and len(client.ps().models) == 1
    assert client.generate(NAME, "", keep_alive=0).done_reason == "unload" and not client.ps().models
    assert client.chat(NAME, HELLO, options=GREEDY, keep_alive="5m").done and len(client.ps().models) == 1


def test_a_model_that_is_here_need_not_be_pulled(client: ollama.Client) -> None:
    assert client.pull(f"{NAME}:latest").status == "success"
    assert [part.status for part in client.pull(NAME, stream=True)] == ["success"]


def test_room_that_is_asked_for_is_what_there_is(client: ollama.Client) -> None:
    options = {"num_ctx": 131_072, "num_predict": 2}
    assert client.chat(NAME, HELLO, options=options).eval_count == 2


REFUSED: list[tuple[Callable[[ollama.Client], Any], int, str]] = [
    (lambda c: c.chat("llama", HELLO), 404, NAME),
    (lambda c: c.chat(NAME, HELLO, think=True), 400, "think"),
    (lambda c: c.chat(NAME, HELLO, options={"temprature": 1}), 400, "Did you mean temperature"),
    (lambda c: c.chat(NAME, HELLO, options={"mirostat": 2}), 400, "options.mirostat"),
    (lambda c: c.chat(NAME, HELLO, options={"top_p": -1}), 400, "top_p"),
    (lambda c: c.chat(NAME, [{"role": "user", "content": "春" * 600}]), 400, "512"),
    (lambda c: c.chat(NAME, [{"role": "user", "content": "?", "images": [b"png"]}]), 400, "images"),
    (lambda c: c.generate(NAME, "春", template="{{ .Prompt }}"), 400, "template"),
    (lambda c: c.generate(NAME, "春", suffix="秋"), 400, "suffix"),
    (lambda c: c.generate(NAME, "春", context=[1, 2]), 400, "context"),
    (lambda c: c.generate(NAME, "春" * 600), 400, "512"),
    (lambda c: c.embed(NAME, "春" * 600), 400, "512"),
    (lambda c: c.embed(NAME, "春", dimensions=1000), 400, "dimensions"),
    (lambda c: c.chat(NAME, HELLO, top_logprobs=2), 400, "needs logprobs"),
    (lambda c: c.show("llama"), 404, NAME),
    (lambda c: c.pull("llama"), 400, "haina pull llama"),
    (lambda c: c.delete(NAME), 400, "delete"),
    (lambda c: c.copy(NAME, "b"), 400, "copy"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_cannot_be_done_is_refused_by_name(client: ollama.Client, number: int) -> None:
    ask, status, named = REFUSED[number]
    with pytest.raises(ollama.ResponseError, match=re.escape(named)) as refused:
        ask(client)
    assert refused.value.status_code == status


def test_a_stream_is_refused_before_it_begins(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="512") as refused:
        list(client.generate(NAME, "春" * 600, stream=True))
    assert refused.value.status_code == 400


def test_nothing_is_cut_unless_that_is_asked_for_and_then_it_is_said(
    client: ollama.Client, server: str
) -> None:
    long = [{"role": "system", "content": "答"}]
    for _ in range(8):
        long += [{"role": "user", "content": "春" * 60}, {"role": "assistant", "content": "秋"}]
    asked = {"model": NAME, "messages": [*long, *HELLO], "stream": False, "options": {"num_predict": 5}}
    refused = httpx.post(f"{server}/api/chat", json=asked)
    assert refused.status_code == 400 and "512" in refused.json()["error"]
    answer = httpx.post(f"{server}/api/chat", json=asked | {"truncate": True}).json()
    assert 0 < answer["dropped_rounds"] < 8 and 400 < answer["prompt_eval_count"] <= 507
    short = httpx.post(f"{server}/api/chat", json=asked | {"truncate": True, "messages": HELLO}).json()
    assert "dropped_rounds" not in short
    texts = ["春" * 600, "春"]
    vectors = httpx.post(f"{server}/api/embed", json={"model": NAME, "input": texts, "truncate": True}).json()
    assert vectors["truncated"] == [0] and vectors["prompt_eval_count"] == 513
    assert len(client.embed(NAME, texts, truncate=True).embeddings) == 2


def test_whoever_leaves_frees_the_pages(client: ollama.Client, shelf: Shelf) -> None:
    long = {"type": "array", "items": {"type": "string", "minLength": 8}, "minItems": 200}
    stream = client.chat(NAME, HELLO, format=long, options={"num_predict": 400}, stream=True)
    next(stream)
    stream.close()
    (served,) = shelf.loaded
    pages, end = served.model.engine.pages, time.monotonic() + 5
    while pages.free < pages.count and time.monotonic() < end:
        time.sleep(0.01)
    assert pages.free == pages.count


def test_an_error_in_the_middle_is_a_line() -> None:
    error = ApiError(503, "the engine has stopped", "overloaded")
    assert json.loads(failed(error)) == {"error": "the engine has stopped"}


def test_no_text_breaks_a_line() -> None:
    text = "a\x85b\u2028c\u2029d\x0b\x1c"
    (sent,) = line({"response": text}).decode().splitlines()
    assert json.loads(sent)["response"] == text
