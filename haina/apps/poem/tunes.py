"""The tunes of 词: 817 names with 2,294 forms, those of 钦定词谱 (1715), as `tunes.txt` has them.

It knows names and patterns, nothing of characters; what the notation means says `form.py`, where the table is from
`haina/text/rhymes/README.md`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from haina.apps.poem.form import Form, slots, written
from haina.wording import say

BOOK = "词林正韵"


@dataclass(frozen=True)
class Tune:
    """names: the first is the table's own. patterns: the usual form first."""

    names: tuple[str, ...]
    sections: str
    patterns: tuple[str, ...]

    def form(self, number: int, book: str = BOOK) -> Form:
        """Its form `number`, from 1. ValueError: how many there are."""
        if not 1 <= number <= len(self.patterns):
            raise ValueError(
                say(
                    f"{self.names[0]} has no form {number}; there are 1 … {len(self.patterns)}",
                    f"《{self.names[0]}》没有第 {number} 体；可选 1 至 {len(self.patterns)}",
                )
            )
        pattern = self.patterns[number - 1]
        label = say(f"form {number}", f"第{number}体")
        return Form(self.names[0], book, written(pattern), (((slots(pattern),),),), (label,), self.sections)


@cache
def tunes() -> tuple[Tune, ...]:
    """All of them, in the order of the table: shortest first."""
    found: list[tuple[str, list[str]]] = []
    for line in Path(__file__).with_name("tunes.txt").read_text("utf-8").splitlines():
        if line.startswith("="):
            found.append((line[1:], []))
        else:
            found[-1][1].append(line)
    made = []
    for head, patterns in found:
        names, sections = head.split("|")
        made.append(Tune(tuple(names.split(" ")), sections, tuple(patterns)))
    return tuple(made)


@cache
def _named() -> dict[str, Tune]:
    """By every name; where two tunes share one, it is the one whose own name it is, or the first's."""
    by_name: dict[str, Tune] = {}
    for tune in tunes():
        by_name[tune.names[0]] = by_name.get(tune.names[0], tune)
    for tune in tunes():
        for name in tune.names[1:]:
            by_name.setdefault(name, tune)
    return by_name


def find(name: str) -> Tune | None:
    return _named().get(name)


def like(name: str) -> list[str]:
    """Names that a person may have meant."""
    return difflib.get_close_matches(name, _named(), 5, 0.34)
