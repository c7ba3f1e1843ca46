"""What a person may ask of words beside their meaning: length, spelling, sounds, strokes, how common they are.

Each filter marks the words that pass. Rhymes go by the fourteen classes of 中华通韵's kind: what follows the medial.
ValueError: a filter that cannot be read, in one line. It does not know what the words mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from haina.apps.words.index import POS_BITS, STYLE_BITS, Index
from haina.apps.words.terms import folded
from haina.options.words import WordsOptions
from haina.text import pinyin
from haina.wording import say

POS = {"noun": "n", "verb": "v", "adjective": "a", "adverb": "r"}
LEVEL_TONES, OBLIQUE_TONES = "12", "34"
_SYLLABLE = re.compile("(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?([a-zv]*?)([1-5]?)$")
_RHYMES = {  # finals as they are spelled, by class
    **dict.fromkeys(("a", "ia", "ua"), "a"),
    **dict.fromkeys(("o", "uo", "e"), "o"),
    **dict.fromkeys(("ie", "ve", "ue"), "ie"),
    **dict.fromkeys(("ai", "uai"), "ai"),
    **dict.fromkeys(("ei", "ui", "uei"), "ei"),
    **dict.fromkeys(("ao", "iao"), "ao"),
    **dict.fromkeys(("ou", "iu", "iou"), "ou"),
    **dict.fromkeys(("an", "ian", "uan", "van"), "an"),
    **dict.fromkeys(("en", "in", "un", "vn", "uen"), "en"),
    **dict.fromkeys(("ang", "iang", "uang"), "ang"),
    **dict.fromkeys(("eng", "ing", "ueng", "ong", "iong"), "eng"),
    **{"i": "i", "v": "i", "u": "u", "er": "er"},
}


def allowed(index: Index, asked: WordsOptions) -> np.ndarray | None:
    """bool [W]: the words that pass every filter asked for; None if none is."""
    passed = np.ones(len(index.words), bool)
    any_asked = False
    for mask in _masks(index, asked):
        passed &= mask
        any_asked = True
    return passed if any_asked else None


def _masks(index: Index, asked: WordsOptions) -> Iterator[np.ndarray]:
    if asked.pos:
        yield index.array("pos") & POS_BITS[POS[asked.pos]] > 0
    if asked.style:
        yield index.array("labels") & STYLE_BITS[asked.style] > 0
    if asked.idioms:
        yield index.array("idiom") > 0
    if asked.hsk is not None:
        yield (index.array("hsk") > 0) & (index.array("hsk") <= asked.hsk)
    if asked.common is not None:
        yield index.array("frequency") >= asked.common
    if asked.strokes:
        least, most = span(asked.strokes)
        strokes = np.concatenate([np.zeros(index.english, np.uint16), index.array("strokes")])
        yield (strokes >= max(least, 1)) & (strokes <= most)
    spelled = [*_spelled(asked)]
    if spelled:
        yield np.array([all(test(word) for test in spelled) for word in index.words])
    sounding = [*_sounding(asked)]
    if sounding:
        heard = [bool(r) and all(test(r.split()) for test in sounding) for r in index.readings]
        yield np.array([False] * index.english + heard)


def _spelled(asked: WordsOptions) -> Iterator[Callable[[str], bool]]:
    if asked.length:
        least, most = span(asked.length)
        yield lambda word: least <= len(word.replace(" ", "")) <= most
    if asked.initial:
        yield lambda word: folded(word).startswith(folded(asked.initial))
    if asked.containing:
        yield lambda word: folded(asked.containing) in folded(word)
    if asked.pattern:
        parts = [
            {"?": ".", "？": ".", "*": ".*", "＊": ".*"}.get(c, re.escape(c)) for c in folded(asked.pattern)
        ]
        wanted = re.compile("".join(parts))
        yield lambda word: wanted.fullmatch(folded(word)) is not None
    if asked.single:
        yield lambda word: " " not in word and "-" not in word


def _sounding(asked: WordsOptions) -> Iterator[Callable[[list[str]], bool]]:
    if asked.pinyin:
        keys = asked.pinyin.lower().replace("ü", "v").split()
        yield (
            lambda heard: (
                len(heard) == len(keys)
                and all(syllable.startswith(key) for syllable, key in zip(heard, keys, strict=True))
            )
        )
    if asked.rhyme:
        wanted, tone = _rhyme_asked(asked.rhyme)
        yield lambda heard: rhyme(heard[-1]) == wanted and (not tone or heard[-1].endswith(tone))
    if asked.tones:
        wanted_tones = [_tone(char) for char in asked.tones.replace(" ", "")]
        yield (
            lambda heard: (
                len(heard) == len(wanted_tones)
                and all(syllable[-1] in tones for syllable, tones in zip(heard, wanted_tones, strict=True))
            )
        )


def span(text: str) -> tuple[int, int]:
    """ "4" is 4 to 4, "2-4" is 2 to 4."""
    found = re.fullmatch(r"\s*(\d{1,4})\s*(?:[-–~]\s*(\d{1,4}))?\s*", text)
    if not found:
        raise ValueError(
            say(f"{text}: not a number nor a range; write 4 or 2-4", f"{text}：应为数字或范围，如 4 或 2-4")
        )
    return int(found[1]), int(found[2] or found[1])


def _tone(char: str) -> str:
    tones = {"平": LEVEL_TONES, "仄": OBLIQUE_TONES, "?": "12345", "？": "12345"}.get(char, char)
    if not tones.isdigit():
        raise ValueError(
            say(f"{char}: not a tone; use 1 to 5, 平, 仄 or ?", f"{char}：不是声调；请用 1 至 5、平、仄或 ?")
        )
    return tones


@cache
def rhyme(syllable: str) -> str:
    """guang1 → ang: the class of a syllable; "" for what is none."""
    found = _SYLLABLE.match(syllable)
    if not found:
        return ""
    initial, final = found[1] or "", found[2]
    if initial in ("z", "c", "s", "zh", "ch", "sh", "r") and final == "i":
        return "-i"
    if initial in ("j", "q", "x", "y") and final.startswith("u"):
        final = "v" + final[1:]
    if initial == "y" and final == "e":
        final = "ie"
    return _RHYMES.get(final, "")


def _rhyme_asked(text: str) -> tuple[str, str]:
    """The class and the tone ("" for any) that are asked for: by a character or by a final, ang4."""
    heard = pinyin.readings().get(text)
    if heard:
        return rhyme(heard[0]), ""
    bare = text.strip().lower().replace("ü", "v")
    tone = bare[-1] if bare[-1:].isdigit() else ""
    kind = _RHYMES.get(bare.rstrip("12345")) or rhyme(bare)
    if not kind:
        raise ValueError(
            say(
                f"{text}: no rhyme; give a character or a final: ang",
                f"{text}：无此韵；请给一个字或韵母，如 ang",
            )
        )
    return kind, tone
