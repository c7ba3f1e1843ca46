"""Sentences to be typed, from the `valid` part of a data pack: dialogue, prose, encyclopaedia; and single words.

Keys are the readings of haina/text/pinyin.py, which knows phrases; who cares may compare them with pypinyin's. The
texts of C3 are for research: they are read here, and neither trained on nor shipped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from haina.data.read import rows
from haina.text import pinyin

CLAUSES = 500  # of a kind, at most
BEFORE = 30  # characters of left context that are kept
_CLAUSE = re.compile(r"(?<![\w%])[\u4e00-\u9fff]{4,20}(?![\w%])")
_WORD = re.compile(r"[\u4e00-\u9fff]{2,4}")


@dataclass(frozen=True)
class Typed:
    """What stands before, what is meant, and its syllables."""

    before: str
    text: str
    syllables: tuple[str, ...]

    @property
    def keys(self) -> str:
        return "".join(self.syllables)

    @property
    def initials(self) -> str:
        return "".join(syllable[0] for syllable in self.syllables)


def sets(data: Path, most: int = CLAUSES) -> dict[str, list[Typed]]:
    """Clauses of each kind, drawn with a fixed seed."""
    found: dict[str, list[Typed]] = {"dialogue": [], "prose": [], "encyclopaedia": []}
    for row in rows(data / "text_zh/valid/misc.jsonl.zst"):
        if row["src"] in ("c3", "cmrc2018", "drcd"):
            talk = re.search("[男女][：:]", row["text"])
            kind = "encyclopaedia" if row["src"] != "c3" else "dialogue" if talk else "prose"
            found[kind] += _clauses(row["text"])
    return {kind: _drawn(clauses, most) for kind, clauses in found.items()}


def words(clauses: list[Typed], known: frozenset[str]) -> list[Typed]:
    """A word of each clause, with what stands before it: a longest one of the list that begins in its middle."""
    found = []
    for clause in clauses:
        at = len(clause.text) // 2
        word = next((clause.text[at : at + n] for n in (4, 3, 2) if clause.text[at : at + n] in known), None)
        if word:
            before = (clause.before + clause.text[:at])[-BEFORE:]
            found.append(Typed(before, word, clause.syllables[at : at + len(word)]))
    return found


def slipped(clause: Typed, chance: random.Random) -> str:
    """The keys with one slip: two swapped, one missed, one struck beside the right one or twice."""
    from haina.apps.pinyin.keys import _beside

    keys = clause.keys
    at = chance.randrange(1, len(keys) - 1)
    way = chance.randrange(4)
    if way == 0 and keys[at] != keys[at + 1]:
        return keys[:at] + keys[at + 1] + keys[at] + keys[at + 2 :]
    if way == 1:
        return keys[:at] + keys[at + 1 :]
    if way == 2:
        return keys[:at] + chance.choice(_beside(keys[at])) + keys[at + 1 :]
    return keys[:at] + keys[at] + keys[at:]


def _clauses(text: str) -> Iterator[Typed]:
    for clause in _CLAUSE.finditer(text):
        if read := pinyin.read(clause[0]):
            before = text[max(0, clause.start() - BEFORE) : clause.start()].rpartition("\n")[2]
            yield Typed(before, clause[0], tuple(part[:-1] for part in read))


def _drawn(clauses: list[Typed], most: int) -> list[Typed]:
    unique = list({clause.text: clause for clause in clauses}.values())
    random.Random(8).shuffle(unique)
    return unique[:most]
