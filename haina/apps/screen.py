"""Screen: what may be written to a terminal, and one line that shows what takes long.

A model, a file name or an error can hold escape sequences; a terminal obeys them. Covered: every control character
but newline and tab (C0, DEL, C1) is taken out, of names also marks that hide or turn text. Not covered:
look-alike letters.
It does not know prompts or conversations.
"""

from __future__ import annotations

import shutil
import sys
import time
import unicodedata
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from haina.wording import say, system_reason

PATIENCE_S = 1.0  # what takes less is not worth a line
BAR_CELLS = 20

_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)])
_TEXT = {code: None for code in _CONTROLS if chr(code) not in "\n\t"}


def plain(text: str) -> str:
    """The text without control characters, newline and tab apart."""
    return text.translate(_TEXT)


def one_line(text: object) -> str:
    """A message on one line, without control characters and without marks that hide or turn text around."""
    line = " ".join(str(text).split()).translate(_CONTROLS)
    return "".join(char for char in line if unicodedata.category(char) != "Cf")


def interactive(stream: TextIO | None) -> bool:
    """Whether a person looks at it: a terminal, neither closed nor missing."""
    return stream is not None and not stream.closed and stream.isatty()


def person() -> TextIO | None:
    """The stream a person reads: stdout, or stderr when the answers go into a file or a pipe."""
    return sys.stdout if interactive(sys.stdout) else sys.stderr


def note(text: str) -> None:
    """A remark for the person at the terminal; nothing when stderr goes elsewhere."""
    if interactive(sys.stderr):
        report(text)


def report(text: object) -> None:
    """A line on stderr, wherever it goes."""
    if sys.stderr:  # None when the caller has closed it; print would turn to stdout
        print(one_line(text), file=sys.stderr, flush=True)


def complain(error: object) -> None:
    """An error: one line behind our name."""
    report(f"haina: {error}")


def tell(text: str) -> None:
    """A remark within a conversation, several lines perhaps: where the person is, never among piped answers."""
    if person():
        print(plain(text), file=person(), flush=True)


def explained(error: ValueError | OSError | MemoryError) -> str:
    """The message of an error, for people; with the file that the system could not use."""
    if isinstance(error, MemoryError):
        return say(
            "not enough memory; try --bits 8 or a smaller --context",
            "内存不足；请试用 --bits 8 或更小的 --context",
        )
    if isinstance(error, OSError):
        why = system_reason(error)
        return say(f"{error.filename}: {why}", f"{error.filename}：{why}") if error.filename else why
    return str(error) or type(error).__name__


class Status:
    """One line on stderr that comes after PATIENCE_S, changes, and goes without a trace. Nothing without a terminal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._began, self._columns = clock, clock(), 0
        self._first: tuple[float, int] | None = (
            None  # when `transfer` was first called, and with how much done
        )

    def __enter__(self) -> Status:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far something is; `total` 0 when that is not known."""
        self.show(what + _bar(done, total))

    def transfer(self, what: str, done: int, total: int) -> None:
        """As `progress`, of bytes, with how fast they come and how long the rest will take; called from the start."""
        now = self._clock()
        self._first = self._first or (now, done)
        seconds, n_bytes = now - self._first[0], done - self._first[1]
        speed = n_bytes / seconds if seconds > PATIENCE_S else 0.0
        pace = f" {speed / 1e6:.0f} MB/s" if speed else ""
        if speed and total:
            left = _minutes((total - done) / speed)
            pace += say(f", {left} left", f"，还需 {left}")
        self.show(what + _bar(done, total) + pace)

    def note(self, text: str) -> None:
        """A line that stays, wherever stderr goes."""
        self.clear()
        report(text)

    def show(self, text: str) -> None:
        if self._clock() - self._began < PATIENCE_S or not interactive(sys.stderr):
            return
        text = _clipped(one_line(text), shutil.get_terminal_size().columns - 1)
        self._write("\r" + text + " " * (self._columns - columns(text)))
        self._columns = columns(text)

    def clear(self) -> None:
        """Take the line away. Blanks, not an escape sequence: they work on every terminal."""
        if self._columns:
            self._write("\r" + " " * self._columns + "\r")
            self._columns = 0

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _bar(done: int, total: int) -> str:
    share = done / total if total else 0.0
    full = int(share * BAR_CELLS)
    return f" {'━' * full}{'─' * (BAR_CELLS - full)} {share:4.0%}" if total else "…"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def columns(text: str) -> int:
    """How wide a line is: two columns for a Chinese character."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def padded(text: str, width: int) -> str:
    """The text, filled up with blanks."""
    return text + " " * (width - columns(text))


def _clipped(text: str, width: int) -> str:
    while columns(text) > width:
        text = text[:-1]
    return text
