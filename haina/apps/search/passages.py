"""A text in passages, which laid end to end are the text again: offsets are exact, and nothing is kept twice.

A passage is as many whole paragraphs as fit, at least ENOUGH; a longer paragraph is divided where sentences end. It
knows lines and sentences, nothing of searching.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from haina.text.normalize import sentence_ends

LONGEST = 600  # of a passage, in Chinese characters; other characters count NARROW
NARROW = 0.4
ENOUGH = 200  # from here on a passage ends at an empty line or before a heading
HARDEST = 1000  # characters of what has no sentences
_WIDE = re.compile(r"[\u2e80-\uffef\U00010000-\U0010ffff]+")
_LINE = re.compile(r"[^\n\f]*(?:[\n\f]|\Z)")
_HEADING = re.compile("#{1,6} ")


def passages(text: str) -> Iterator[str]:
    """The passages of a text, in their order; none for a text that is nothing but space."""
    if "\n" not in text and "\f" not in text and _size(text) <= LONGEST:
        yield from [text] if text.strip() else []
        return
    held: list[str] = []
    size, told = 0.0, False  # told: not only space
    for piece in _pieces(text):
        wide, blank = _size(piece), not piece.strip()
        over = size + wide > LONGEST or (size >= ENOUGH and not blank and _HEADING.match(piece))
        if told and (over or (blank and size >= ENOUGH)):
            if blank and not over:
                held.append(piece)
            yield "".join(held)
            held, size, told = [], 0.0, False
            if blank and not over:
                continue
        held.append(piece)
        size += wide
        told = told or not blank
    if told or (held and len(text) > len("".join(held))):
        yield "".join(held)


def _size(text: str) -> float:
    wide = sum(map(len, _WIDE.findall(text)))
    return wide + NARROW * (len(text) - wide)


def _pieces(text: str) -> Iterator[str]:
    """Lines; sentences of those that are too long; parts of those."""
    for found in _LINE.finditer(text):
        line = found[0]
        if len(line) <= LONGEST or _size(line) <= LONGEST:
            yield from [line] if line else []
            continue
        at = 0
        for end in sentence_ends(line):
            for start in range(at, end, HARDEST):
                yield line[start : min(end, start + HARDEST)]
            at = end
