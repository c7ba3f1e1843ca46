"""Which line of verse a description in today's Chinese means, as CCPM asks: by what they share, without a model.

A character of the line counts by its rarity if the description has it, and less if a word of the description has a
meaning of it. Meanings are a mapping from words to the words of their English definitions; where they come from is not
known here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

from haina.text.characters import HAN

BY_MEANING = 0.3  # of what the character itself would count
SURE = 8.0  # idf of a meaning that is certain to be meant


class Matcher:
    """lines: verse, to learn from how rare a character is. meanings: a word of one or two characters → its words."""

    def __init__(self, lines: Iterable[str], meanings: Mapping[str, Set[str]]):
        rows = [set(line) for line in lines]
        self._lines, self._chars = len(rows), Counter(char for row in rows for char in row)
        self._meanings, self._words = meanings, Counter(word for words in meanings.values() for word in words)

    def best(self, description: str, lines: Sequence[str]) -> int:
        """The number of the line; of equal ones the first."""
        said = set(HAN.findall(description))
        meant = {meaning for word in _words(description) for meaning in self._meanings.get(word, ())}
        scores = [sum(self._counts(char, said, meant) for char in set(HAN.findall(line))) for line in lines]
        return scores.index(max(scores))

    def _counts(self, char: str, said: set[str], meant: set[str]) -> float:
        rarity = math.log(self._lines / (1 + self._chars[char]))
        if char in said:
            return rarity
        shared = meant.intersection(self._meanings.get(char, ()))
        sure = max((math.log(len(self._meanings) / (1 + self._words[word])) for word in shared), default=0.0)
        return BY_MEANING * min(1.0, sure / SURE) * rarity


def _words(text: str) -> set[str]:
    """Its characters, and each two side by side."""
    chars = "".join(HAN.findall(text))
    return {*chars, *(chars[i : i + 2] for i in range(len(chars) - 1))}
