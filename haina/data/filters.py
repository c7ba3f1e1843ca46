"""why_dropped(text, language): the first rule that a text breaks, by name, or None.

The rules are those of Gopher (arXiv:2112.11446, table A1), C4 (arXiv:1910.10683), FineWeb (arXiv:2406.17557) and
FineWeb-2 (huggingface/fineweb-2@05e6729, configs/cmn_Hani.yml and fineweb-2-pipeline.py), with their numbers, as
huggingface/datatrove@a649de7 reads them. For Chinese they are not counted in words, which would have to be guessed:
a character is a word, a run of Latin letters or digits is one, and an n-gram of words becomes one of as many characters
as n words have on average. It does not know where a text is from nor what is done with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from haina.data.words import words
from haina.native.minhash import Words, ngrams
from haina.text.normalize import sentences
from haina.wording import say

MOST_WORDS = 1 << 20  # n-grams are looked for in so many words from the beginning
CHINESE_WORD_CHARS = 1.6  # on average, in running text

_ENDS = tuple(".!?\"'…。！？；：”’」』）)")
_BULLETS = tuple("•·●-*")
_ELLIPSIS = re.compile("…+")
_BROKEN = ("\ufffd", "锟斤拷", "烫烫烫", "屯屯屯")  # what decoding with the wrong table leaves behind
CHINESE_STOP_WORDS = frozenset("的年在月是和日了於·為有被人中为他與後也而由")  # cmn_Hani.yml
ENGLISH_STOP_WORDS = frozenset("the be to of and that have with".split())  # Gopher

Limit = Any  # a number, or [least, most], as a recipe gives it
Limits = Mapping[str, Limit]  # by the name of a rule
Ngrams = tuple[tuple[int, ...], tuple[int, ...]]  # sizes of the most frequent ones, and of those that repeat


class Page:
    """A text as the rules look at it; each view is made when a rule first asks."""

    def __init__(self, text: str, word_chars: float):
        """word_chars: how many of our words are one of the rules' words."""
        self.text, self.word_chars = text, word_chars
        self._ngrams: tuple[float, ...] | None = None

    @cached_property
    def lines(self) -> list[str]:
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @cached_property
    def all_words(self) -> Words:
        return words(self.text)

    @cached_property
    def words(self) -> float:
        """How many, as the rules count them; never 0."""
        return max(len(self.all_words) / self.word_chars, 1)

    @cached_property
    def repeated_lines(self) -> list[str]:
        """Each line that stood before, as often as it stands again."""
        again, seen = [], set()
        for line in self.lines:
            if line in seen:
                again.append(line)
            seen.add(line)
        return again

    def share_of_lines(self, so: Callable[[str], bool]) -> float:
        return sum(map(so, self.lines)) / max(len(self.lines), 1)

    def share_ending(self, ends: tuple[str, ...]) -> float:
        return self.share_of_lines(lambda line: line.endswith(ends))

    def share_of_chars(self, chars: int) -> float:
        return chars / max(len(self.text), 1)

    def alphabetic(self) -> float:
        """The share of words with a letter, among words, numbers and signs."""
        first = self.all_words.folded_C[self.all_words.start_W[:-1]]
        signs = len(self.text) - len(self.all_words.folded_C) - sum(map(self.text.count, " \n\t"))
        return int(np.count_nonzero(first > ord("9"))) / max(len(first) + signs, 1)

    def words_with_letters(self) -> float:
        """The share of them, where spaces part words."""
        found = self.text.split()
        return sum(word[0].isalpha() or any(map(str.isalpha, word)) for word in found) / max(len(found), 1)

    def ellipses(self) -> int:
        chinese = len(_ELLIPSIS.findall(self.text)) if "…" in self.text else 0
        return chinese + self.text.count("...")

    def share_repeated(self) -> float:
        """Of the lines, those that stood before."""
        return len(self.repeated_lines) / max(len(self.lines), 1)

    def repeated_line_chars(self) -> float:
        return self.share_of_chars(sum(map(len, self.repeated_lines)))

    def mean_word_chars(self) -> float:
        return len(self.all_words.folded_C) / max(len(self.all_words), 1)

    def ngrams(self, sizes: Ngrams) -> tuple[float, ...]:
        """The share of characters in the most frequent n-gram of each size, then in n-grams that occurred before."""
        if self._ngrams is None:
            top, repeated = ([round(size * self.word_chars) for size in part] for part in sizes)
            counts = ngrams(self.all_words.first(MOST_WORDS), top, repeated)
            self._ngrams = tuple(map(self.share_of_chars, counts))
        return self._ngrams


@dataclass(frozen=True)
class Rule:
    """A text keeps a rule if its `value` lies from `least` to `most`.

    `name` is the reason that a report shows; `source` says whose rule and numbers these are.
    """

    name: str
    source: str
    value: Callable[[Page], float]
    least: float = -math.inf
    most: float = math.inf

    def limited(self, limit: Limit) -> Rule:
        """The rule with another number, or both of a rule that has two. ValueError: it takes another kind."""
        two = math.isfinite(self.least) and math.isfinite(self.most)
        given = tuple(limit) if isinstance(limit, (list, tuple)) else (limit,)
        if len(given) != 1 + two or not all(map(_is_number, given)) or list(given) != sorted(given):
            raise ValueError(self._takes(two))
        if two:
            return replace(self, least=given[0], most=given[1])
        return replace(self, least=limit) if math.isfinite(self.least) else replace(self, most=limit)

    def _takes(self, two: bool) -> str:
        if two:
            return say(
                f"{self.name} takes two numbers, such as [{self.least:g}, {self.most:g}]",
                f"{self.name} 应为两个数，例如 [{self.least:g}, {self.most:g}]",
            )
        of = self.least if math.isfinite(self.least) else self.most
        return say(f"{self.name} takes a number, such as {of:g}", f"{self.name} 应为一个数，例如 {of:g}")


def _is_number(given: object) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)


def rules_of(language: str, without: Container[str], limits: Limits) -> tuple[Rule, ...]:
    """RULES of a language, some left out, some with other numbers. ValueError names a number that will not do."""
    kept = (rule for rule in RULES.get(language, ()) if rule.name not in without)
    return tuple(rule.limited(limits[rule.name]) if rule.name in limits else rule for rule in kept)


def why_dropped(text: str, language: str, rules: Sequence[Rule] | None = None) -> str | None:
    """The name of the first of the rules that the text breaks, of RULES[language] unless others are given."""
    page = Page(text, CHINESE_WORD_CHARS if language in ("zh", "mixed") else 1)
    rules = RULES.get(language, ()) if rules is None else rules
    return next((rule.name for rule in rules if not rule.least <= rule.value(page) <= rule.most), None)


def _ngram_rules(source: str, top: Mapping[int, float], repeated: Mapping[int, float]) -> tuple[Rule, ...]:
    """The most frequent n-gram, and n-grams that occurred before, must not hold more of the characters than this."""
    sizes = tuple(top), tuple(repeated)
    names = [f"top_{n}_gram" for n in top] + [f"repeated_{n}_grams" for n in repeated]

    def rule(at: int, name: str, most: float) -> Rule:
        return Rule(name, source, lambda page: page.ngrams(sizes)[at], most=most)

    limits = zip(names, [*top.values(), *repeated.values()], strict=True)
    return tuple(rule(at, name, most) for at, (name, most) in enumerate(limits))


# In the order of cost: what is dropped by counting words is not searched for n-grams.
_ALL: tuple[Rule, ...] = (
    Rule("broken_text", "ours", lambda p: p.share_of_chars(sum(map(p.text.count, _BROKEN))), most=0.002),
    Rule("too_short", "Gopher", lambda p: len(p.all_words), least=50),
    Rule("too_long", "Gopher", lambda p: p.words, most=100_000),
    Rule("bullets", "Gopher", lambda p: p.share_of_lines(lambda line: line.startswith(_BULLETS)), most=0.9),
    Rule("lines_trail_off", "Gopher", lambda p: p.share_ending(("…", "...")), most=0.3),
    Rule("hashes", "Gopher", lambda p: p.text.count("#") / p.words, most=0.1),
    Rule("ellipses", "Gopher", lambda p: p.ellipses() / p.words, most=0.1),
)
_CHINESE: tuple[Rule, ...] = (
    Rule("word_length", "FineWeb-2", Page.mean_word_chars, least=1, most=5),
    Rule("few_letters", "FineWeb-2", Page.alphabetic, least=0.735),
    Rule("stop_words", "FineWeb-2", lambda p: sum(word in p.text for word in CHINESE_STOP_WORDS), least=2),
    Rule("lines_without_end", "FineWeb-2", lambda p: p.share_ending(_ENDS), least=0.106),
    Rule("many_lines", "FineWeb-2", lambda p: p.text.count("\n") / p.words, most=0.178),
    Rule("repeated_lines", "FineWeb-2", Page.share_repeated, most=0.287),
    Rule("repeated_line_chars", "FineWeb-2", Page.repeated_line_chars, most=0.1),
    *_ngram_rules(
        "FineWeb-2",
        top={2: 0.256, 3: 0.201, 4: 0.171},
        repeated={5: 0.198, 6: 0.182, 7: 0.167, 8: 0.154, 9: 0.14, 10: 0.127},
    ),
)
_ENGLISH: tuple[Rule, ...] = (
    Rule("word_length", "Gopher", Page.mean_word_chars, least=3, most=10),
    Rule("few_letters", "Gopher", Page.words_with_letters, least=0.8),
    Rule(
        "stop_words",
        "Gopher",
        lambda p: len(ENGLISH_STOP_WORDS.intersection(p.text.lower().split())),
        least=2,
    ),
    Rule("lorem_ipsum", "C4", lambda p: p.text.lower().count("lorem ipsum"), most=0),
    Rule("curly_bracket", "C4", lambda p: p.text.count("{"), most=0),
    Rule("few_sentences", "C4", lambda p: len(sentences(p.text[:10_000])), least=5),
    Rule("lines_without_end", "FineWeb", lambda p: p.share_ending(_ENDS), least=0.12),
    Rule("short_lines", "FineWeb", lambda p: p.share_of_lines(lambda line: len(line) <= 30), most=0.67),
    Rule("many_lines", "FineWeb", lambda p: p.text.count("\n") / p.words, most=0.3),
    Rule("repeated_lines", "Gopher", Page.share_repeated, most=0.3),
    Rule("repeated_line_chars", "FineWeb", Page.repeated_line_chars, most=0.01),
    *_ngram_rules(
        "Gopher",
        top={2: 0.2, 3: 0.18, 4: 0.16},
        repeated={5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
    ),
)
RULES: Mapping[str, tuple[Rule, ...]] = {
    "zh": (*_ALL, *_CHINESE),
    "mixed": (*_ALL, *_CHINESE),
    "en": (*_ALL, *_ENGLISH),
}
