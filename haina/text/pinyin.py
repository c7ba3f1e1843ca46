"""Readings of characters and phrases, and the syllables that keys can spell.

`readings.txt` beside this module holds a line for each syllable with its tone: the characters usually read so, and
those read so at times; `phrases.txt` the words that are not read as
their characters usually are. Both are made by `haina/apps/pinyin/build.py` from mozillazg/pinyin-data@82759f9 and
phrase-pinyin-data@cee0ed6 (MIT), the latter's CC-CEDICT part under CC BY-SA 4.0: README.md in haina/apps/pinyin.
Keys are small letters; ü is typed v. Tones are digits, 5 the light one. It knows no frequencies.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

INITIALS = ("zh", "ch", "sh", *"bpmfdtnlgkhjqxrzcsyw")
LONGEST_PHRASE = 8  # characters
LONGEST = 6  # keys of a syllable: zhuang
_TONES = {"\u0304": "1", "\u0301": "2", "\u030c": "3", "\u0300": "4"}
_HUMMED = {"m": "mu", "n": "en", "ng": "en", "hm": "hen", "hng": "heng"}  # 呣, 嗯: as keyboards have them


def spelled(marked: str) -> str:
    """hǎo → hao3, lǜ → lv4, de → de5; "" for what is no syllable of the keyboard."""
    tone, letters = "5", list[str]()
    for char in unicodedata.normalize("NFD", marked.strip().lower()):
        if char in _TONES:
            tone = _TONES[char]
        elif char == "\u0308":
            letters[-1:] = "v"
        else:
            letters.append(char)
    bare = _HUMMED.get("".join(letters), "".join(letters))
    return bare + tone if bare.isascii() and bare.isalpha() else ""


@cache
def readings() -> dict[str, tuple[str, ...]]:
    """Of each character its readings with tones, the usual one first."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _lines("readings.txt"):
        reading, usual, others = line.split("\t")
        for char in usual:
            found[char] = (reading, *found.get(char, ()))
        for char in others:
            found[char] = (*found.get(char, ()), reading)
    return found


@cache
def phrases() -> dict[str, tuple[str, ...]]:
    """Words that are not read as their characters usually are, each with its syllables and tones."""
    rows = (line.split("\t") for line in _lines("phrases.txt"))
    return {word: tuple(reading.split()) for word, reading in rows}


@cache
def syllables() -> tuple[str, ...]:
    """All that keys can spell, without tones, in alphabetic order."""
    return tuple(sorted({reading[:-1] for known in readings().values() for reading in known}))


def read(text: str) -> list[str] | None:
    """The syllables of a text with their tones, by the longest phrases known; None if a character has no reading."""
    found: list[str] = []
    while len(found) < len(text):
        rest = text[len(found) : len(found) + LONGEST_PHRASE]
        phrase = next((rest[:n] for n in range(len(rest), 1, -1) if rest[:n] in phrases()), None)
        known = phrases()[phrase] if phrase else readings().get(rest[0], ())[:1]
        if not known:
            return None
        found += known
    return found


def _lines(name: str) -> list[str]:
    return Path(__file__).with_name(name).read_text("utf-8").splitlines()
