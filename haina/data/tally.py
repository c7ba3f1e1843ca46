"""Tally: what was read of a source, what stays, and what was dropped for which reason, with examples.

Tallies of parts add up to that of a source, in any order but for the examples. It knows counts, not rules.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLES = 3  # of each reason
EXAMPLE_CHARS = 200
# Characters: the bounds in which lengths are counted.
LENGTHS = (30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)


@dataclass
class Amount:
    """Documents and the bytes of their text in UTF-8."""

    documents: int = 0
    bytes: int = 0

    def add(self, text: str) -> None:
        self.documents += 1
        self.bytes += len(text.encode("utf-8", "replace"))


@dataclass
class Tally:
    """changed: documents, by what changed them. redacted: places, by what stood there. files: path, bytes, sha256.

    lengths: documents kept, by the first of LENGTHS that they do not exceed ("more": none). weighted_bytes: of what is
    kept, each document times its weight.
    """

    source: str = ""
    read: Amount = field(default_factory=Amount)
    kept: Amount = field(default_factory=Amount)
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    lengths: Counter[str] = field(default_factory=Counter)
    weighted_bytes: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, reason: str, example: str) -> None:
        """Count a document that goes, or a place where none could be read."""
        self.dropped[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(example[:EXAMPLE_CHARS])

    def keep(self, row: dict[str, Any], text: str) -> None:
        """Count a document that is written."""
        self.kept.add(text)
        self.languages[row["language"]] += 1
        self.licences[row["licence"]] += 1
        self.lengths[next((str(most) for most in LENGTHS if len(text) <= most), "more")] += 1
        self.weighted_bytes += round(row["weight"] * len(text.encode("utf-8", "replace")))

    def save(self, file: Path) -> None:
        content = {**vars(self), "read": vars(self.read), "kept": vars(self.kept)}
        file.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True), "utf-8")

    @classmethod
    def open(cls, file: Path) -> Tally:
        kept = json.loads(file.read_bytes())
        counters = {name: Counter(kept[name]) for name in _COUNTERS}
        return cls(**{**kept, **counters, "read": Amount(**kept["read"]), "kept": Amount(**kept["kept"])})


_COUNTERS = ("dropped", "changed", "redacted", "languages", "licences", "lengths")


def total(tallies: Iterable[Tally], source: str = "") -> Tally:
    """The sum; the examples are the first of each reason."""
    found = Tally(source)
    for one in tallies:
        for mine, more in ((found.read, one.read), (found.kept, one.kept)):
            mine.documents += more.documents
            mine.bytes += more.bytes
        for name in _COUNTERS:
            getattr(found, name).update(getattr(one, name))
        for reason, examples in one.examples.items():
            found.examples[reason] = [*found.examples.get(reason, []), *examples][:EXAMPLES]
        found.files += one.files
        found.weighted_bytes += one.weighted_bytes
    return found
