"""Passages → an answer that quotes: the sentences that fit a question best, each with the number of its source.

Whether an answer is there at all is a logistic of how much of the question the best passage and sentence hold. Weights
as in rank.py, by `python -m bench.search --fit`. A quote is cut out of the passage, so it is verbatim and its place
is known. No model is needed; with one, cite.py lets it say more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from haina.apps.search.features import Question
from haina.apps.search.rank import Ranked
from haina.apps.search.sentences import SINGLE, TOGETHER, features, sentences
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
    """The answer out of ranked passages."""
    read = [each.passage for each in ranked[:READ]]
    candidates = list(sentences(read))
    if ranked and ranked[0].across and question.across:
        question = question.across
    if not candidates:
        return Answer("", False, 0.0, (), tuple(ranked))
    rows = features(question, candidates, [each.score for each in ranked[:READ]])
    scores = [sum(w * x for w, x in zip(WEIGHTS, row, strict=True)) for row in rows]
    order = sorted(range(len(rows)), key=lambda at: -scores[at])
    chance = chance_of(evidence(rows))
    if chance < ENOUGH:
        return Answer("", False, chance, (), tuple(ranked))
    chosen = [at for at in order[:MOST] if scores[order[0]] - scores[at] <= NEAR]
    cited = tuple(cited_at(read[s.passage], s.start, s.end) for s in (candidates[at] for at in chosen))
    return Answer("".join(pieces(cited)), True, chance, cited, tuple(ranked))


def pieces(cited: Sequence[Citation]) -> list[str]:
    """The text of an answer that is nothing but quotes, a piece for each."""
    said = (f"{' '.join(each.quote.split())} [{number}]" for number, each in enumerate(cited, start=1))
    return [f" {text}" if at else text for at, text in enumerate(said)]


def evidence(rows: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Numbers that tell whether the answer is there: the most of the question's characters that one sentence holds, and
    of its pairs and stems together with the sentences about it."""
    return max(row[SINGLE] for row in rows), max(row[TOGETHER] for row in rows)


def chance_of(numbers: Sequence[float]) -> float:
    return 1 / (1 + math.exp(-FOUND_BIAS - sum(w * x for w, x in zip(FOUND, numbers, strict=True))))


def cited_at(passage: Passage, start: int, end: int) -> Citation:
    """The citation of a stretch of a passage."""
    return Citation(passage.document, passage.start + start, passage.start + end, passage.text[start:end])
