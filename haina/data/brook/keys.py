"""What is typed, then what is meant: nihaoshijie⏎你好世界, read character by character.

The readings of a clause are those of the longest phrases that the table knows, elsewhere the usual reading of each
character; tones are dropped and ü is typed v. Some clauses are typed by initials alone or in part, and half of
them stand behind the text before them. It does not know dialects nor fuzzy or wrong keys.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from haina.data.brook import sources
from haina.data.brook.sources import Row

ENTER = "⏎"
LINES = 6  # to a document
SHARE = 0.12  # of the clauses
SHORTEST, LONGEST, CONTEXT = 2, 16, 24  # characters
LONGEST_PHRASE = 6
_CLAUSE = re.compile(f"[\u4e00-\u9fff]{{{SHORTEST},{LONGEST}}}")
_TONES = str.maketrans("", "", "\u0300\u0301\u0304\u030c")


@dataclass(frozen=True)
class Readings:
    """Characters and phrases, each with its syllables."""

    table: dict[str, list[str]]

    @classmethod
    def of(cls, data: Path) -> Readings:
        found = {row["char"]: [typed(row["usual"])] for row in sources.pinyin(data, "char") if "usual" in row}
        for row in sources.pinyin(data, "phrase"):
            syllables = [typed(syllable) for syllable in row["pinyin"].split()]
            if len(row["word"]) == len(syllables) <= LONGEST_PHRASE and all(syllables):
                found.setdefault(row["word"], syllables)
        return cls(found)

    def __call__(self, text: str) -> list[str] | None:
        """The syllables of a text, one a character; None if a character has no reading."""
        found: list[str] = []
        while len(found) < len(text):
            rest = text[len(found) : len(found) + LONGEST_PHRASE]
            known = next((rest[:n] for n in range(len(rest), 0, -1) if rest[:n] in self.table), None)
            if known is None:
                return None
            found += self.table[known]
        return found


def typed(syllable: str) -> str:
    """lǜ → lv; "" for what no keyboard types."""
    bare = unicodedata.normalize("NFC", unicodedata.normalize("NFD", syllable).translate(_TONES)).lower()
    keys = bare.replace("ü", "v")
    return keys if keys.isascii() and keys.isalpha() else ""


def documents(texts: Iterable[Row], readings: Readings, weight: float) -> Iterator[Row]:
    for row in texts:
        chance = random.Random(f"keys {row['id']}")
        lines = []
        for clause in _CLAUSE.finditer(row["text"]):
            if chance.random() < SHARE and (syllables := readings(clause[0])):
                before = _context(row["text"][: clause.start()]) if chance.random() < 0.5 else ""
                lines.append(f"{before}{_press(syllables, chance)}{ENTER}{clause[0]}")
        for start in range(0, len(lines), LINES):
            about = {"source": row["source"], "licence": row["licence"], "domain": "keys", "weight": weight}
            text = "\n".join(lines[start : start + LINES])
            yield {"id": f"keys:{row['id']}:{start}", "text": text, "by_character": True, **about}


def _context(before: str) -> str:
    """The end of what stands before, in its own line, without letters that would look like keys."""
    return re.split(r"[\nA-Za-z]", before[-CONTEXT:])[-1]


def _press(syllables: list[str], chance: random.Random) -> str:
    """Seven in ten in full, the others by initials or in part."""
    way = chance.random()
    if way < 0.7:
        return "".join(syllables)
    if way < 0.82:
        return "".join(s[0] for s in syllables)
    return "".join(s if chance.random() < 0.5 else s[0] for s in syllables)
