"""Strict: a request's body is read as its schema says, or refused by the name of the field that is wrong.

Nothing is guessed: a number in quotes is no number, NaN is none either, an unknown field is an error that suggests
the nearest known one. With `lenient` unknown fields are dropped instead, and named in a header of the answer. It knows
no dialect: a dialect declares its bodies as subclasses of Strict, each of a name of its own.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from collections.abc import Container, Iterator, Sequence
from functools import cache, partial
from typing import Annotated, Any, TypeVar, get_args

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.json_schema import WithJsonSchema, models_json_schema
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema, from_json

from haina.serve.errors import ApiError
from haina.serve.limits import IN_A_THREAD_BYTES
from haina.wording import say

LONGEST_SHOWN = 120  # characters of a wrong value
SCHEMAS = "#/components/schemas/"

Path = tuple[str | int, ...]


def _tightened(schema: Any) -> Any:
    """Of a list the first error is enough; and where false is the only value, 0 is not (in Python they are equal)."""
    if isinstance(schema, list | tuple):
        return type(schema)(_tightened(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "literal" and not all(isinstance(one, str) for one in schema["expected"]):
        return core_schema.no_info_before_validator_function(
            partial(_of_its_type, schema["expected"]), schema
        )
    more = {"fail_fast": True} if schema.get("type") == "list" else {}
    return {name: _tightened(part) for name, part in schema.items()} | more


def _of_its_type(expected: list[Any], value: object) -> object:
    if type(value) not in map(type, expected):
        names = " or ".join(map(repr, expected))
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": names})
    return value


class Strict(BaseModel):
    """A body, or a part of one. Of a list the first wrong item alone is told: there may be millions."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        tightened: CoreSchema = _tightened(handler(source))
        return tightened


Body = TypeVar("Body", bound=Strict)


def _refuse(value: object) -> None:
    if value is not None:
        raise PydanticCustomError("unsupported", "unsupported")


# the type of a field that clients know and we do not do: only null may be given
Unsupported = Annotated[None, BeforeValidator(_refuse), WithJsonSchema({"type": "null"})]


def _refuse_memory(value: object) -> None:
    if value is not None:
        raise PydanticCustomError("stateless", "stateless")


# of one that refers to what was asked before
Remembered = Annotated[None, BeforeValidator(_refuse_memory), WithJsonSchema({"type": "null"})]


async def read(request: Request, body: type[Body], *, lenient: bool = False) -> Body:
    """The body of a request. ApiError: too large, no JSON, or a field that is wrong.

    What `lenient` dropped is in `request.state.ignored`, and so in the header x-haina-ignored (app.py).
    """
    _no_query(request, lenient)
    wire = await request.body()
    if len(wire) <= IN_A_THREAD_BYTES:
        value, ignored = _parsed(wire, body, lenient)
    else:
        value, ignored = await asyncio.to_thread(_parsed, wire, body, lenient)
    if ignored:
        request.state.ignored = [*getattr(request.state, "ignored", ()), *ignored]
    return value


def _no_query(request: Request, lenient: bool) -> None:
    """What is asked stands in the body; nothing behind a question mark would be heeded."""
    names = list(request.query_params)
    if names and lenient:
        request.state.ignored = [f"?{name}" for name in names]
    elif names:
        name = _shown(names[0])
        en = f"Unknown query parameter {name}; fields belong into the body."
        text = say(en, f"未知的查询参数 {name}；字段应写在请求体中。")
        raise ApiError(400, text, param=name, code="unknown_parameter")


def _parsed(wire: bytes, body: type[Body], lenient: bool) -> tuple[Body, list[str]]:
    """The body, and the unknown fields that were dropped."""
    try:
        return body.model_validate_json(wire, strict=True), []
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    if not lenient or errors[0]["type"] == "json_invalid":
        raise _error(errors, body, wire)
    value = from_json(wire)
    ignored: list[str] = []
    while dropped := _drop_unknown(value, errors):
        ignored += dropped
        try:
            return body.model_validate_json(json.dumps(value), strict=True), ignored
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
    raise _error(errors, body, json.dumps(value))


# -- what is wrong, for people ----------------------------------------------------------------------------------

REASONS = {  # pydantic's own words are for who knows Python
    "string_type": ("should be a string", "应为字符串"),
    "int_type": ("should be a whole number", "应为整数"),
    "float_type": ("should be a number", "应为数字"),
    "bool_type": ("should be true or false", "应为 true 或 false"),
    "list_type": ("should be a list", "应为列表"),
    "dict_type": ("should be an object", "应为对象"),
    "model_type": ("should be an object", "应为对象"),
    "model_attributes_type": ("should be an object", "应为对象"),
    "none_required": ("should be null", "应为 null"),
    "finite_number": ("should be a finite number", "应为有限的数"),
    "greater_than": ("should be greater than {gt}", "应大于 {gt}"),
    "greater_than_equal": ("should be at least {ge}", "应不小于 {ge}"),
    "less_than": ("should be less than {lt}", "应小于 {lt}"),
    "less_than_equal": ("should be at most {le}", "应不大于 {le}"),
    "too_long": ("takes at most {max_length} items", "至多 {max_length} 项"),
    "too_short": ("takes at least {min_length} items", "至少 {min_length} 项"),
    "string_too_long": ("takes at most {max_length} characters", "至多 {max_length} 个字符"),
    "string_too_short": ("takes at least {min_length} characters", "至少 {min_length} 个字符"),
    "string_pattern_mismatch": ("should match {pattern}", "应符合 {pattern}"),
    "literal_error": ("should be {expected}", "应为 {expected}"),
    "union_tag_invalid": ("{tag} is not one of {expected_tags}", "{tag} 不在 {expected_tags} 之中"),
    "union_tag_not_found": ("{discriminator} is missing", "缺少 {discriminator}"),
    "int_parsing": ("should be a whole number", "应为整数"),
    "float_parsing": ("should be a number", "应为数字"),
    "bool_parsing": ("should be true or false", "应为 true 或 false"),
    "value_error": ("{error}", "{error}"),
}
EMPTY = ("should not be empty", "不能为空")


def reason(detail: ErrorDetails) -> str:
    """What is wrong with a value, in the words of REASONS."""
    about = detail.get("ctx", {})
    words = EMPTY if about.get("min_length") == 1 else REASONS.get(detail["type"])
    if words is None:
        return detail["msg"]
    shown = {name: _as_json(value) for name, value in about.items()}
    return say(words[0].format_map(shown), words[1].format_map(shown).replace(" or ", " 或 "))


def _as_json(value: object) -> object:
    """What pydantic lists as Python's literals, as JSON's."""
    if not isinstance(value, str):
        return value
    return re.sub(
        r"\b(True|False|None)\b", lambda m: {"None": "null"}.get(m[0], m[0].lower()), value.replace("'", '"')
    )


def _only_default(detail: ErrorDetails) -> bool:
    """Whether a field takes nothing but what changes nothing: it is there for clients that state the default."""
    about = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        return not re.search("'[^']", str(about["expected"]).replace("''", ""))
    return detail["type"] == "too_long" and about["max_length"] == 0


def _error(errors: list[ErrorDetails], body: type[Strict], wire: bytes | str) -> ApiError:
    if errors[0]["type"] == "json_invalid":
        cause = errors[0]["ctx"]["error"]
        text = say(f"the body is not JSON: {cause}", f"请求体不是 JSON：{cause}")
        return ApiError(400, text, code="invalid_json")
    value = from_json(wire)
    # of a union every member complains; the one that came furthest knows best
    detail = max(errors, key=lambda e: (e["type"] == "too_long", len(_path(e["loc"], value))))
    path = _path(detail["loc"], value, missing=detail["type"] == "missing")
    name = _shown(_dotted(path))
    match detail["type"]:
        case "extra_forbidden":
            hint = _nearest(str(path[-1])[:LONGEST_SHOWN], body, own=len(path) == 1)
            en, zh = (f" Did you mean {hint}?", f"是否想写 {hint}？") if hint else ("", "")
            text = say(f"Unknown field {name}.{en}", f"未知字段 {name}。{zh}")
            return ApiError(400, text, param=name, code="unknown_parameter")
        case "missing":
            text = say(f"The field {name} is missing.", f"缺少字段 {name}。")
            return ApiError(400, text, param=name, code="missing_required_parameter")
        case "stateless":
            en = f"{name}: nothing is kept here between two requests; send the whole conversation instead."
            text = say(en, f"{name}：服务不保留先前的请求；请改为发送完整的对话。")
            return ApiError(400, text, param=name, code="unsupported_parameter")
        case "unsupported":
            return _unsupported(name, "unsupported_parameter")
    if _only_default(detail):
        return _unsupported(name, "invalid_value")
    shown, why = _shown(json.dumps(_at(value, path), ensure_ascii=False)), reason(detail)
    text = say(
        f"Invalid value for {name or 'the body'}: it {why} (it is {shown})",
        f"{name or '请求体'} 的值无效：{why}（现为 {shown}）",
    )
    return ApiError(400, text, param=name or None, code="invalid_value")


def _unsupported(name: str, code: str) -> ApiError:
    text = say(f"haina does not support {name}; leave it out.", f"haina 不支持 {name}；请去掉。")
    return ApiError(400, text, param=name, code=code)


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _path(loc: Sequence[str | int], value: Any, *, missing: bool = False) -> Path:
    """Where in the body an error is: pydantic's location without the names of types that are in it, too."""
    path: list[str | int] = []
    inside: Container[Any]
    for step in loc:
        inside = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        if step in inside:
            value = value[step]
            path.append(step)
    if missing:
        path.append(loc[-1])
    return tuple(path)


def _dotted(path: Path) -> str:
    """messages[0].content, as OpenAI writes it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _drop_unknown(value: Any, errors: list[ErrorDetails]) -> list[str]:
    """Takes unknown fields out of a body; which."""
    dropped: list[str] = []
    for path in [_path(e["loc"], value) for e in errors if e["type"] == "extra_forbidden"]:
        *above, name = path or [""]
        holder = _at(value, above)
        if isinstance(holder, dict) and name in holder:
            del holder[name]
            dropped.append(_dotted(path))
    return dropped


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        value = value[step]
    return value


def _nearest(name: str, body: type[Strict], *, own: bool) -> str | None:
    names = [field.alias or key for key, field in body.model_fields.items()] if own else _names(body)
    close = difflib.get_close_matches(name, names, n=1)
    return close[0] if close else None


@cache
def _names(body: type[Strict]) -> list[str]:
    """Of all fields of a body and its parts."""
    names: set[str] = set()
    seen: set[type[Strict]] = set()
    waiting: list[Any] = [body]
    while waiting:
        kind = waiting.pop()
        if inner := get_args(kind):
            waiting += inner
        elif isinstance(kind, type) and issubclass(kind, Strict) and kind not in seen:
            seen.add(kind)
            names |= {field.alias or key for key, field in kind.model_fields.items()}
            waiting += [field.annotation for field in kind.model_fields.values()]
    return sorted(names)


# -- for the OpenAPI document -----------------------------------------------------------------------------------


def documented(body: type[Strict]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads this body."""
    schema = {"$ref": SCHEMAS + body.__name__}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"4XX": {"description": "what is wrong, in the dialect's shape of an error"}},
    }


def schemas() -> dict[str, Any]:
    """All bodies by name, for the components of the document."""
    _, found = models_json_schema(
        [(body, "validation") for body in _subclasses(Strict)], ref_template=SCHEMAS + "{model}"
    )
    defined: dict[str, Any] = found["$defs"]
    return defined


def _subclasses(body: type[Strict]) -> Iterator[type[Strict]]:
    for sub in body.__subclasses__():
        yield sub
        yield from _subclasses(sub)
