"""Parallel couplets (对仗): how well the characters of a lower line answer those above them.

Characters are of classes, by what answers them in the middle couplets of people's 律诗 (`answers.txt`, made by
`python -m haina.apps.poem.build_usage`): 松梅桃兰, 草竹柳菊, 春前东西. A pair counts the log of how much likelier its
classes are together there than by chance. Rhythm, sense and words of two characters are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from haina.apps.poem.form import Form

FILE = Path(__file__).with_name("answers.txt")
TENTHS = 10  # the table's unit: tenths of a nat


@cache
def _table() -> tuple[dict[str, int], list[list[float]]]:
    """The class of each character; of each two classes, nats."""
    rows = [line.split("\t") for line in FILE.read_text("utf-8").splitlines()]
    classes = {char: number for number, (chars, _) in enumerate(rows) for char in chars}
    return classes, [[int(value) / TENTHS for value in odds.split()] for _, odds in rows]


def answers(upper: str, lower: str) -> float:
    """Nats a character, above 0 if the lines are likelier a couplet than chance; rare characters count 0."""
    classes, odds = _table()
    pairs = [(classes.get(a), classes.get(b)) for a, b in zip(upper, lower, strict=True)]
    known = [odds[a][b] for a, b in pairs if a is not None and b is not None]
    return sum(known) / len(upper)


def parallel(form: Form, lines: Sequence[str]) -> float:
    """Nats a character of the couplets that should be parallel, all but the first and last of 律诗 and 排律; or 0."""
    if form.name[2:] not in ("律诗", "排律"):
        return 0.0
    couplets = [answers(lines[n], lines[n + 1]) for n in range(2, len(lines) - 2, 2)]
    return sum(couplets) / len(couplets)
