"""The word lattice of libhaina as Python holds it: arrays in, texts out; and plain text cut into words.

It knows tries, priors and edges as arrays (haina.h says what each holds); what keys mean, haina/apps/pinyin says.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import CDLL, byref, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np

from haina.native.checks import check_status, pointer
from haina.native.library import CEdge, CPrior, CTrie, CTyped, library

STEP = 1 / 12  # nats that a stored cost counts by
BACKOFF_FROM = -4.0  # nats: the stored 0 of a backoff
LIKING_FROM = -10.0  # nats: the stored 0 of a liking


@dataclass(frozen=True)
class Trie:
    """Words by their syllables: the arrays of haina_trie."""

    first: np.ndarray
    entry_start: np.ndarray
    entry_word: np.ndarray
    char_start: np.ndarray
    syllable: np.ndarray
    chars: np.ndarray
    entry_cost: np.ndarray
    known: np.ndarray | None = None

    def struct(self) -> CTrie:
        return CTrie(**{name: pointer(getattr(self, name)) for name, *_ in CTrie._fields_})

    def text(self, word: int) -> str:
        start, end = self.char_start[word : word + 2].tolist()
        return self.chars[start:end].tobytes().decode("utf-16-le")


@dataclass(frozen=True)
class Prior:
    """A word trigram that backs off, at last to the kinds of words: the arrays of haina_prior."""

    cost: np.ndarray
    backoff: np.ndarray
    pair_cost: np.ndarray
    context_backoff: np.ndarray
    triple_cost: np.ndarray
    pair_word: np.ndarray
    triple_word: np.ndarray
    pair_start: np.ndarray
    context: np.ndarray
    triple_start: np.ndarray
    kind: np.ndarray
    liking: np.ndarray
    boundary: int
    other: int

    def struct(self) -> CPrior:
        arrays = {name: pointer(getattr(self, name)) for name, kind in _fields(CPrior) if kind is c_void_p}
        sizes = {"common": len(self.backoff), "contexts": len(self.context), "kinds": len(self.liking)}
        return CPrior(**arrays, **sizes, boundary=self.boundary, other=self.other)

    def costs(self, words: Sequence[int]) -> np.ndarray:
        """Nats (float32) of each word behind the ones before it."""
        given, nats, struct = np.array(words, np.uint32), np.empty(len(words), np.float32), self.struct()
        check_status(_functions().haina_prior_cost(byref(struct), pointer(given), len(words), pointer(nats)))
        return nats


@dataclass(frozen=True)
class Edge:
    """What may have been typed between the node `start` and the one that is added: a syllable, or (-1 - word) keys
    that stay as they are and count as that word of the prior. Behind an open one nothing follows."""

    start: int
    syllable: int
    nats: float = 0.0
    open: bool = False


@dataclass(frozen=True)
class Typed:
    """A word between two nodes: of the user's trie, of the other, or (word -1) the keys as they are."""

    start: int
    end: int
    word: int
    user: bool


class Lattice:
    """A graph of typed syllables, node by node, and the best texts up to each node."""

    def __init__(self, prior: Prior, trie: Trie, user: Trie | None, width: int, context: Sequence[int] = ()):
        """context: words of the prior that were said before."""
        self._handle: int | None = None
        self._kept = (prior, trie, user, prior.struct(), trie.struct(), user.struct() if user else None)
        words = np.array(context, np.uint32)
        structs = [byref(struct) if struct else None for struct in self._kept[3:]]
        self._handle = _functions().haina_lattice_new(*structs, width, pointer(words), len(words))
        if not self._handle:
            raise MemoryError
        self.nodes = 0

    def __del__(self) -> None:
        if self._handle:
            _functions().haina_lattice_free(self._handle)

    def add(self, edges: Sequence[Edge]) -> None:
        """One more node, behind these edges."""
        given = (CEdge * len(edges))(*(CEdge(e.start, e.syllable, e.nats, e.open) for e in edges))
        check_status(_functions().haina_lattice_add(self._handle, given, len(edges)))
        self.nodes += 1

    def cut(self, nodes: int) -> None:
        """Keep the first `nodes` behind the root."""
        check_status(_functions().haina_lattice_cut(self._handle, nodes))
        self.nodes = nodes

    def best(self, at: int, most: int, ending: float = 0.0) -> list[tuple[float, list[Typed]]]:
        """Nats and words of the best texts up to a node, the likeliest first; those that end openly come last.
        ending: how much of the price of the end of a clause is added."""
        costs, counts = np.empty(most, np.float32), np.empty(most, np.int32)
        words, count = np.empty((most, max(at, 1), 4), np.int32), c_int32()
        out = (pointer(costs), byref(count), pointer(words), pointer(counts))
        check_status(_functions().haina_lattice_best(self._handle, at, most, ending, *out))
        return [
            (float(costs[i]), [_typed(row) for row in words[i, : counts[i]][::-1].tolist()])
            for i in range(count.value)
        ]

    def words(self, start: int, at: int, most: int) -> list[tuple[float, Typed]]:
        """Nats and single words from one node to another, the likeliest first."""
        costs, words, count = np.empty(most, np.float32), np.empty((most, 4), np.int32), c_int32()
        out = (pointer(costs), pointer(words), byref(count))
        check_status(_functions().haina_lattice_words(self._handle, start, at, most, *out))
        rows = zip(costs.tolist(), words.tolist(), strict=True)
        return [(nats, _typed(row)) for nats, row in islice(rows, count.value)]


class Segmenter:
    """Cuts text into the words of a list, the likeliest by the nats of each word alone."""

    def __init__(self, words: Sequence[str], nats: np.ndarray, unknown: float = 20.0):
        self.longest, self.unknown = max(map(len, words)), unknown
        self.bits = max(4, int(np.ceil(np.log2(len(words) * 2))))
        self._slots, self._word = np.zeros(1 << self.bits, np.uint64), np.zeros(1 << self.bits, np.uint32)
        self.nats = nats.astype(np.float32)
        self._fill(words)

    def _fill(self, words: Sequence[str]) -> None:
        mask = (1 << self.bits) - 1
        taken: dict[int, tuple[int, int]] = {}
        for number, word in enumerate(words):
            hashed = _hash(word)
            at = hashed & mask
            while at in taken and taken[at][0] != hashed:
                at = (at + 1) & mask
            taken.setdefault(at, (hashed, number))
        places = np.fromiter(taken, np.int64, len(taken))
        self._slots[places] = np.fromiter((h for h, _ in taken.values()), np.uint64, len(taken))
        self._word[places] = np.fromiter((n for _, n in taken.values()), np.uint32, len(taken))

    def __call__(self, text_N: np.ndarray) -> np.ndarray:
        """Numbers of the words of uint32 code points; 2^32-1 for a character that is none."""
        assert text_N.dtype == np.uint32
        words, count = np.empty(len(text_N), np.uint32), c_int64()
        given = (pointer(text_N), len(text_N), pointer(self._slots), pointer(self._word), self.bits)
        cost = (pointer(self.nats), self.longest, self.unknown)
        check_status(_functions().haina_segment(*given, *cost, pointer(words), byref(count)))
        return words[: count.value]


def _typed(row: list[int]) -> Typed:
    start, end, word, trie = row
    return Typed(start, end, word, bool(trie))


def _hash(word: str) -> int:
    """What haina_segment makes of the characters of a word."""
    found = 0
    for char in word:
        found = (found + ord(char) + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        found ^= found >> 29
    return found


def _fields(struct: type[CPrior]) -> list[tuple[str, type]]:
    return [(name, kind) for name, kind, *_ in struct._fields_]


@cache
def _functions() -> CDLL:
    """The library, told once what these functions take."""
    found = library()
    for name, takes in _TAKES.items():
        getattr(found, name).argtypes = takes
    found.haina_lattice_new.restype = c_void_p
    found.haina_lattice_free.restype = None
    return found


_P, _N, _I = c_void_p, c_int64, c_int32
_TAKES = {
    "haina_lattice_new": (_P, _P, _P, _I, _P, _I),
    "haina_lattice_free": (_P,),
    "haina_lattice_add": (_P, _P, _I),
    "haina_lattice_cut": (_P, _I),
    "haina_lattice_best": (_P, _I, _I, c_float, _P, _P, _P, _P),
    "haina_lattice_words": (_P, _I, _I, _I, _P, _P, _P),
    "haina_prior_cost": (_P, _P, _I, _P),
    "haina_segment": (_P, _N, _P, _P, _I, _P, _I, c_float, _P, _P),
}
assert CTyped._fields_[0][0] == "from"  # the rows of Typed
