"""An inverted index in flat arrays: which senses hold a term, and what it says about each of them (BM25).

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). What a posting adds to a score
is computed when the index is built and kept in a byte, so that a query is a few gathers and additions. It knows terms
as strings; not where they come from.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

K1, B = 1.2, 0.5  # how soon a repeated term stops counting; how much longer texts are held back
COMMON, SURELY_RARE = 0.08, 30  # of all senses: a term in more of them says nothing; senses


@dataclass(frozen=True)
class Postings:
    """Of each term the senses that hold it. starts [terms + 1]; senses, gain [postings], in 1/255 of `most`."""

    number: dict[str, int]
    starts: np.ndarray
    senses: np.ndarray
    gain: np.ndarray
    most: float
    idf: np.ndarray

    def add(self, term: str, weight: float, score_S: np.ndarray) -> None:
        """Add what the term gives, times `weight`, to the senses that hold it."""
        at = self.number.get(term)
        if at is not None:
            here = slice(self.starts[at], self.starts[at + 1])
            score_S[self.senses[here]] += self.gain[here] * np.float32(weight * self.most / 255)

    def weigh(self, term: str) -> float:
        """Inverse document frequency in nats; 0 for what is not known or everywhere."""
        at = self.number.get(term)
        return 0.0 if at is None else float(self.idf[at])


def build(texts: Iterable[Mapping[str, float]], *, least: int = 1) -> Postings:
    """From the weighted terms of each sense. `least`: terms of fewer senses are left out."""
    number: dict[str, int] = {}
    term_ids, counts, lengths = array("i"), array("f"), array("f")
    owner = array("i")
    for sense, weighted in enumerate(texts):
        lengths.append(sum(weighted.values()))
        for term, count in weighted.items():
            term_ids.append(number.setdefault(term, len(number)))
            counts.append(count)
            owner.append(sense)
    term_P, sense_P = np.frombuffer(term_ids, np.int32), np.frombuffer(owner, np.int32)
    count_P, length_S = np.frombuffer(counts, np.float32), np.frombuffer(lengths, np.float32)
    return _weighed(number, term_P, sense_P, count_P, length_S, least)


def _weighed(
    number: dict[str, int],
    term_P: np.ndarray,
    sense_P: np.ndarray,
    count_P: np.ndarray,
    length_S: np.ndarray,
    least: int,
) -> Postings:
    df = np.bincount(term_P, minlength=len(number))
    idf = np.log(1 + (len(length_S) - df + 0.5) / (df + 0.5)).astype(np.float32)
    room = K1 * (1 - B + B * length_S[sense_P] / length_S.mean())
    gain = idf[term_P] * count_P * (K1 + 1) / (count_P + room)
    keep = (df >= least) & (df <= max(COMMON * len(length_S), SURELY_RARE))
    renumbered = np.cumsum(keep) - 1
    kept_P = keep[term_P]
    order = np.argsort(renumbered[term_P[kept_P]], kind="stable")
    most = float(gain.max())
    return Postings(
        {term: int(renumbered[at]) for term, at in number.items() if keep[at]},
        np.concatenate([[0], np.cumsum(df[keep])]).astype(np.int64),
        sense_P[kept_P][order],
        np.ceil(gain[kept_P][order] * (255 / most)).astype(np.uint8),
        most,
        idf[keep],
    )


def counted(parts: Iterable[tuple[Iterable[str], float]]) -> dict[str, float]:
    """Terms with the sum of the weights of the parts in which they stand."""
    found: dict[str, float] = {}
    for terms, weight in parts:
        for term in terms:
            found[term] = found.get(term, 0.0) + weight
    return {term: weight for term, weight in found.items() if not math.isclose(weight, 0)}
