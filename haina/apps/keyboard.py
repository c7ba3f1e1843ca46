"""Keyboard: a line, or several, from a person at a terminal; prompt_toolkit edits it, wide characters included.

Enter sends; Alt-Enter, or a text begun with three quotation marks, makes more lines. Ctrl-C empties the line, and on
an empty line says how to leave; Ctrl-D leaves. What was typed is remembered while the program runs, not longer.
It does not know what the text means.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.utils import is_dumb_terminal

from haina.apps.screen import person

QUOTES = '"""'
PROMPT, MORE = ">>> ", "... "


def open_keyboard(words: Sequence[str]) -> Callable[[], str]:
    """A function that asks for the next text. EOFError: leave; KeyboardInterrupt: Ctrl-C on an empty line.

    `words` are completed by Tab at the beginning of a line. The prompt goes to stderr when stdout is no terminal.
    """
    if is_dumb_terminal():
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # the tokenizer says what is wrong
        return _ask_plainly
    session: PromptSession[str] = PromptSession(
        multiline=True,
        key_bindings=_bindings(),
        prompt_continuation=MORE,
        completer=WordCompleter(list(words), sentence=True),
        complete_while_typing=False,
        enable_suspend=True,
        output=create_output(person()),
    )
    return lambda: _unquoted(session.prompt(PROMPT))


def _ask_plainly() -> str:
    """The same for a terminal that can only print: no editor, lines come as the system gives them."""
    text = ""
    while not text or _open_quotes(text):
        print(MORE if text else PROMPT, end="", file=person(), flush=True)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        text += line
    return _unquoted(text.rstrip("\n"))


def _bindings() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send_or_go_on(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if _open_quotes(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("escape", "c-j")  # what was typed while an answer came: the terminal has made LF of CR
    def another_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c")
    def empty(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


def _open_quotes(text: str) -> bool:
    text = text.strip()
    closed = len(text) >= 2 * len(QUOTES) and text.endswith(QUOTES)
    return text.startswith(QUOTES) and not closed


def _unquoted(text: str) -> str:
    """What was typed, without the quotation marks around several lines."""
    inside = text.strip()
    if inside.startswith(QUOTES) and inside.endswith(QUOTES) and len(inside) >= 2 * len(QUOTES):
        return inside[len(QUOTES) : -len(QUOTES)].strip("\n")
    return text
