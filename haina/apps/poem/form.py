"""Forms of verse as values: how many characters, which tones, which feet rhyme, what is punctuated how.

A pattern is written one character after the other, "-" level, "|" oblique, "+" either; behind a foot stands the letter
of its rhyme ("a"; "A" where it may be borrowed from a neighbouring part), behind that "^3" if the clause says again
what stood three characters before, or "~3" if its foot alone does. Regulated verse has several patterns, each made of
couplets, and a couplet may have several ways (拗救); a tune has one pattern a form.

The rules of regulated verse are those of 王力《诗词格律》; Jiuge's table has the four line types and their order, too
(THUNLP-AIPoet/WMPoetry@5b3f15b `data/GenrePatterns.txt`). Characters are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from haina.wording import say

LONGEST_VERSE_LINES = 100  # of 排律 and 古风
SHI = {"五言": 5, "七言": 7}
# and their lines, if nobody says how many
KINDS_OF_SHI = {"绝句": 4, "律诗": 8, "排律": 12, "古绝": 4, "古风": 12}
TYPES = {
    5: {"a": "+|--|", "A": "+||--", "b": "+--||", "B": "--||-"},
    7: {"a": "+-+|--|", "A": "+-+||--", "b": "+|+--||", "B": "+|--||-"},
}
# 拗救, of the last five characters: what else a line may be, and what the other line of the couplet must be then.
# 小拗 and 大拗 in a are made good in B (对句救), 孤平 in B by itself (本句救); in b two characters change (特拗).
TWISTED_B = "+--|-"
TWISTS: dict[str, list[tuple[str, ...]]] = {
    "aB": [("+|--|", TWISTED_B), ("+||-|", "--||-"), ("+||-|", TWISTED_B), ("+|+||", TWISTED_B)],
    "bA": [("--|-|", "+||--")],
    "AB": [("+||--", TWISTED_B)],
    "BA": [(TWISTED_B, "+||--")],
}
SEVEN = {"a": "+-", "A": "+-", "b": "+|", "B": "+|"}  # what a line of seven has before those five
STARTS = ("aB", "AB", "bA", "BA")  # the first couplet of each pattern
AFTER = {"A": "aB", "B": "bA"}  # the next couplet agrees with the line before it (粘)
_SLOT = re.compile(r"([-|+])([a-zA-Z]?)(?:([\^~])(\d+))?([，。、]?)")


class Slot(NamedTuple):
    """One character of a pattern. again: it is the one so many before. near: its rhyme may be a neighbouring part."""

    kind: str
    rhyme: str = ""
    near: bool = False
    again: int = 0


Couplet = tuple[tuple[Slot, ...], ...]  # the ways it may go, all of one length


@dataclass(frozen=True)
class Form:
    """marks: what is written behind each character. patterns: each a series of parts, each of which has its ways."""

    name: str
    book: str
    marks: tuple[str, ...]
    patterns: tuple[tuple[Couplet, ...], ...]
    labels: tuple[str, ...]  # of the patterns
    sections: str = ""  # of a tune: 单调, 双调 …

    @property
    def size(self) -> int:
        return len(self.marks)

    @property
    def lines(self) -> tuple[range, ...]:
        """The characters of each line, as they are punctuated."""
        ends = [at + 1 for at, mark in enumerate(self.marks) if mark]
        return tuple(range(start, end) for start, end in zip([0, *ends], ends, strict=False))

    def only(self, label: str) -> Form:
        """With the patterns alone whose label holds these words. ValueError: which there are."""
        chosen = [i for i, own in enumerate(self.labels) if label in own]
        if not chosen:
            raise ValueError(
                say(
                    f"{self.name} has no pattern {label!r}; choose one of: {', '.join(self.labels)}",
                    f"{self.name}没有“{label}”这一格；可选：{'、'.join(self.labels)}",
                )
            )
        patterns = tuple(self.patterns[i] for i in chosen)
        labels = tuple(self.labels[i] for i in chosen)
        return Form(self.name, self.book, self.marks, patterns, labels, self.sections)


def slots(pattern: str) -> tuple[Slot, ...]:
    """A pattern, its punctuation left out."""
    found: list[Slot] = []
    clause = 0
    for kind, rhyme, sign, back, mark in _SLOT.findall(pattern):
        found.append(Slot(kind, rhyme.lower(), rhyme.isupper(), int(back) if sign == "~" else 0))
        if sign == "^":
            for at in range(clause, len(found)):
                found[at] = found[at]._replace(again=int(back))
        if mark:
            clause = len(found)
    return tuple(found)


def written(kinds: str) -> tuple[str, ...]:
    """The marks behind each character of a punctuated pattern. A sentence closes its line."""
    marks = [found[4] for found in _SLOT.findall(kinds)]
    marks = ["。\n" if mark == "。" else mark for mark in marks]
    return (*marks[:-1], marks[-1].strip())


# -- 近体诗, 古体诗 ------------------------------------------------------------------------------------------------


def regulated(name: str, length: int, lines: int, *, book: str, twists: bool, near: bool) -> Form:
    """绝句, 律诗, 排律: four patterns. twists: with 拗救. near: the first line may borrow a neighbouring rhyme."""
    patterns, labels = [], []
    for start in STARTS:
        couplets = [start]
        while len(couplets) < lines // 2:
            couplets.append(AFTER[couplets[-1][1]])
        parts = [_couplet(types, length, twists, near and not n) for n, types in enumerate(couplets)]
        patterns.append(tuple(parts))
        level = TYPES[length][start[0]][1] == "-"
        rhymes = "入韵" if start[0] in "AB" else "不入韵"
        labels.append(f"{'平' if level else '仄'}起首句{rhymes}")
    return Form(name, book, _shi_marks(length, lines), tuple(patterns), tuple(labels))


def _couplet(types: str, length: int, twists: bool, near: bool) -> Couplet:
    ways = [tuple(TYPES[length][kind] for kind in types)]
    if twists:
        prefix = SEVEN if length == 7 else dict.fromkeys("aAbB", "")
        twisted = [
            tuple(prefix[kind] + core for kind, core in zip(types, way, strict=True)) for way in TWISTS[types]
        ]
        ways += twisted
    feet = ("A" if near else "a") if types[0] in "AB" else "", "a"
    return tuple(slots("".join(line + foot for line, foot in zip(way, feet, strict=True))) for way in ways)


def ancient(name: str, length: int, lines: int, *, book: str) -> Form:
    """古绝, 古风: even lines rhyme, level or oblique, the first perhaps."""
    patterns, labels = [], []
    for kind, tone in (("-", "平韵"), ("|", "仄韵")):
        for rhymed in (False, True):
            foot = f"{kind}a"
            odd = ["+" * (length - 1) + (foot if rhymed and not n else "+") for n in range(lines // 2)]
            even = "+" * (length - 1) + foot
            patterns.append(tuple((slots(line + even),) for line in odd))
            labels.append(f"{tone}首句{'入韵' if rhymed else '不入韵'}")
    return Form(name, book, _shi_marks(length, lines), tuple(patterns), tuple(labels))


def _shi_marks(length: int, lines: int) -> tuple[str, ...]:
    ends = ["，", "。\n"] * (lines // 2)
    ends[-1] = "。"
    return tuple(mark for end in ends for mark in [""] * (length - 1) + [end])


def shi(name: str, lines: int, book: str, *, twists: bool, near: bool) -> Form | None:
    """五言绝句 … 七言古风 by name; None: no such name. lines: 0, as many as usual. ValueError: not so many."""
    length, kind = SHI.get(name[:2], 0), name[2:]
    if not length or kind not in KINDS_OF_SHI:
        return None
    count = lines or KINDS_OF_SHI[kind]
    free = kind in ("排律", "古风")
    least = 10 if kind == "排律" else 4
    if (not free and count != KINDS_OF_SHI[kind]) or count % 2 or not least <= count <= LONGEST_VERSE_LINES:
        raise ValueError(_not_so_many(name, count, least if free else 0))
    if kind.startswith("古"):
        return ancient(name, length, count, book=book)
    return regulated(name, length, count, book=book, twists=twists, near=near)


def _not_so_many(name: str, count: int, least: int) -> str:
    """least: of lines, where their number is free."""
    if least:
        return say(
            f"{name} cannot have {count} lines; give an even number of {least} … {LONGEST_VERSE_LINES}",
            f"{name}不能有 {count} 句；应为 {least} 至 {LONGEST_VERSE_LINES} 间的偶数",
        )
    usual = KINDS_OF_SHI[name[2:]]
    return say(
        f"{name} has {usual} lines, not {count}; leave --lines out",
        f"{name}共 {usual} 句，不是 {count} 句；请去掉 --lines",
    )


# -- 对联 ---------------------------------------------------------------------------------------------------------


def answering(first: str, kinds: Sequence[frozenset[str]], marks: Sequence[str]) -> Form:
    """The lower line to an upper one whose characters have these kinds of tone.

    Opposed at the second, fourth and sixth character of each clause and at its end, level at the very end; where the
    upper line says a character twice, so does the answer.
    """
    found: list[Slot] = []
    start = 0
    for at, char in enumerate(first):
        last = bool(marks[at])
        opposed = last or (at - start) % 2 == 1
        kind = _opposite(kinds[at]) if opposed else "+"
        if at == len(first) - 1:
            kind = "-"
        earlier = first.rfind(char, 0, at)
        found.append(Slot(kind, again=at - earlier if earlier >= 0 and at < len(first) - 1 else 0))
        start = at + 1 if last else start
    return Form("对联", "平水韵", (*marks[:-1], "。"), (((tuple(found),),),), ("下联",))


def _opposite(kinds: frozenset[str]) -> str:
    if len(kinds) != 1:
        return "+"
    return "|" if "-" in kinds else "-"
