"""Vectors of terms and words, learned from dictionaries: the sum of a definition's terms should point at its word.

The bag-of-words model of Hill et al., "Learning to Understand Phrases by Embedding the Dictionary" (TACL 2016), with
cosine and in-batch negatives instead of given word vectors, so that both sides are learned here and English and Chinese
words lie in one space: a definition of either is English. Plain NumPy with Adagrad; about ten seconds an epoch. It
knows bags of numbers, not what they stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DIMENSIONS, EPOCHS, BATCH = 96, 10, 1024
RATE, SHARPNESS, KEPT = (
    0.15,
    14.0,
    0.75,
)  # of Adagrad; of the softmax over cosines; share of the terms of a bag
_EPSILON = 1e-6


@dataclass(frozen=True)
class Bags:
    """Definitions as numbers: bag i is terms[starts[i]:starts[i + 1]]; its words are words[word_starts[i]:…]."""

    terms: np.ndarray
    starts: np.ndarray
    words: np.ndarray
    word_starts: np.ndarray


@dataclass
class _Table:
    """Rows that are learned, with Adagrad's sums of squares, one to a row."""

    rows: np.ndarray
    squares: np.ndarray

    def step(self, ids: np.ndarray, gradient: np.ndarray) -> None:
        """Add up the gradients of equal ids, then move."""
        order = np.argsort(ids, kind="stable")
        at = np.flatnonzero(np.diff(ids[order], prepend=-1))
        unique, total = ids[order][at], np.add.reduceat(gradient[order], at)
        self.squares[unique] += (total * total).mean(1)
        self.rows[unique] -= RATE * total / np.sqrt(self.squares[unique] + _EPSILON)[:, None]


def learn(
    bags: Bags,
    term_weight: np.ndarray,
    words: int,
    *,
    dimensions: int = DIMENSIONS,
    epochs: int = EPOCHS,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the terms [T, D], their weight in a text as length, and of the words [W, D], of length one."""
    chance = np.random.default_rng(1)
    shape = (len(term_weight), dimensions)
    rows = chance.standard_normal(shape, np.float32) * (term_weight / np.sqrt(dimensions))[:, None]
    terms = _Table(rows.astype(np.float32), np.zeros(len(rows), np.float32))
    word_rows = mean_of_bags(terms.rows, bags, words)
    table = _Table(word_rows, np.zeros(words, np.float32))
    for epoch in range(epochs):
        losses = []
        order = chance.permutation(len(bags.starts) - 1)
        for at in range(0, len(order), BATCH):
            losses.append(_step(bags, order[at : at + BATCH], terms, table, chance))
        report(epoch, float(np.mean(losses or [0.0])))
    return terms.rows, unit(table.rows)


def _step(bags: Bags, chosen: np.ndarray, terms: _Table, table: _Table, chance: np.random.Generator) -> float:
    counts = bags.word_starts[chosen + 1] - bags.word_starts[chosen]
    target = bags.words[bags.word_starts[chosen] + (chance.random(len(chosen)) * counts).astype(np.int64)]
    flat, owner = _flat(bags, chosen)
    kept = chance.random(len(flat)) < KEPT
    kept[np.flatnonzero(np.diff(owner, prepend=-1))] = True  # no bag is empty
    flat, owner = flat[kept], owner[kept]
    sums_BD = np.add.reduceat(terms.rows[flat], np.flatnonzero(np.diff(owner, prepend=-1)))
    length_B, norm_B = _length(sums_BD), _length(table.rows[target])
    query_BD, word_BD = sums_BD / length_B, table.rows[target] / norm_B
    logits_BB = SHARPNESS * query_BD @ word_BD.T
    same = (target[:, None] == target[None]) & ~np.eye(len(target), dtype=bool)
    logits_BB[same] = -np.inf
    logits_BB -= logits_BB.max(1, keepdims=True)
    share_BB = np.exp(logits_BB)
    total_B = share_BB.sum(1, keepdims=True)
    loss = float(np.mean(np.log(total_B[:, 0]) - np.diag(logits_BB)))
    share_BB /= total_B
    share_BB[np.diag_indices(len(target))] -= 1
    table.step(target, _through_norm(SHARPNESS * share_BB.T @ query_BD, word_BD, norm_B))
    terms.step(flat, _through_norm(SHARPNESS * share_BB @ word_BD, query_BD, length_B)[owner])
    return loss


def _flat(bags: Bags, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The terms of the chosen bags one after another, and the place of each bag in `chosen`."""
    counts = bags.starts[chosen + 1] - bags.starts[chosen]
    owner = np.repeat(np.arange(len(chosen)), counts)
    first = np.repeat(bags.starts[chosen] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return bags.terms[first + np.arange(len(owner))], owner


def mean_of_bags(rows: np.ndarray, bags: Bags, words: int) -> np.ndarray:
    """Of each word the mean direction of the bags that define it."""
    sums = np.zeros((words, rows.shape[1]), np.float32)
    for at in range(0, len(bags.starts) - 1, 4 * BATCH):
        chosen = np.arange(at, min(at + 4 * BATCH, len(bags.starts) - 1))
        flat, owner = _flat(bags, chosen)
        units = unit(np.add.reduceat(rows[flat], np.flatnonzero(np.diff(owner, prepend=-1))))
        counts = bags.word_starts[chosen + 1] - bags.word_starts[chosen]
        np.add.at(
            sums, bags.words[bags.word_starts[at] : bags.word_starts[chosen[-1] + 1]], units.repeat(counts, 0)
        )
    return unit(sums)


def _through_norm(gradient: np.ndarray, unit: np.ndarray, length: np.ndarray) -> np.ndarray:
    along = (gradient * unit).sum(1, keepdims=True)
    through: np.ndarray = (gradient - along * unit) / length
    return through


def _length(rows: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True) + _EPSILON
    return length


def unit(rows: np.ndarray) -> np.ndarray:
    directions: np.ndarray = rows / _length(rows)
    return directions


def of_words(bags: Bags, words: np.ndarray) -> Bags:
    """The bags that define some of these words, for these words alone."""
    kept = np.isin(bags.words, words)
    owner = np.repeat(np.arange(len(bags.starts) - 1), np.diff(bags.word_starts))
    counts = np.bincount(owner[kept], minlength=len(bags.starts) - 1)
    chosen = np.flatnonzero(counts)
    flat, _ = _flat(bags, chosen)
    sizes = np.diff(bags.starts)[chosen]
    return Bags(flat, _starts(sizes), bags.words[kept], _starts(counts[chosen]))


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])


def int8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as int8 with a scale each."""
    scale = np.abs(rows).max(1) / 127 + 1e-12
    return np.rint(rows / scale[:, None]).astype(np.int8), scale.astype(np.float32)
