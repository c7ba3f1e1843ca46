"""A word trigram with modified Kneser–Ney smoothing, from an array of words, all of it sorting and adding in NumPy.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (Harvard TR-10-98), interpolated,
with three discounts an order. Below pairs stands what the kinds of two words tell. What is left out to make the model
small goes to the backoff of its context, so every context still sums to one. Words are integers; what they spell, how
their kinds are found, and files, are not known here.

Shape letters: N tokens, W words, K kinds, P pairs, T triples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BITS = 20  # of a word in a key: 1,048,576 words
_MASK = np.uint64((1 << BITS) - 1)


@dataclass(frozen=True)
class Trigram:
    """Nats of words behind others, and of passing on to the shorter context. pair_P2: uint32 rows (first, second),
    sorted; context_T: which pair each triple follows, ascending; word_T within it ascending."""

    backoff_W: np.ndarray
    pair_P2: np.ndarray
    nats_P: np.ndarray
    backoff_P: np.ndarray
    context_T: np.ndarray
    word_T: np.ndarray
    nats_T: np.ndarray


@dataclass(frozen=True)
class Kinds:
    """Probabilities of words alone, the kind of each, and how many times likelier a kind is behind another."""

    alone_W: np.ndarray
    kind_W: np.ndarray
    liking_KK: np.ndarray

    def unseen(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Probabilities of words behind others, as far as their kinds tell. They sum to one over all `second`."""
        found: np.ndarray = self.alone_W[second] * self.liking_KK[self.kind_W[first], self.kind_W[second]]
        return found


@dataclass(frozen=True)
class Counts:
    """Keys of n-grams, ascending, and how often each was seen."""

    keys: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray) -> Counts:
        return cls(*np.unique(keys, return_counts=True))

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each key lies, and whether it is there."""
        at = np.minimum(np.searchsorted(self.keys, keys), max(len(self.keys) - 1, 0))
        return at, self.keys[at] == keys


def train(words_N: np.ndarray, kinds: Kinds, most: tuple[int, int] = (0, 0)) -> Trigram:
    """words_N: uint32, the text; words that have no kind, and what spans them, are not counted. most: so many pairs and
    triples are kept, the ones whose loss would cost the text most (0: all)."""
    words = words_N.astype(np.uint64)
    known = words_N < len(kinds.alone_W)
    pairs = words[:-1] << np.uint64(BITS) | words[1:]
    pairs = pairs[known[:-1] & known[1:]]
    triples = words[:-2] << np.uint64(2 * BITS) | words[1:-1] << np.uint64(BITS) | words[2:]
    triples = Counts.of(triples[known[:-2] & known[1:-1] & known[2:]])
    pairs = Counts.of(pairs)
    unseen_P = kinds.unseen(*_split(pairs.keys))
    p_P, p_T = _smooth(pairs, triples, unseen_P, len(kinds.alone_W))
    return _prune(pairs, triples, p_P, p_T, unseen_P, kinds, most)


def _split(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The words of pairs."""
    return (keys >> np.uint64(BITS)).astype(np.int64), (keys & _MASK).astype(np.int64)


def _smooth(pairs: Counts, triples: Counts, unseen_P: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The interpolated probability of each pair's second and of each triple's third word."""
    first, _ = _split(pairs.keys)
    last = triples.keys & np.uint64((1 << 2 * BITS) - 1)
    before, ways = np.unique(last, return_counts=True)
    at, there = pairs.find(before)
    continued = np.ones(len(pairs.keys), np.int64)  # in how many contexts: pairs that begin a text have none
    continued[at[there]] = ways[there]
    lower = _discounted(continued, first, size, unseen_P)
    pair_of, _ = pairs.find(triples.keys >> np.uint64(BITS))
    below, _ = pairs.find(last)
    return lower, _discounted(triples.times, pair_of, len(pairs.keys), lower[below])


def _discounted(times: np.ndarray, context: np.ndarray, contexts: int, lower: np.ndarray) -> np.ndarray:
    """(c - D(c)) / c(context) + what the discounts left · the shorter context's probability."""
    seen = [max(int((times == n).sum()), 1) for n in (1, 2, 3, 4)]
    y = seen[0] / (seen[0] + 2 * seen[1])
    discounts = [0.0, *(max(n - (n + 1) * y * seen[n] / seen[n - 1], 0.0) for n in (1, 2, 3))]
    off = np.array(discounts)[np.minimum(times, 3)]
    total = np.bincount(context, times, contexts)
    left = np.bincount(context, off, contexts)
    found: np.ndarray = ((times - off) + left[context] * lower) / total[context]
    return found


def _prune(
    pairs: Counts, triples: Counts, p_P: np.ndarray, p_T: np.ndarray, unseen_P: np.ndarray, kinds: Kinds,
    most: tuple[int, int],
) -> Trigram:  # fmt: skip
    below, _ = pairs.find(triples.keys & np.uint64((1 << 2 * BITS) - 1))
    keep_T = _worth(triples.times, p_T, p_P[below], most[1])
    context_T, _ = pairs.find(triples.keys >> np.uint64(BITS))
    needed = np.zeros(len(pairs.keys), bool)
    needed[context_T[keep_T]] = True
    keep_P = _worth(pairs.times, p_P, unseen_P, most[0]) | needed
    first, second = _split(pairs.keys)
    backoff_W = _passed_on(first[keep_P], len(kinds.alone_W), p_P[keep_P], unseen_P[keep_P])
    passed = np.where(keep_P, p_P, backoff_W[first] * unseen_P)  # of pairs that are left out, too
    number = np.cumsum(keep_P) - 1
    context = number[context_T[keep_T]]
    backoff_P = _passed_on(context, int(keep_P.sum()), p_T[keep_T], passed[below[keep_T]])
    return Trigram(
        -np.log(backoff_W), np.stack([first[keep_P], second[keep_P]], 1).astype(np.uint32),
        -np.log(p_P[keep_P]), -np.log(backoff_P), context.astype(np.uint32),
        (triples.keys[keep_T] & _MASK).astype(np.uint32), -np.log(p_T[keep_T]),
    )  # fmt: skip


def _worth(times: np.ndarray, p: np.ndarray, lower: np.ndarray, most: int) -> np.ndarray:
    """The `most` whose absence would cost the text most nats, roughly: count · log of how much likelier they are."""
    if not most or len(times) <= most:
        return np.ones(len(times), bool)
    gain = times * np.log(p / lower)
    return np.asarray(gain >= np.partition(gain, -most)[-most])


def _passed_on(context: np.ndarray, contexts: int, p: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """What a context leaves to the shorter one, over what the shorter one says of words not seen here."""
    left = 1 - np.bincount(context, p, contexts)
    unseen = 1 - np.bincount(context, lower, contexts)
    share: np.ndarray = np.clip(left, 1e-6, None) / np.clip(unseen, 1e-6, None)
    return share
