"""The OpenAPI document: of every endpoint what it takes, an example that works, what it answers, how it refuses.

What FastAPI knows of the routes and strict.py of the bodies is put together here with the shapes of answers, which no
route declares: they are dictionaries on their way out, and are checked against this page by the tests
(tests/serve/test_schemathesis.py) instead of at run time. It does not know how an answer is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from haina.serve import strict
from haina.serve.summaries import ABOUT, TAGS, summary

# -- a notation for shapes ----------------------------------------------------------------------------------------
# A type, a constant, or None; [shape] a list of any length; (a, b) one or the other; {"name": shape} an object with
# these fields, in which a name that ends in ? may be missing; `object` anything.

JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}


def schema_of(shape: Any) -> dict[str, Any]:
    """JSON Schema of a shape in the notation above."""
    if shape is object:
        return {}
    if shape is None:
        return {"type": "null"}
    if isinstance(shape, type):
        return {"type": JSON_TYPES[shape]}
    if isinstance(shape, dict):
        return {
            "type": "object",
            "properties": {name.rstrip("?"): schema_of(value) for name, value in shape.items()},
            "required": [name for name in shape if not name.endswith("?")],
        }
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0])}
    if isinstance(shape, tuple):
        return {"anyOf": [schema_of(one) for one in shape]}
    return {"const": shape}


# -- what is answered ---------------------------------------------------------------------------------------------

MODEL = {"id": str, "object": "model", "created": int, "owned_by": str}
USAGE = {
    "prompt_tokens": int,
    "completion_tokens": int,
    "total_tokens": int,
    "prompt_tokens_details": {"cached_tokens": int},
    "completion_tokens_details": {"reasoning_tokens": int},
}
TOKEN = {"token": str, "logprob": float, "bytes": [int]}
LOGPROBS = {"content": [{**TOKEN, "top_logprobs": [TOKEN]}], "refusal": None}
CALL = {"id": str, "type": "function", "function": {"name": str, "arguments": str}}
SAID = {"role": "assistant", "content": (str, None), "refusal": None, "tool_calls?": [CALL]}
FINISH = ("stop", "length", "tool_calls")
CHAT = {
    "id": str,
    "object": "chat.completion",
    "created": int,
    "model": str,
    "choices": [{"index": int, "message": SAID, "logprobs": (LOGPROBS, None), "finish_reason": FINISH}],
    "usage": USAGE,
    "dropped_rounds?": int,
}
TEXT_LOGPROBS = {
    "tokens": [str],
    "token_logprobs": [(float, None)],
    "top_logprobs": [(dict, None)],
    "text_offset": [int],
}
COMPLETION = {
    "id": str,
    "object": "text_completion",
    "created": int,
    "model": str,
    "choices": [
        {"index": int, "text": str, "logprobs": (TEXT_LOGPROBS, None), "finish_reason": ("stop", "length")}
    ],
    "usage": USAGE,
}
EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": int, "embedding": ([float], str)}],
    "model": str,
    "usage": {"prompt_tokens": int, "total_tokens": int},
}
RESPONSE_TEXT = {"type": "output_text", "text": str, "annotations": [dict], "logprobs": [dict]}
RESPONSE_ITEM = (
    {"type": "message", "id": str, "role": "assistant", "status": str, "content": [RESPONSE_TEXT]},
    {"type": "function_call", "id": str, "status": str, "call_id": str, "name": str, "arguments": str},
)
RESPONSE = {
    "id": str,
    "object": "response",
    "created_at": int,
    "completed_at": (int, None),
    "status": ("completed", "incomplete"),
    "error": None,
    "incomplete_details": ({"reason": str}, None),
    "model": str,
    "output": [RESPONSE_ITEM],
    "usage": {"input_tokens": int, "output_tokens": int, "total_tokens": int},
}
MESSAGE = {
    "id": str,
    "type": "message",
    "role": "assistant",
    "model": str,
    "content": [({"type": "text", "text": str}, {"type": "tool_use", "id": str, "name": str, "input": dict})],
    "stop_reason": ("end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"),
    "stop_sequence": (str, None),
    "usage": {"input_tokens": int, "output_tokens": int},
}
TIMES = {
    "done_reason": str,
    "total_duration": int,
    "load_duration": int,
    "prompt_eval_count": int,
    "prompt_eval_duration": int,
    "eval_count": int,
    "eval_duration": int,
}
OLLAMA = {"model": str, "created_at": str, "done": bool}
OLLAMA_CALL = {"function": {"name": str, "arguments": dict}}
OLLAMA_SAID = {"role": "assistant", "content": str, "tool_calls?": [OLLAMA_CALL]}
OLLAMA_MODEL = {"name": str, "model": str, "modified_at": str, "size": int, "digest": str, "details": dict}
TURN = {
    "number": int,
    "parent": (int, None),
    "role": ("user", "assistant"),
    "content": str,
    "about": dict,
    "created_s": float,
}
HEAD = {
    "id": str,
    "title": str,
    "settings": dict,
    "leaf": (int, None),
    "created_s": float,
    "changed_s": float,
}
CONVERSATION = {**HEAD, "messages": [TURN]}
STATUS = {"status": str}

QUOTED = {"text": str, "title": str, "author": str, "dynasty": str}
POEM = {
    "form": str,
    "book": str,
    "pattern": str,
    "rhymes": [str],
    "text": str,
    "lines": [{"text": str, "tones": str, "pattern": str, "rhyme": (str, None), "like?": [QUOTED]}],
    "score": float,
    "nats": float,
    "theme": float,
    "repeated": float,
    "copied": [str],
    "parallel": float,
    "misread": [str],
}

FOUND = {
    "word": str,
    "score": float,
    "why": str,
    "pos?": [("noun", "verb", "adjective", "adverb")],
    "pinyin?": str,
    "frequency?": float,
    "strokes?": int,
    "hsk?": int,
    "examples?": [str],
    "source?": str,
    "licence?": str,
    "cluster?": int,
}
CITATION = {"document": str, "start": int, "end": int, "quote": str}
PASSAGE = {"document": str, "start": int, "end": int, "text": str, "score": float}
ANSWERS: dict[str, Any] = {  # of a path, or of one of its methods
    "/v1/models": {"object": "list", "data": [MODEL]},
    "/v1/models/{name}": MODEL,
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/responses": RESPONSE,
    "/tokenize": {"tokens": [int], "count": int, "max_model_len": int},
    "/detokenize": {"content": str, "prompt": str},
    "/v1/input": {"candidates": [{"text": str, "score": float, "keys": int}]},
    "get /v1/input/words": {"words": [{"text": str, "reading": str, "times": int}]},
    "post /v1/input/words": {"learnt": int},
    "delete /v1/input/words": {"forgotten": int},
    "/v1/poems": {"poems": [POEM]},
    "/v1/poems/forms": {"shi": [str], "tunes": [{"names": [str], "forms": int, "sections": str}]},
    "/v1/words": {"results": [FOUND]},
    "post /v1/search": {"answer": str, "found": bool, "citations": [CITATION], "passages": [PASSAGE]},
    "get /v1/search": {"folders": [str], "documents": int, "passages": int, "unreadable": int},
    "/v1/search/document": {
        "document": str,
        "start": int,
        "end": int,
        "before": str,
        "text": str,
        "after": str,
        "length": int,
    },
    "/v1/messages": MESSAGE,
    "/v1/messages/count_tokens": {"input_tokens": int},
    "/api/chat": {**OLLAMA, **TIMES, "message": OLLAMA_SAID},
    "/api/generate": {**OLLAMA, **TIMES, "response": str},
    "/api/embed": {"model": str, "embeddings": [[float]], "prompt_eval_count": int},
    "/api/embeddings": {"embedding": [float]},
    "/api/version": {"version": str},
    "/api/tags": {"models": [OLLAMA_MODEL]},
    "/api/ps": {"models": [{**OLLAMA_MODEL, "expires_at": str, "size_vram": int, "context_length": int}]},
    "/api/show": {
        "license": str,
        "details": dict,
        "model_info": dict,
        "capabilities": [str],
        "modified_at": str,
    },
    "/api/pull": STATUS,
    "/page/models": {"version": str, "models": [str], "unsaved": (str, None)},
    "/page/card": {"name": str, "card": str},
    "/page/model": {"name": str, "context": int, "chat": bool, "defaults": dict},
    "get /page/conversations": [HEAD],
    "post /page/conversations": CONVERSATION,
    "delete /page/conversations": {"deleted": int},
    "/page/export": {"haina": str, "conversations": [CONVERSATION]},
    "get /page/conversations/{id}": CONVERSATION,
    "patch /page/conversations/{id}": HEAD,
    "delete /page/conversations/{id}": {"deleted": int},
    "/page/conversations/{id}/messages": TURN,
    "/page/conversations/{id}/export": CONVERSATION,
}
STREAMED = {
    "/v1/chat/completions": "text/event-stream",
    "/v1/completions": "text/event-stream",
    "/v1/responses": "text/event-stream",
    "/v1/messages": "text/event-stream",
    "post /v1/search": "text/event-stream",
    "/api/chat": "application/x-ndjson",
    "/api/generate": "application/x-ndjson",
    "/api/pull": "application/x-ndjson",
    "/page/conversations/{id}/export": "text/markdown",
}
PARTS = {
    "text/event-stream": {"data": str, "event?": str},
    "application/x-ndjson": dict,
    "text/markdown": str,
}

# -- what is asked ------------------------------------------------------------------------------------------------

_HELLO = [{"role": "user", "content": "你好"}]


def examples(model: str) -> dict[str, dict[str, Any]]:
    """A body for each path that takes one; each is answered, by a model of this name."""
    return {
        "/v1/chat/completions": {"model": model, "messages": _HELLO, "max_tokens": 32},
        "/v1/completions": {"model": model, "prompt": "春眠不觉晓，", "max_tokens": 32},
        "/v1/embeddings": {"model": model, "input": ["春风", "秋雨"]},
        "/v1/responses": {"model": model, "input": "你好", "max_output_tokens": 32},
        "/tokenize": {"model": model, "content": "海纳百川"},
        "/detokenize": {"model": model, "tokens": [1028]},
        "/v1/input": {"model": model, "keys": "nihaoshijie", "context": "", "top": 5},
        "/v1/input/words": {"words": ["海纳百川"]},
        "/v1/poems": {"model": model, "theme": "秋江", "seed": 1},
        "/v1/words": {"description": "下雨时撑在头上的东西", "top": 5, "details": True},
        "/v1/search": {"question": "海纳由几位开发者写成？"},
        "/v1/messages": {"model": model, "messages": _HELLO, "max_tokens": 32},
        "/v1/messages/count_tokens": {"model": model, "messages": _HELLO},
        "/api/chat": {"model": model, "messages": _HELLO, "stream": False},
        "/api/generate": {"model": model, "prompt": "春眠不觉晓，", "stream": False},
        "/api/embed": {"model": model, "input": ["春风", "秋雨"]},
        "/api/embeddings": {"model": model, "prompt": "春风"},
        "/api/show": {"model": model},
        "/api/pull": {"model": model, "stream": False},
        "/page/conversations": {"title": "春"},
    }


# -- errors -------------------------------------------------------------------------------------------------------

NUMBERS = {"n_prompt_tokens?": int, "n_ctx?": int}  # of context_length_exceeded, as llama.cpp has them
ERRORS = {  # in the order in which errors.shaped asks
    "/api/": ("OllamaError", {"error": str}),
    "/v1/messages": ("AnthropicError", {"type": "error", "error": {"type": str, "message": str}}),
    "/": (
        "OpenAIError",
        {"error": {"message": str, "type": str, "param": (str, None), "code": (str, None), **NUMBERS}},
    ),
}


def _error(path: str) -> dict[str, Any]:
    name = next(name for prefix, (name, _) in ERRORS.items() if path.startswith(prefix))
    return {"application/json": {"schema": {"$ref": strict.SCHEMAS + name}}}


# -- the document -------------------------------------------------------------------------------------------------


def document(app: FastAPI, model: str) -> dict[str, Any]:
    """OpenAPI's, of all routes of the application and of those around it; `model` is named in the examples."""
    tags = [{"name": name, "description": en, "x-zh": zh} for name, (en, zh) in TAGS.items()]
    made = get_openapi(
        title=app.title, version=app.version, description=ABOUT[0], tags=tags, routes=app.routes
    )
    made["info"]["x-zh"] = ABOUT[1]
    made["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    parts = made.setdefault("components", {})
    parts.setdefault("schemas", {}).update(strict.schemas())
    parts["schemas"].update({name: schema_of(shape) for name, shape in ERRORS.values()})
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "with --api-key-file"}
    }
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's, which app.py turns into ours
        parts["schemas"].pop(name, None)
    made["security"] = [{}, {"key": []}]
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            _complete(operation, method, path, model)
    made["paths"] |= dict(_around())
    return made


def _complete(operation: dict[str, Any], method: str, path: str, model: str) -> None:
    """Answers, errors and an example, of an operation as FastAPI knows it."""
    shape = ANSWERS.get(f"{method} {path}", ANSWERS.get(path))
    operation.pop("description", None)  # the docstring, for those who read the source
    operation |= summary(method, path)
    responses = {"4XX": {"description": "refused, and why", "content": _error(path)}}
    responses["503"] = {"description": "not now; Retry-After says when", "content": _error(path)}
    if shape is not None:
        content: dict[str, Any] = {"application/json": {"schema": schema_of(shape)}}
        if kind := STREAMED.get(f"{method} {path}", STREAMED.get(path)):
            content[kind] = {"schema": schema_of(PARTS[kind])}
        responses["200"] = {"description": "the answer", "content": content}
    operation["responses"] = responses
    body = operation.get("requestBody")
    if body and (example := examples(model).get(path)):
        body["content"]["application/json"]["example"] = example


def _around() -> Iterator[tuple[str, dict[str, Any]]]:
    """What health.py answers before the application is asked."""
    for path in ("/healthz", "/health", "/readyz"):
        yield path, {"get": _operation(path, "application/json", schema_of(STATUS))}
    yield "/metrics", {"get": _operation("/metrics", "text/plain", {"type": "string"})}


def _operation(path: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    answer = {"description": "the answer", "content": {kind: {"schema": schema}}}
    return {
        "tags": ["operations"],
        **summary("get", path),
        "operationId": path.strip("/"),
        "responses": {"200": answer, "4XX": {"description": "refused, and why", "content": _error(path)}},
    }
