"""A question in one language, looked for in the other: each of its words as the words of a dictionary that mean it.

glosses.txt.gz holds CC-CEDICT's words, the commonest first, with their short glosses as stems (build.py). All that
one word may mean counts as one term, which is there when any of it is (Pirkola, "The effects of query structure and
dictionary setups", SIGIR 1998). It knows words; what a term is worth here, rank.py knows.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from haina.apps.search.features import SMALL, Terms
from haina.apps.search.terms import is_dense, pairs, words

FILE = Path(__file__).with_name("glosses.txt.gz")
MOST = 6  # meanings of a word
LONGEST = 6  # characters of a Chinese word
PHRASE = 3  # English words of a gloss
Way = tuple[str, ...]  # one translation: stems, or a Chinese word


@cache
def _chinese() -> dict[str, tuple[Way, ...]]:
    lines = gzip.decompress(FILE.read_bytes()).decode().splitlines()
    rows = (line.split("\t") for line in lines)
    return {word: tuple(tuple(gloss.split()) for gloss in glosses.split("/")) for word, glosses in rows}


@cache
def _english() -> dict[Way, tuple[Way, ...]]:
    found: dict[Way, list[Way]] = {}
    for word, glosses in _chinese().items():
        for gloss in glosses:
            found.setdefault(gloss, []).append((word,))
    return {gloss: tuple(ways) for gloss, ways in found.items()}


def translated(folded_text: str, *, chinese: bool) -> dict[str, tuple[Way, ...]]:
    """The words of a text, the longest that the dictionary has, and the ways to say each in the other language.

    Names and numbers in Latin letters stand for themselves too.
    """
    own = [stem for stem in words(folded_text) if stem not in SMALL]
    themselves: dict[str, tuple[Way, ...]] = {stem: ((stem,),) for stem in own}
    if chinese:
        found = _longest(folded_text, LONGEST, lambda part: _chinese().get("".join(part)))
        return themselves | {"".join(part): ways for part, ways in found}
    found = _longest(own, PHRASE, lambda part: _english().get(tuple(part)))
    return themselves | {" ".join(part): (*ways, tuple(part)) for part, ways in found}


def _longest(
    parts: Sequence[str], most: int, look: Callable[[Sequence[str]], tuple[Way, ...] | None]
) -> Iterator[tuple[Sequence[str], tuple[Way, ...]]]:
    """Stretches that are in the dictionary, with MOST of their ways; what is in none is passed over."""
    at = 0
    while at < len(parts):
        ways = None
        for size in range(min(most, len(parts) - at), 0, -1):
            if ways := look(parts[at : at + size]):
                yield parts[at : at + size], ways[:MOST]
                break
        at += size


@dataclass(frozen=True)
class Meanings(Terms):
    """Terms of which each is there when one of its ways is; ways: of each name."""

    ways: tuple[tuple[Way, ...], ...] = ()

    @classmethod
    def weighed(cls, found: dict[str, tuple[Way, ...]], idf: Callable[[tuple[Way, ...]], float]) -> Meanings:
        names, ways = tuple(found), tuple(found.values())
        return cls(names, tuple(map(idf, ways)), (False,) * len(names), ways)

    def counts(self, text: str) -> list[int]:
        """How often each occurs in a folded text: as often as the commonest of its ways."""
        stems = Counter(words(text))
        return [max((_count(way, text, stems) for way in ways), default=0) for ways in self.ways]

    def inside(self, text: str) -> list[bool]:
        return [n > 0 for n in self.counts(text)]

    def asked(self) -> Iterator[str]:
        """The terms of an index to look for, those of the heaviest first."""
        order = sorted(range(len(self.names)), key=lambda at: -self.idf[at])
        for at in order:
            for way in self.ways[at]:
                yield from index_terms(way)


def index_terms(way: Way) -> list[str]:
    """A way as the terms of an index."""
    return pairs(" ".join(way)) if is_dense(way[0]) else list(way)


def _count(way: Way, text: str, stems: Counter[str]) -> int:
    return text.count(way[0]) if is_dense(way[0]) else min(stems[stem] for stem in way)
