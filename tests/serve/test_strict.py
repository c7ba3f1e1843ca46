"""Strict: what is wrong is named by its path, and a body that means harm is refused before it costs anything."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any, Literal

import pytest
from fastapi import Request
from pydantic import Field

from haina.serve.errors import ApiError
from haina.serve.limits import _check
from haina.serve.strict import Strict, Unsupported, read


class Red(Strict):
    kind: Literal["red"]
    depth: int


class Blue(Strict):
    kind: Literal["blue"]
    name_of_it: str


class Painting(Strict):
    size: Annotated[float, Field(gt=0)]
    colours: list[Annotated[Red | Blue, Field(discriminator="kind")]] | None = None
    words: str | list[str] | list[int] | None = None
    frame: Unsupported = None


def reading(body: Any, *, lenient: bool = False) -> tuple[Painting, list[str]]:
    wire = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": wire, "more_body": False}

    request = Request({"type": "http", "headers": [], "query_string": b"", "state": {}}, receive)

    async def checked() -> Painting:
        await _check(wire)  # as Attended does before
        return await read(request, Painting, lenient=lenient)

    return asyncio.run(checked()), getattr(request.state, "ignored", [])


@pytest.mark.parametrize(
    ("more", "param", "code", "told"),
    [
        ({"sizes": 1}, "sizes", "unknown_parameter", "Did you mean size?"),
        ({"colours": [{"kind": "blue", "name_of": "x"}]}, "colours[0].name_of", "unknown_parameter", "name_of_it"),
        ({"colours": [{"kind": "red"}]}, "colours[0].depth", "missing_required_parameter", "missing"),
        ({"colours": [{"kind": "green"}]}, "colours[0]", "invalid_value", '"red", "blue"'),
        ({"size": "1"}, "size", "invalid_value", "should be a number"),
        ({"size": 0}, "size", "invalid_value", "greater than 0"),
        ({"size": None}, "size", "invalid_value", "null"),
        ({"words": [1, "a"]}, "words[0]", "invalid_value", "words"),
        ({"words": {"a": 1}}, "words", "invalid_value", "words"),
        ({"frame": "oak"}, "frame", "unsupported_parameter", "leave it out"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(more: dict[str, Any], param: str, code: str, told: str) -> None:
    with pytest.raises(ApiError, match=told) as error:
        reading({"size": 1, **more})
    assert (error.value.status, error.value.param, error.value.code) == (400, param, code)


def test_what_is_right_is_read() -> None:
    painting, ignored = reading(
        {"size": 2, "colours": [{"kind": "red", "depth": 3}], "words": [1], "frame": None}
    )
    assert painting.size == 2 and painting.words == [1] and not ignored


@pytest.mark.parametrize(
    "wire", [b"", b"{", b"nul", b"\xff", b'{"size": NaN}', b"[" * 10**5, b'"\\ud800"', b"{}{}"]
)
def test_what_is_no_json(wire: bytes) -> None:
    with pytest.raises(ApiError) as error:
        reading(wire)
    assert error.value.status == 400


def test_unknown_fields_are_dropped_when_asked_to() -> None:
    body = {"size": 1, "szie": 2, "colours": [{"kind": "red", "depth": 1, "shine": True}]}
    painting, ignored = reading(body, lenient=True)
    assert painting.size == 1 and sorted(ignored) == ["colours[0].shine", "szie"]
    with pytest.raises(ApiError, match="greater than 0"):
        reading({"size": -1, "szie": 2}, lenient=True)
    with pytest.raises(ApiError, match="leave it out"):
        reading({"size": 1, "frame": 1}, lenient=True)


@pytest.mark.parametrize(
    "wire",
    [
        b'{"words": [' + b"{}," * 1_000_000 + b"{}]}",
        b'{"colours": [' + b"{}," * 1_000_000 + b"{}]}",
        b"{" + b",".join(b'"%d": 1' % number for number in range(1_000_000)) + b"}",
        b'{"size": 1, "words": [' + b"1," * 8_000_000 + b"1]}",
        b'{"size": 1, "words": [' + b"[]," * 5_000_000 + b"[]]}",
    ],
    ids=["items", "objects", "names", "numbers", "lists"],
)
def test_millions_of_values_are_refused_at_once(wire: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ApiError) as error:
        reading(wire)
    assert error.value.status == 413 and time.process_time() - began < 0.5


def test_a_long_text_may_hold_what_it_likes() -> None:
    text = '1,"\\\n' * 400_000
    assert reading({"size": 1, "words": text})[0].words == text


def test_errors_are_told_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ApiError, match="size 的值无效：应大于 0"):
        reading({"size": 0})
    with pytest.raises(ApiError, match="未知字段 sizes。是否想写 size？"):
        reading({"size": 1, "sizes": 0})
