"""Anthology: poems by well-known poets, to quote from: lines like a line, poems of other people's lines (集句).

Likeness is the share of characters that two lines have in common, rare ones counting more (idf). It knows no model.
"""

from __future__ import annotations

import lzma
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from haina.apps.poem.law import Law, Verse
from haina.text.characters import HAN
from haina.wording import say

FILE = Path(__file__).with_name("anthology.txt.xz")
TRIES, WIDTH = 400, 12  # lines tried for each place of a 集句, and beginnings kept


@dataclass(frozen=True)
class Source:
    """A poem; its text has marks."""

    title: str
    author: str
    dynasty: str
    text: str

    def __str__(self) -> str:
        return f"{self.author}《{self.title}》"


@dataclass(frozen=True)
class Quotation:
    """A line without marks, and where it is from."""

    line: str
    source: Source


class Anthology:
    def __init__(self, sources: list[Source]):
        self.sources = sources
        self.quotations = [Quotation(line, source) for source in sources for line in _lines(source.text)]

    @staticmethod
    @cache
    def shipped() -> Anthology:
        rows = lzma.decompress(FILE.read_bytes()).decode().splitlines()
        return Anthology([Source(*row.split("\t")) for row in rows])

    @cached_property
    def _with(self) -> dict[str, list[int]]:
        """Of each character, the lines with it."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, quotation in enumerate(self.quotations):
            for char in set(quotation.line):
                found[char].append(number)
        return found

    def _weight(self, char: str) -> float:
        return math.log(len(self.quotations) / (1 + len(self._with.get(char, ()))))

    def like(self, line: str, count: int = 3) -> list[Quotation]:
        """The lines most like this one, itself left out; no two of one poem."""
        scores: Counter[int] = Counter()
        for char in set(HAN.findall(line)):
            for number in self._with.get(char, ()):
                scores[number] += self._weight(char)  # type: ignore[assignment]
        found: dict[Source, Quotation] = {}
        for number, _ in sorted(scores.items(), key=lambda item: self._rank(line, *item), reverse=True)[:20]:
            quotation = self.quotations[number]
            if quotation.line != line:
                found.setdefault(quotation.source, quotation)
        return list(found.values())[:count]

    def _rank(self, line: str, number: int, score: float) -> float:
        other = self.quotations[number].line
        together = sum(a == b for a, b in zip(line, other, strict=False))
        return score / math.sqrt(len(other)) + 0.5 * together * (len(line) == len(other))

    # -- 集句 -------------------------------------------------------------------------------------------------------

    def collect(self, law: Law, theme: str, chance: random.Random) -> list[list[Quotation]]:
        """Poems of quoted lines that keep the law, no two lines of one poem; the more of the theme, the sooner.

        ValueError: there are none.
        """
        assert law.start
        beginnings: list[tuple[Verse, list[Quotation]]] = [(law.start, [])]
        for line in law.form.lines:
            ways = [
                way for verse, said in beginnings for way in self._next(verse, said, len(line), theme, chance)
            ]
            chance.shuffle(ways)
            ways.sort(key=lambda way: -_about(way[1], theme))
            beginnings = ways[: WIDTH * 4]
        if not beginnings:
            raise ValueError(
                say(
                    f"no poem of quoted lines found in {law.form.name}; try another --seed or --form",
                    f"未能集成{law.form.name}；请换一个 --seed 或体裁",
                )
            )
        return [said for _, said in beginnings[:WIDTH]]

    def _next(
        self, verse: Verse, said: list[Quotation], length: int, theme: str, chance: random.Random
    ) -> Iterator[tuple[Verse, list[Quotation]]]:
        """What may follow: a few of the lines of that length."""
        pool = self._by_length[length]
        numbers = chance.sample(pool, min(len(pool), TRIES))
        numbers += [n for char in HAN.findall(theme) for n in self._with.get(char, ())]
        sources = {quotation.source for quotation in said}
        found = 0
        for number in numbers:
            quotation = self.quotations[number]
            if len(quotation.line) != length or quotation.source in sources:
                continue
            after = _said(verse, quotation.line)
            if after is not None:
                yield after, [*said, quotation]
                found += 1
                if found == WIDTH:
                    return

    @cached_property
    def _by_length(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for number, quotation in enumerate(self.quotations):
            found[len(quotation.line)].append(number)
        return found


def _about(said: list[Quotation], theme: str) -> int:
    """How many of the theme's characters the lines have."""
    return len(set(theme) & set("".join(quotation.line for quotation in said)))


def _said(verse: Verse | None, line: str) -> Verse | None:
    """Behind a line and its mark."""
    for char in line:
        verse = verse and verse.step(char)
    while verse and verse.mark:
        verse = verse.step(verse.mark[0])
    return verse


def _lines(text: str) -> list[str]:
    line, found = "", []
    for char in text + "。":
        if HAN.match(char):
            line += char
        elif line:
            found.append(line)
            line = ""
    return found
