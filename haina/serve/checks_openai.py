"""What OpenAI's own client expects, endpoint by endpoint, whatever the model."""

from __future__ import annotations

import json
import math
from typing import Any

from haina.serve.checks import HELLO, LONG, SCHEMA, SHORT, Check, Target, listed, must, must_fit, refused

CHECKS: list[Check] = []
check = listed(CHECKS)

# -- openai: chat -----------------------------------------------------------------------------------------------

CHAT = "POST /v1/chat/completions"


def _chat(target: Target, **asked: Any) -> Any:
    fields = {"model": target.model, "messages": HELLO, "max_tokens": SHORT, "temperature": 0} | asked
    return target.openai.chat.completions.create(**fields)


@check("openai", "GET /v1/models", "list, retrieve")
def models(target: Target) -> None:
    listed = target.openai.models.list().data
    must(listed and target.openai.models.retrieve(listed[0].id).id == listed[0].id, "the same model")


@check("openai", CHAT, "answer, usage")
def chat(target: Target) -> None:
    answer = _chat(target)
    usage = answer.usage
    must(answer.choices[0].message.role == "assistant", "an assistant's message")
    must(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, "counts that add up")


@check("openai", CHAT, "stream, stream_options.include_usage")
def chat_stream(target: Target) -> None:
    whole = _chat(target)
    *chunks, last = _chat(target, stream=True, stream_options={"include_usage": True})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    must(text == whole.choices[0].message.content, "the text of the whole answer")
    must(last.usage.completion_tokens == whole.usage.completion_tokens, "the same counts")
    must(chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason, "the same end")


@check("openai", CHAT, "max_tokens, max_completion_tokens")
def chat_length(target: Target) -> None:
    for asked in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        answer = target.openai.chat.completions.create(
            model=target.model, messages=HELLO, temperature=0, **asked
        )
        must(answer.usage.completion_tokens <= 2, "two tokens at most")


@check("openai", CHAT, "stop")
def chat_stop(target: Target) -> None:
    text = _chat(target).choices[0].message.content
    answer = _chat(target, stop=[text[2:4]]).choices[0]
    must(
        answer.message.content == text[: text.index(text[2:4])] and answer.finish_reason == "stop",
        "cut there",
    )


@check("openai", CHAT, "n, seed, temperature, top_p, penalties, top_k, min_p, typical_p, repetition_penalty")
def chat_sampling(target: Target) -> None:
    asked: dict[str, Any] = {"n": 3, "seed": 5, "temperature": 1.5, "top_p": 0.9, "presence_penalty": 0.1}
    asked |= {"frequency_penalty": 0.1}
    asked["extra_body"] = {"top_k": 50, "min_p": 0.01, "typical_p": 0.99, "repetition_penalty": 1.1}
    texts = [[choice.message.content for choice in _chat(target, **asked).choices] for _ in range(2)]
    must(len(texts[0]) == 3 and texts[0] == texts[1], "three answers, the same again")


@check("openai", CHAT, "logprobs, top_logprobs with bytes")
def chat_logprobs(target: Target) -> None:
    choice = _chat(target, logprobs=True, top_logprobs=3).choices[0]
    said = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
    must(said.decode(errors="replace") == choice.message.content, "bytes that spell the text")
    must(all(len(token.top_logprobs) == 3 for token in choice.logprobs.content), "three others each")


@check("openai", CHAT, "logit_bias")
def chat_bias(target: Target) -> None:
    first = _chat(target, max_tokens=1, logprobs=True).choices[0].logprobs.content[0].token
    ids = target.post("/tokenize", {"model": target.model, "content": first})["tokens"]
    other = _chat(target, max_tokens=1, logprobs=True, logit_bias={str(id): -100 for id in ids}).choices[0]
    must(other.logprobs.content[0].token != first, "another token")


@check("openai", CHAT, "response_format json_schema")
def chat_schema(target: Target) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}
    must_fit(_chat(target, response_format=format, max_tokens=LONG, temperature=1).choices[0].message.content)


@check("openai", CHAT, "response_format json_object")
def chat_json(target: Target) -> None:
    answer = _chat(target, response_format={"type": "json_object"}, max_tokens=LONG).choices[0]
    must(answer.message.content.lstrip().startswith("{"), "an object")
    if answer.finish_reason == "stop":
        must(isinstance(json.loads(answer.message.content), dict), "a whole object")


def _tool(**about: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": "judge", "description": "of a text", "parameters": SCHEMA},
        **about,
    }


@check("openai", CHAT, "tools, tool_choice, parallel_tool_calls")
def chat_tools(target: Target) -> None:
    named = {"type": "function", "function": {"name": "judge"}}
    for choice in ("required", named):
        asked: dict[str, Any] = {"tools": [_tool()], "tool_choice": choice, "parallel_tool_calls": False}
        answer = _chat(target, max_tokens=LONG, **asked).choices[0]
        (call,) = answer.message.tool_calls
        must(answer.finish_reason == "tool_calls" and call.function.name == "judge", "a call")
        must_fit(call.function.arguments)
        parts = [
            part.function.arguments
            for chunk in _chat(target, max_tokens=LONG, stream=True, **asked)
            for part in chunk.choices[0].delta.tool_calls or ()
        ]
        must("".join(parts) == call.function.arguments, "the same, streamed")
    result = {"role": "tool", "tool_call_id": call.id, "content": "好"}
    said = [*HELLO, answer.message, result]
    must(
        _chat(target, messages=said, tools=[_tool()], tool_choice="none").choices[0].message,
        "an answer to a result",
    )


@check("openai", CHAT, "refused by name: unknown fields, what is too long")
def chat_refused(target: Target) -> None:
    refused(lambda: _chat(target, extra_body={"logit_biass": {}}), 400, "Did you mean logit_bias?")
    refused(lambda: _chat(target, max_tokens=10**8), 400, "context_length_exceeded")
    refused(lambda: _chat(target, model="no/such"), 404, "model_not_found")
    refused(lambda: _chat(target, temperature=-1), 400, "temperature")


# -- openai: the others -----------------------------------------------------------------------------------------


@check("openai", "POST /v1/completions", "prompt shapes, n, echo, stream, best_of")
def completions(target: Target) -> None:
    create = target.openai.completions.create
    asked: dict[str, Any] = {"model": target.model, "max_tokens": 6, "temperature": 0}
    many = create(prompt=["春风", "秋雨"], n=2, echo=True, **asked).choices
    must(
        [choice.text[:2] for choice in many] == ["春风"] * 2 + ["秋雨"] * 2, "two of each, behind the prompt"
    )
    parts = "".join(part.choices[0].text for part in create(prompt="秋雨", stream=True, **asked))
    must(many[2].text == "秋雨" + parts, "the same, streamed")
    must(len(create(prompt="秋雨", best_of=3, **asked).choices) == 1, "the best one")
    ids = target.post("/tokenize", {"model": target.model, "content": "秋雨"})["tokens"]
    must(create(prompt=ids, **asked).choices[0].text == parts, "the same of ids")


@check("openai", "POST /v1/completions", "logprobs")
def completions_logprobs(target: Target) -> None:
    logs = (
        target.openai.completions.create(model=target.model, prompt="春风", max_tokens=4, logprobs=1)
        .choices[0]
        .logprobs
    )
    lengths = {len(logs.tokens), len(logs.token_logprobs), len(logs.top_logprobs), len(logs.text_offset)}
    must(len(lengths) == 1, "four lists of one length")


@check("openai", "POST /v1/embeddings", "texts, ids, base64 and float")
def embeddings(target: Target) -> None:
    create = target.openai.embeddings.create
    packed, plain = (
        create(model=target.model, input=["春风", "秋雨"], **how).data
        for how in ({}, {"encoding_format": "float"})
    )
    near = all(
        math.isclose(a, b, abs_tol=1e-5) for a, b in zip(packed[1].embedding, plain[1].embedding, strict=True)
    )
    must(near, "the same numbers")


@check("openai", "POST /v1/responses", "answer, stream, text.format, tools")
def responses(target: Target) -> None:
    create = target.openai.responses.create
    asked: dict[str, Any] = {
        "model": target.model,
        "input": "你好",
        "max_output_tokens": LONG,
        "temperature": 0,
    }
    whole = create(**asked)
    last = list(create(stream=True, **asked))[-1]
    must(last.response.output_text == whole.output_text, "the same, streamed")
    format = {"type": "json_schema", "name": "verdict", "schema": SCHEMA}
    must_fit(create(text={"format": format}, **asked).output_text)
    tool = {"type": "function", "name": "judge", "parameters": SCHEMA, "strict": True}
    called = create(tools=[tool], tool_choice="required", parallel_tool_calls=False, **asked).output
    must_fit(called[0].arguments)


@check("any", "POST /tokenize, /detokenize", "there and back")
def tokens(target: Target) -> None:
    text = "海纳百川 means the sea."
    ids = target.post("/tokenize", {"model": target.model, "content": text})["tokens"]
    must(
        target.post("/detokenize", {"model": target.model, "tokens": ids})["content"] == text, "the same text"
    )
