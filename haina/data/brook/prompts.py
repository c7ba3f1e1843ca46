"""Thirty fixed questions and what a sensible answer must have: the chat checks. None of them is trained on.

A check is a line of prompts.jsonl: prompt, language, and of `any` (one of these stands in the answer), `matches` (a
pattern is found in it), `most` (it has at most so many characters). It does not know who answers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from haina.data.brook.exchange import Language, lines
from haina.text.characters import HAN

MOST_CHARACTERS = 300


@dataclass(frozen=True)
class Check:
    prompt: str
    language: Language
    any: tuple[str, ...] = ()
    matches: str = ""
    most: int = MOST_CHARACTERS

    def passed(self, answer: str) -> bool:
        """Whether the answer is short enough, in the language, and has what it must."""
        said = answer.strip()
        return (
            0 < len(said) <= self.most
            and in_language(said, self.language)
            and (not self.any or any(word in said for word in self.any))
            and bool(re.search(self.matches, said))
        )


def checks() -> list[Check]:
    found = (json.loads(line) for line in lines("prompts.jsonl"))
    return [Check(**{**row, "any": tuple(row.get("any", ()))}) for row in found]


def in_language(said: str, language: Language) -> bool:
    """Whether most of what is said is in the language: a Chinese character counts like two letters."""
    han, letters = 2 * len(HAN.findall(said)), len(re.findall("[A-Za-z]", said))
    return han >= letters if language == "zh" else letters > han
