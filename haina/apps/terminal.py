"""Terminal: a person at a keyboard, until they leave. What is typed is a command or a question.

The line editor is apps/keyboard.py's, the commands are apps/commands.py's, answers are apps/conversation.py's.
"""

from __future__ import annotations

from collections.abc import Callable

from haina import __version__
from haina.apps.commands import COMMANDS, find_command
from haina.apps.conversation import Conversation
from haina.apps.model import Model
from haina.apps.screen import complain, explained, tell
from haina.options.talk import ChatOptions
from haina.wording import say

SLASHES = ("/", "／", "、")  # what the key gives under a Chinese input method


def converse(model: Model, options: ChatOptions) -> None:
    """Talk until the person leaves. ValueError: a base model, or an option out of range."""
    from haina.apps.keyboard import open_keyboard

    conversation = Conversation(model, options)
    ask = open_keyboard([command.name for command in COMMANDS])
    tell(_banner(model))
    interrupted = False
    while not conversation.over:  # Ctrl-C may come at any moment between two answers: it always ends up here
        try:
            if interrupted:
                tell(say("(Ctrl-D or /quit leaves)", "（Ctrl-D 或 /退出 可离开）"))
            interrupted = False
            _take_turns(conversation, ask)
        except KeyboardInterrupt:
            interrupted = True


def _take_turns(conversation: Conversation, ask: Callable[[], str]) -> None:
    while not conversation.over:
        try:
            take(conversation, ask())
        except EOFError:
            conversation.over = True
        except (ValueError, OSError, MemoryError) as error:
            complain(explained(error))


def take(conversation: Conversation, typed: str) -> None:
    """A command, or a question; a blank before the slash makes it a question."""
    if typed.startswith(SLASHES):
        name, _, argument = typed.strip().partition(" ")
        find_command("/" + name[1:]).act(conversation, argument.strip())
    elif typed.strip():
        conversation.answer(typed.strip())


def _banner(model: Model) -> str:
    return say(
        f"haina {__version__} · model: {model.name} · runs on this machine, nothing leaves it\n"
        "/help lists the commands, /quit leaves, Ctrl-C stops an answer",
        f"海纳 {__version__} · 模型：{model.name} · 本机运行，数据不出本机\n"
        "输入 /帮助 查看命令，/退出 离开，Ctrl-C 停止回答",
    )
