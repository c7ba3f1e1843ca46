"""What the clients of Anthropic and Ollama expect, endpoint by endpoint, whatever the model."""

from __future__ import annotations

import json
from typing import Any

from haina.serve.checks import HELLO, LONG, SCHEMA, Check, Target, listed, must, must_fit, refused

CHECKS: list[Check] = []
check = listed(CHECKS)

# -- anthropic --------------------------------------------------------------------------------------------------

MESSAGES = "POST /v1/messages"


def _message(target: Target, **asked: Any) -> dict[str, Any]:
    extra = {"temperature": 0} | asked.pop("extra_body", {})  # their client has it no more
    return {"model": target.model, "max_tokens": LONG, "messages": HELLO, "extra_body": extra} | asked


@check("anthropic", MESSAGES, "answer, stream, system, stop_sequences")
def messages(target: Target) -> None:
    whole = target.anthropic.messages.create(**_message(target))
    with target.anthropic.messages.stream(**_message(target)) as stream:
        must("".join(stream.text_stream) == whole.content[0].text, "the same, streamed")
    stop = whole.content[0].text[1:3]
    cut = target.anthropic.messages.create(**_message(target, stop_sequences=[stop]))
    must((cut.stop_reason, cut.stop_sequence) == ("stop_sequence", stop), "cut there")
    must(target.anthropic.messages.create(**_message(target, system="用中文回答。")).content, "an answer")


@check("anthropic", MESSAGES, "tools, tool_choice")
def messages_tools(target: Target) -> None:
    tool = {"name": "judge", "description": "of a text", "input_schema": SCHEMA}
    choice = {"type": "any", "disable_parallel_tool_use": True}
    (block,) = target.anthropic.messages.create(**_message(target, tools=[tool], tool_choice=choice)).content
    must(block.type == "tool_use", "a call")
    must_fit(json.dumps(block.input))


@check("anthropic", MESSAGES, "refused by name")
def messages_refused(target: Target) -> None:
    create = target.anthropic.messages.create
    refused(lambda: create(**_message(target, extra_body={"temprature": 1})), 400, "Did you mean temperature")


@check("anthropic", "POST /v1/messages/count_tokens", "input_tokens")
def count_tokens(target: Target) -> None:
    counted = target.anthropic.messages.count_tokens(model=target.model, messages=HELLO).input_tokens
    usage = target.anthropic.messages.create(**_message(target)).usage
    must(counted == usage.input_tokens + (usage.cache_read_input_tokens or 0), "what the answer says")


# -- ollama -----------------------------------------------------------------------------------------------------

GREEDY = {"temperature": 0, "num_predict": LONG}


@check("ollama", "POST /api/chat", "answer, stream, format")
def ollama_chat(target: Target) -> None:
    whole = target.ollama.chat(target.model, HELLO, options=GREEDY)
    *parts, last = target.ollama.chat(target.model, HELLO, options=GREEDY, stream=True)
    must("".join(part.message.content for part in parts) == whole.message.content, "the same, streamed")
    must(last.done and last.eval_count == whole.eval_count, "the same counts")
    must_fit(target.ollama.chat(target.model, HELLO, format=SCHEMA, options=GREEDY).message.content)


@check("ollama", "POST /api/generate", "answer, raw, stream")
def ollama_generate(target: Target) -> None:
    must(target.ollama.generate(target.model, "你好", options=GREEDY).response, "an answer")
    options = {"temperature": 0, "num_predict": 2}
    *_, last = target.ollama.generate(target.model, "春", raw=True, options=options, stream=True)
    must(last.done and last.eval_count <= 2, "an end")


@check("ollama", "POST /api/embed", "texts")
def ollama_embed(target: Target) -> None:
    must(len(target.ollama.embed(target.model, ["春", "秋"]).embeddings) == 2, "two vectors")


@check("ollama", "GET /api/tags, POST /api/show", "models")
def ollama_models(target: Target) -> None:
    must(target.model in [one.model for one in target.ollama.list().models], "the model")
    must(target.ollama.show(target.model).modelinfo, "what it is")


@check("ollama", "POST /api/chat", "refused by name")
def ollama_refused(target: Target) -> None:
    asked = {"options": {"temprature": 1}}
    refused(lambda: target.ollama.chat(target.model, HELLO, **asked), 400, "Did you mean temperature")
