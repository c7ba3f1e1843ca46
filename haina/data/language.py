"""language(text): Chinese, English, both, or another, judged by scripts and by English function words.

Scripts are counted as words: a Chinese character is 0.6 of one, five letters of an alphabet are one. Kana make a text
Japanese. Latin letters are English if its function words are there (Grefenstette, "Comparing two language
identification schemes", 1995): no table of other languages is needed to see that a text is none of ours. A long
text is judged by three samples. It does not know dialects: classical Chinese, Cantonese, traditional script are "zh".
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

import numpy as np

from haina.text.normalize import codes

Language = Literal["zh", "en", "mixed", "other"]
NEITHER, HAN, KANA, LATIN, FOREIGN = range(5)
WORDS_PER_CHARACTER = (0, 0.6, 0.4, 0.2, 0.2)  # of each class above
SAMPLE_CHARS = 10_000  # of the beginning, the middle and the end

CHINESE = 0.7  # this share of the words, or more
MIXED = 0.2  # so much Chinese among Latin letters
JAPANESE = 0.1  # kana among kana and Chinese characters
FUNCTION_WORDS = 0.2  # the share in plain English prose is 0.3 to 0.5; half of 0.2 is the least
ENGLISH = frozenset(
    "the of and to is that for it with this are be by not from you or which were have has an was they their but"
    " been would there when what will can if your these than then some could into other about also should how its"
    " who more all one we my at do does only any may where such them our because so".split()
)
_WORD = re.compile("[a-z]+")
_CLASSES = {
    HAN: [(0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x20001)],
    KANA: [(0x3041, 0x3100), (0x31F0, 0x3200), (0xFF66, 0xFF9E)],
    LATIN: [(0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x250), (0x1E00, 0x1F00), (0xFF21, 0xFF3B), (0xFF41, 0xFF5B)],
    FOREIGN: [(0x370, 0x1E00), (0x1F00, 0x2000), (0x2C00, 0x2E00), (0x3131, 0x3190), (0xA000, 0xD800),
              (0xFB00, 0xFE00), (0xFE70, 0xFF00)],
}  # fmt: skip


def language(text: str) -> tuple[Language, float]:
    """The language, and how much of the text speaks for it, 0 to 1. A text without letters is ("other", 0.0)."""
    sample = _sample(text)
    counts = np.bincount(_table().take(codes(sample), mode="clip"), minlength=FOREIGN + 1).tolist()
    weights = [count * worth for count, worth in zip(counts, WORDS_PER_CHARACTER, strict=True)]
    if not (total := sum(weights)):
        return "other", 0.0
    han, latin = weights[HAN] / total, weights[LATIN] / total
    if counts[KANA] > JAPANESE * (counts[HAN] + counts[KANA]):
        return "other", 1 - latin
    if han >= CHINESE:
        return "zh", han
    if han >= MIXED and han + latin >= CHINESE:
        return "mixed", han + latin
    english = latin * english_share(sample[:SAMPLE_CHARS])
    return ("en", english) if english >= 0.5 else ("other", 1 - english - han)


def english_share(text: str) -> float:
    """How near the share of English function words is to that of prose, 0 to 1."""
    found = _WORD.findall(text.lower())
    return min(1.0, sum(word in ENGLISH for word in found) / (FUNCTION_WORDS * max(len(found), 1)))


def _sample(text: str) -> str:
    if len(text) <= 3 * SAMPLE_CHARS:
        return text
    middle = (len(text) - SAMPLE_CHARS) // 2
    return text[:SAMPLE_CHARS] + text[middle : middle + SAMPLE_CHARS] + text[-SAMPLE_CHARS:]


@cache
def _table() -> np.ndarray:
    """uint8 [0x20001]: the class of each character; the last stands for all beyond, rare Chinese ones."""
    table = np.zeros(0x20001, np.uint8)
    for kind, ranges in _CLASSES.items():
        for first, end in ranges:
            table[first:end] = kind
    table[[0xD7, 0xF7]] = NEITHER  # × and ÷
    return table
