"""From a description to words: how well the senses of each word answer it, and what else speaks for the word.

Several channels are weighed against each other, as in Zhang et al., "Multi-channel Reverse Dictionary Model" (AAAI
2020): its definitions (BM25), the definitions of its kin and of its translations, how far what it means lies from
what is asked (vectors), its characters, and how common it is. Two beliefs are mixed: one weighs all channels, the other
those alone that know words without definition, too. The weights were learned (learn.py) on descriptions of ours. It
knows numbers; what a description is looked up by, query.py knows, and how a result is worded, desk.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from haina.apps.words import vectors
from haina.apps.words.index import Index
from haina.apps.words.nearby import Nearby
from haina.apps.words.query import EMPTY, Queries
from haina.apps.words.terms import inside, is_chinese, runs, stem

Language = Literal["en", "zh"]
Weights = dict[tuple[Language, Language], tuple[tuple[float, ...], tuple[float, ...]]]
COMMON = ("best", "second", "meaning", "near", "frequency", "unlisted")
CHANNELS = {
    "en": (*COMMON, "family", "via", "phrase", "kin", "mentioned"),
    "zh": (*COMMON, "votes", "idiom", "kin", "characters", "long", "company"),
}
DEFINED = {"best", "second", "via", "votes"}  # channels that speak only for words that a dictionary defines
# How much of the belief is with all channels, by the language of the description; the rest is with those that know
# undefined words too.
TRUST: dict[Language, float] = {"en": 0.2, "zh": 0.9}
# Learned by learn.py. For each direction, what the description is in and what is looked for: weights of all channels,
# then of those that need no definition.
WEIGHTS: Weights = {
    ("en", "en"): (
        (2.22, 0.69, 7.04, 2.98, 0.36, -3.2, -0.73, 6.37, -0.89, -4.42, 9.06),
        (0.0, 0.0, 5.75, 4.11, 0.09, -0.73, 3.25, 0.0, -3.52, -1.39, 4.25),
    ),
    ("zh", "en"): (
        (3.25, -0.48, 6.93, 4.56, 0.49, -3.94, -1.16, 1.85, -1.01, -2.25, 7.12),
        (0.0, 0.0, 7.47, 5.17, 0.52, -3.97, -0.92, 0.0, -1.07, -1.62, 7.88),
    ),
    ("en", "zh"): (
        (0.82, -6.55, 5.15, 2.98, 0.3, -4.25, 0.64, -0.1, 0.0, 0.0, -0.56, 0.0),
        (0.0, 0.0, 8.0, 8.88, 0.38, -4.72, 0.0, -1.21, 0.0, 0.0, -1.28, 0.0),
    ),
    ("zh", "zh"): (
        (4.6, -3.34, 7.5, 2.94, 0.22, -3.11, 0.47, 1.36, -3.61, -0.46, -0.98, 0.53),
        (0.0, 0.0, 9.1, 5.55, 0.41, -3.31, 0.0, 0.78, -3.73, -0.3, -1.1, 0.55),
    ),
}
ROOT, LARGEST_FAMILY = 6, 40  # letters of a stem that kin share; words
SAID = np.float32(100)  # nats: whoever describes a word does not say it
VOTERS = 3000  # English words that speak for their Chinese translations


@dataclass(frozen=True)
class Found:
    """A word by its number, its score, and the sense that answers best (-1: none does)."""

    word: int
    score: float
    sense: int


class Ranking:
    """An index, ready to be asked; its arrays are read once."""

    def __init__(self, index: Index):
        self.index, self.queries = index, Queries(index)
        senses, counts, first = (index.array(f"link_{name}") for name in ("senses", "counts", "first"))
        self.sense_count = 1 + max(*(int(held.max(initial=0)) for held in (senses, index.postings.senses)))
        self._counts, self._senses = counts, senses
        self._starts = np.concatenate([[0], np.cumsum(counts.astype(np.int64))])
        in_first = np.arange(len(senses)) - np.repeat(self._starts[:-1], counts) < np.repeat(first, counts)
        owner = np.repeat(np.arange(len(counts)), counts)
        self._groups = [_Group.of(owner[part], senses[part]) for part in (in_first, ~in_first)]
        self._frequency = index.array("frequency")
        self._log_frequency = np.log1p(self._frequency)
        words = index.words
        self._phrase = np.array([" " in word or "-" in word for word in words[: index.english]], np.float32)
        self._long = np.array([len(word) > 4 for word in words[index.english :]], np.float32)
        self._idiom = index.array("idiom").astype(np.float32)
        self._families = _Families.of(words[: index.english])
        self._nearby = Nearby(index, senses, counts, self.sense_count)

    @cached_property
    def _pairs(self) -> tuple[_Group, _Group]:
        """Translations, both ways: of a Chinese word the English ones, of an English word the Chinese ones."""
        counts, values = self.index.array("pairs_counts"), self.index.array("pairs_values")
        chinese = np.repeat(np.arange(len(counts)), counts)
        order = np.argsort(values, kind="stable")
        return _Group.of(chinese, values), _Group.of(values[order], chinese[order])

    def find(self, text: str, language: Language, allowed_W: np.ndarray | None, top: int) -> list[Found]:
        """The `top` words of a language that answer a description best; `allowed_W` marks those that may.

        Words that the description itself holds come last.
        """
        scores_W, score_S, words = self.scores(text, language)
        if allowed_W is not None:
            scores_W = np.where(allowed_W[words], scores_W, -np.inf)
        top = min(top, len(scores_W))
        best = np.argpartition(-scores_W, top - 1)[:top] if top < len(scores_W) else np.arange(top)
        best = best[np.argsort(-scores_W[best], kind="stable")]
        offset = words.start
        return [
            Found(int(at) + offset, float(scores_W[at]), self._why(int(at) + offset, score_S))
            for at in best
            if np.isfinite(scores_W[at])
        ]

    def scores(self, text: str, language: Language) -> tuple[np.ndarray, np.ndarray, slice]:
        """Scores of all words of a language, of all senses, and where the words lie.

        A score is the log of a mixture of two beliefs: a word is meant because a dictionary says so, or, whatever
        dictionaries say of it, because what else is known of it points there.
        """
        channels, score_S, words = self.channels(text, language)
        asked: Language = "zh" if is_chinese(text) else "en"
        defined, free = (_believed(mixed(channels, weights)) for weights in WEIGHTS[asked, language])
        trust = np.float32(TRUST[asked])
        scores = np.log(trust * defined + (1 - trust) * free + np.float32(1e-30))
        scores[self._said(text, words)] -= SAID
        return scores, score_S, words

    def channels(self, text: str, language: Language) -> tuple[list[np.ndarray], np.ndarray, slice]:
        """Each channel of CHANNELS for the words of a language; the scores of all senses; where the words lie."""
        weighted, index = self.queries.terms(text), self.index
        score_S = np.zeros(self.sense_count, np.float32)
        for term, weight in weighted.items():
            index.postings.add(term, weight, score_S)
        score_S /= max(sum(w * index.postings.weigh(term) for term, w in weighted.items()), 1e-6)
        by_source = [group.best(score_S, len(index.words)) for group in self._groups]
        meaning = self.queries.direction(text, weighted)
        best = self._nearby.best(score_S)
        pointed = [meaning, self._nearby.direction(score_S, best, self._vectors)]
        english = self._english(text, weighted, by_source, pointed)
        english.append(self._nearby.mentioned(score_S, best))
        if language == "en":
            return english, score_S, slice(0, index.english)
        asked: Language = "zh" if is_chinese(text) else "en"
        votes = self._votes(mixed(english, WEIGHTS[asked, "en"][0]))
        words = slice(index.english, len(index.words))
        return self._chinese(text, weighted, by_source, pointed, votes), score_S, words

    def _english(
        self, text: str, weighted: dict[str, float], by_source: list[np.ndarray], pointed: list[np.ndarray]
    ) -> list[np.ndarray]:
        words = slice(0, self.index.english)
        best_W = np.maximum(*by_source)
        via_W = self._pairs[1].best(best_W, len(self.index.words))
        return [
            *self._common(by_source, pointed, words),
            self._families.best(best_W[words]),
            via_W[words],
            self._phrase,
            self._kin(text, weighted, words),
        ]

    def _chinese(
        self,
        text: str,
        weighted: dict[str, float],
        by_source: list[np.ndarray],
        pointed: list[np.ndarray],
        votes: np.ndarray,
    ) -> list[np.ndarray]:
        words = slice(self.index.english, len(self.index.words))
        return [
            *self._common(by_source, pointed, words),
            votes,
            self._idiom[words],
            self._kin(text, weighted, words),
            self._characters(text),
            self._long,
            self._company(text),
        ]

    def _common(
        self, by_source: list[np.ndarray], pointed: list[np.ndarray], words: slice
    ) -> list[np.ndarray]:
        """pointed: where the description points, and the senses that answer it best."""
        first_W, other_W = by_source[0][words], by_source[1][words]
        frequency = self._log_frequency[words]
        return [
            np.maximum(first_W, other_W),
            np.minimum(first_W, other_W),
            *(self._vectors[words] @ direction for direction in pointed),
            frequency,
            (frequency == 0).astype(np.float32),
        ]

    def _votes(self, english: np.ndarray) -> np.ndarray:
        """Of each Chinese word the score of its best translation, above that of the last which counts."""
        least = -np.partition(-english, VOTERS)[VOTERS] if len(english) > VOTERS else english.min()
        heard = np.zeros(len(self.index.words), np.float32)
        heard[: self.index.english] = np.maximum(english - least, 0)
        return self._pairs[0].best(heard, len(heard))[self.index.english :]

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Of words, [W, D], of length one."""
        return vectors.unit(self.index.array("word_vectors").astype(np.float32))

    def _company(self, text: str) -> np.ndarray:
        """How much each Chinese word is used together with those of the description."""
        words, vectors_KD = self._used
        together = np.zeros(len(self.index.words) - self.index.english, np.float32)
        together[words] = vectors_KD @ self.queries.company(text)
        return together

    @cached_property
    def _used(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of Chinese words, and their vectors, of length one."""
        rows = vectors.unit(self.index.array("company_vectors").astype(np.float32))
        return self.index.array("company_words") - self.index.english, rows

    def _kin(self, text: str, weighted: dict[str, float], words: slice) -> np.ndarray:
        """1 for words of the description itself and their kin: whoever describes a word does not say it."""
        marked = np.zeros(words.stop - words.start, np.float32)
        held = inside(text) if words.start else weighted
        for term in held:
            for word in self._by_stem(term):
                if words.start <= word < words.stop:
                    marked[word - words.start] = 1
        return marked

    def _said(self, text: str, words: slice) -> list[int]:
        """The places of the words that stand in the description."""
        said = {*runs(text), *(word for word in inside(text) if not word[0].isascii())}  # of English no stems
        numbers = (self.index.number.get(word, -1) for word in said)
        return [number - words.start for number in numbers if words.start <= number < words.stop]

    def _by_stem(self, term: str) -> tuple[int, ...]:
        """Words of this stem; a Chinese word is its own."""
        if not term[0].isascii():
            return (self.index.number[term],) if term in self.index.number else ()
        return self._of_stem.get(term, ())

    @cached_property
    def _of_stem(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for at, word in enumerate(self.index.words[: self.index.english]):
            if word.isalpha():
                key = stem(word.lower())
                found[key] = (*found.get(key, ()), at)
        return found

    def _characters(self, text: str) -> np.ndarray:
        """The share of a Chinese word's characters that stand in the description."""
        rows, lengths = self._char_rows
        here = np.zeros(len(lengths), np.float32)
        for char in set(text) - EMPTY:
            here[rows.get(char, [])] += 1
        share: np.ndarray = here / lengths
        return share

    @cached_property
    def _char_rows(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows: dict[str, list[int]] = {}
        chinese = self.index.words[self.index.english :]
        for at, word in enumerate(chinese):
            for char in set(word):
                rows.setdefault(char, []).append(at)
        lengths = np.array([len(word) for word in chinese], np.float32)
        return {char: np.array(ats, np.int32) for char, ats in rows.items()}, lengths

    def _why(self, word: int, score_S: np.ndarray) -> int:
        here = self._senses[self._starts[word] : self._starts[word + 1]]
        return int(here[np.argmax(score_S[here])]) if len(here) else -1


def _believed(scores: np.ndarray) -> np.ndarray:
    """The share of each word under a softmax."""
    share: np.ndarray = np.exp(scores - scores.max())
    share /= share.sum()
    return share


def mixed(channels: list[np.ndarray], weights: tuple[float, ...]) -> np.ndarray:
    total = np.zeros(len(channels[0]), np.float32)
    for channel, weight in zip(channels, weights, strict=True):
        if weight:
            total += np.float32(weight) * channel
    return total


@dataclass(frozen=True)
class _Group:
    """Rows of numbers of different lengths: row `owners[i]` holds values[starts[i]:starts[i + 1]]."""

    owners: np.ndarray
    starts: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, owner: np.ndarray, values: np.ndarray) -> _Group:
        """`owner`, in order, is the row of each value."""
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        return cls(owner[starts], starts, values)

    def best(self, score: np.ndarray, rows: int) -> np.ndarray:
        """Of each row the greatest score of its values; 0 for rows without values."""
        found = np.zeros(rows, np.float32)
        if len(self.values):
            found[self.owners] = np.maximum.reduceat(score[self.values], self.starts)
        return found


@dataclass(frozen=True)
class _Families:
    """Words that begin like one another, as compulsory and compulsion: what is said of one tells of its kin."""

    order: np.ndarray
    starts: np.ndarray
    family: np.ndarray

    @classmethod
    def of(cls, words: list[str]) -> _Families:
        numbers: dict[str, list[int]] = {}
        for at, word in enumerate(words):
            if word.isalpha():
                numbers.setdefault(stem(word.lower())[:ROOT], []).append(at)
        held = [kin for kin in numbers.values() if 1 < len(kin) <= LARGEST_FAMILY]
        sizes = np.array([len(kin) for kin in held], np.int64)
        order = np.array([at for kin in held for at in kin], np.int64)
        return cls(order, np.cumsum(sizes) - sizes, np.repeat(np.arange(len(held)), sizes))

    def best(self, score: np.ndarray) -> np.ndarray:
        """Of each word the greatest score of its kin, itself left out."""
        found = np.zeros(len(score), np.float32)
        if len(self.order):
            own = score[self.order]
            first = np.maximum.reduceat(own, self.starts)[self.family]
            second = np.maximum.reduceat(np.where(own == first, 0, own), self.starts)[self.family]
            found[self.order] = np.where(own == first, second, first)
        return found
