"""How well a text fits a question: numbers of each, which rank.py and answer.py add up with learned weights.

BM25 (Robertson and Zaragoza, 2009) over pairs of characters and stems, and over single characters; how much of the
question's weight a text holds; the longest stretch they share. It knows terms and weights, no index.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

from haina.apps.search.terms import folded, is_dense, words

K1, B = 1.2, 0.75
LITTLE = frozenset(
    "的了是在有和与为以及其之这那个们吗呢吧么什谁哪几怎何时候被把从到对于而也就都很上中下所第一不多少"
)
SMALL = frozenset(
    "a about an and are as at be been by can did do does for from had has have he her his how in is it its many much"
    " of on or she than that the their they this to was we were what when where which who whom whose why will with"
    " you".split()
)


@dataclass(frozen=True)
class Terms:
    """Distinct terms with their weights; dense: which of them are counted as characters, and not as stems."""

    names: tuple[str, ...]
    idf: tuple[float, ...]
    dense: tuple[bool, ...]

    @classmethod
    def of(cls, names: Iterable[str], idf: Callable[[str], float]) -> Terms:
        names = tuple(names)
        return cls(names, tuple(map(idf, names)), tuple(map(is_dense, names)))

    def and_(self, others: Terms, share: float) -> Terms:
        """With the terms of others that it lacks, at a share of their weight."""
        more = [at for at, name in enumerate(others.names) if name not in self.names]
        return Terms(
            (*self.names, *(others.names[at] for at in more)),
            (*self.idf, *(share * others.idf[at] for at in more)),
            (*self.dense, *(others.dense[at] for at in more)),
        )

    @cached_property
    def weight(self) -> float:
        return sum(self.idf) or 1.0

    @cached_property
    def _stems(self) -> bool:
        return not all(self.dense)

    def counts(self, text: str) -> list[int]:
        """How often each occurs in a folded text."""
        stems = Counter(words(text)) if self._stems else Counter[str]()
        return [text.count(n) if dense else stems[n] for n, dense in zip(self.names, self.dense, strict=True)]

    def inside(self, text: str) -> list[bool]:
        """Which occur in a folded text."""
        stems = frozenset(words(text)) if self._stems else frozenset()
        return [n in (text if dense else stems) for n, dense in zip(self.names, self.dense, strict=True)]

    def share(self, which: Sequence[bool]) -> float:
        """Of the weight, what these have."""
        return sum(compress(self.idf, which)) / self.weight

    def held(self, text: str) -> float:
        """The share of the weight whose terms occur in a folded text."""
        return self.share(self.inside(text))

    def bm25(self, found: Sequence[int], length: float) -> float:
        """As a share of the weight; length: of the text, the usual one being 1."""
        low = K1 * (1 - B + B * length)
        gains = (weight * n * (K1 + 1) / (n + low) for n, weight in zip(found, self.idf, strict=True) if n)
        return sum(gains) / self.weight


@dataclass(frozen=True)
class Question:
    """What is asked: pairs of characters and stems, and single characters."""

    text: str
    pairs: Terms
    single: Terms
    across: Question | None = None  # the same as the other language says it

    @cached_property
    def folded(self) -> str:
        return folded(self.text)

    def shared(self, text: str) -> float:
        """The longest stretch of the question that stands in a folded text, as a share of the question."""
        asked, best = self.folded, 0
        for at in range(len(asked)):
            while at + best < len(asked) and asked[at : at + best + 1] in text:
                best += 1
        return best / max(len(asked), 1)


def rarity(holding: float, all: float) -> float:
    """The weight of a term that so many texts hold."""
    return math.log(1 + (all - holding + 0.5) / (holding + 0.5))


def ordinary(term: str) -> float:
    """The share of ordinary passages that hold a term, roughly: words that say little, characters of such, others."""
    little = sum(char in LITTLE for char in term)
    if (len(term) == 1 and little) or term in SMALL:
        return 0.3
    return 0.1 if little == len(term) == 2 else 0.01 if little else 0.001
