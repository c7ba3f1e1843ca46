"""Known: which lines somebody has written already, as a Bloom filter of their hashes (Bloom, CACM 13(7), 1970).

A line that is known is always found; one in a hundred others is taken for known. The shipped filter holds the lines
of the poems that haina-brook was trained on; `python -m haina.apps.poem.build_known` makes it. It knows no poems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

BITS_A_LINE, HASHES = 10, 7  # one in 120 is wrong
FILE = Path(__file__).with_name("known.bin")


@dataclass(frozen=True, eq=False)
class Known:
    """bits: uint8, eight each."""

    bits: np.ndarray

    @classmethod
    def of(cls, lines: Iterable[str]) -> Known:
        """Of lines without marks."""
        own = set(lines)
        bits = np.zeros(max(1, -(-BITS_A_LINE * len(own) // 8)), np.uint8)
        for line in own:
            for at in _places(line, 8 * len(bits)):
                bits[at >> 3] |= 1 << (at & 7)
        return cls(bits)

    @staticmethod
    @cache
    def shipped() -> Known:
        """The filter beside this file; where there is none, nothing is known."""
        return Known(np.fromfile(FILE, np.uint8)) if FILE.exists() else Known(np.zeros(1, np.uint8))

    def __contains__(self, line: str) -> bool:
        return all(self.bits[at >> 3] >> (at & 7) & 1 for at in _places(line, 8 * len(self.bits)))


def _places(line: str, size: int) -> list[int]:
    """HASHES bits of a line, by double hashing."""
    digest = hashlib.blake2b(line.encode(), digest_size=16).digest()
    a, b = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") | 1
    return [(a + i * b) % size for i in range(HASHES)]
