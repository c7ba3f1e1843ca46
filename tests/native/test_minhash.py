"""The text functions of libhaina against their definitions in Python: equal bit by bit, on every instruction set."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from haina.native import minhash
from haina.text.normalize import codes, fold

MASK = (1 << 64) - 1
ODD = 0x9E3779B97F4A7C15
TEXTS = [
    "",
    "，。 ",
    "中",
    "Hello, World! hello world",
    "他说：“ＡＢＣ　123”，她说：“abc 123”。\ud800\U00020000\U0001f600e\u0301 ﾊﾟ",
    "the cat sat on the mat, the cat sat on the hat. " * 3,
    "春眠不觉晓，处处闻啼鸟。春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。春眠不觉晓，处处闻啼鸟。",
]


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def polynomial(values: list[int], start: int = 0) -> int:
    for value in values:
        start = (start * ODD + value) & MASK
    return mix(start)


def is_alone(char: int) -> bool:
    return char >= 0x2E80 and not 0xAC00 <= char < 0xD800 and not 0xFB00 <= char < 0x10000


def words_of(text: str) -> list[list[int]]:
    """Words as lists of folded characters."""
    found: list[list[int]] = []
    last = -2
    for at, raw in enumerate(codes(text).tolist()):
        char = int(fold()[raw]) if raw < len(fold()) else raw
        if not char:
            continue
        joins = found and last == at - 1 and not is_alone(char) and not is_alone(found[-1][-1])
        if joins:
            found[-1].append(char)
        else:
            found.append([char])
        last = at
    return found


def hash_of_word(word: list[int]) -> int:
    value = 0
    for char in word:
        value = mix((value + char + ODD) & MASK)
    return value


def keys_of(text: list[int], bands: int, rows: int) -> list[int]:
    def whole(part: list[int]) -> int:
        return polynomial(part, (ODD + len(part)) & MASK)

    shingles = [whole(text[i : i + 5]) >> 32 for i in range(max(len(text) - 4, 1))]
    lows = []
    for h in range(bands * rows):
        random = mix((h + 1) * ODD & MASK)
        factor, term = random & 0xFFFFFFFF | 1, random >> 32
        lows.append(min((factor * x + term) & 0xFFFFFFFF for x in shingles))
    return [whole(text)] + [polynomial(lows[b * rows : (b + 1) * rows], b) for b in range(bands)]


@pytest.mark.parametrize("text", TEXTS)
def test_words(text: str) -> None:
    found, expected = minhash.words(codes(text), fold()), words_of(text)
    assert found.folded_C.tolist() == [char for word in expected for char in word]
    assert np.diff(found.start_W).tolist() == [len(word) for word in expected]
    assert found.hash_W.tolist() == [hash_of_word(word) for word in expected]
    assert codes(text)[found.at_C].shape == found.folded_C.shape


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 5, 13])
def test_ngrams(text: str, size: int) -> None:
    found, words = minhash.words(codes(text), fold()), words_of(text)
    grams = [tuple(map(tuple, words[i : i + size])) for i in range(len(words) - size + 1)]
    hashes = [polynomial([hash_of_word(list(word)) for word in gram]) for gram in grams]
    assert minhash.windows(found.hash_W, size).tolist() == hashes
    sieve = np.array([0b0101_0010] * 4, np.uint8)
    passed = [hash for hash in hashes if {(hash >> 59) % 8, (hash >> 54) % 8} <= {1, 4, 6}]
    assert minhash.sift(found.hash_W, size, sieve, 5).tolist() == passed

    times = max(Counter(grams).values(), default=0)
    most = max((sum(map(len, g)) for g, n in Counter(grams).items() if n == times), default=0)
    seen, repeated, at = set(), 0, 0
    while at < len(grams):
        again = grams[at] in seen
        seen.add(grams[at])
        repeated += sum(map(len, grams[at])) if again else 0
        at += size if again else 1
    assert minhash.ngrams(found, [size], [size]) == [times * most if times > 1 else 0, repeated]


@pytest.mark.parametrize("isa", ["generic", "best"])
@pytest.mark.parametrize(("bands", "rows"), [(14, 8), (6, 6), (4, 5), (1, 1)])
def test_minhash(isa: str, bands: int, rows: int) -> None:
    texts = [minhash.words(codes(text), fold()).folded_C for text in TEXTS]
    start = np.cumsum([0, *map(len, texts)])
    keys = minhash.minhash(np.concatenate(texts), start, bands, rows, isa=isa)
    expected = [keys_of(text.tolist(), bands, rows) for text in texts]
    assert keys.T.tolist() == expected


def test_no_unit_has_no_keys() -> None:
    assert minhash.minhash(np.empty(0, np.uint32), np.zeros(1, np.int64), 14, 8).shape == (15, 0)


def test_unite_hangs_every_tree_from_its_smallest_number() -> None:
    parent = np.arange(7)
    minhash.unite(np.array([5, 3, 6]), np.array([3, 1, 2]), parent)
    while (parent != parent[parent]).any():
        parent = parent[parent]
    assert parent.tolist() == [0, 1, 2, 1, 4, 1, 2]
