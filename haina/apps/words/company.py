"""Which Chinese words keep company with which: 伞 with 下雨 and 撑, as running text has them.

Chinese dictionaries under a free licence explain in English. What a Chinese description says of its word is therefore
also weighed by how often its words stand near it in text: positive pointwise mutual information, reduced by a singular
value decomposition (text.py). The text is cut into the longest words from its beginning, by NumPy, since there are tens
of millions of characters. It needs SciPy. It knows no dictionary but a list of words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

import numpy as np

from haina.apps.words import text, vectors
from haina.apps.words.index import Index
from haina.apps.words.terms import LONGEST_WORD
from haina.text.characters import HAN

DIMENSIONS = 100
LEAST = 8  # times that a word must occur
THIN = 5e-5  # share of the text above which a word is left out more and more often
LOUD = 100.0  # times a context, so that what is added up is of the size of other channels
COMMON = 1e-4  # share of the text at which a word of a description counts half
STRETCH = 1_000_000  # characters that are cut at once
_CHARACTER = 16  # bits


@dataclass(frozen=True)
class Company:
    """words: the most frequent first; vectors [W, D], of length one; contexts [C, D] of the first C words, weighed.

    A row of `vectors` times the sum of the contexts of a description says how much they are used together.
    """

    words: list[str]
    vectors: np.ndarray
    contexts: np.ndarray


def of_index(index: Index, words: Set[str]) -> Company:
    """What another index has of these words."""
    numbers = index.array("company_words").tolist()
    kept = [row for row, number in enumerate(numbers) if index.words[number] in words]
    contexts = index.array("company_contexts") * index.array("company_scales")[:, None]
    return Company(
        [index.words[numbers[row]] for row in kept],
        vectors.unit(index.array("company_vectors")[kept].astype(np.float32)),
        contexts[[row for row in kept if row < len(contexts)]],
    )


def learn(texts: Iterable[str], words: Iterable[str]) -> Company:
    """ValueError: SciPy is not installed."""
    ids, names = _read(
        texts, [word for word in words if 1 < len(word) <= LONGEST_WORD and max(word) < "\U00010000"]
    )
    counts = np.bincount(ids[ids >= 0], minlength=len(names))
    order = np.argsort(-counts, kind="stable")[: int((counts >= LEAST).sum())]
    if not len(order):
        return Company([], np.zeros((0, DIMENSIONS), np.float32), np.zeros((0, DIMENSIONS), np.float32))
    renumbered = np.full(len(names) + 1, -1, np.int32)
    renumbered[order] = np.arange(len(order))
    share = counts[order] / counts[order].sum()
    left, values, right = text.reduced(renumbered[ids], share, THIN, DIMENSIONS)
    padded = np.zeros((2, len(order), DIMENSIONS), np.float32)
    padded[0, :, : len(values)] = left * values
    padded[0] /= np.linalg.norm(padded[0], axis=1, keepdims=True) + 1e-9
    padded[1, : len(right), : len(values)] = right * (LOUD * COMMON / (COMMON + share[: len(right)]))[:, None]
    return Company([names[at] for at in order.tolist()], padded[0], padded[1, : len(right)])


def _read(texts: Iterable[str], words: list[str]) -> tuple[np.ndarray, list[str]]:
    """The texts as numbers of words, -1 between lines; the words."""
    keys = [
        np.unique(np.array([_key(word) for word in words if len(word) == length], np.uint64))
        for length in range(2, LONGEST_WORD + 1)
    ]
    found = [_cut(stretch, keys) for stretch in _stretches(texts)] or [np.zeros(0, np.uint64)]
    unique, ids = np.unique(np.concatenate(found), return_inverse=True)
    names = [_word(key) for key in unique.tolist()]
    numbers = np.array([at if HAN.match(name) else -1 for at, name in enumerate(names)], np.int32)
    ids = ids[
        (numbers[ids] >= 0) | (unique[ids] == ord("\n"))
    ]  # of all that is not Chinese, the ends of lines
    return numbers[ids], names


def _stretches(texts: Iterable[str]) -> Iterator[str]:
    held, length = [], 0
    for each in texts:
        held.append(each)
        length += len(each)
        if length > STRETCH:
            yield "\n".join(held)
            held, length = [], 0
    yield "\n".join(held)


def _cut(stretch: str, keys: list[np.ndarray]) -> np.ndarray:
    """The keys of the longest words, one after another; a character that begins no word is its own."""
    chars = np.frombuffer(stretch.encode("utf-16-le", "replace"), np.uint16).astype(np.uint64)
    padded = np.append(chars, np.zeros(LONGEST_WORD, np.uint64))
    length, whole = np.ones(len(chars), np.uint8), chars.copy()
    for extra, known in enumerate(keys, 1):
        whole = whole | padded[extra : extra + len(chars)] << np.uint64(_CHARACTER * extra)
        if len(known):
            at = np.minimum(np.searchsorted(known, whole), len(known) - 1)
            length[known[at] == whole] = extra + 1
    starts = _walked(length)
    key: np.ndarray = chars[starts]
    length = length[starts]
    for extra in range(1, LONGEST_WORD):
        more = padded[starts + extra] << np.uint64(_CHARACTER * extra)
        key = key | np.where(length > extra, more, np.uint64(0))
    return key


def _walked(length: np.ndarray) -> np.ndarray:
    steps, at, starts = length.tobytes(), 0, []
    while at < len(steps):
        starts.append(at)
        at += steps[at]
    return np.array(starts, np.int64)


def _key(word: str) -> int:
    return sum(ord(char) << (_CHARACTER * at) for at, char in enumerate(word))


def _word(key: int) -> str:
    codes = (key >> (_CHARACTER * at) & 0xFFFF for at in range(LONGEST_WORD))
    return "".join(map(chr, filter(None, codes)))
