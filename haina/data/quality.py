"""A quality score: logistic regression over hashed n-grams of words, trained on texts that someone called good and bad.

What fastText does (Joulin et al., arXiv:1607.01759) and web corpora are sorted with (GPT-3, appendix A; CCI3-HQ): one
and two neighbouring words, hashed into a table of weights (Weinberger et al., arXiv:0902.2206); a Chinese character
is a word, so also three. Nothing is shipped: the recipe names what is good and bad, and their difference is
all that the score knows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from haina.data.words import words
from haina.native.minhash import windows
from haina.wording import say

SIZES = (1, 2, 3)  # words of an n-gram
TABLE_BITS = 18
MOST_WORDS = 1_000  # read of a text
EPOCHS = 5
RATE = 0.1


@dataclass(frozen=True)
class Scorer:
    """weights: float32 [2^TABLE_BITS], what each n-gram adds to the odds in nats, times the root of their number."""

    weights: np.ndarray

    def score(self, text: str) -> float:
        """The probability, 0 to 1, that the text is of the good ones."""
        return _probability(self.weights[_features(text)])

    def save(self, file: Path) -> None:
        np.savez_compressed(file, weights=self.weights.astype(np.float16))

    @classmethod
    def open(cls, file: Path) -> Scorer:
        """ValueError if the file is not one that save() wrote."""
        try:
            with file.open("rb") as opened, np.load(opened) as kept:
                weights = kept["weights"]
        except (OSError, EOFError, KeyError, ValueError, BadZipFile):
            weights = np.empty(0)
        if weights.shape != (1 << TABLE_BITS,):
            raise ValueError(
                say(
                    f"{file}: not a quality score; train it again from the recipe",
                    f"{file}：不是质量评分文件；请按配方重新训练",
                )
            )
        return cls(weights.astype(np.float32))


def train(good: Iterable[str], bad: Iterable[str], *, seed: int = 0) -> Scorer:
    """Logistic regression by AdaGrad (Duchi et al., 2011), both sides weighing the same. ValueError if one is empty."""
    sides = [[_features(text) for text in texts] for texts in (bad, good)]
    if not all(sides):
        raise ValueError(
            say(
                "a quality score needs good texts and bad ones; name sources for both",
                "质量评分需要优、劣两类文本；请为两类都指定来源",
            )
        )
    examples = [(features, label) for label, side in enumerate(sides) for features in side]
    share = [len(side) / len(examples) for side in sides]
    weights, squares = np.zeros(1 << TABLE_BITS), np.full(1 << TABLE_BITS, 1e-4)
    random = np.random.default_rng(seed)
    for epoch in range(EPOCHS):
        for number in random.permutation(len(examples)):
            features, label = examples[number]
            places, times = np.unique(features, return_counts=True)
            wrong = (label - _probability(weights[features])) / (2 * share[label])
            step = wrong * times / max(len(features), 1) ** 0.5
            squares[places] += step**2
            weights[places] += RATE * (1 - epoch / EPOCHS) * step / np.sqrt(squares[places])
    return Scorer(weights.astype(np.float16).astype(np.float32))  # as it is kept in a file


def _features(text: str) -> np.ndarray:
    """The place in the table of each n-gram of the text."""
    hashes = words(text[: 16 * MOST_WORDS]).hash_W[:MOST_WORDS]
    places = np.concatenate([windows(hashes, size) for size in SIZES])
    found: np.ndarray = (places >> np.uint64(64 - TABLE_BITS)).astype(np.int64)
    return found


def _probability(weights: np.ndarray) -> float:
    logit = float(weights.sum(dtype=np.float64)) / max(len(weights), 1) ** 0.5
    return 0.5 + 0.5 * math.tanh(logit / 2)  # the logistic function, without overflow
