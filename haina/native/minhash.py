"""The text functions of libhaina as Python calls them: words, n-grams, MinHash, clusters.

It knows arrays of code points and hashes; what a word is worth, haina/data says. All results are integers, the same
on every machine; tests/native/test_minhash.py defines them in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import CDLL, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache

import numpy as np

from haina.native.checks import check_status, pointer
from haina.native.library import library
from haina.native.machine import ISAS, Isa


@dataclass(frozen=True)
class Words:
    """A text folded and cut into words: C characters that were not left out, W words.

    folded_C: uint32 code points; at_C: int64, the place of each in the text; start_W: int64, of each word in
    folded_C, and the end (W+1); hash_W: uint64.
    """

    folded_C: np.ndarray
    at_C: np.ndarray
    start_W: np.ndarray
    hash_W: np.ndarray

    def __len__(self) -> int:
        return len(self.hash_W)

    def first(self, count: int) -> Words:
        """The first `count` words alone."""
        if count >= len(self):
            return self
        end = int(self.start_W[count])
        return Words(self.folded_C[:end], self.at_C[:end], self.start_W[: count + 1], self.hash_W[:count])


def words(text_N: np.ndarray, fold: np.ndarray) -> Words:
    """Words of uint32 code points; fold (uint32): what each of the first characters becomes, 0 for nothing."""
    assert text_N.dtype == np.uint32 and fold.dtype == np.uint32
    n = len(text_N)
    folded, at, start = np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n + 1, np.int64)
    hashes, counts = np.empty(n, np.uint64), np.empty(2, np.int64)
    out = (pointer(folded), pointer(at), pointer(start), pointer(hashes), pointer(counts))
    check_status(_functions().haina_words(pointer(text_N), n, pointer(fold), len(fold), *out))
    chars, found = counts.tolist()
    return Words(folded[:chars], at[:chars], start[: found + 1], hashes[:found])


def windows(hash_W: np.ndarray, size: int) -> np.ndarray:
    """A uint64 hash of each `size` neighbours (W-size+1), or of nothing."""
    out = np.empty(max(len(hash_W) - size + 1, 0), np.uint64)
    check_status(_functions().haina_windows(pointer(hash_W), len(hash_W), size, pointer(out)))
    return out


def sift(hash_W: np.ndarray, size: int, sieve: np.ndarray, bits: int) -> np.ndarray:
    """Those windows that sieve (uint8 [2^bits / 8], lowest bit first) lets through: their first `bits` and the next as
    many both name a bit that is 1."""
    assert sieve.dtype == np.uint8 and len(sieve) == 1 << bits >> 3
    out, count = np.empty(max(len(hash_W) - size + 1, 0), np.uint64), np.empty(1, np.int64)
    given = (pointer(hash_W), len(hash_W), size, pointer(sieve), bits)
    check_status(_functions().haina_sift(*given, pointer(out), pointer(count)))
    return out[: int(count[0])]


def ngrams(found: Words, top: Sequence[int], repeated: Sequence[int]) -> list[int]:
    """Characters in n-grams of so many words: for each of `top`, in all occurrences of the one that occurs most often
    (0: none occurs twice); for each of `repeated`, in those that occurred before, read from the left."""
    sizes, chars = np.array([*top, *repeated], np.int32), np.empty(len(top) + len(repeated), np.int64)
    given = (pointer(found.hash_W), pointer(found.start_W), len(found))
    check_status(_functions().haina_ngrams(*given, pointer(sizes), len(top), len(sizes), pointer(chars)))
    counts: list[int] = chars.tolist()
    return counts


def minhash(
    folded_C: np.ndarray, start_U: np.ndarray, bands: int, rows: int, *, isa: Isa = "best"
) -> np.ndarray:
    """Keys (1+bands, U) of the texts that begin at int64 start_U (U+1): of the whole, then of each band."""
    assert folded_C.dtype == np.uint32 and start_U.dtype == np.int64 and bands * rows <= 1024
    units = len(start_U) - 1
    assert units == 0 or (start_U[0] >= 0 and start_U[-1] <= len(folded_C) and (np.diff(start_U) >= 0).all())
    keys = np.empty((1 + bands, units), np.uint64)
    given = (pointer(folded_C), pointer(start_U), units, bands, rows)
    check_status(_functions().haina_minhash(*given, pointer(keys), ISAS[isa]))
    return keys


def unite(left: np.ndarray, right: np.ndarray, parent_N: np.ndarray) -> None:
    """Join int64 left[i] and right[i] in the forest parent_N, in place: a tree hangs from its smallest number."""
    assert left.dtype == right.dtype == parent_N.dtype == np.int64 and len(left) == len(right)
    check_status(_functions().haina_unite(pointer(left), pointer(right), len(left), pointer(parent_N)))


@cache
def _functions() -> CDLL:
    """The library, told once what these functions take: a call then costs a fifth of what ctypes guesses."""
    found = library()
    for name, takes in _TAKES.items():
        getattr(found, name).argtypes = takes
    return found


_P, _N, _I = c_void_p, c_int64, c_int32
_TAKES = {
    "haina_words": (_P, _N, _P, _N, _P, _P, _P, _P, _P),
    "haina_windows": (_P, _N, _I, _P),
    "haina_sift": (_P, _N, _I, _P, _I, _P, _P),
    "haina_ngrams": (_P, _P, _N, _P, _I, _I, _P),
    "haina_minhash": (_P, _P, _N, _I, _I, _P, _I),
    "haina_unite": (_P, _P, _N, _P),
}
