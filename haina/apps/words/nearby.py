"""What the senses that match best tell of other words: of those that they mention, and of those that lie near.

A word that no dictionary defines still stands in the definitions of others, and near their words among the vectors:
pseudo-relevance feedback, as in Lavrenko and Croft, "Relevance-Based Language Models" (SIGIR 2001). It knows scores of
senses; not what a description is.
"""

from __future__ import annotations

import numpy as np

from haina.apps.words.index import Index
from haina.apps.words.terms import stem

HEARD, NEAREST = 300, 48  # senses whose words are mentioned; whose words lie near
SHARP = 14.0  # how much more a better sense counts
RARE = 8.0  # nats: a term so rare counts in full where it is mentioned


class Nearby:
    """An index, ready to be asked. links: for each word its senses, as in the index."""

    def __init__(self, index: Index, link_senses: np.ndarray, link_counts: np.ndarray, senses: int):
        self._index = index
        table = index.postings
        order = np.argsort(table.senses, kind="stable")
        counts = np.diff(table.starts)
        self._terms = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        self._term_starts = _starts(table.senses, senses)
        order = np.argsort(link_senses, kind="stable")
        self._words = np.repeat(np.arange(len(link_counts), dtype=np.int32), link_counts)[order]
        self._word_starts = _starts(link_senses, senses)
        named = [
            (at, table.number.get(stem(word.lower()), -1)) for at, word in self._english() if word.isalpha()
        ]
        known = np.array([pair for pair in named if pair[1] >= 0], np.int32).reshape(-1, 2)
        self._named, self._as = known[:, 0], known[:, 1]
        self._telling = np.minimum(table.idf[self._as] / RARE, 1)

    def _english(self) -> list[tuple[int, str]]:
        return list(enumerate(self._index.words[: self._index.english]))

    def best(self, score_S: np.ndarray) -> np.ndarray:
        """The senses that are heard, the best first."""
        most = min(HEARD, len(score_S) - 1)
        top = np.argpartition(-score_S, most)[:most]
        order: np.ndarray = top[np.argsort(-score_S[top], kind="stable")]
        return order

    def mentioned(self, score_S: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Of each English word the score of the best sense that mentions it, less if it is common."""
        score_T = np.zeros(len(self._index.postings.idf), np.float32)
        for sense in best[::-1].tolist():
            score_T[self._terms[self._term_starts[sense] : self._term_starts[sense + 1]]] = score_S[sense]
        found = np.zeros(self._index.english, np.float32)
        found[self._named] = score_T[self._as] * self._telling
        return found

    def direction(self, score_S: np.ndarray, best: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Where the words of the best senses lie together, [D], of length one. vectors [W, D]."""
        senses = best[:NEAREST]
        held = [self._words[self._word_starts[at] : self._word_starts[at + 1]] for at in senses.tolist()]
        counts = np.array([len(words) for words in held])
        share = np.exp(SHARP * (score_S[senses] - score_S[senses[:1]])) / np.maximum(counts, 1)
        summed = np.repeat(share, counts).astype(np.float32) @ vectors[np.concatenate(held)]
        unit: np.ndarray = summed / (np.linalg.norm(summed) + 1e-6)
        return unit


def _starts(senses: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(senses, minlength=count))])
