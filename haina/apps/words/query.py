"""What a description is looked up by: weighted terms, the words in it, and a direction among the vectors of meaning.

A Chinese description is cut into its likeliest words; each counts as the English stems that it is glossed by, all of
them as one term (Pirkola, "The Effects of Query Structure and Dictionary Setups", SIGIR 1998). It knows the index;
not how a word is ranked.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

import numpy as np

from haina.apps.words.index import Index
from haina.apps.words.terms import LONGEST_WORD, is_chinese, runs, stem, terms

OFTEN = 1500.0  # times in a million: a Chinese word so common counts half
UNLISTED = 0.02  # times in a million that a word without a frequency is taken for
TRANSLATED, PAIRED, SINGLE = 0.8, 0.25, 0.1  # weights of translated stems, pairs of characters, characters
EMPTY = set(
    "的了着过是在和与或及等很把被让用从对于中里上下个一种这那有不为以之其所而就也都又还能会可可以由给到来去人们我你他她它什么怎么某"
)
EMPTY |= set("一种 一个 某种 某个 东西 表示 形容 比喻 的时候 时候 非常 别人 自己 一些 没有".split())


class Queries:
    """An index, ready to read descriptions."""

    def __init__(self, index: Index):
        self.index = index
        self.chinese_words = lru_cache(maxsize=16)(self._chinese_words)  # asked for thrice a description

    def terms(self, text: str) -> dict[str, float]:
        """The terms that a description is looked up by, with their weights."""
        found: dict[str, float] = {}
        for term in terms(text):
            if term[0].isascii():
                found[term] = 1.0
            elif not EMPTY.intersection((term, *term)):
                found[term] = max(found.get(term, 0.0), PAIRED if len(term) > 1 else SINGLE)
        for word in runs(text):
            lemma = self.index.forms.get(word)
            if lemma:
                found.setdefault(stem(lemma), 1.0)
        for number in self.chinese_words(text):
            for term, weight in self._stems(number):
                found[term] = max(found.get(term, 0.0), weight)
        return found

    def _chinese_words(self, text: str) -> list[int]:
        """The words of a Chinese text, cut so that they are likeliest together; what says nothing is left out."""
        return [
            self.index.number[word]
            for run in runs(text)
            if not run[0].isascii()
            for word in self._cut(run)
            if word in self.index.number and word not in EMPTY and word[-1] != "的"
        ]

    def _cut(self, run: str) -> list[str]:
        """Viterbi over the frequencies of words."""
        best: list[tuple[float, int]] = [(0.0, 0)]  # nats up to a place, and where its last word begins
        for end in range(1, len(run) + 1):
            ways = range(max(0, end - LONGEST_WORD), end)
            best.append(min((best[at][0] + self._nats(run[at:end]), at) for at in ways))
        words, end = [], len(run)
        while end:
            words.append(run[best[end][1] : end])
            end = best[end][1]
        return words[::-1]

    def _nats(self, word: str) -> float:
        at = self.index.number.get(word)
        if len(word) > 1 and (at is None or word[-1] == "的"):
            return math.inf
        return -math.log(((self._frequency[at] if at is not None else 0.0) + UNLISTED) / 1e6)

    @cached_property
    def _frequency(self) -> list[float]:
        found: list[float] = self.index.array("frequency").tolist()
        return found

    @cached_property
    def _stem_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], np.ndarray]:
        array = self.index.array
        starts = np.concatenate([[0], np.cumsum(array("stems_counts").astype(np.int64))])
        names = list(self.index.postings.number)
        return starts, array("stems_values"), array("stems_weights"), names, array("frequency")

    def _stems(self, word: int) -> list[tuple[str, float]]:
        """The stems of a Chinese word, together as rare as they are in the mean."""
        starts, values, weights, names, frequency = self._stem_rows
        here = slice(starts[word], starts[word + 1])
        share = weights[here].astype(np.float32) / max(float(weights[here].sum(dtype=np.int64)), 1.0)
        idf = self.index.postings.idf[values[here]]
        telling = TRANSLATED / (1 + frequency[word] / OFTEN)
        gains = telling * share / share.max(initial=1e-6) * float(share @ idf) / np.maximum(idf, 0.5)
        return [(names[at], float(gain)) for at, gain in zip(values[here].tolist(), gains, strict=True)]

    @cached_property
    def vectors(self) -> np.ndarray:
        """Of terms, [E + Z, D], as long as they weigh."""
        rows: np.ndarray = self.index.array("term_vectors") * self.index.array("term_scales")[:, None]
        return rows

    @cached_property
    def _rows(self) -> tuple[dict[str, int], dict[int, int]]:
        """The row of each English term, and of each Chinese word by its number."""
        english = [term for term in self.index.postings.number if term.isascii()]
        chinese = self.index.array("term_words").tolist()
        return (
            {term: row for row, term in enumerate(english)},
            {word: row for row, word in enumerate(chinese, len(english))},
        )

    def direction(self, text: str, weighted: dict[str, float]) -> np.ndarray:
        """Where a description points, [D], of length one; zeros where nothing is known. `weighted`: its terms."""
        of_term, of_word = self._rows
        known = [of_word[word] for word in self.chinese_words(text) if word in of_word]
        if not known or not is_chinese(text):
            known = [of_term[term] for term in weighted if term in of_term]
        summed = self.vectors[known].sum(0)
        unit: np.ndarray = summed / (np.linalg.norm(summed) + 1e-6)
        return unit

    def company(self, text: str) -> np.ndarray:
        """What the words of a Chinese description have around them in running text, [D], added up."""
        rows = [self._company_rows[word] for word in self.chinese_words(text) if word in self._company_rows]
        summed: np.ndarray = self._contexts[rows].sum(0)
        return summed

    @cached_property
    def _contexts(self) -> np.ndarray:
        rows: np.ndarray = self.index.array("company_contexts") * self.index.array("company_scales")[:, None]
        return rows

    @cached_property
    def _company_rows(self) -> dict[int, int]:
        words = self.index.array("company_words")[: len(self._contexts)].tolist()
        return {word: row for row, word in enumerate(words)}
