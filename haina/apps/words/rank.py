"""From a description to words: how well the senses of each word answer it, and what else speaks for the word.

Several channels are weighed against each other, as in Zhang et al., "Multi-channel Reverse Dictionary Model" (AAAI
2020): its definitions (BM25), the definitions of its translations, how far what it means lies from what is asked
(vectors of terms), its characters, and how common it is. The weights were learned (learn.py) on held-out definitions
and descriptions of ours. A Chinese description is looked up by its characters and by the English stems that its
words are glossed by. It knows numbers; how a result is worded, desk.py knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from haina.apps.words.index import Index
from haina.apps.words.terms import _RUN, LONGEST_WORD, folded, is_chinese, stem, terms

Language = Literal["en", "zh"]
CHANNELS = ("best", "both", "via", "meaning", "frequency", "unlisted", "phrase", "kin", "characters", "idiom")
# Learned; see docs/decisions.md. A row for each direction: what the description is in, what is looked for.
WEIGHTS: dict[tuple[Language, Language], tuple[float, ...]] = {
    ("en", "en"): (6.0, 4.0, 3.0, 0.0, 0.25, -0.5, -1.0, -3.0, 0.0, 0.0),
    ("zh", "zh"): (6.0, 4.0, 3.0, 0.0, 0.25, -0.5, 0.0, -3.0, 2.0, 0.0),
    ("zh", "en"): (6.0, 4.0, 3.0, 0.0, 0.25, -0.5, -1.0, 0.0, 0.0, 0.0),
    ("en", "zh"): (6.0, 4.0, 3.0, 0.0, 0.25, -0.5, 0.0, 0.0, 0.0, 0.0),
}
TRANSLATED, PAIRED, SINGLE = 1.0, 0.8, 0.4  # weights of translated stems, pairs of characters, characters
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
        self._log_frequency = np.log1p(index.array("frequency"))
        self._phrase = np.array([" " in word or "-" in word for word in index.words], np.float32)
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
        weights = WEIGHTS[asked, language]
        total = np.zeros(words.stop - words.start, np.float32)
        for channel, weight in zip(channels, weights, strict=True):
            if weight:
                total += np.float32(weight) * channel
        return total, score_S, words

    def channels(self, text: str, language: Language) -> tuple[list[np.ndarray], np.ndarray, slice]:
        """Each channel of CHANNELS for the words of a language."""
        index = self.index
        words = slice(0, index.english) if language == "en" else slice(index.english, len(index.words))
        weighted = self.query(text)
        score_S = np.zeros(self.sense_count, np.float32)
        for term, weight in weighted.items():
            index.postings.add(term, weight, score_S)
        score_S /= max(sum(w * index.postings.weigh(term) for term, w in weighted.items()), 1e-6)
        first_W, other_W = (group.best(score_S, len(index.words)) for group in self._groups)
        best_W = np.maximum(first_W, other_W)
        via_W = self._pairs[0 if language == "zh" else 1].best(best_W, len(index.words))
        frequency = self._log_frequency[words]
        channels = [
            best_W[words],
            np.minimum(first_W, other_W)[words],
            via_W[words],
            self._meaning(weighted, words),
            frequency,
            (frequency == 0).astype(np.float32),
            self._phrase[words],
            self._kin(weighted, words),
            self._characters(text, words) if language == "zh" else np.zeros_like(frequency),
            self._idiom[words],
        ]
        return channels, score_S, words

    def query(self, text: str) -> dict[str, float]:
        """The terms that a description is looked up by, with their weights."""
        found: dict[str, float] = {}
        for term in terms(text):
            if term[0].isascii():
                found[term] = 1.0
            elif term not in EMPTY:
                found[term] = max(found.get(term, 0.0), PAIRED if len(term) > 1 else SINGLE)
        for word in _RUN.findall(folded(text)):
            lemma = self.index.forms.get(word)
            if lemma:
                found.setdefault(stem(lemma), 1.0)
        for word in self._chinese_words(text):
            for term, weight in self._stems(word):
                found[term] = max(found.get(term, 0.0), TRANSLATED * weight)
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
                        if run[at : at + n] in self.index.number and at + n <= len(run)
                    ),
                    1,
                )
                word = run[at : at + length]
                if word in self.index.number and word not in EMPTY:
                    found.append(self.index.number[word])
                at += length
        return found

    @cached_property
    def _stem_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        array = self.index.array
        starts = np.concatenate([[0], np.cumsum(array("stems_counts").astype(np.int64))])
        return starts, array("stems_values"), array("stems_weights"), list(self.index.postings.number)

    def _stems(self, word: int) -> list[tuple[str, float]]:
        starts, values, weights, names = self._stem_rows
        here = slice(starts[word], starts[word + 1])
        total = float(weights[here].sum(dtype=np.int64)) or 1.0
        return [
            (names[value], weight / total**0.5 / 16)
            for value, weight in zip(values[here].tolist(), weights[here].tolist(), strict=True)
        ]

    def _meaning(self, weighted: dict[str, float], words: slice) -> np.ndarray:
        return np.zeros(words.stop - words.start, np.float32)

    def _kin(self, weighted: dict[str, float], words: slice) -> np.ndarray:
        """1 for words of the description itself and their kin: whoever describes a word does not say it."""
        marked = np.zeros(words.stop - words.start, np.float32)
        for term in weighted:
            for word in self._by_stem.get(term, ()):
                if words.start <= word < words.stop:
                    marked[word - words.start] = weighted[term]
        return marked

    @cached_property
    def _by_stem(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for at, word in enumerate(self.index.words):
            if at >= self.index.english:
                found.setdefault(word, []).append(at)
            elif " " not in word:
                found.setdefault(stem(word.lower()), []).append(at)
        return found

    def _characters(self, text: str, words: slice) -> np.ndarray:
        """The share of a Chinese word's characters that stand in the description."""
        rows, lengths = self._char_rows
        here = np.zeros(len(lengths), np.float32)
        for char in set(text) - EMPTY:
            here[rows.get(char, [])] += 1
        return here / lengths

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
