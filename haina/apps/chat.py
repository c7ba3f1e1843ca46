"""Chat: messages in, one answer out, as text that comes piece by piece; and the conversation around it.

It joins the three things that do not know each other: the format of a conversation (text/messages.py), the
engine's ids, and the stream that makes characters of them. It knows neither terminals nor HTTP: both call `reply`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from haina.apps.model import Model
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Request
from haina.engine.sampling import Sampling
from haina.options.talk import ChatOptions
from haina.text.messages import ROLES, Message, Template, assemble, eos_ids
from haina.text.stream import TextStream
from haina.wording import say

DEFAULT_NEW_TOKENS = 512
Prefill = Callable[[int, int], None]  # tokens of the prompt that have been read, and all of them


@dataclass(frozen=True)
class Settings:
    """How an answer is made."""

    sampling: Sampling = Sampling()
    max_new_tokens: int = DEFAULT_NEW_TOKENS
    stop: tuple[str, ...] = ()

    @classmethod
    def of(cls, checkpoint: Checkpoint, asked: ChatOptions, *, stop: Sequence[str] = ()) -> Settings:
        """generation_config.json, and over it what was asked for. ValueError: a value out of range."""
        file = str(checkpoint.folder / "generation_config.json")
        sampling = Sampling.from_generation(checkpoint.generation, file=file)
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
        given = {name: value for name in names if (value := getattr(asked, name)) is not None}
        longest = asked.max_new_tokens or _longest(checkpoint.generation, file)
        return cls(replace(sampling, **given), longest, tuple(stop))


def _longest(generation: dict[str, Any], file: str) -> int:
    value = generation.get("max_new_tokens")
    if value is None:
        return DEFAULT_NEW_TOKENS
    if type(value) is not int or value < 1:
        raise ValueError(
            say(
                f"{file}: max_new_tokens = {value!r} is no number of tokens; correct it",
                f"{file}：max_new_tokens = {value!r} 不是词元数；请改正",
            )
        )
    return value


class Reply:
    """One answer in the making. Iterate it, once, for its text; the numbers are true when the iteration has ended.

    There is a piece for every token, "" where no character is complete yet, so that the consumer can stop between
    any two. When it does, by leaving the loop and closing the iterator, the engine drops the request.
    """

    def __init__(
        self,
        engine: Engine,
        request: Request,
        stream: TextStream,
        *,
        dropped_rounds: int = 0,
        on_prefill: Prefill | None = None,
    ):
        self._engine, self._request, self._stream, self._on_prefill = engine, request, stream, on_prefill
        self.dropped_rounds = dropped_rounds  # oldest rounds that were left out of the prompt
        self.prompt_tokens = len(request.ids)
        self.shared_tokens = 0  # of the prompt: read before, in an earlier round
        self.new_tokens = 0
        self.finish: Literal["stop", "length", "loop", "cancelled"] = "cancelled"
        self.prefill_s = self.decode_s = 0.0  # to the first token; from there to the end

    @property
    def text(self) -> str:
        """What has been handed out so far."""
        return self._stream.text

    def __iter__(self) -> Generator[str, None, None]:
        began = time.perf_counter()
        with closing(self._engine.generate([self._request], on_prefill=self._on_prefill)) as tokens:
            for token in tokens:
                now = time.perf_counter()
                self.prefill_s = self.prefill_s or now - began
                self.decode_s = now - began - self.prefill_s
                self.new_tokens += 1
                self.shared_tokens = token.shared_tokens
                if token.id not in self._request.stop_ids:
                    yield self._stream.push(token.id)
                if token.finish or self._stream.stopped:
                    assert token.finish != "error"
                    self.finish = "stop" if self._stream.stopped else token.finish or "stop"
                    break
        yield self._stream.close()


def reply(
    model: Model, messages: Sequence[Message], settings: Settings, *, on_prefill: Prefill | None = None
) -> Reply:
    """The model's answer to a conversation. ValueError for a base model, and for a message that does not fit.

    Old rounds are left out so that the answer has its room, at most half of the context.
    """
    template = chat_template(model)
    room = max(model.context - settings.max_new_tokens, model.context // 2)
    most = model.context - 1
    prompt = assemble(messages, model.tokenizer, template, room_tokens=room, most_tokens=most)
    request = Request(
        ids=prompt.ids,
        max_new_tokens=min(settings.max_new_tokens, model.context - len(prompt.ids)),
        sampling=settings.sampling,
        stop_ids=template.stop_ids,
        banned_ids=model.unspeakable_ids - template.stop_ids,
        adapter=model.adapter,
    )
    stream = TextStream(model.tokenizer, stop=settings.stop)
    return Reply(model.engine, request, stream, dropped_rounds=prompt.dropped_rounds, on_prefill=on_prefill)


def continuation(model: Model, text: str, settings: Settings, *, on_prefill: Prefill | None = None) -> Reply:
    """What the network itself puts after a text: no chat format, no id ruled out. ValueError if it does not fit."""
    ids = text_ids(model, text)
    if len(ids) >= model.context:
        raise ValueError(
            say(
                f"the text has {len(ids):,} tokens and the context is {model.context:,}; shorten it",
                f"文本共 {len(ids):,} 个词元，而上下文只有 {model.context:,}；请缩短",
            )
        )
    longest = min(settings.max_new_tokens, model.context - len(ids))
    stop_ids = frozenset(eos_ids(model.checkpoint.generation, model.tokenizer.eos_id))
    request = Request(ids, longest, settings.sampling, stop_ids, adapter=model.adapter)
    return Reply(
        model.engine,
        request,
        TextStream(model.tokenizer, stop=settings.stop, opening=False),
        on_prefill=on_prefill,
    )


def chat_template(model: Model) -> Template:
    """The chat format. ValueError for a base model, with the command that suits it."""
    if model.template is None:
        folder = model.checkpoint.folder
        raise ValueError(
            say(
                f'{folder}: a base model without a chat format; let it continue a text: haina run {folder} "text"',
                f'{folder}：这是没有对话格式的基座模型；可以让它续写文本：haina run {folder} "文本"',
            )
        )
    return model.template


def text_ids(model: Model, text: str) -> tuple[int, ...]:
    """The ids of a text, after what the family puts before one: LLaMA its bos, Baichuan nothing."""
    opening = (model.tokenizer.bos_id,) if model.checkpoint.adds_bos else ()
    return (*opening, *model.tokenizer.encode(text))


@dataclass
class Chat:
    """A conversation: the system text and whole rounds, each a question and its answer."""

    system: str = ""
    rounds: list[tuple[str, str]] = field(default_factory=list)

    def messages(self, question: str | None = None) -> list[Message]:
        """Everything said, and perhaps a new question."""
        said = [Message("system", self.system)] if self.system else []
        for user, assistant in self.rounds:
            said += [Message("user", user), Message("assistant", assistant)]
        return [*said, Message("user", question)] if question is not None else said

    def to_json(self) -> dict[str, Any]:
        return {
            "messages": [{"role": message.role, "content": message.content} for message in self.messages()]
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any], *, file: str) -> Chat:
        """The conversation that `to_json` gave. ValueError names the message that is not as it should be."""
        entries = saved.get("messages")
        if not isinstance(entries, list):
            raise _no_conversation(file, '"messages" is not a list', "“messages” 不是列表")
        said = [_message(entry, number, file) for number, entry in enumerate(entries, start=1)]
        system = said.pop(0).content if said and said[0].role == "system" else ""
        roles = [message.role for message in said]
        if roles != ["user", "assistant"] * (len(said) // 2):
            raise _no_conversation(
                file, "user and assistant do not take turns", "user 与 assistant 没有一问一答"
            )
        return cls(system, [(a.content, b.content) for a, b in _pairs(said)])


def _pairs(said: list[Message]) -> Iterator[tuple[Message, Message]]:
    return zip(said[::2], said[1::2], strict=True)


def _message(entry: Any, number: int, file: str) -> Message:
    role, content = (entry.get("role"), entry.get("content")) if isinstance(entry, dict) else (None, None)
    if role not in ROLES or not isinstance(content, str) or (role == "user" and not content):
        raise _no_conversation(
            file, f"message {number} needs a role and a text", f"第 {number} 条消息缺少角色或文本"
        )
    try:
        content.encode()
    except UnicodeEncodeError:
        raise _no_conversation(
            file, f"message {number} is not valid Unicode", f"第 {number} 条消息不是有效的 Unicode"
        ) from None
    return Message(role, content)


def _no_conversation(file: str, en: str, zh: str) -> ValueError:
    return ValueError(
        say(
            f"{file}: not a saved conversation: {en}; use a file that /save wrote",
            f"{file}：不是保存的对话：{zh}；请选用 /保存 写出的文件",
        )
    )
