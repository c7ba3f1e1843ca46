"""Keys in, texts out: the lattice of what was typed so far, kept from key to key.

Three readings of the keys are held side by side, each made only when it is needed: whole syllables; abbreviations,
too, where whole syllables do not come through or the keys are few; slips of the finger, where the best of the others
is unlikely. What is typed exactly costs nothing, so it comes first among words equally common. It knows no network
(neural.py) and remembers nothing of the user (learn.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from haina.apps.pinyin.keys import SEPARATOR, Reach, Spelling
from haina.apps.pinyin.lexicon import BOUNDARY, LONGEST, NUMBER, OTHER
from haina.apps.pinyin.prior import Language
from haina.native.lattice import Edge, Lattice, Trie, Typed
from haina.text import pinyin
from haina.wording import say

WIDTH = 32  # texts kept at each key
ENDING = 0.35  # of the price of the end of a clause: what is typed mostly ends one, but need not
FEW_KEYS = 6  # keys that may well be initials
UNLIKELY = 3.8  # nats a character: what is dearer may hold a slip
ENGLISH = 11.0  # nats of a known English word
CAPITAL, SMALL = 2.0, 2.6  # of a word with a capital, and of each small letter in it
LONGEST_ENGLISH = 16  # letters
LONGEST_SLIP = 48  # keys among which slips are looked for
MOST_KEYS = 1000
PUNCTUATION = {
    ",": "，",
    ".": "。",
    "?": "？",
    "!": "！",
    ":": "：",
    ";": "；",
    "(": "（",
    ")": "）",
    "\\": "、",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Candidate:
    """A text for the first `keys` keys; score: nats, the log of how likely it is behind the context."""

    text: str
    score: float
    keys: int
    words: tuple[Typed, ...] = field(default=(), compare=False, repr=False)


class Decoder:
    """The keys of one composition behind one left context."""

    def __init__(self, language: Language, spelling: Spelling, context: str = "", user: Trie | None = None):
        self.language, self.spelling, self.user = language, spelling, user
        self.context = language.words(context)
        self.keys = ""
        self._lattices: dict[Reach, Lattice] = {}
        self._short = False  # whether abbreviations were looked for

    def type(self, keys: str) -> None:
        """Have these keys, whatever was there before: what both begin with is not read again.

        ValueError: control characters, or too many keys.
        """
        check(keys)
        same = next(
            (i for i, (a, b) in enumerate(zip(keys, self.keys, strict=False)) if a != b),
            min(len(keys), len(self.keys)),
        )
        for lattice in self._lattices.values():
            lattice.cut(min(lattice.nodes, same))
        self.keys = keys

    def sentences(self, most: int) -> list[Candidate]:
        """The likeliest texts of all the keys; the keys themselves when they are nothing else."""
        if not self.keys:
            return []
        exact = found = merged(self._best("exact", most), [], most)
        self._short = not exact or len(self.keys) <= FEW_KEYS
        if self._short:
            found = merged(found, self._best("short", most), most)
        doubtful = not exact or -exact[0].score > UNLIKELY * (len(exact[0].text) + 1)
        if doubtful and len(self.keys) <= LONGEST_SLIP:
            found = merged(found, self._best("slips", most), most)
        return found or [Candidate(self.keys, -20.0 * len(self.keys), len(self.keys))]

    def words(self, most: int) -> list[Candidate]:
        """Words that the keys may begin with, those of more characters first."""
        lattices = [self._lattice(reach) for reach in (("exact", "short") if self._short else ("exact",))]
        found: dict[str, Candidate] = {}
        for end in range(min(len(self.keys), LONGEST * pinyin.LONGEST), 0, -1):
            for lattice in lattices:
                for nats, word in lattice.words(0, end, most):
                    text = self._text(word)
                    found.setdefault(text, Candidate(text, -nats, end, (word,)))
            if len(found) >= most:
                break
        ranked = sorted(found.values(), key=lambda c: (-len(c.text), -c.score))
        return ranked[:most]

    def _best(self, reach: Reach, most: int) -> list[Candidate]:
        found = self._lattice(reach).best(len(self.keys), most, ENDING)
        return [
            Candidate("".join(map(self._text, words)), -nats, len(self.keys), tuple(words))
            for nats, words in found
        ]

    def _lattice(self, reach: Reach) -> Lattice:
        """Up to the last key."""
        if reach not in self._lattices:
            language = self.language
            self._lattices[reach] = Lattice(language.prior, language.trie, self.user, WIDTH, self.context)
        lattice = self._lattices[reach]
        for end in range(lattice.nodes + 1, len(self.keys) + 1):
            lattice.add([*self.spelling.edges(self.keys, end, reach), *self._literal(end)])
        return lattice

    def _literal(self, end: int) -> list[Edge]:
        """Keys that stand for themselves: one that is no letter of a syllable, and English words."""
        key = self.keys[end - 1]
        if key.isascii() and key.isalpha():
            return self._english(end)
        if key in self.spelling.letters or key == SEPARATOR:
            return []
        kind = NUMBER if key.isdigit() else OTHER if key.isalpha() or key == " " else BOUNDARY
        return [Edge(end - 1, -1 - kind)]

    def _english(self, end: int) -> list[Edge]:
        """The letters before `end` as words of their own: known ones, and all that hold a capital."""
        edges = []
        for start in range(end - 1, max(0, end - LONGEST_ENGLISH) - 1, -1):
            word = self.keys[start:end]
            if not (word.isascii() and word.isalpha()):
                break
            small = sum(map(str.islower, word))
            if small < len(word):
                edges.append(Edge(start, -1 - OTHER, CAPITAL + SMALL * small))
            elif word in english():
                edges.append(Edge(start, -1 - OTHER, ENGLISH))
        return edges

    def _text(self, word: Typed) -> str:
        if word.word < 0:
            key = self.keys[word.start : word.end]
            beside = self.keys[max(word.start - 1, 0) : word.start]
            return key if beside.isdigit() or beside.isupper() else PUNCTUATION.get(key, key)
        trie = self.user if word.user and self.user else self.language.trie
        return trie.text(word.word)


@cache
def english() -> frozenset[str]:
    """Common English words that no whole syllables spell."""
    return frozenset(Path(__file__).with_name("english.txt").read_text("ascii").split())


def merged(first: list[Candidate], second: list[Candidate], most: int) -> list[Candidate]:
    """Both, the likelier first; of equal texts the likelier one."""
    best: dict[str, Candidate] = {}
    for candidate in (*first, *second):
        if candidate.text not in best or best[candidate.text].score < candidate.score:
            best[candidate.text] = candidate
    return sorted(best.values(), key=lambda candidate: -candidate.score)[:most]


def check(keys: str) -> None:
    """ValueError: what no keyboard types, or more than anybody types in one go."""
    if found := _CONTROL.search(keys):
        code = f"U+{ord(found[0]):04X}"
        raise ValueError(
            say(
                f"the keys hold the control character {code}; leave it out",
                f"按键中含有控制字符 {code}；请去掉",
            )
        )
    if len(keys) > MOST_KEYS:
        raise ValueError(
            say(
                f"{len(keys)} keys in one go; at most {MOST_KEYS}, so break them into sentences",
                f"一次输入了 {len(keys)} 个键；最多 {MOST_KEYS} 个，请按句分开输入",
            )
        )
