"""Tools in words: how a model is told of them, how it calls them, and how a call is read while it is written.

A call is text that a grammar lets in no other form, so it can always be parsed, whatever the model:

    <tool_call>
    {"name": "…", "arguments": {…}}
    </tool_call>

(the markers of Nous Research's Hermes models, which many others learnt). It knows no dialect, no HTTP and no engine.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haina.text.messages import Message
from haina.wording import say

OPEN, CLOSE = "<tool_call>\n", "}\n</tool_call>"
_HEAD = re.compile(
    rf'(?:{re.escape(CLOSE)}\n?)?{OPEN}\{{"name": (?P<name>"(?:[^"\\]|\\.)*"), "arguments": (?=\{{)'
)
# what starts with "<t" is a call: nothing else may
_FREE_TEXT = r"TEXT: /([^<]|<[^t])(.|\n)*|<?/"
_COMPOSED = {"$ref", "allOf", "anyOf", "oneOf", "patternProperties"}
_COMPACT = {  # llguidance's options for a schema, as engine/grammar.py has them, but for white space
    "whitespace_flexible": False,
    "lenient": False,
    "coerce_one_of": False,
    "json_allowed_escapes": 'nrbtf\\"',
}


@dataclass(frozen=True)
class Tool:
    """A function that a model may call; `parameters` is the JSON schema of its arguments, an object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A part of a call: the next part of the JSON text of its arguments. `id` and `name` are in the first part only."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Turn:
    """What one side said, in any dialect: `calls` are (name, JSON text of the arguments); role "tool" is a result."""

    role: str  # system, user, assistant, tool
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()


def in_words(turns: Sequence[Turn], tools: Sequence[Tool] = (), choice: str = "auto") -> tuple[Message, ...]:
    """A conversation for a template: system texts are joined and come first, with the tools; results are the user's."""
    system = [turn.text for turn in turns if turn.role == "system" and turn.text]
    if tools and choice != "none":
        system.append(_told(tools))
    said = [Message("system", "\n\n".join(system))] if system else []
    for turn in turns:
        if turn.role == "tool":
            said.append(Message("user", f"<tool_response>\n{turn.text}\n</tool_response>"))
        elif turn.role != "system":
            said.append(Message(turn.role, turn.text + "\n".join(_written(*call) for call in turn.calls)))
    return tuple(said)


def offered(tools: Sequence[Tool], names: Sequence[str], choice: str) -> tuple[Tool, ...]:
    """Of the tools those that are named. ValueError: a name is none of theirs; none is named, but must be called."""
    known = {tool.name: tool for tool in tools}
    for name in names:
        if name not in known:
            raise ValueError(_unknown(name, tools))
    if choice == "required" and not names:
        raise ValueError(
            say(
                "tool_choice requires a call, but allows no tool; name one of them",
                "tool_choice 要求调用工具，却没有允许任何工具；请列出至少一个",
            )
        )
    return tuple(known[name] for name in dict.fromkeys(names))


def _unknown(name: str, tools: Sequence[Tool]) -> str:
    names = ", ".join(tool.name for tool in tools)
    return say(
        f"tool_choice names {name!r}, which is none of the tools ({names})",
        f"tool_choice 指定的 {name!r} 不在 tools 之中（{names}）",
    )


def _told(tools: Sequence[Tool]) -> str:
    lines = [
        json.dumps(
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            ensure_ascii=False,
        )
        for tool in tools
    ]
    example = _written("…", "{…}")
    return "\n".join(("可调用的函数 Functions:", *lines, "调用格式 To call:", example))


def _written(name: str, arguments: str) -> str:
    return f"{_head(name)}{arguments}{CLOSE}"


def _head(name: str) -> str:
    return f'{OPEN}{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": '


def grammar(tools: Sequence[Tool], choice: str, *, parallel: bool, text: Mapping[str, Any] | None) -> str:
    """What an answer may be, in llguidance's Lark: calls, or, where `choice` is "auto", text.

    `text`: a JSON schema that the text has to satisfy. ValueError: there is no tool of the name.
    """
    callable_ = tools if choice in ("auto", "required") else [tool for tool in tools if tool.name == choice]
    if not callable_:
        raise ValueError(_unknown(choice, tools))
    lines = ["start: text | calls" if choice == "auto" else "start: calls"]
    if choice == "auto":
        lines += ["text: TEXT", _FREE_TEXT] if text is None else [f"text: {_json(text)}"]
    lines.append("calls: call" + (r' ("\n" call)*' if parallel else ""))
    lines.append("call: " + " | ".join(f"call_{number}" for number in range(len(callable_))))
    for number, tool in enumerate(callable_):
        lines.append(f"call_{number}: {_quoted(_head(tool.name))} arguments_{number} {_quoted(CLOSE)}")
        lines.append(f"arguments_{number}: {_json(arguments_schema(tool))}")
    return "\n".join(lines) + "\n"


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments. ValueError when it is not one of an object.

    Where it does not say whether there may be others than it names, there are none: they would satisfy it, but no tool
    waits for them, and a small model would go on with them for ever.
    """
    schema = {"type": "object", **tool.parameters}
    if schema["type"] != "object":
        raise ValueError(
            say(
                f'tool {tool.name}: parameters must be a JSON schema of "type": "object"',
                f'工具 {tool.name}：parameters 须为 "type": "object" 的 JSON Schema',
            )
        )
    return schema if _COMPOSED & schema.keys() else {"additionalProperties": False, **schema}


def json_text(schema: Mapping[str, Any]) -> str:
    """JSON of a schema without white space, in which a small model would lose itself: a Lark grammar."""
    return f"start: {_json(schema)}\n"


def _json(schema: Mapping[str, Any]) -> str:
    return "%json " + json.dumps({**schema, "x-guidance": _COMPACT})


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class CallReader:
    """Takes an answer as it comes, and gives its calls in parts; `is_text` says what the answer is, once that is known.

    Only what the grammar above lets through is read; so a brace outside of strings is all that needs counting.
    """

    def __init__(self, *, may_be_text: bool = True) -> None:
        self.is_text: bool | None = None if may_be_text else False
        self.calls = 0
        self._waiting = ""
        self._depth = 0  # of braces in the arguments
        self._quoted = self._escaped = False

    def push(self, text: str) -> list[Call]:
        """The parts that have become certain."""
        self._waiting += text
        if self.is_text is None and not OPEN.startswith(self._waiting[: len(OPEN)]):
            self.is_text = True
        if self.is_text:
            return []
        found: list[Call] = []
        while self._waiting:
            if not self._depth:
                head = _HEAD.match(self._waiting)
                if head is None:
                    break
                self.is_text = False
                self._waiting = self._waiting[head.end() :]
                id, name = f"call_{secrets.token_hex(12)}", json.loads(head["name"])
                found.append(Call(self.calls, id, name, self._arguments()))
                self.calls += 1
            else:
                found.append(Call(self.calls - 1, "", "", self._arguments()))
        return found

    def close(self) -> None:
        """The answer has ended. A call that was cut off in its head is nobody's: no other text begins like one."""
        if self.is_text is None:
            self.is_text = not self._waiting.startswith(OPEN[:2])

    def _arguments(self) -> str:
        """As much as there is of the arguments, up to their last brace."""
        end = 0
        for char in self._waiting:
            end += 1
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped, self._quoted = char == "\\", char != '"'
            elif char == '"':
                self._quoted = True
            elif char in "{}":
                self._depth += 1 if char == "{" else -1
                if not self._depth:
                    break
        part, self._waiting = self._waiting[:end], self._waiting[end:]
        return part
