"""What haina-brook is shown last, while the rates fall: its talks, and a choice of what it has read before.

A model keeps best what it sees at the end (MiniCPM, arXiv:2404.06395, section 4.3): so the text of the decay is the
curated part, and a third of it has the form in which the model will be used. Here, too, weights say how often an
epoch shows a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from haina.data.brook.base import base
from haina.data.brook.sources import Part, Row
from haina.data.brook.talks import filled, talks

# Of the weight that a document of the domain has in the long part; laws and most English books are left out.
KEPT = {
    "zh": 0.10, "en": 0.03, "classical": 0.15, "verse": 0.08, "dictionary zh": 0.15, "dictionary en": 0.10,
    "chat": 0.20, "keys": 0.06,
}  # fmt: skip
ALWAYS = 2.0  # what weighs more than this in the long part, verse that everybody knows, is not thinned out


def late(data: Path, part: Part, parameters: int) -> Iterator[Row]:
    """Documents and dialogues. parameters: of the model, which says its size. ValueError: a file is missing."""
    for row in base(data, part):
        kept = KEPT.get(row["domain"], 0.0)
        if kept:
            yield {**row, "weight": row["weight"] if row["weight"] > ALWAYS else row["weight"] * kept}
    yield from (filled(row, parameters) for row in talks(data, part))
