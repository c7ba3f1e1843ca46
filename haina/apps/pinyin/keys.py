"""What keys may mean: full pinyin and three double ones, unfinished and abbreviated syllables, fuzzy sounds, slips.

`Spelling.edges` gives what may have been typed between any earlier key and this one, each with its price in nats: what
was typed exactly is free, so it comes before what is merely alike. The prices are ours, chosen on held-out text; the
double schemes are those of 小鹤双拼, 自然码 and 微软拼音. Words and their likelihood are not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from haina.native.lattice import Edge
from haina.text import pinyin
from haina.text.pinyin import INITIALS

Scheme = Literal["full", "xiaohe", "ziranma", "microsoft"]
Reach = Literal["exact", "short", "slips"]  # whole syllables; abbreviated ones, too; and slips of the finger
SEPARATOR = "'"
INITIAL, BEGINNING = 2.5, 4.5  # nats: a syllable typed by its initial; by another beginning
FUZZY = 4.0
SWAPPED, NEXT_KEY, MISSED, TWICE = 6.0, 7.5, 7.5, 7.0
PAIRS = ("zh/z", "ch/c", "sh/s", "n/l", "f/h", "r/l", "k/g", "ang/an", "eng/en", "ing/in")  # fuzzy sounds
_ALIAS = {"lve": "lue", "nve": "nue"}
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

_ZERO = {"a": "aa", "o": "oo", "e": "ee", "ai": "ai", "an": "an", "ao": "ao", "ei": "ei", "en": "en", "er": "er",
         "ou": "ou", "ang": "ah", "eng": "eg"}  # fmt: skip
_RETROFLEX = {"zh": "v", "ch": "i", "sh": "u"}
_XIAOHE = ("iu q,ei w,uan r,ue t,ve t,un y,uo o,ie p,ong s,iong s,ai d,en f,eng g,ang h,an j,uai k,ing k,iang l,uang l,"
           "ou z,ia x,ua x,ao c,ui v,in b,iao n,ian m")  # fmt: skip
_ZIRANMA = ("iu q,ia w,ua w,uan r,ue t,ve t,uai y,ing y,uo o,un p,ong s,iong s,uang d,iang d,en f,eng g,ang h,an j,"
            "ao k,ai l,ei z,ie x,iao c,ui v,ou b,in n,ian m")  # fmt: skip
_MICROSOFT = _ZIRANMA.replace("ing y", "ing ;") + ",v y"
_MICROSOFT_ZERO = {"a": "oa", "o": "oo", "e": "oe", "ai": "ol", "an": "oj", "ao": "ok", "ei": "oz", "en": "of",
                   "er": "or", "ou": "ob", "ang": "oh", "eng": "og"}  # fmt: skip
_SCHEMES = {
    "xiaohe": (_XIAOHE, _ZERO),
    "ziranma": (_ZIRANMA, _ZERO),
    "microsoft": (_MICROSOFT, _MICROSOFT_ZERO),
}


@dataclass(frozen=True)
class Spelling:
    """How somebody types: the scheme, and the pairs of sounds (of PAIRS) that they do not tell apart."""

    scheme: Scheme = "full"
    fuzzy: frozenset[str] = frozenset()

    @property
    def letters(self) -> str:
        """The keys that syllables are made of."""
        return "abcdefghijklmnopqrstuvwxyz" + ";" * (self.scheme == "microsoft")

    def edges(self, keys: str, end: int, reach: Reach) -> list[Edge]:
        """What may have been typed up to `end`, from each key before it. An unfinished syllable is open: it ends the
        text; where abbreviations are looked for, it is one."""
        table = _table(self.scheme, self.fuzzy, reach)
        stop = end - 1 if keys[end - 1] == SEPARATOR and end > 1 else end
        longest = pinyin.LONGEST + (reach == "slips")
        starts = range(max(0, stop - longest), stop)
        return [
            Edge(at, syllable, nats, open)
            for at in starts
            for syllable, nats, open in table.get(keys[at:stop], ())
        ]


Meaning = tuple[int, float, bool]  # number of the syllable, nats, open


@cache
def _table(scheme: Scheme, fuzzy: frozenset[str], reach: Reach) -> dict[str, tuple[Meaning, ...]]:
    """What each string of keys may mean: of the same syllable the cheapest."""
    best: dict[tuple[str, int], tuple[float, bool]] = {}
    for number, syllable in enumerate(pinyin.syllables()):
        for keys, nats, open in _ways(syllable, scheme, fuzzy, reach):
            held = best.get((keys, number))
            if held is None or (nats, open) < held:
                best[keys, number] = (nats, open)
    found: dict[str, tuple[Meaning, ...]] = {}
    for (keys, number), (nats, open) in best.items():
        found[keys] = (*found.get(keys, ()), (number, nats, open))
    return found


def _ways(
    syllable: str, scheme: Scheme, fuzzy: frozenset[str], reach: Reach
) -> Iterator[tuple[str, float, bool]]:
    for sound, nats in _sounds(syllable, fuzzy):
        for keys in _keys(sound, scheme):
            yield keys, nats, False
            for length in range(1, len(keys)):
                initial = keys[:length] in INITIALS if scheme == "full" else length == 1
                yield keys[:length], nats + (INITIAL if initial else BEGINNING), reach == "exact"
            if reach == "slips" and scheme == "full" and not nats:
                yield from ((slip, price, False) for slip, price in _slips(keys))


def _sounds(syllable: str, fuzzy: frozenset[str]) -> Iterator[tuple[str, float]]:
    """The syllable, and what it is taken for by those who do not tell some sounds apart."""
    initial = next((i for i in INITIALS if syllable.startswith(i)), "")
    final = syllable[len(initial) :]
    initials, finals = {initial: 0.0}, {final: 0.0}
    for pair in sorted(fuzzy):
        a, b = pair.split("/")
        if a[0] in "aei":
            for one, other in ((a, b), (b, a)):
                if final.endswith(one) and (one == a or not final.endswith(a)):
                    finals[final[: len(final) - len(one)] + other] = FUZZY
        elif initial in (a, b):
            initials[b if initial == a else a] = FUZZY
    known = set(pinyin.syllables())
    for i, first in initials.items():
        for f, second in finals.items():
            if i + f == syllable or i + f in known or f in _BARE:
                yield i + f, first + second


_BARE = frozenset(("ong", "eng"))  # finals that a fuzzy initial may come to stand before


def _keys(sound: str, scheme: Scheme) -> Iterator[str]:
    """How a sound is typed."""
    if scheme == "full":
        yield sound
        if sound in _ALIAS:
            yield _ALIAS[sound]
        return
    finals, zero = _SCHEMES[scheme]
    if sound in zero:
        yield zero[sound]
        return
    initial = next((i for i in INITIALS if sound.startswith(i)), "")
    final = sound[len(initial) :]
    one = _RETROFLEX.get(initial, initial)
    keys = dict(pair.split() for pair in finals.split(","))
    if one and (final in keys or len(final) == 1):
        yield one + keys.get(final, final)


def _slips(keys: str) -> Iterator[tuple[str, float]]:
    """Keys swapped, missed, struck beside or twice."""
    for i in range(len(keys)):
        before, key, after = keys[:i], keys[i], keys[i + 1 :]
        if after and after[0] != key:
            yield before + after[0] + key + after[1:], SWAPPED
        if len(keys) > 2 and i:
            yield before + after, MISSED
        if len(keys) > 1:
            yield before + key + key + after, TWICE
            yield from ((before + beside + after, NEXT_KEY) for beside in _beside(key))


@cache
def _beside(key: str) -> str:
    """The letters around a key."""
    row = next((y for y, keys in enumerate(_ROWS) if key in keys), None)
    if row is None:
        return ""
    x = _ROWS[row].index(key)
    near = [_ROWS[row][i] for i in (x - 1, x + 1) if 0 <= i < len(_ROWS[row])]
    if row:
        near += _ROWS[row - 1][x : x + 2]
    if row < 2:
        near += _ROWS[row + 1][max(0, x - 1) : x + 1]
    return "".join(near)
