"""The words that can be typed: which they are, how they are read, and how often the language at large uses them.

Words come from CC-CEDICT, THUOCL, the phrase readings, wordfreq (films, Wikipedia, news, books, the web), and every
common character (README.md says who made them and under which licence). It does not know n-grams.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from wordfreq import get_frequency_dict

from haina.apps.pinyin.lexicon import LONGEST, SPECIAL, Lexicon
from haina.data.brook import sources
from haina.data.read import rows
from haina.text import characters, pinyin
from haina.text.normalize import simplified

LEAST_DOCUMENTS = 300  # of a word of THUOCL
LEAST_SHARE = 10**-7.2  # of all words, of a word that wordfreq alone knows
SECOND_READING = 0.02  # of a word's occurrences, for readings beside the usual one
_HAN = re.compile("[\u3007\u4e00-\u9fff]+")
# How characters are read when they are words of their own, where that is not how they are read in most words.
ALONE = {
    "地": {"de": 0.7, "di": 0.3}, "得": {"de": 0.9, "dei": 0.1}, "着": {"zhe": 0.95, "zhao": 0.03},
    "还": {"hai": 0.95, "huan": 0.05}, "都": {"dou": 0.98, "du": 0.02}, "了": {"le": 0.98, "liao": 0.02},
    "长": {"zhang": 0.4, "chang": 0.6}, "行": {"xing": 0.9, "hang": 0.1}, "重": {"zhong": 0.8, "chong": 0.2},
    "为": {"wei": 1.0}, "谁": {"shei": 0.5, "shui": 0.5}, "那": {"na": 0.97, "nei": 0.03},
    "这": {"zhe": 0.97, "zhei": 0.03}, "哪": {"na": 0.97, "nei": 0.03}, "觉": {"jue": 0.7, "jiao": 0.3},
    "著": {"zhu": 0.999, "zhe": 0.001},
}  # fmt: skip


_SYLLABLES = frozenset(pinyin.syllables())


def collect(data: Path) -> Lexicon:
    """The lexicon of a data pack. ValueError: a file is missing."""
    known = dict(_phrase_readings(data))
    shares = {word: share for word, share in get_frequency_dict("zh", "large").items() if _fits(word)}
    adverbs = {word for word in known if len(word) > 3 and word.endswith("地")}  # 不慌忙地: not words
    words = {word for word in known if simplified(word) == word} - adverbs | set(characters.common())
    words |= {word for word, share in shares.items() if share > LEAST_SHARE}
    for row in sources.cedict(data, "train"):
        if _fits(row["word"]):
            words.add(row["word"])
    for row in rows(data / "dict/thuocl_words.jsonl.zst"):
        if _fits(row["word"]) and row["df"] >= LEAST_DOCUMENTS:
            words.add(row["word"])
    return _numbered(words, known, shares)


def _numbered(words: set[str], known: dict[str, list[tuple[str, ...]]], shares: dict[str, float]) -> Lexicon:
    numbered = [*SPECIAL, *sorted(words)]
    readings: list[tuple[int, tuple[str, ...], float]] = []
    for number, word in enumerate(numbered):
        if number >= len(SPECIAL):
            readings += ((number, syllables, nats) for syllables, nats in _readings(word, known))
    return Lexicon(numbered, readings, np.array([shares.get(word, 0.0) for word in numbered]))


def _fits(word: str) -> bool:
    return len(word) <= LONGEST and bool(_HAN.fullmatch(word))


def _phrase_readings(data: Path) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Toneless readings of phrases, by all sources but the scraped ones."""
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for row in sources.pinyin(data, "phrase"):
        if "zdic" not in row["src"] and _fits(row["word"]):
            _add(
                found[row["word"]], [pinyin.spelled(part)[:-1] for part in row["pinyin"].split()], row["word"]
            )
    for row in sources.cedict(data, "train"):
        if _fits(row["word"]):
            parts = [_plain(part) for part in row["pinyin"].split()]
            _add(found[row["word"]], parts, row["word"])
    return ((word, ways) for word, ways in found.items() if ways)


def _add(ways: list[tuple[str, ...]], parts: list[str], word: str) -> None:
    reading = tuple(parts)
    if len(reading) == len(word) and all(part in _SYLLABLES for part in reading) and reading not in ways:
        ways.append(reading)


def _plain(part: str) -> str:
    """CC-CEDICT's lu:4 → lv, r5 → er."""
    bare = part.lower().replace("u:", "v").rstrip("12345")
    return "er" if bare == "r" else bare


def _readings(word: str, known: dict[str, list[tuple[str, ...]]]) -> Iterator[tuple[tuple[str, ...], float]]:
    if len(word) == 1:
        shares = ALONE.get(word) or _shares([r[:-1] for r in pinyin.readings().get(word, ())])
        for syllable, share in shares.items():
            yield (syllable,), -math.log(share)
        return
    ways = known.get(word) or [tuple(r[:-1] for r in pinyin.read(word) or ())]
    for number, way in enumerate(ways):
        if way:
            yield way, -math.log(SECOND_READING) if number else 0.0


def _shares(ways: Iterable[str]) -> dict[str, float]:
    unique = list(dict.fromkeys(ways))
    rest = SECOND_READING * (len(unique) - 1)
    return {way: SECOND_READING if number else 1 - rest for number, way in enumerate(unique)}
