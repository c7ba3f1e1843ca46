"""Decontamination: does a text share 13 words in a row with an evaluation set? (GPT-3, arXiv:2005.14165, appendix C)

Words are those of words.py, so for Chinese it is 13 characters, whatever stands between them, for English 13 words.
What is shorter is not looked for, it would be found everywhere: a short question is given together with its answers.
It knows hashes of 64 bits; it does not know what the sets ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from haina.data.words import words
from haina.native.minhash import sift, windows
from haina.wording import say

SIZE = 13
_SIEVE = 16  # bits for each n-gram, of which two are set: what is not known passes once in 100 times


@dataclass(frozen=True)
class Evaluation:
    """Evaluation sets by name, and hashes of their n-grams: uint64 that rise, and the set (uint16) of each."""

    names: tuple[str, ...]
    hashes: np.ndarray
    sets: np.ndarray

    @classmethod
    def of(cls, sets: Mapping[str, Iterable[str]]) -> Evaluation:
        """The texts of each set by its name: questions with answers, passages. ValueError if a set has none."""
        hashes, numbers = [np.empty(0, np.uint64)], [np.empty(0, np.uint16)]
        for number, (name, texts) in enumerate(sets.items()):
            found = [windows(words(text).hash_W, SIZE) for text in texts]
            count = sum(map(len, found))
            if not count:
                raise ValueError(
                    say(
                        f"evaluation set {name}: no text of {SIZE} words or more; check the file and its fields",
                        f"评测集 {name}：没有任何不少于 {SIZE} 字（词）的文本；请检查文件与字段名",
                    )
                )
            hashes += found
            numbers.append(np.full(count, number, np.uint16))
        unique, first = np.unique(np.concatenate(hashes), return_index=True)  # of equal ones the first set's
        return cls(tuple(sets), unique, np.concatenate(numbers)[first])

    def found(self, text: str) -> str | None:
        """The name of the set that the text shares most n-grams with; None if it shares none."""
        here = sift(words(text).hash_W, SIZE, self._sieve, self._bits)
        if not len(here):
            return None
        at = np.minimum(np.searchsorted(self.hashes, here), len(self.hashes) - 1)
        counts = np.bincount(self.sets[at[self.hashes[at] == here]], minlength=1)
        return self.names[int(counts.argmax())] if counts.any() else None

    @cached_property
    def _bits(self) -> int:
        """How many bits of a hash name a bit of the sieve."""
        return max((_SIEVE * len(self.hashes)).bit_length(), 3)

    @cached_property
    def _sieve(self) -> np.ndarray:
        """A Bloom filter: a look at it costs a tenth of a search."""
        width, sieve = np.uint64(64 - self._bits), np.zeros(1 << self._bits >> 3, np.uint8)
        for bit in (self.hashes >> width, self.hashes << np.uint64(self._bits) >> width):
            np.bitwise_or.at(sieve, bit >> np.uint64(3), np.uint8(1) << (bit & np.uint64(7)).astype(np.uint8))
        return sieve

    def save(self, file: Path) -> None:
        """One .npz."""
        np.savez(file, names=np.array(self.names), hashes=self.hashes, sets=self.sets)

    @classmethod
    def open(cls, file: Path) -> Evaluation:
        with np.load(file) as kept:
            return cls(tuple(kept["names"].tolist()), kept["hashes"], kept["sets"])
