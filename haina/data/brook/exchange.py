"""One question and its answer, what kind it is, and the fact it is about: the unit from which talks are put together.

A fact belongs to training or to validation by its hash, so that no wording of a held-out fact is ever trained on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["zh", "en"]
HELD_OUT = 0.02


@dataclass(frozen=True)
class Exchange:
    """fact: "" for what every talk needs, greetings above all; it is never held out."""

    kind: str
    language: Language
    fact: str
    asked: str
    answer: str
    by_character: bool = False  # whether the answer is to be written in character mode

    @property
    def held_out(self) -> bool:
        return bool(self.fact) and share(f"{self.kind} {self.fact}") < HELD_OUT


def share(key: str) -> float:
    """A number in [0, 1) that depends on nothing but the key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


@cache
def lines(name: str) -> list[str]:
    """The lines of a table beside this file."""
    return Path(__file__).with_name(name).read_text("utf-8").splitlines()
