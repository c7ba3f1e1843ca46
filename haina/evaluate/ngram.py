"""A 5-gram model to compare with: interpolated modified Kneser–Ney over the pieces of a tokenizer.

S. F. Chen and J. Goodman, An Empirical Study of Smoothing Techniques for Language Modeling, TR-10-98, equations 26 to
28, with the unigrams interpolated with 1/V as KenLM does (Heafield et al., ACL 2013). No model is kept: the text is
read once, and only what follows the contexts that are asked about is counted, exactly; so 80 million tokens take
minutes and 2 GB. Discounts come from counts of counts, of a large text from a sample of its n-grams.

A unit is a piece, so that bits per byte compare with a network's of the same tokenizer. A context ends at the piece
that ends a document: what stands before it is taken for more of the same (KenLM's one <s> is here four). It does not
know text, domains or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

ORDER = 5
PIECE_BITS = 18  # the largest vocabulary that fits; of 64 bits 28 remain to number the contexts
CHUNK_TOKENS = 1 << 20
SAMPLED_TYPES = 1 << 22  # about so many n-grams, at most, tell the discounts of an order
USUAL_DISCOUNTS = np.array([0, 0.5, 1.0, 1.5])  # of a text too small to tell, as KenLM's --discount_fallback
_MIX, _FINISH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_TABLE_BITS = 24

Ids = np.ndarray


@dataclass(frozen=True)
class Text:
    """Token ids of whole documents, each of which ends with `eos_id`; of `pieces` different ones."""

    shards: Sequence[Ids]
    eos_id: int
    pieces: int

    @property
    def tokens(self) -> int:
        return sum(map(len, self.shards))


def nats(text: Text, asked_MN: np.ndarray, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """float64 (M): -ln p of the last id of each row of int (M, N) after those before it, by an N-gram model of `text`.

    Rows are such as `windows` gives. `progress` hears how many tokens have been read, and of how many.
    """
    order, lags_NM = asked_MN.shape[1], asked_MN.T[::-1].astype(np.uint64)
    contexts = [np.unique(key, return_inverse=True) for key in _keys(lags_NM)]
    every = 1 << max(0, (text.tokens // SAMPLED_TYPES).bit_length() - 1)
    counting = [
        _Counting(n, keys, highest=n == order, every=1 if n == 1 else every)
        for n, (keys, _) in enumerate(contexts, 1)
    ]
    read = 0
    for lags_NT in _lags(text, order):
        for one, key in zip(counting, _keys(lags_NT), strict=True):
            one.read(key, lags_NT)
        read += lags_NT.shape[1]
        if progress:
            progress(read, text.tokens)
    p_M = np.full(len(asked_MN), 1 / text.pieces)
    while counting:
        one, (_, number_M) = counting.pop(0), contexts.pop(0)
        p_M = one.counted().interpolated(number_M.astype(np.uint64), lags_NM[0], p_M)
    found: np.ndarray = -np.log(p_M)
    return found


def windows(ids: Ids, eos_id: int, order: int = ORDER) -> np.ndarray:
    """int64 (T, order): each id of a document with what stands before it, eos where nothing does."""
    padded = np.concatenate([np.full(order - 1, eos_id), np.asarray(ids, np.int64)])
    return np.lib.stride_tricks.sliding_window_view(padded, order)


def _lags(text: Text, order: int) -> Iterator[np.ndarray]:
    """uint64 (order, T), chunk by chunk: each id, the one before it, …; before the end of a document only that end."""
    for shard in text.shards:
        for start in range(0, len(shard), CHUNK_TOKENS):
            first = max(start - order + 1, 0)
            ids = np.asarray(shard[first : start + CHUNK_TOKENS], np.int64)
            lags_NT = windows(ids, text.eos_id, order)[start - first :].T[::-1].astype(np.uint64, order="C")
            for nearer, lag in pairwise(lags_NT[1:]):
                lag[nearer == text.eos_id] = text.eos_id
            yield lags_NT


def _keys(lags_NT: np.ndarray) -> Iterator[np.ndarray]:
    """For each order a number of 64 bits for the context; that two of 100 million share one: a chance of 1 in 4,000."""
    key = np.zeros(lags_NT.shape[1], np.uint64)
    yield key
    for lag in lags_NT[1:]:
        key = _mixed((key ^ lag) * _MIX + np.uint64(1))
        yield key


def _mixed(key: np.ndarray) -> np.ndarray:
    key = (key ^ (key >> np.uint64(32))) * _FINISH
    key ^= key >> np.uint64(32)
    return key


class _Counting:
    """What follows some contexts of n - 1 pieces: how often, or, below the highest order, after how many pieces."""

    def __init__(self, n: int, contexts: np.ndarray, *, highest: bool, every: int):
        self.n, self.contexts, self.highest, self.mask = n, contexts, highest, np.uint64(every - 1)
        self._table = np.zeros(1 << _TABLE_BITS, bool)
        self._table[contexts >> np.uint64(64 - _TABLE_BITS)] = True
        self._found: list[np.ndarray] = []
        self._sampled: list[np.ndarray] = []

    def read(self, key: np.ndarray, lags_NT: np.ndarray) -> None:
        """The words of a chunk, with the keys of their contexts."""
        left, word = lags_NT[self.n % len(lags_NT)], lags_NT[0]
        kind = _mixed(key ^ (word * _MIX))
        sampled = np.flatnonzero(kind & self.mask == 0)
        self._sampled.append(self._packed(kind[sampled] >> np.uint64(PIECE_BITS), left[sampled]))
        maybe = np.flatnonzero(self._table[key >> np.uint64(64 - _TABLE_BITS)])
        place = np.searchsorted(self.contexts, key[maybe])
        place[place == len(self.contexts)] = 0
        known = self.contexts[place] == key[maybe]
        at, place = maybe[known], place[known].astype(np.uint64)
        self._found.append(self._packed(place << np.uint64(PIECE_BITS) | word[at], left[at]))

    def _packed(self, kinds: np.ndarray, left: np.ndarray) -> np.ndarray:
        if self.highest:
            return kinds
        return _unique(kinds << np.uint64(PIECE_BITS) | left)

    def counted(self) -> _Counted:
        return _Counted(*self._counts(self._found), _discounts(self._counts(self._sampled)[1]))

    def _counts(self, found: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Kinds of n-grams, in order, with the count of each."""
        merged = np.concatenate(found)
        merged = np.sort(merged) if self.highest else _unique(merged) >> np.uint64(PIECE_BITS)
        starts = np.flatnonzero(_first(merged))
        return merged[starts], np.diff(starts, append=len(merged))


@dataclass(frozen=True)
class _Counted:
    """Counts of n-grams, which are numbered by context and last piece, and the discount of counts 1, 2, 3 and more."""

    kinds: np.ndarray
    counts: np.ndarray
    discounts: np.ndarray

    def interpolated(self, number_M: np.ndarray, word_M: np.ndarray, lower_M: np.ndarray) -> np.ndarray:
        """p of each word after the context of each number; `lower_M` is p after one piece less."""
        size = int(number_M.max()) + 1
        context = (self.kinds >> np.uint64(PIECE_BITS)).astype(np.int64)
        total = np.bincount(context, self.counts, size)[number_M]
        taken = np.bincount(context, self._discount(self.counts), size)[number_M]
        asked = number_M << np.uint64(PIECE_BITS) | word_M
        place = np.searchsorted(self.kinds, asked)
        place[place == len(self.kinds)] = 0
        count = np.where(self.kinds[place] == asked, self.counts[place], 0) if len(self.kinds) else 0 * total
        seen = np.maximum(total, 1)
        p_M = (count - self._discount(count) + taken * lower_M) / seen
        return np.where(total > 0, p_M, lower_M)

    def _discount(self, counts: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.discounts[np.minimum(counts, 3).astype(np.int64)]
        return found


def _discounts(counts: np.ndarray) -> np.ndarray:
    """D of counts 0, 1, 2, 3 and more, by how many n-grams have count 1, 2, 3, 4."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return USUAL_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return found if (found >= 0).all() and (found <= np.arange(4)).all() else USUAL_DISCOUNTS


def _unique(values: np.ndarray) -> np.ndarray:
    """np.unique by sorting: its hash table is ten times slower here (NumPy 2.4)."""
    ordered = np.sort(values)
    found: np.ndarray = ordered[_first(ordered)]
    return found


def _first(ordered: np.ndarray) -> np.ndarray:
    """Whether each of ordered values is the first of its kind."""
    return np.concatenate([[True] * bool(len(ordered)), ordered[1:] != ordered[:-1]]).astype(bool)
