"""Conversation: questions and answers on a screen, and the single question and answer of `haina run` and of a pipe.

stdout carries answers and nothing else, unless it is a terminal itself; remarks go where a person reads them.
Ctrl-C ends an answer, not the program. What was said stays in memory. How an answer is made is apps/chat.py's;
it knows neither the keyboard nor the commands.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from haina.apps.chat import Chat, Prefill, Reply, Settings, chat_template, continuation, reply
from haina.apps.model import Model
from haina.apps.screen import Status, interactive, note, plain, report, tell
from haina.options.talk import ChatOptions, RunOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.search.beside import Beside

LARGEST_PROMPT_BYTES = 16 << 20


def read_prompt() -> str:
    """All of stdin, less one newline at its end. ValueError: too much, or not UTF-8."""
    if interactive(sys.stdin):
        note(
            say("(type the prompt; Ctrl-D on an empty line ends it)", "（请输入提示；在空行按 Ctrl-D 结束）")
        )
    content = sys.stdin.buffer.read(LARGEST_PROMPT_BYTES + 1) if sys.stdin else b""
    if len(content) > LARGEST_PROMPT_BYTES:
        raise ValueError(
            say(
                "stdin: longer than 16 MiB; no model reads that much",
                "标准输入：超过 16 MiB，任何模型都读不下",
            )
        )
    return re.sub(r"\r?\n\Z", "", whole_text(content, "stdin"))


def whole_text(content: bytes, where: str) -> str:
    """The text of UTF-8 bytes, less the mark that Windows puts before it. ValueError says which byte is wrong."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise ValueError(
            say(
                f"{where}: not UTF-8 (byte {error.start + 1} is 0x{byte:02X}); convert it, for example with iconv",
                f"{where}：不是 UTF-8（第 {error.start + 1} 个字节为 0x{byte:02X}）；请先转换编码，例如用 iconv",
            )
        ) from None


def answer_once(model: Model, prompt: str, options: RunOptions) -> None:
    """One answer on stdout, and a newline. A base model continues the text, as `raw` makes any model do."""
    settings = Settings.of(model.checkpoint, options, stop=options.stop)
    sources = ""
    if options.search:
        prompt, sources = _beside(options.search, model).told(prompt)
    with Status() as status:
        made = _begin(model, prompt, settings, options, _reading(status, lambda: False))
        _print(made, status, lambda: False)
    if sources:
        tell(sources)
    if made.finish in ("length", "loop"):
        expected = made.new_tokens == options.max_new_tokens  # as the person asked
        (note if expected else report)(_cut(made))
    if options.stats:
        report(statistics(made, model.context))


def _begin(model: Model, prompt: str, settings: Settings, options: RunOptions, on_prefill: Prefill) -> Reply:
    if not options.raw and model.template:
        return reply(model, Chat(options.system or "").messages(prompt), settings, on_prefill=on_prefill)
    if options.system:
        raise ValueError(
            say(
                "a text to continue has no system prompt; leave out --system",
                "续写文本时没有系统提示；请去掉 --system",
            )
        )
    return continuation(model, prompt, settings, on_prefill=on_prefill)


def _beside(index: str, model: Model) -> Beside:
    from haina.apps.search.beside import (
        Beside,
    )  # SQLite and the rest of search, which a plain chat does not need

    return Beside(index, model)


class Conversation:
    """What the commands act on: the model, the options in force, and what has been said."""

    def __init__(self, model: Model, options: ChatOptions):
        """ValueError: a base model, or an option out of range; told before the first question."""
        chat_template(model)
        Settings.of(model.checkpoint, options)
        self.model, self.options = model, options
        self.chat = Chat(options.system or "")
        self.over = False
        self._beside = _beside(options.search, model) if options.search else None

    def answer(self, question: str, *, rounds: int | None = None) -> None:
        """Ask, after that many rounds (all of them), show the answer as it comes, and keep both.

        Ctrl-C keeps the answer as far as it went. When the question is refused, or stopped before the answer
        began, nothing changes.
        """
        before = Chat(self.chat.system, self.chat.rounds[:rounds])
        settings = Settings.of(self.model.checkpoint, self.options)
        message, sources = question, ""
        if self._beside:
            message, sources = self._beside.told(question, [asked for asked, _ in before.rounds])
        with Status() as status, _interrupts() as asked:
            reading = _reading(status, asked)
            made = reply(self.model, before.messages(message), settings, on_prefill=reading)
            if made.dropped_rounds:
                tell(_left_out(made.dropped_rounds, self.model.context))
            _print(made, status, asked)
        if sources:
            tell(sources)
        if made.finish == "cancelled" and not made.text:
            tell(say("(stopped before the answer began)", "（回答尚未开始，已停止）"))
            return
        self.chat.rounds = [*before.rounds, (question, made.text)]
        if made.finish != "stop":
            tell(_cut(made))
        if self.options.stats:
            tell(statistics(made, self.model.context))


def statistics(made: Reply, context: int) -> str:
    """How long it took, in one line."""
    speed = (made.new_tokens - 1) / made.decode_s if made.decode_s else 0.0
    used, shared = made.prompt_tokens + made.new_tokens, made.shared_tokens
    before = say(f" ({shared} read before)", f"（{shared} 个先前已读）") if shared else ""
    return say(
        f"[{made.new_tokens} tokens, {speed:.1f} tokens/s; prompt {made.prompt_tokens} tokens{before} in "
        f"{made.prefill_s:.2f} s; context {used}/{context}]",
        f"[{made.new_tokens} 词元，{speed:.1f} 词元/秒；提示 {made.prompt_tokens} 词元{before}，"
        f"{made.prefill_s:.2f} 秒；上下文 {used}/{context}]",
    )


def _print(made: Reply, status: Status, asked: Callable[[], bool]) -> None:
    """The answer as it comes, until it ends or Ctrl-C was pressed, and a newline."""
    shown = plain if interactive(sys.stdout) else str
    with closing(iter(made)) as pieces:
        try:
            for piece in pieces:
                status.clear()
                print(shown(piece), end="", flush=True)
                if asked():
                    break
        except _Interrupted:
            status.clear()
    print(flush=True)


class _Interrupted(Exception):
    """Ctrl-C while the prompt was being read."""


def _reading(status: Status, asked: Callable[[], bool]) -> Prefill:
    """What the engine calls between two parts of a prompt."""

    def follow(done: int, total: int) -> None:
        if asked():
            raise _Interrupted
        status.progress(say(f"reading {done}/{total} tokens", f"读取提示 {done}/{total} 词元"), done, total)

    return follow


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Meanwhile Ctrl-C only sets a mark, which is looked at between two steps: the engine is never torn apart."""
    pressed = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _left_out(rounds: int, context: int) -> str:
    return say(
        f"(left out the {rounds} oldest rounds to fit {context} tokens)" if rounds > 1
        else f"(left out the oldest round to fit {context} tokens)",
        f"（为放进 {context} 个词元，略去了最早的 {rounds} 轮对话）",
    )  # fmt: skip


def _cut(made: Reply) -> str:
    if made.finish == "cancelled":
        return say("(stopped; the answer is kept as far as it went)", "（已停止，回答保留到此处）")
    if made.finish == "loop":
        return say("(stopped: the answer kept repeating itself)", "（回答陷入重复，已停止）")
    return say(
        f"(cut off after {made.new_tokens} tokens: max_new_tokens or the context is used up)",
        f"（写到 {made.new_tokens} 个词元为止：已达 max_new_tokens 或上下文上限）",
    )
