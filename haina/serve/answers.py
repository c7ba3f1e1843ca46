"""Answers: a question in, pieces of text and calls out, with exact counts. What all dialects share.

A dialect makes a Question of its request and a response of the Pieces. It knows no HTTP and no dialect; what it adds
to the engine is text: the prompt's ids, stop strings, characters that are whole, tool calls, grammars.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from haina.apps import chat
from haina.apps.chat import chat_template
from haina.engine.constraint import Constraint
from haina.engine.grammar import Grammars
from haina.engine.request import Request, Score, Scored, Scores, Token
from haina.engine.sampling import Sampling
from haina.serve.engine_thread import Progress
from haina.serve.tools import Call as Call
from haina.serve.tools import CallReader, arguments_schema, grammar, json_text
from haina.serve.tools import Tool as Tool
from haina.text.messages import Message, assemble, eos_ids
from haina.text.stream import Stops, TextStream
from haina.text.tokenizer import Tokenizer
from haina.wording import say

if TYPE_CHECKING:
    from haina.serve.shelf import Served

UNLIMITED = 1 << 40  # tokens: no round is left out, what is too long is refused
AT_ONCE_CHARS = 4096  # of a text: more take longer to cut into tokens than a step of a small model

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What any dialect can ask: to answer `messages` or to go on with `prompt`.

    `max_new_tokens` None: the model's default, and no more than the context has room for; a number that does not fit
    is refused, or `at_most` the room taken; 0 only with `echo`. `truncate`: of a conversation that is too long its
    oldest rounds are left out. `output`: None, or {"type": "json_object"}, {"type": "json_schema", "schema": …},
    {"type": "regex", "pattern": …}, {"type": "grammar", "grammar": …} (Lark), {"type": "choice", "choices": […]}.
    `tool_choice`: auto, none, required, or the name of a tool. `messages` have tools, calls and results in words by
    now (tools.in_words).
    """

    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] = ""
    sampling: Sampling = Sampling()
    max_new_tokens: int | None = None
    at_most: bool = False
    truncate: bool = False
    stop: tuple[str, ...] = ()
    n: int = 1
    best_of: int | None = None
    output: Any = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    parallel_calls: bool = True
    logprobs: bool = False
    echo: bool = False
    tenant: str = ""
    priority: int = 0

    @property
    def length(self) -> int:
        """Of what there is to read, in characters or ids."""
        return len(self.prompt) + sum(len(message.content) for message in self.messages)

    @property
    def may_call(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"


@dataclass(frozen=True)
class Said:
    """One token, for logprobs: its bytes may be half a character. `top`: (id, bytes, nats) of the likeliest here."""

    id: int
    text_bytes: bytes
    nats: float
    top: tuple[tuple[int, bytes, float], ...]


@dataclass(frozen=True)
class Piece:
    """What is new of answer `choice`. `finish`: stop, length or tool_calls, in its last piece."""

    choice: int
    text: str = ""
    said: tuple[Said, ...] = ()
    call: Call | None = None
    finish: str | None = None
    stop_string: str | None = None


@dataclass
class Usage:
    """Tokens, exact at any time. `new_tokens` counts what the model made, the end of the text with it."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    dropped_rounds: int = 0  # of the conversation, oldest first


class TooLong(ValueError):
    """A prompt and the new tokens that were asked for (0: none in particular) are more than the context."""

    def __init__(self, prompt_tokens: int, new_tokens: int, context: int, *, least: bool = False):
        """`least`: the prompt has so many tokens at least; it was not counted further."""
        self.prompt_tokens, self.new_tokens, self.context = prompt_tokens, new_tokens, context
        en = f"the prompt has {'at least ' if least else ''}{prompt_tokens:,} tokens"
        zh = f"提示{'至少有' if least else '共'} {prompt_tokens:,} 个词元"
        if new_tokens:
            en += f" and {new_tokens:,} new ones were asked for"
            zh += f"，另要求生成 {new_tokens:,} 个"
        en += f"; the context is {context:,} tokens: "
        zh += f"；上下文为 {context:,} 个词元："
        room = f"{context - prompt_tokens:,}"
        cure_en, cure_zh = (
            (f"ask for at most {room}", f"最多可要求 {room} 个") if self.fits else ("shorten it", "请缩短")
        )
        super().__init__(say(en + cure_en, zh + cure_zh))

    @property
    def fits(self) -> bool:
        """Whether the prompt does, with room for an answer: then too much of it was asked for."""
        return self.new_tokens > 0 and self.prompt_tokens < self.context


async def unhurried(length: int, work: Callable[[], T]) -> T:
    """Work on a text of so many characters: beside the loop, where it would hold up everybody's streams."""
    return work() if length <= AT_ONCE_CHARS else await asyncio.to_thread(work)


def prompt_ids(served: Served, question: Question) -> tuple[int, ...]:
    """The ids of the whole prompt. TooLong by far, ValueError: no conversation, or a base model's."""
    model = served.model
    check_length(served, [message.content for message in question.messages] or [question.prompt])
    if question.messages:
        template = chat_template(model)
        return assemble(question.messages, model.tokenizer, template, room_tokens=UNLIMITED).ids
    return text_ids(served, question.prompt)


def text_ids(served: Served, text: str | Sequence[int]) -> tuple[int, ...]:
    """The ids of a text as the network wants to see it; ids stay as they are."""
    return chat.text_ids(served.model, text) if isinstance(text, str) else tuple(text)


def check_length(served: Served, texts: Sequence[str | Sequence[int]]) -> None:
    """Refuses what is too long by far before it is cut into tokens: of many megabytes that takes seconds."""
    longest = _longest_piece(served.model.tokenizer)
    least = sum(len(text) // longest if isinstance(text, str) else len(text) for text in texts)
    if least > served.model.context:
        raise TooLong(least, 0, served.model.context, least=True)


def opening(served: Served, text: str) -> str:
    """So much of a text that it fills the context, and is still too long for it if it was; rather more than less."""
    return text[: (served.model.context + 1) * _longest_piece(served.model.tokenizer)]


@lru_cache(maxsize=8)
def _longest_piece(tokenizer: Tokenizer) -> int:
    """Characters: a text of n of them has at least n / this tokens."""
    return max(len(tokenizer.piece(id)) for id in range(tokenizer.size))


async def answer(served: Served, question: Question, usage: Usage) -> AsyncGenerator[Piece | Progress, None]:
    """The pieces of all answers as they come, and before them how much of the prompt has been read.

    Closing the generator frees the request's pages. TooLong, ValueError: refused, before anything was said, or the
    grammar has come to a dead end. EngineStopped.
    """
    request = await unhurried(question.length, lambda: _request(served, question, usage))
    if question.output is not None or question.may_call:
        constraint = await asyncio.to_thread(_constraint, served, question)  # may take a second
        request = replace(request, constraint=constraint)
    stops = await unhurried(sum(map(len, question.stop)), lambda: Stops(question.stop))
    usage.prompt_tokens = len(request.ids)
    voices = [
        _Voice(served.model.tokenizer, request, question, stops, choice) for choice in range(question.n)
    ]
    if question.echo:
        echoed = await _echo(served, request.ids, question)
        for voice in voices:
            yield replace(echoed, choice=voice.choice)
    if question.max_new_tokens == 0:
        return
    async with aclosing(served.events(request)) as events:
        async for event in events:
            if isinstance(event, Progress):
                yield event
                continue
            assert isinstance(event, Token)
            if event.finish == "error":
                raise ValueError(event.error)
            voice = voices[event.choice]
            if voice.ended:
                continue  # a stop string ended it in this very step
            usage.new_tokens += 1
            usage.cached_tokens = max(usage.cached_tokens, event.shared_tokens)
            for piece in voice.hear(event):
                yield piece
            if all(voice.ended for voice in voices):
                return
            if voice.ended and event.finish is None:
                served.thread.end_choice(event.request, event.choice)


async def _echo(served: Served, ids: tuple[int, ...], question: Question) -> Piece:
    """The prompt as if it had been said; of choice 0, the end of it if nothing follows."""
    text = question.prompt if isinstance(question.prompt, str) else served.model.tokenizer.decode(ids)
    said = await _heard(served, ids, question) if question.logprobs else ()
    return Piece(0, text, said, finish=None if question.max_new_tokens != 0 else "length")


async def _heard(served: Served, ids: tuple[int, ...], question: Question) -> tuple[Said, ...]:
    """What the model would have given for each token of a prompt; nan for the first, before which there is nothing."""
    score = Score(ids[:1], (ids[1:],), question.priority, question.tenant, question.sampling.top_logprobs)
    async with aclosing(served.events(score)) as events:
        async for event in events:
            if isinstance(event, Scores):
                if event.error:
                    raise ValueError(event.error)
                return _of_prompt(served.model.tokenizer, ids, (Scored(math.nan, ()), *event.tokens[0]))
    raise AssertionError("a Score ended without its nats")


def _of_prompt(tokenizer: Tokenizer, ids: tuple[int, ...], scored: Sequence[Scored]) -> tuple[Said, ...]:
    said, opening = [], True
    for id, one in zip(ids, scored, strict=True):
        top = tuple((other, _bytes_of(tokenizer, other, opening), nats) for other, nats in one.top)
        said.append(Said(id, _bytes_of(tokenizer, id, opening), one.nats, top))
        _, opening = tokenizer.added_bytes(id, opening=opening)
    return tuple(said)


def _bytes_of(tokenizer: Tokenizer, id: int, opening: bool) -> bytes:
    """What an id adds here; of one that is no text, how the vocabulary writes it."""
    added, _ = tokenizer.added_bytes(id, opening=opening)
    return added or tokenizer.piece(id).encode()


def _request(served: Served, question: Question, usage: Usage) -> Request:
    """Without the grammar of its answer: what is too long is refused before one is made."""
    model, ids = served.model, _prompt(served, question, usage)
    asked, room = question.max_new_tokens, model.context - len(ids)
    least = 1 if asked is None or question.at_most else asked
    if least > room:
        raise TooLong(len(ids), asked if asked and not question.at_most else 0, model.context)
    stop_ids = frozenset(eos_ids(model.checkpoint.generation, model.tokenizer.eos_id))
    banned_ids: frozenset[int] = frozenset()
    if question.messages:
        stop_ids = chat_template(model).stop_ids
        banned_ids = model.unspeakable_ids - stop_ids
    return Request(
        ids,
        max_new_tokens=min(served.settings.max_new_tokens if asked is None else asked, room),
        sampling=question.sampling,
        stop_ids=stop_ids,
        banned_ids=banned_ids,
        n=question.n,
        best_of=question.best_of,
        tenant=question.tenant,
        priority=question.priority,
    )


def _prompt(served: Served, question: Question, usage: Usage) -> tuple[int, ...]:
    """As prompt_ids; where the question allows it, without the oldest rounds, as `haina chat` leaves them out.

    Then the answer has its room, half of the context at most. ValueError: the newest round does not fit by itself.
    """
    model = served.model
    if not (question.truncate and question.messages):
        return prompt_ids(served, question)
    check_length(served, [question.messages[-1].content])
    longest = served.settings.max_new_tokens if question.max_new_tokens is None else question.max_new_tokens
    room = max(model.context - longest, model.context // 2)
    prompt = assemble(question.messages, model.tokenizer, chat_template(model), room_tokens=room)
    usage.dropped_rounds = prompt.dropped_rounds
    return prompt.ids


def _constraint(served: Served, question: Question) -> Constraint:
    """The grammar of an answer. ValueError: it is none."""
    grammars, output = served.grammars, question.output or {}
    kind = output.get("type")
    if kind == "regex":
        other = grammars.regex(output["pattern"])
    elif kind == "grammar":
        other = grammars.lark(output["grammar"])
    elif kind == "choice":
        other = grammars.choice(output["choices"])
    else:
        return _json_constraint(
            grammars, question, None if kind is None else output.get("schema", {"type": "object"})
        )
    if question.may_call:
        raise ValueError(
            say(
                f"an output of type {kind} cannot be combined with tools; leave out one of them",
                f"{kind} 类型的输出格式不能与工具同时使用；请去掉其一",
            )
        )
    return other


def _json_constraint(grammars: Grammars, question: Question, schema: Any) -> Constraint:
    """Calls, JSON of a schema, or either. Each schema is compiled by itself first: then it is refused by itself."""
    if schema is not None:
        grammars.json_schema(schema)
        schema = {} if schema is True else schema
    if not question.may_call:
        return grammars.lark(json_text(schema))
    for tool in question.tools:
        grammars.json_schema(arguments_schema(tool))
    return grammars.lark(
        grammar(question.tools, question.tool_choice, parallel=question.parallel_calls, text=schema)
    )


class _Voice:
    """One of the answers in the making: tokens in, pieces out."""

    def __init__(self, tokenizer: Tokenizer, request: Request, question: Question, stops: Stops, choice: int):
        self.choice, self.ended = choice, False
        self._tokenizer, self._request, self._question = tokenizer, request, question
        # a grammar's text is taken as it is; so is what continues another text
        self._opening = bool(question.messages) and (request.constraint is None or question.may_call)
        self._text = TextStream(tokenizer, stop=stops, opening=self._opening)
        self._waiting = ""  # text, until it is certain that the answer is no call
        self._reader = CallReader(may_be_text=question.tool_choice == "auto") if question.may_call else None
        self._raw = TextStream(tokenizer, opening=self._opening)  # for the reader: no stop string cuts a call
        self._bytes: list[bytes] = []
        self._silent = True  # nothing has been said yet

    def hear(self, token: Token) -> list[Piece]:
        said: tuple[Said, ...] = ()
        calls: list[Call] = []
        if token.id not in self._request.stop_ids:
            if self._question.logprobs:
                said = (self._said(token),)
            added, self._opening = self._tokenizer.added_bytes(token.id, opening=self._opening)
            self._bytes.append(added)
            self._waiting += self._text.push(token.id)
            if self._reader and not self._reader.is_text:
                calls = self._reader.push(self._raw.push(token.id))
        stopped = self._text.stopped and (self._reader is None or self._reader.is_text is True)
        self.ended = stopped or token.finish is not None
        if self.ended:
            self._waiting += self._text.close()
            if self._reader:
                self._reader.close()
        pieces = [Piece(self.choice, call=call) for call in calls]
        text = self._ready()
        if text or said or self._silent:  # the first token is told, whether or not it is text yet
            pieces.insert(0, Piece(self.choice, text, said))
        self._silent = False
        if self.ended:
            last = pieces.pop() if pieces else Piece(self.choice)
            pieces.append(
                replace(last, finish=self._finish(token, stopped), stop_string=self._found(stopped))
            )
        return pieces

    def _ready(self) -> str:
        if self._reader and not self._reader.is_text:
            return ""
        text, self._waiting = self._waiting, ""
        return text

    def _finish(self, token: Token, stopped: bool) -> str:
        if not stopped and token.finish != "stop":
            return "length"  # or a loop: the model had not come to an end
        return "tool_calls" if self._reader and self._reader.calls else "stop"

    def _found(self, stopped: bool) -> str | None:
        """The stop string that ended the answer."""
        if not stopped:
            return None
        rest = b"".join(self._bytes).decode(errors="replace")[len(self._text.text) :]
        return max((stop for stop in self._question.stop if rest.startswith(stop)), key=len)

    def _said(self, token: Token) -> Said:
        tokenizer, opening = self._tokenizer, self._opening
        top = tuple((id, _bytes_of(tokenizer, id, opening), nats) for id, nats in token.top)
        return Said(token.id, _bytes_of(tokenizer, token.id, opening), token.logprob_nats, top)
