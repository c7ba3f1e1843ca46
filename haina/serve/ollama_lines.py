"""What Ollama's chat and generate answer: Pieces as the objects of a stream, a line each, with counts and durations.

It does not know HTTP, nor what was asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from haina.serve.answers import Piece, Said, Usage
from haina.serve.errors import ApiError
from haina.serve.openai import logprob
from haina.serve.sse import compact
from haina.serve.tools import Call

DONE_REASONS = {"stop": "stop", "length": "length", "tool_calls": "stop"}
_BREAKS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})

Line = dict[str, Any]


@dataclass
class Clock:
    """When what happened, in ns of a clock of its own."""

    began: int = field(default_factory=time.perf_counter_ns)
    loaded: int = 0
    read: int = 0  # the prompt

    def durations(self, usage: Usage) -> dict[str, int]:
        now = time.perf_counter_ns()
        loaded, read = self.loaded or now, self.read or now
        return {
            "total_duration": now - self.began,
            "load_duration": loaded - self.began,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": read - loaded,
            "eval_count": usage.new_tokens,
            "eval_duration": now - read,
        }


class Lines:
    """The objects of one answer. `chat`: text in a message, or in `response`."""

    def __init__(self, model: str, usage: Usage, clock: Clock, *, chat: bool):
        self._model, self._usage, self._clock, self._chat = model, usage, clock, chat
        self._call: Call | None = None  # that is being written

    def of(self, piece: Piece) -> Iterator[Line]:
        """What a piece adds; with its `finish` the answer ends."""
        self._clock.read = self._clock.read or time.perf_counter_ns()
        calls = list(self._calls(piece))
        if piece.text or piece.said or calls:
            yield self._line(piece.text, calls, piece.said)
        if piece.finish:
            yield self.last(DONE_REASONS[piece.finish])

    def last(self, reason: str) -> Line:
        rounds = self._usage.dropped_rounds
        dropped = {"dropped_rounds": rounds} if rounds else {}
        end = self._line("", done=True) | {"done_reason": reason}
        return end | self._clock.durations(self._usage) | dropped

    def reading(self, done: int, total: int) -> Line:
        """A sign of life while a prompt is read; the extra field is the one of llama.cpp's server."""
        return self._line("") | {"prompt_progress": {"processed": done, "total": total}}

    def _calls(self, piece: Piece) -> Iterator[Call]:
        """Calls that are whole now: here they come in one piece."""
        part, begun = piece.call, self._call
        if begun and part and part.index == begun.index:
            self._call = replace(begun, arguments=begun.arguments + part.arguments)
        elif part:
            if begun:
                yield begun
            self._call = part
        if piece.finish and self._call and _whole(self._call.arguments):
            yield self._call

    def _line(
        self, text: str, calls: list[Call] | None = None, said: tuple[Said, ...] = (), *, done: bool = False
    ) -> Line:
        line: Line = {"model": self._model, "created_at": now()}
        if self._chat:
            line["message"] = {"role": "assistant", "content": text}
            if calls:
                line["message"]["tool_calls"] = [_tool_call(call) for call in calls]
        else:
            line["response"] = text
        if said:
            line["logprobs"] = [logprob(token) for token in said]
        return line | {"done": done}


def _whole(arguments: str) -> bool:
    """Whether they were not cut short by the longest answer."""
    try:
        json.loads(arguments)
    except json.JSONDecodeError:
        return False
    return True


def _tool_call(call: Call) -> dict[str, Any]:
    function = {"index": call.index, "name": call.name, "arguments": json.loads(call.arguments)}
    return {"id": call.id, "function": function}


def put_together(lines: Iterable[Line]) -> Line:
    """The one object that stands for all lines of an answer."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    logprobs: list[dict[str, Any]] = []
    for part in lines:
        message = part.get("message", {})
        texts.append(message.get("content", part.get("response")))
        calls += message.get("tool_calls", [])
        logprobs += part.get("logprobs", [])
    last = dict(part)
    if "message" in last:
        last["message"] = {"role": "assistant", "content": "".join(texts)} | (
            {"tool_calls": calls} if calls else {}
        )
    else:
        last["response"] = "".join(texts)
    return last | ({"logprobs": logprobs} if logprobs else {})


def now() -> str:
    """This moment as Go writes it."""
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


def line(value: dict[str, Any]) -> bytes:
    """A line of a stream. Python's client takes what Unicode calls a line's end for one, so none is written."""
    return compact(value).translate(_BREAKS).encode() + b"\n"


def failed(error: ApiError) -> bytes:
    """How a stream says that it cannot go on."""
    return line({"error": error.message})
