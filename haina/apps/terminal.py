"""Terminal: the conversation at a keyboard, and the single answer of `haina run` and of a pipe.

stdout carries answers and nothing else; what is said about them goes to stderr, when a person is there to read it.
Ctrl-C ends an answer, not the program. Conversations stay in memory until /save. How an answer is made is
apps/chat.py's; the keys and the line editor are apps/keyboard.py's.
"""

from __future__ import annotations

import difflib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any, get_args, get_type_hints

from haina import __version__
from haina.apps.chat import Chat, Reply, Settings, chat_template, continuation, reply
from haina.apps.keyboard import open_keyboard
from haina.apps.model import Model
from haina.apps.screen import Status, complain, interactive, note, plain
from haina.apps.show import describe, table
from haina.checkpoint.read_json import read_json_object
from haina.options import ChatOptions, RunOptions
from haina.wording import chinese, say

LARGEST_CONVERSATION_BYTES = 16 << 20
SETTABLE = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens", "seed", "stats",
)  # fmt: skip


def answer_once(model: Model, prompt: str, options: RunOptions) -> None:
    """One answer on stdout, and a newline. Without a chat format, or when asked to, the text is continued."""
    settings = Settings.of(model.checkpoint, options, stop=options.stop)
    with Status() as status:
        if options.raw or model.template is None:
            if options.system:
                raise ValueError(
                    say("--system needs a chat format; leave it out here", "--system 需要对话格式；此处请去掉")
                )
            made = continuation(model, prompt, settings, on_prefill=_reading(status))
        else:
            messages = Chat(options.system or "").messages(prompt)
            made = reply(model, messages, settings, on_prefill=_reading(status))
        for piece in made:
            _write(piece, status)
    print(flush=True)
    if options.stats:
        print(statistics(made, model.context), file=sys.stderr)


def converse(model: Model, options: ChatOptions) -> None:
    """Talk until the person leaves."""
    chat_template(model)
    Conversation(model, options).run()


class Conversation:
    """What the commands act on: the model, the options in force, and what has been said."""

    def __init__(self, model: Model, options: ChatOptions):
        self.model, self.options = model, options
        self.chat = Chat(options.system or "")
        self.over = False
        Settings.of(model.checkpoint, options)  # wrong values are told before the first question

    def run(self) -> None:
        ask = open_keyboard([name for command in COMMANDS for name in command.shown])
        _tell(banner(self.model))
        while not self.over:
            try:
                self.take(ask())
            except KeyboardInterrupt:
                _tell(say("(Ctrl-D or /quit leaves)", "（Ctrl-D 或 /退出 可离开）"))
            except EOFError:
                self.over = True
            except (ValueError, OSError, MemoryError) as error:
                complain(what_went_wrong(error))

    def take(self, text: str) -> None:
        """One thing typed: a command, or a question. A blank before a slash makes it a question."""
        if text.startswith("/"):
            self.command(text)
        elif text.strip():
            self.answer(text.strip())

    def command(self, line: str) -> None:
        name, _, argument = line.strip().partition(" ")
        command = next((command for command in COMMANDS if name.lower() in command.names), None)
        if command is None:
            raise ValueError(_unknown(name))
        command.run(self, argument.strip())

    def answer(self, question: str) -> None:
        """Ask, show the answer as it comes, and keep both. Ctrl-C keeps what there is."""
        settings = Settings.of(self.model.checkpoint, self.options)
        with Status() as status, _interrupts_asked() as asked:
            made = reply(
                self.model, self.chat.messages(question), settings, on_prefill=_reading(status, asked)
            )
            if made.dropped_rounds:
                _tell(_left_out(made.dropped_rounds, self.model.context))
            stopped = _show(made, status, asked)
        print(flush=True)
        if stopped:
            _tell(_stopped(made))
        if made.text:
            self.chat.rounds.append((question, made.text))
        if self.options.stats:
            _tell(statistics(made, self.model.context))

    # -- commands ---------------------------------------------------------------------------------------------

    def help(self, _: str) -> None:
        _tell(
            say(
                'Type a question and press Enter. Alt-Enter, or """ before and after, for several lines.\n'
                "Ctrl-C stops an answer. A blank before / sends the line as a question.",
                '输入问题，按回车发送。多行：Alt-回车换行，或前后各加 """。\n'
                "Ctrl-C 停止回答。以“/”开头的问题，请在前面加一个空格。",
            )
        )
        rows = [(command.usage, say(*command.help)) for command in COMMANDS]
        width = 2 + max(columns(usage) for usage, _ in rows)
        _tell("\n".join("  " + padded(usage, width) + text for usage, text in rows))

    def clear(self, _: str) -> None:
        self.chat.rounds.clear()
        _tell(say("the conversation is empty; the system prompt stays", "对话已清空，系统提示保留"))

    def system(self, text: str) -> None:
        if text:
            self.chat.system = "" if text == "-" else text
        now = self.chat.system
        _tell(say(f"system prompt: {now or '(none)'}", f"系统提示：{now or '（无）'}"))

    def retry(self, _: str) -> None:
        if not self.chat.rounds:
            raise ValueError(say("nothing has been asked yet", "还没有提过问题"))
        round = self.chat.rounds.pop()
        try:
            self.answer(round[0])
        finally:
            if not self.chat.rounds or self.chat.rounds[-1][0] != round[0]:
                self.chat.rounds.append(round)  # no new answer: the old one stays
