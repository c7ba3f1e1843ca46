"""The vocabulary of haina-brook: learnt from an eighth of its text, with a piece for every character of verse.

Character mode needs a piece for each of the common characters, and for the others of the rhyme books that the text
uses at all. It knows which lines are shown to the learner; how a vocabulary is learnt, text/vocabulary.py knows.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from haina.data.brook.base import base
from haina.data.brook.sources import Row
from haina.text.characters import common
from haina.text.hanzi import FILES, book
from haina.text.vocabulary import learn

PIECES = 20480
SHARE = 0.12  # of the documents; typed keys are left out, which are Latin letters without words
MOST_WEIGHT = 2.0  # verse that everybody knows is not shown more often than this
SEEN = 3  # times that a rare character must stand in the text to have a piece
OWN = "⏎"  # ends a line in typed keys


def vocabulary(data: Path) -> bytes:
    """The serialized tokenizer. ValueError: a file of the pack is missing."""
    chance, counts, lines = random.Random(0), Counter[str](), list[str]()
    for row in base(data, "train"):
        text = words(row)
        counts.update(set(text))
        if row["domain"] != "keys" and chance.random() < SHARE * min(row["weight"], MOST_WEIGHT):
            lines += filter(None, text.split("\n"))
    rhymed = {char for name in FILES for char in book(name).sounds}
    own = {*common(), *OWN, *(char for char in rhymed if counts[char] >= SEEN)}
    return learn(lines, pieces=PIECES, coverage=0.9995, characters="".join(sorted(own)))


def words(row: Row) -> str:
    """The text of a document, or what is said in a dialogue."""
    return row["text"] if "text" in row else "\n".join(m["content"] for m in row["messages"])
