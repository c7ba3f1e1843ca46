"""From a description to words: how well the senses of each word answer it, and what else speaks for the word.

Several channels are weighed against each other, as in Zhang et al., "Multi-channel Reverse Dictionary Model" (AAAI
2020): its definitions (BM25), the definitions of its translations, how far what it means lies from what is asked
(vectors of terms), its characters, and how common it is. The weights were learned (learn.py) on descriptions of
ours. A Chinese description is looked up by its characters and by the English stems that its
words are glossed by. It knows numbers; how a result is worded, desk.py knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from haina.apps.words.index import Index
from haina.apps.words.terms import _RUN, LONGEST_WORD, folded, inside, is_chinese, stem, terms

Language = Literal["en", "zh"]
COMMON = ("best", "second", "meaning", "frequency", "unlisted")
CHANNELS = {
    "en": (*COMMON, "via", "phrase", "kin"),
    "zh": (*COMMON, "votes", "idiom", "kin", "characters", "long"),
}
# Learned by learn.py. For each direction: what the description is in, what is looked for.
WEIGHTS: dict[tuple[Language, Language], tuple[float, ...]] = {
    ("en", "en"): (7.89, 0.54, 9.86, 0.43, -4.78, 8.98, 0.57, -3.95),
    ("zh", "en"): (8.72, -0.63, 7.74, 0.51, -5.04, 3.62, 0.71, -1.09),
    ("en", "zh"): (1.85, -6.96, 5.99, 0.36, -4.06, 0.64, 0.69, 0.0, 0.0, -0.81),
    ("zh", "zh"): (5.35, -3.27, 8.0, 0.39, -4.42, 0.47, 0.75, -3.96, 1.44, -1.31),
}
OFTEN = 1500.0  # times in a million: a Chinese word so common counts half
VOTERS = 3000  # English words that speak for their Chinese translations
TRANSLATED, PAIRED, SINGLE = 0.8, 0.25, 0.1  # weights of translated stems, pairs of characters, characters
EMPTY = set(
    "的了着过是在和与或及等很把被让用从对于中里上下个一种这那有不为以之其所而就也都又还能会可可以由给到来去人们我你他她它什么怎么某"
)
EMPTY |= {
    "一种",
    "一个",
    "某种",
    "某个",
    "东西",
    "表示",
    "形容",
    "比喻",
    "的时候",
    "时候",
    "非常",
    "别人",
    "自己",
    "一些",
    "没有",
}


@dataclass(frozen=True)
class Found:
    """A word by its number, its score, and the sense that answers best (-1: none does)."""

    word: int
    score: float
    sense: int


class Ranking:
    """An index, ready to be asked; its arrays are read once."""

    def __init__(self, index: Index):
        self.index = index
        senses, counts, first = (index.array(f"link_{name}") for name in ("senses", "counts", "first"))
        self.sense_count = (
            int(index.array("posting_senses").max()) + 1
            if len(senses) == 0
            else int(max(senses.max(), index.array("posting_senses").max())) + 1
        )
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

    @cached_property
    def _pairs(self) -> tuple[_Group, _Group]:
        """Translations, both ways: of a Chinese word the English ones, of an English word the Chinese ones."""
        counts, values = self.index.array("pairs_counts"), self.index.array("pairs_values")
        chinese = np.repeat(np.arange(len(counts)), counts)
        order = np.argsort(values, kind="stable")
        return _Group.of(chinese, values), _Group.of(values[order], chinese[order])

    def find(self, text: str, language: Language, allowed_W: np.ndarray | None, top: int) -> list[Found]:
        """The `top` words of a language that answer a description best; `allowed_W` marks those that may.

        Words that the description itself holds come last, unless nothing else is asked.
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
        """Scores of all words of a language, of all senses, and where the words lie."""
        channels, score_S, words = self.channels(text, language)
        asked: Language = "zh" if is_chinese(text) else "en"
        return mixed(channels, WEIGHTS[asked, language]), score_S, words

    def channels(self, text: str, language: Language) -> tuple[list[np.ndarray], np.ndarray, slice]:
        """Each channel of CHANNELS for the words of a language; the scores of all senses; where the words lie."""
        weighted, index = self.query(text), self.index
        score_S = np.zeros(self.sense_count, np.float32)
        for term, weight in weighted.items():
            index.postings.add(term, weight, score_S)
        score_S /= max(sum(w * index.postings.weigh(term) for term, w in weighted.items()), 1e-6)
        by_source = [group.best(score_S, len(index.words)) for group in self._groups]
        meaning = self._query_vector(weighted)
        english = self._english(text, weighted, by_source, meaning)
        if language == "en":
            return english, score_S, slice(0, index.english)
        asked: Language = "zh" if is_chinese(text) else "en"
        votes = self._votes(mixed(english, WEIGHTS[asked, "en"]))
        words = slice(index.english, len(index.words))
        return self._chinese(text, weighted, by_source, meaning, votes), score_S, words

    def _english(
        self, text: str, weighted: dict[str, float], by_source: list[np.ndarray], meaning: np.ndarray
    ) -> list[np.ndarray]:
        words = slice(0, self.index.english)
        via_W = self._pairs[1].best(np.maximum(*by_source), len(self.index.words))
        return [
            *self._common(by_source, meaning, words),
            via_W[words],
            self._phrase,
            self._kin(text, weighted, words),
        ]

    def _chinese(
        self,
        text: str,
        weighted: dict[str, float],
        by_source: list[np.ndarray],
        meaning: np.ndarray,
        votes: np.ndarray,
    ) -> list[np.ndarray]:
        words = slice(self.index.english, len(self.index.words))
        return [
            *self._common(by_source, meaning, words),
            votes,
            self._idiom[words],
            self._kin(text, weighted, words),
            self._characters(text),
            self._long,
        ]

    def _common(self, by_source: list[np.ndarray], meaning: np.ndarray, words: slice) -> list[np.ndarray]:
        first_W, other_W = by_source[0][words], by_source[1][words]
        frequency = self._log_frequency[words]
        return [
            np.maximum(first_W, other_W),
            np.minimum(first_W, other_W),
            self._meaning(meaning, words),
            frequency,
            (frequency == 0).astype(np.float32),
        ]

    def _votes(self, english: np.ndarray) -> np.ndarray:
        """Of each Chinese word the score of its best translation, above that of the last which counts."""
        least = -np.partition(-english, VOTERS)[VOTERS] if len(english) > VOTERS else english.min()
        heard = np.zeros(len(self.index.words), np.float32)
        heard[: self.index.english] = np.maximum(english - least, 0)
        return self._pairs[0].best(heard, len(heard))[self.index.english :]

    def query(self, text: str) -> dict[str, float]:
        """The terms that a description is looked up by, with their weights."""
        found: dict[str, float] = {}
        for term in terms(text):
            if term[0].isascii():
                found[term] = 1.0
            elif not EMPTY.intersection((term, *term)):
                found[term] = max(found.get(term, 0.0), PAIRED if len(term) > 1 else SINGLE)
        for word in _RUN.findall(folded(text)):
            lemma = self.index.forms.get(word)
            if lemma:
                found.setdefault(stem(lemma), 1.0)
        for word in self._chinese_words(text):
            for term, weight in self._stems(word):
                found[term] = max(found.get(term, 0.0), weight)
        return found

    def _chinese_words(self, text: str) -> list[int]:
        """The words of a Chinese text, the longest first from its beginning; what says nothing is left out."""
        found = []
        for run in _RUN.findall(folded(text)):
            at = 0
            while at < len(run) and not run[0].isascii():
                length = next(
                    (
                        n
                        for n in range(LONGEST_WORD, 1, -1)
                        if at + n <= len(run)
                        and run[at : at + n] in self.index.number
                        and run[at + n - 1] != "的"
                    ),
                    1,
                )
                word = run[at : at + length]
                if word in self.index.number and word not in EMPTY and word[-1] != "的":
                    found.append(self.index.number[word])
                at += length
        return found

    @cached_property
    def _stem_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        array = self.index.array
        starts = np.concatenate([[0], np.cumsum(array("stems_counts").astype(np.int64))])
        return starts, array("stems_values"), array("stems_weights"), list(self.index.postings.number)

    def _stems(self, word: int) -> list[tuple[str, float]]:
        """What a Chinese word is looked up by in English: all stems count as one term of their mean rarity (Pirkola,
        "The Effects of Query Structure and Dictionary Setups", SIGIR 1998)."""
        starts, values, weights, names = self._stem_rows
        here = slice(starts[word], starts[word + 1])
        share = weights[here].astype(np.float32) / max(float(weights[here].sum(dtype=np.int64)), 1.0)
        idf = self.index.postings.idf[values[here]]
        rarity = float(share @ idf)
        telling = 1 / (1 + self._frequency[word] / OFTEN)
        gains = (
            TRANSLATED
            * telling
            * np.minimum(share / share.max(initial=1e-6), 1.0)
            * rarity
            / np.maximum(idf, 0.5)
        )
        return [(names[at], float(gain)) for at, gain in zip(values[here].tolist(), gains, strict=True)]

    @cached_property
    def _vectors(self) -> tuple[np.ndarray, np.ndarray] | None:
        """English terms [E, D] and words [W, D], float32; None if the index has none."""
        if not self.index.has("term_vectors"):
            return None
        term_scale, word_scale = self.index.array("term_scales"), self.index.array("word_scales")
        return (
            self.index.array("term_vectors") * term_scale[:, None],
            self.index.array("word_vectors") * word_scale[:, None],
        )

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Of each English term its row among the vectors."""
        english = (term for term in self.index.postings.number if term.isascii())
        return {term: row for row, term in enumerate(english)}

    def _query_vector(self, weighted: dict[str, float]) -> np.ndarray:
        """The direction of a description, [D]; zeros where nothing is known."""
        if self._vectors is None:
            return np.zeros(1, np.float32)
        terms_ED = self._vectors[0]
        known = [(self._rows[term], weight) for term, weight in weighted.items() if term in self._rows]
        if not known:
            return np.zeros(terms_ED.shape[1], np.float32)
        ids, weights = zip(*known, strict=True)
        summed = np.array(weights, np.float32) @ terms_ED[list(ids)]
        unit: np.ndarray = summed / (np.linalg.norm(summed) + 1e-6)
        return unit

    def _meaning(self, vector: np.ndarray, words: slice) -> np.ndarray:
        """Cosine of the description and each word."""
        if self._vectors is None:
            return np.zeros(words.stop - words.start, np.float32)
        cosine: np.ndarray = self._vectors[1][words] @ vector
        return cosine

    def _kin(self, text: str, weighted: dict[str, float], words: slice) -> np.ndarray:
        """1 for words of the description itself and their kin: whoever describes a word does not say it."""
        marked = np.zeros(words.stop - words.start, np.float32)
        held = inside(text) if words.start else weighted
        for term in held:
            for word in self._by_stem(term):
                if words.start <= word < words.stop:
                    marked[word - words.start] = 1
        return marked

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
