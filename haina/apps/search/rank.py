"""A question → passages, best first: BM25 of FTS5 finds candidates, a sum of learned weights orders them.

In a large index the commonest terms of the question are left out of the first step, since that is where the time
goes. The weights were fitted on CMRC 2018's trial set and DRCD's development set (`python -m bench.search --fit`).
It knows the index; what an answer is, answer.py knows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from haina.apps.search.features import Question, Terms, rarity
from haina.apps.search.store import Passage, Store
from haina.apps.search.terms import characters, folded, pairs
from haina.text.normalize import sentence_ends

CANDIDATES = 20
MANY = 20_000  # passages, from which on only RAREST terms are asked for
RAREST = 10
SAMPLE = 2000  # passages from which the weights of single characters come
BESIDE = (
    300  # passages of ordinary text that are thought to stand beside the index: what a small one cannot tell
)
CHANGED = 1.25  # times as many passages, and they are counted anew
EARLIER = 0.5  # of the weight of a term: what it counts in a question that follows
LONGEST_QUESTION = 500  # characters; what follows is not read
WEIGHTS = (8.4, 5.2, 8.7, 4.9)


LITTLE = frozenset(
    "的了是在有和与为以及其之这那个们吗呢吧么什谁哪几怎何时候被把从到对于而也就都很上中下所第一不多少"
)
SMALL = frozenset(
    "a about an and are as at be been by can did do does for from had has have he her his how in is it its many much"
    " of on or she than that the their they this to was we were what when where which who whom whose why will with"
    " you".split()
)


@dataclass(frozen=True)
class Ranked:
    """A passage and how well it fits; scores are comparable within one question."""

    passage: Passage
    score: float


def ordinary(term: str) -> float:
    """The share of ordinary passages that hold a term, roughly: words that say little, characters of such, others."""
    little = sum(char in LITTLE for char in term)
    if (len(term) == 1 and little) or term in SMALL:
        return 0.3
    return 0.1 if little == len(term) == 2 else 0.01 if little else 0.001


@dataclass(frozen=True)
class Sample:
    """Of an index of `size` passages: how many characters they have, and the share of them that holds each."""

    size: int
    length: float
    holding: dict[str, float]

    def near(self, size: int) -> bool:
        """Whether it still tells of an index of this size."""
        return self.size <= size * CHANGED and size <= self.size * CHANGED


class Ranking:
    """Asks an index. What it knows of the whole index is counted once, and again after CHANGED."""

    def __init__(self, store: Store):
        self.store = store
        self._size = -1
        self._known = Sample(-1, 1.0, {})

    def question(self, text: str, before: str = "") -> Question:
        """A question with the weights that its terms have here; those of the one before it count a part of theirs."""
        self._count()
        asked = self._weighed(text)
        if not before or not asked.pairs.names:
            return asked
        earlier = self._weighed(before)
        return Question(
            asked.text, asked.pairs.and_(earlier.pairs, EARLIER), asked.single.and_(earlier.single, EARLIER)
        )

    def _weighed(self, text: str) -> Question:
        text = text[:LONGEST_QUESTION]
        single = Terms.of(characters(text), self._single_idf)
        return Question(text, Terms.of(pairs(text), self._idf), single)

    def find(self, question: Question, top: int) -> list[Ranked]:
        """The passages, best first."""
        asked: Sequence[str] = question.pairs.names
        if self._size > MANY:
            rarest = sorted(zip(question.pairs.idf, asked, strict=True), reverse=True)[:RAREST]
            asked = [term for _, term in rarest]
        found = self.store.passages(self.store.find(asked, max(CANDIDATES, top)))
        rows = [self.features(question, passage.text) for passage in found[:CANDIDATES]]
        scores = [sum(w * x for w, x in zip(WEIGHTS, row, strict=True)) for row in rows]
        best = sorted(map(Ranked, found, scores), key=lambda ranked: -ranked.score)
        return [*best, *(Ranked(passage, best[-1].score) for passage in found[CANDIDATES:])][:top]

    def features(self, question: Question, text: str) -> list[float]:
        """Numbers of how well a passage fits: as a whole, its best sentence, the longest stretch it shares."""
        whole, length = folded(text), len(text) / self._known.length
        same, best, at = len(whole) == len(text), 0.0, 0
        for end in sentence_ends(text):
            part = whole[at:end] if same else folded(text[at:end])
            at = end
            best = max(best, question.pairs.held(question.pairs.counts(part)))
        return [
            question.pairs.bm25(question.pairs.counts(whole), length),
            question.single.bm25(question.single.counts(whole), length),
            best,
            question.shared(whole),
        ]

    def _idf(self, term: str) -> float:
        if len(term) == 1 and not term.isascii():
            return self._single_idf(term)
        return rarity(self.store.frequency(term) + BESIDE * ordinary(term), self._size + BESIDE)

    def _single_idf(self, char: str) -> float:
        holding = self._known.holding.get(char, 0) * self._size
        return rarity(holding + BESIDE * ordinary(char), self._size + BESIDE)

    def _count(self) -> None:
        self._size = self.store.size
        if self._known.near(self._size):
            return
        kept = self.store.recall("characters")
        known = Sample(**json.loads(kept)) if isinstance(kept, str) else self._known
        self._known = known if known.near(self._size) else counted(self.store)


def counted(store: Store) -> Sample:
    """Look at a sample of the passages."""
    texts = store.sample(SAMPLE)
    holding = Counter(char for text in texts for char in characters(text))
    length = sum(map(len, texts)) / max(len(texts), 1) or 1.0
    return Sample(store.size, length, {char: round(n / len(texts), 5) for char, n in holding.items()})
