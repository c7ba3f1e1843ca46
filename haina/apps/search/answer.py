"""Passages → an answer that quotes: the sentences that fit a question best, each with the number of its source.

Whether an answer is there at all is a logistic of how much of the question the best passage and sentence hold. Weights
as in rank.py, by `python -m bench.search --fit`. A quote is cut out of the passage, so it is verbatim and its place
is known. No model is needed; with one, cite.py lets it say more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from haina.apps.search.features import Question
from haina.apps.search.orders import CERTAIN, ORDER, commanding
from haina.apps.search.rank import Ranked
from haina.apps.search.sentences import SINGLE, TOGETHER, Sentence, features, sentences
from haina.apps.search.store import Passage

READ = 5  # passages that are looked at for an answer
MOST = 3  # sentences of an answer
NEAR = 0.3  # how far behind the best one a further sentence may be
WEIGHTS = (-1.2, 1.7, 1.34, 0.17, 0.07, 0.27, -2.14, 0.03, 2.52, 3.28, 7.19, 1.33, 0.92, 3.38, 1.05)
FOUND = (4.05, 8.73)
FOUND_BIAS = -6.55
ENOUGH = 0.45  # of being there, from which on it is said


@dataclass(frozen=True)
class Citation:
    """A quote: `text(document)[start:end] == quote`, in characters of the document's text."""

    document: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True)
class Answer:
    """What is said, with [1] behind a quote for the first citation. found: False: it is not there; the rest is empty.

    chance: how sure it is that an answer is there, 0 to 1; passages: best first, whether or not one answers.
    """

    answer: str
    found: bool
    chance: float
    citations: tuple[Citation, ...]
    passages: tuple[Ranked, ...]


def answered(question: Question, ranked: Sequence[Ranked]) -> Answer:
    """The answer out of ranked passages; out of those that give orders where no other one has any."""
    if ranked and ranked[0].across and question.across:
        question = question.across
    distrusted = set[int]()
    found = _chosen(question, ranked)
    for least in (CERTAIN, ORDER):  # the second only for want of an answer
        while (least == CERTAIN or found.chance < ENOUGH) and not found.giving(least) <= distrusted:
            distrusted |= found.giving(least)
            found = _chosen(question, [each for each in ranked if each.passage.id not in distrusted])
    if distrusted and found.chance < ENOUGH:
        found = _chosen(question, [each for each in ranked if each.passage.id in distrusted])
    if found.chance < ENOUGH:
        return Answer("", False, found.chance, (), tuple(ranked))
    return Answer("".join(pieces(found.cited)), True, found.chance, found.cited, tuple(ranked))


@dataclass(frozen=True)
class _Chosen:
    """The chance that an answer is there, the sentences that answer, and how much each passage looked at commands."""

    chance: float
    cited: tuple[Citation, ...]
    odds: dict[int, float]

    def giving(self, least: float) -> set[int]:
        """The passages that give orders."""
        return {id for id, odds in self.odds.items() if odds > least}


def _chosen(question: Question, ranked: Sequence[Ranked]) -> _Chosen:
    read = ranked[:READ]
    passages = [each.passage for each in read]
    candidates = list(sentences(passages))
    rows = features(question, candidates, [each.score for each in read])
    scores = [sum(w * x for w, x in zip(WEIGHTS, row, strict=True)) for row in rows]
    looked = _Looked(question.text, candidates)
    best = list(islice(looked.fine(scores), MOST))
    chance = chance_of(evidence(rows, looked.fine)) if best else 0.0
    chosen = [candidates[at] for at in best if scores[best[0]] - scores[at] <= NEAR]
    cited = tuple(cited_at(passages[each.passage], each.start, each.end) for each in chosen)
    return _Chosen(chance, cited, {passages[number].id: max(odds) for number, odds in looked.odds.items()})


class _Looked:
    """Sentences, and which of them may be quoted; a passage is looked through when it comes to it.

    odds: of the sentences of each passage so far.
    """

    def __init__(self, question: str, candidates: Sequence[Sentence]):
        self._question, self._candidates = question, candidates
        self._first = {each.passage: at for at, each in reversed(list(enumerate(candidates)))}
        self.odds: dict[int, list[float]] = {}

    def fine(self, scores: Sequence[float]) -> Iterator[int]:
        """The sentences that are neither orders nor questions, the one with the highest score first."""
        return (at for at in sorted(range(len(scores)), key=lambda at: -scores[at]) if self._is_fine(at))

    def _is_fine(self, at: int) -> bool:
        number = self._candidates[at].passage
        if number not in self.odds:
            texts = [each.text for each in self._candidates if each.passage == number]
            self.odds[number] = commanding(texts, self._question)
        asks = self._candidates[at].text.endswith(("?", "？"))
        return not asks and self.odds[number][at - self._first[number]] <= ORDER


def pieces(cited: Sequence[Citation]) -> list[str]:
    """The text of an answer that is nothing but quotes, a piece for each."""
    said = (f"{' '.join(each.quote.split())} [{number}]" for number, each in enumerate(cited, start=1))
    return [f" {text}" if at else text for at, text in enumerate(said)]


def evidence(
    rows: Sequence[Sequence[float]], fine: Callable[[Sequence[float]], Iterator[int]]
) -> tuple[float, float]:
    """Numbers that tell whether the answer is there: the most of the question's characters that one sentence holds, and
    of its pairs and stems together with the sentences about it. fine: which count, the largest first."""
    single, together = ([row[which] for row in rows] for which in (SINGLE, TOGETHER))
    return single[next(fine(single))], together[next(fine(together))]


def chance_of(numbers: Sequence[float]) -> float:
    return 1 / (1 + math.exp(-FOUND_BIAS - sum(w * x for w, x in zip(FOUND, numbers, strict=True))))


def cited_at(passage: Passage, start: int, end: int) -> Citation:
    """The citation of a stretch of a passage."""
    return Citation(passage.document, passage.start + start, passage.start + end, passage.text[start:end])
