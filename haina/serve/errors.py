"""ApiError: what a caller is told when a request fails, and the shape in which the clients of a path expect it.

It knows no HTTP server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from haina.serve.answers import TooLong
from haina.serve.engine_thread import EngineStopped
from haina.serve.shelf import NotLoaded, UnknownModel
from haina.wording import say

Kind = Literal[
    "invalid_request",
    "authentication",
    "permission",
    "not_found",
    "too_large",
    "rate_limit",
    "overloaded",
    "timeout",
    "api",
]
RETRY_S = 5  # until a model that could not be loaded, or an engine that has stopped, is asked for again


@dataclass
class ApiError(Exception):
    """`status` is HTTP's; `param` the path of the field that is at fault; `code` what a program may compare.

    `numbers`: of the message, by name, for whoever says it in words of their own.
    """

    status: int
    message: str
    kind: Kind = "invalid_request"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


def of(
    error: ValueError | UnknownModel | NotLoaded | EngineStopped,
    prompt: str = "messages",
    longest: str = "max_tokens",
) -> ApiError:
    """What a caller is told of an error of serve/answers.py or serve/shelf.py; see `told`."""
    match error:
        case TooLong():
            numbers = {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.context}
            param = longest if error.fits else prompt
            return ApiError(400, str(error), param=param, code="context_length_exceeded", numbers=numbers)
        case UnknownModel():
            return ApiError(404, str(error), "not_found", param="model", code="model_not_found")
        case NotLoaded():
            return ApiError(503, str(error), "overloaded", code="model_not_loaded", headers=_retry())
        case EngineStopped():
            return ApiError(503, str(error), "overloaded", code="engine_stopped", headers=_retry())
    return ApiError(400, str(error), code="invalid_value")


def broken(number: str) -> ApiError:
    """Our own fault; the log says more under this number."""
    text = say(f"something went wrong here; the log has it as {number}", f"服务出错；日志编号 {number}")
    return ApiError(500, text, "api", code="internal_error")


@contextmanager
def told(prompt: str = "messages", longest: str = "max_tokens") -> Iterator[None]:
    """Around what a caller's request can make fail: any such error becomes an ApiError.

    `prompt` and `longest` are the fields at fault when the prompt is too long, or too many new tokens are asked for.

    What nobody foresaw passes: serve/logs.py makes a 500 of it, and serve/sse.py the end of a stream.
    """
    try:
        yield
    except (ValueError, UnknownModel, NotLoaded, EngineStopped) as error:
        raise of(error, prompt, longest) from error


def shaped(path: str, error: ApiError) -> dict[str, Any]:
    """The body of an error: Ollama's, Anthropic's, or, for everybody else, OpenAI's."""
    if path.startswith("/api/"):
        return {"error": error.message}
    if path.startswith("/v1/messages"):
        name = {"too_large": "request_too_large"}.get(error.kind, f"{error.kind}_error")
        return {"type": "error", "error": {"type": name, "message": error.message}}
    name = {"too_large": "invalid_request_error", "rate_limit": "requests"}.get(
        error.kind, f"{error.kind}_error"
    )
    told = {"message": error.message, "type": name, "param": error.param, "code": error.code}
    return {"error": {**told, **error.numbers}}


def _retry() -> dict[str, str]:
    return {"retry-after": str(RETRY_S)}
