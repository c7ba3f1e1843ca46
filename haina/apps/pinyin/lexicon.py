"""Words and their readings: the special ones, and the trie that keys are looked up in.

A word of several readings has an entry for each. It does not know where words come from (collect.py) nor n-grams.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from haina.native.lattice import STEP, Trie
from haina.text import pinyin

SPECIAL = ("\x01", "\x02", "\x03")  # the end of a clause, a number, anything else that is no Chinese word
BOUNDARY, NUMBER, OTHER = range(3)
LONGEST = 8  # characters


@dataclass(frozen=True)
class Lexicon:
    """Words, the special ones first; readings (word, syllables, nats); shares: of all words, by others' count."""

    words: list[str]
    readings: list[tuple[int, tuple[str, ...], float]]
    shares: np.ndarray


def trie(
    readings: Iterable[tuple[int, tuple[str, ...], float]], words: list[str], known: np.ndarray | None = None
) -> Trie:
    """Words by their syllables, level by level, so that the children of a node lie side by side."""
    number = {syllable: i for i, syllable in enumerate(pinyin.syllables())}
    spelled = [(tuple(number[s] for s in way), word, nats) for word, way, nats in readings]
    nodes = sorted(
        {way[:n] for way, _, _ in spelled for n in range(len(way) + 1)} | {()}, key=lambda w: (len(w), w)
    )
    place = {node: i for i, node in enumerate(nodes)}
    first = np.zeros(len(nodes) + 1, np.uint32)
    np.add.at(first, [place[node[:-1]] + 1 for node in nodes[1:]], 1)
    entries = sorted((place[way], nats, word) for way, word, nats in spelled)
    starts = np.zeros(len(nodes) + 1, np.uint32)
    np.add.at(starts, [at + 1 for at, _, _ in entries], 1)
    chars = np.frombuffer("".join(words).encode("utf-16-le"), np.uint16)
    return Trie(
        first=(np.cumsum(first) + 1).astype(np.uint32),
        entry_start=np.cumsum(starts).astype(np.uint32),
        entry_word=np.array([word for _, _, word in entries], np.uint32),
        char_start=np.cumsum([0, *(len(word.encode("utf-16-le")) // 2 for word in words)]).astype(np.uint32),
        syllable=np.array([0, *(node[-1] for node in nodes[1:])], np.uint16),
        chars=chars,
        entry_cost=stored(np.array([nats for _, nats, _ in entries])),
        known=known,
    )


def stored(nats: np.ndarray) -> np.ndarray:
    """Costs in bytes, 0 to 21 nats."""
    return np.clip(np.rint(nats / STEP), 0, 255).astype(np.uint8)
