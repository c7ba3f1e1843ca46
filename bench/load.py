"""Load: many clients at once in one cheap process, the same for every server: POST /v1/completions, streamed.

Raw HTTP over asyncio, a connection a request: a client library would take more of the two cores than the server does.
What comes is kept and looked at afterwards; how many tokens it was, the server says at its end. It knows no server.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EVENT = b"data: {"
_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
_TEXT = re.compile(rb'"text": ?("(?:[^"\\]|\\.)*")')


class Answer(asyncio.Protocol):
    """One request and what comes of it. `ended` is done when the server has closed the line."""

    def __init__(self, wire: bytes):
        self._wire, self._parts, self._then = wire, list[bytes](), 0
        self.asked_s, self.heard_s, self.first_s = time.perf_counter(), 0.0, 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._wire)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self.heard_s = self.heard_s or time.perf_counter()
        if not self.first_s and EVENT in data:
            self.first_s = time.perf_counter()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)

    def mark(self) -> None:
        """The moment that `tokens_then` is about."""
        self._then = len(self._parts)

    @property
    def served(self) -> bool:
        """Or turned away."""
        return self._parts[0].startswith(b"HTTP/1.1 200")

    @property
    def wait_s(self) -> float:
        """From asking, the connection included, to the first event."""
        return self.first_s - self.asked_s

    @property
    def tokens(self) -> int:
        whole = b"".join(self._parts)
        found = _TOKENS.findall(whole)
        assert found, whole.decode(errors="replace")
        return int(found[-1])

    @property
    def tokens_then(self) -> float:
        """How many tokens it had at the marked moment, by its share of the text: an event may be several tokens."""
        return self.tokens * _characters(self._parts[: self._then]) / _characters(self._parts)


def _characters(parts: list[bytes]) -> int:
    return sum(len(json.loads(text)) for text in _TEXT.findall(b"".join(parts)))


@dataclass(frozen=True)
class Crowd:
    """What all clients were told. The marked moment is when the first answer was whole."""

    answers: list[Answer]

    @property
    def tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)

    @property
    def waits_s(self) -> list[float]:
        return [answer.wait_s for answer in self.answers]

    @property
    def unevenness(self) -> float:
        """Most tokens of a stream at the marked moment / fewest."""
        then = [answer.tokens_then for answer in self.answers]
        return max(then) / min(then)


def crowd(port: int, bodies: Sequence[dict[str, Any]]) -> Crowd:
    """So many clients at once, each with its body."""
    return asyncio.run(_crowd(port, [_wire(body) for body in bodies]))


def stream(port: int, bodies: Sequence[dict[str, Any]], every_s: float) -> list[Answer]:
    """One client after another, however many are still being answered."""
    return asyncio.run(_stream(port, [_wire(body) for body in bodies], every_s))


async def _crowd(port: int, wires: list[bytes]) -> Crowd:
    answers = [Answer(wire) for wire in wires]
    await asyncio.gather(*(_begin(answer, port) for answer in answers))
    await asyncio.wait([answer.ended for answer in answers], return_when=asyncio.FIRST_COMPLETED)
    for answer in answers:
        answer.mark()
    await asyncio.gather(*(answer.ended for answer in answers))
    return Crowd(answers)


async def _stream(port: int, wires: list[bytes], every_s: float) -> list[Answer]:
    answers: list[Answer] = []
    start = time.perf_counter()
    for number, wire in enumerate(wires):
        await asyncio.sleep(start + number * every_s - time.perf_counter())
        answers.append(Answer(wire))
        await _begin(answers[-1], port)
    await asyncio.gather(*(answer.ended for answer in answers))
    return answers


async def _begin(answer: Answer, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: answer, "127.0.0.1", port)


def _wire(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    return (
        f"{head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
    )
