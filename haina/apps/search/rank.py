"""A question → passages, best first: BM25 of FTS5 finds candidates, a sum of learned weights orders them.

In a large index the commonest terms of the question are left out of the first step, since that is where the time
goes. The weights were fitted on CMRC 2018's trial set and DRCD's development set (`python -m bench.search --fit`).
It knows the index; what an answer is, answer.py knows.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from haina.apps.search.across import Meanings, Way, index_terms, translated
from haina.apps.search.features import Question, Terms, ordinary, rarity
from haina.apps.search.store import Index, Passage
from haina.apps.search.terms import characters, folded, pairs, simpler
from haina.apps.words.terms import is_chinese
from haina.text.normalize import sentence_ends

CANDIDATES = 20
MANY = 20_000  # passages, from which on only RAREST terms are asked for, and of those as many as AT_ONCE passages hold
RAREST = 8
AT_ONCE = 2000  # FTS5 looks at each
AT_ONCE_ACROSS = 10_000  # of many meanings most are wrong: fewer lose more there
SAMPLE = 2000  # passages from which the weights of single characters come
BESIDE = (
    300  # passages of ordinary text that are thought to stand beside the index: what a small one cannot tell
)
FEW = 0.001  # of the passages in another language: too few to look for
MOST_ACROSS = 40  # terms of the other language that are looked for
CHANGED = 1.25  # times as many passages, and they are counted anew
EARLIER = 0.5  # of the weight of a term: what it counts in a question that follows
PLACE = 60  # in fused orders: how little it matters to be first
LONGEST_QUESTION = 500  # characters; what follows is not read
Near = Callable[[str], list[int]]  # a text → passages, nearest first
WEIGHTS = (8.4, 5.2, 8.7, 4.9)

ASKING = re.compile("为?什么|甚么|多少|哪[些个里儿]?|谁|怎么?样?|如何")  # no text that answers says it


@dataclass(frozen=True)
class Ranked:
    """A passage and how well it fits; scores are comparable within one question."""

    passage: Passage
    score: float
    across: bool = False  # found by what the question is in the other language


@dataclass(frozen=True)
class Sample:
    """Of an index of `size` passages: how many characters they have, the share of them that holds each, and the share
    that is Chinese."""

    size: int
    length: float
    holding: dict[str, float]
    chinese: float = 0.5

    def near(self, size: int) -> bool:
        """Whether it still tells of an index of this size."""
        return self.size <= size * CHANGED and size <= self.size * CHANGED


class Ranking:
    """Asks an index. What it knows of the whole index is counted once, and again after CHANGED."""

    def __init__(self, store: Index):
        self.store = store
        self._size = -1
        self._known = Sample(-1, 1.0, {})
        self._holding: dict[str, int] = {}  # passages that hold a term, as of then

    def question(self, text: str, before: str = "") -> Question:
        """A question with the weights that its terms have here; those of the one before it count a part of theirs."""
        self._count()
        asked = self._weighed(text)
        if not before or not asked.pairs.names:
            return asked
        earlier = self._weighed(before)
        return replace(
            asked,
            pairs=asked.pairs.and_(earlier.pairs, EARLIER),
            single=asked.single.and_(earlier.single, EARLIER),
        )

    def _weighed(self, text: str) -> Question:
        text = text[:LONGEST_QUESTION]
        about = ASKING.sub(" ", simpler(text))
        about = about if any(map(str.isalnum, about)) else text
        single = Terms.of(characters(about), self._single_idf)
        return Question(text, Terms.of(pairs(about), self._idf), single, self._across(text, about))

    def _across(self, text: str, about: str) -> Question | None:
        """The question as the other language says it, if the index has any text of that."""
        chinese = is_chinese(text)
        if (1 - self._known.chinese if chinese else self._known.chinese) < FEW:
            return None
        meanings = Meanings.weighed(translated(folded(about), chinese=chinese), self._way_idf)
        return Question(text, meanings, meanings)

    def find(self, question: Question, top: int) -> list[Ranked]:
        """The passages, best first."""
        asked: Sequence[str] = question.pairs.names
        if self._size > MANY:
            rarest = sorted(zip(question.pairs.idf, asked, strict=True), reverse=True)[:RAREST]
            asked = self._few([term for _, term in rarest], AT_ONCE)
        found = self._scored(question, asked, top)
        if question.across:
            assert isinstance(question.across.pairs, Meanings)
            asked = [*islice(dict.fromkeys(question.across.pairs.asked()), MOST_ACROSS)]
            asked = self._few(asked, AT_ONCE_ACROSS) if self._size > MANY else asked
            own = {ranked.passage.id: ranked.score for ranked in found}
            others = self._scored(question.across, asked, top)
            others = [each for each in others if each.score > own.pop(each.passage.id, 0.0)]
            found = [*(each for each in found if each.passage.id in own)]
            found += [replace(each, across=True) for each in others]
        return sorted(found, key=lambda ranked: -ranked.score)[:top]

    def _few(self, terms: Sequence[str], most: int) -> list[str]:
        """The first of the terms, and of the others those that, all together, `most` passages hold."""
        few, held = list[str](), 0
        for term in terms:
            more = self._holding.get(term, 0)
            if not few or held + more <= most:
                few.append(term)
                held += more
        return few

    def _scored(self, question: Question, asked: Sequence[str], top: int) -> list[Ranked]:
        """The passages that FTS5 finds; of those beyond CANDIDATES it knows no more than that they are worse."""
        found = self.store.passages(self.store.find(asked, max(CANDIDATES, top)))
        ranked = [self.scored(question, passage) for passage in found[:CANDIDATES]]
        worst = min((each.score for each in ranked), default=0.0)
        return [*ranked, *(Ranked(passage, worst) for passage in found[CANDIDATES:])]

    def scored(self, question: Question, passage: Passage) -> Ranked:
        """How well a passage fits."""
        row = self.features(question, passage.text)
        return Ranked(passage, sum(w * x for w, x in zip(WEIGHTS, row, strict=True)))

    def features(self, question: Question, text: str) -> list[float]:
        """Numbers of how well a passage fits: as a whole, its best sentence, the longest stretch it shares."""
        whole, length = folded(text), len(text) / self._known.length
        same, best, at = len(whole) == len(text), 0.0, 0
        for end in sentence_ends(text):
            part = whole[at:end] if same else folded(text[at:end])
            at = end
            best = max(best, question.pairs.held(part))
        return [
            question.pairs.bm25(question.pairs.counts(whole), length),
            question.single.bm25(question.single.counts(whole), length),
            best,
            question.shared(whole),
        ]

    def _idf(self, term: str) -> float:
        if len(term) == 1 and not term.isascii():
            return self._single_idf(term)
        if term not in self._holding:  # FTS5 counts by reading the whole list
            self._holding[term] = self.store.frequency(term)
        return rarity(self._holding[term] + BESIDE * ordinary(term), self._size + BESIDE)

    def _way_idf(self, ways: tuple[Way, ...]) -> float:
        """Of a word by all that it may mean: as many passages hold it as hold the commonest term of any."""
        return min(max(map(self._idf, index_terms(way)), default=0.0) for way in ways)

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


def fused(one: Sequence[Ranked], other: Sequence[Ranked]) -> list[Ranked]:
    """Two orders as one, by reciprocal ranks (Cormack, Clarke and Büttcher, SIGIR 2009)."""
    places: dict[int, float] = {}
    every: dict[int, Ranked] = {}
    for order in (one, other):
        for place, ranked in enumerate(order, start=1):
            id = every.setdefault(ranked.passage.id, ranked).passage.id
            places[id] = places.get(id, 0.0) + 1 / (PLACE + place)
    return sorted(every.values(), key=lambda ranked: -places[ranked.passage.id])


def counted(store: Index) -> Sample:
    """Look at a sample of the passages."""
    texts = store.sample(SAMPLE)
    holding = Counter(char for text in texts for char in characters(text))
    length = sum(map(len, texts)) / max(len(texts), 1) or 1.0
    chinese = sum(map(is_chinese, texts)) / max(len(texts), 1)
    return Sample(
        store.size, length, {char: round(n / len(texts), 5) for char, n in holding.items()}, chinese
    )
