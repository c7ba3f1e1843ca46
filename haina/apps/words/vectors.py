"""Vectors of terms and words in one space of both languages: the terms of a definition, summed, point at its word.

The bag-of-words model of Hill et al., "Learning to Understand Phrases by Embedding the Dictionary" (TACL 2016). What a
word's vector is made of: what running text tells of it (text.py), its pieces, as in Bojanowski et al., "Enriching Word
Vectors with Subword Information" (TACL 2017), and a part of its own, which is left out at random, so that a word that
no dictionary defines is found by the others. Half of the definitions are read with each stem put as one of the Chinese
words that are glossed by it, so that Chinese descriptions meet the same words. Plain NumPy: cosine, in-batch
negatives, Adagrad. It knows bags of numbers, not what they stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPOCHS, BATCH = 6, 1024
LEAST_STEPS = 40  # of a dictionary so small that an epoch is one step
RATE, SHARPNESS = 0.15, 14.0  # of Adagrad; of the softmax over cosines
KEPT, OWN = 0.75, 0.5  # shares of the terms of a bag, and of the words' own parts, that a step sees
TRANSLATED = 0.5  # share of the definitions that are read in Chinese
_EPSILON = 1e-6


@dataclass(frozen=True)
class Lists:
    """Numbers in rows of different lengths: row i is values[starts[i]:starts[i + 1]]."""

    values: np.ndarray
    starts: np.ndarray

    def rows(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of the chosen rows one after another, and the place of each one's row in `chosen`."""
        counts = self.starts[chosen + 1] - self.starts[chosen]
        owner = np.repeat(np.arange(len(chosen)), counts)
        first = np.repeat(self.starts[chosen] - np.cumsum(counts) + counts, counts)
        return self.values[first + np.arange(len(owner))], owner


@dataclass(frozen=True)
class Choices:
    """Of each term those that may stand for it, likelier ones with more weight: `total` adds up the weights."""

    lists: Lists
    total: np.ndarray

    def drawn(self, terms: np.ndarray, chance: np.random.Generator) -> np.ndarray:
        """For each term one of its choices; -1 where there is none."""
        sums = np.append(0.0, self.total)
        low, high = sums[self.lists.starts[terms]], sums[self.lists.starts[terms + 1]]
        at = np.searchsorted(self.total, low + (high - low) * chance.random(len(terms)), side="right")
        drawn = np.append(self.lists.values, -1)[at]
        return np.where(high > low, drawn, -1)


@dataclass
class _Table:
    """Rows that are learned, with Adagrad's sums of squares, one to a row."""

    rows: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> _Table:
        return cls(rows, np.zeros(len(rows), np.float32))

    def step(self, ids: np.ndarray, gradient: np.ndarray) -> None:
        """Add up the gradients of equal ids, then move."""
        order = np.argsort(ids, kind="stable")
        at = np.flatnonzero(np.diff(ids[order], prepend=-1))
        unique, total = ids[order][at], np.add.reduceat(gradient[order], at)
        self.squares[unique] += (total * total).mean(1)
        self.rows[unique] -= RATE * total / np.sqrt(self.squares[unique] + _EPSILON)[:, None]


class Words:
    """What the vectors of words are made of. text [W, D]; pieces: of each word the numbers of its pieces."""

    def __init__(self, text: np.ndarray, pieces: Lists, piece_count: int):
        self.text, self.pieces = text, pieces
        self._own = _Table.of(np.zeros_like(text))
        self._piece = _Table.of(np.zeros((piece_count, text.shape[1]), np.float32))

    def sums(self, words: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Vectors of words, not yet of length one; `own` marks those that show their own part."""
        sums: np.ndarray = self.text[words] + self._own.rows[words] * own[:, None]
        flat, owner = self.pieces.rows(words)
        share = 1 / np.maximum(np.bincount(owner, minlength=len(words)), 1)
        held = np.flatnonzero(np.diff(owner, prepend=-1))
        if len(held):
            sums[owner[held]] += np.add.reduceat(self._piece.rows[flat], held) * share[owner[held], None]
        return sums

    def step(self, words: np.ndarray, own: np.ndarray, gradient: np.ndarray) -> None:
        self._own.step(words[own], gradient[own])
        flat, owner = self.pieces.rows(words)
        share = 1 / np.maximum(np.bincount(owner, minlength=len(words)), 1)
        self._piece.step(flat, (gradient * share[:, None].astype(np.float32))[owner])

    def all(self, own: np.ndarray) -> np.ndarray:
        """[W, D] of length one; `own` [W] marks the words whose own part has been learned."""
        parts = [
            self.sums(np.arange(at, min(at + 4 * BATCH, len(own))), own[at : at + 4 * BATCH])
            for at in range(0, len(own), 4 * BATCH)
        ]
        return unit(np.concatenate(parts))


def learn(
    bags: Lists,
    defined: Lists,
    terms: np.ndarray,
    words: Words,
    chinese: Choices,
    *,
    epochs: int = EPOCHS,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> np.ndarray:
    """Learn `words`, and from where they begin the vectors of the terms [T, D], whose length is their weight.

    bags: of each definition its terms; defined: its words.
    """
    chance, table = np.random.default_rng(1), _Table.of(terms.copy())
    steps = -(-(len(bags.starts) - 1) // BATCH)
    for epoch in range(max(epochs, LEAST_STEPS // max(steps, 1))):
        losses = []
        order = chance.permutation(len(bags.starts) - 1)
        for at in range(0, len(order), BATCH):
            chosen = order[at : at + BATCH]
            losses.append(_step(_read(bags, chosen, chinese, chance), defined, chosen, table, words, chance))
        report(epoch, float(np.mean(losses or [0.0])))
    return table.rows


def _read(
    bags: Lists, chosen: np.ndarray, chinese: Choices, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Terms of the chosen bags, some left out, some bags in Chinese, and the place of each one's bag."""
    flat, owner = bags.rows(chosen)
    kept = chance.random(len(flat)) < KEPT
    kept[np.flatnonzero(np.diff(owner, prepend=-1))] = True  # no bag is empty
    flat, owner = flat[kept], owner[kept]
    abroad = (chance.random(len(chosen)) < TRANSLATED)[owner]
    flat = flat.copy()
    flat[abroad] = chinese.drawn(flat[abroad], chance)
    return flat[flat >= 0], owner[flat >= 0]


def _step(
    read: tuple[np.ndarray, np.ndarray],
    defined: Lists,
    chosen: np.ndarray,
    table: _Table,
    words: Words,
    chance: np.random.Generator,
) -> float:
    flat, owner = read
    if not len(flat):
        return 0.0
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    chosen = chosen[owner[first]]
    owner = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(owner))))
    counts = defined.starts[chosen + 1] - defined.starts[chosen]
    target = defined.values[defined.starts[chosen] + (chance.random(len(chosen)) * counts).astype(np.int64)]
    own = chance.random(len(chosen)) < OWN
    sums_BD, named_BD = np.add.reduceat(table.rows[flat], first), words.sums(target, own)
    length_B, norm_B = _length(sums_BD), _length(named_BD)
    query_BD, word_BD = sums_BD / length_B, named_BD / norm_B
    logits_BB = SHARPNESS * query_BD @ word_BD.T
    logits_BB[(target[:, None] == target[None]) & ~np.eye(len(target), dtype=bool)] = -np.inf
    logits_BB -= logits_BB.max(1)[:, None]
    share_BB = np.exp(logits_BB)
    total_B = share_BB.sum(1, keepdims=True)
    loss = float(np.mean(np.log(total_B[:, 0]) - np.diag(logits_BB)))
    share_BB /= total_B
    share_BB[np.diag_indices(len(target))] -= 1
    words.step(target, own, _through_norm(SHARPNESS * share_BB.T @ query_BD, word_BD, norm_B))
    table.step(flat, _through_norm(SHARPNESS * share_BB @ word_BD, query_BD, length_B)[owner])
    return loss


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


def int8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as int8 with a scale each."""
    scale = np.abs(rows).max(1) / 127 + 1e-12
    return np.rint(rows / scale[:, None]).astype(np.int8), scale.astype(np.float32)
