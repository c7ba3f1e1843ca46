"""Vectors of words from running text: what stands near a word tells what it means.

Positive pointwise mutual information of words and their neighbours, reduced by a randomised singular value
decomposition: Levy, Goldberg and Dagan, "Improving Distributional Similarity with Lessons Learned from Word
Embeddings" (TACL 2015), whose advice is taken on contexts (count ** 0.75), thinning of frequent words and weights of
the singular values; Halko, Martinsson and Tropp, "Finding Structure with Randomness" (SIAM Review 2011). It needs
SciPy. It knows no dictionary; how Chinese text is cut into words, company.py knows.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from haina.wording import say

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WINDOW, LEAST = 5, 5  # words to each side that are neighbours; times a word must occur
CONTEXTS = 12_000  # the most frequent words, which are counted as neighbours
THIN = 1e-4  # share of the text above which a word is left out more and more often
STRETCH = 6_000_000  # words that are counted at once
SPARE, ROUNDS = 20, 2  # of the decomposition: dimensions beside those asked for; power iterations
_WORD = re.compile("[a-z]+")


def vectors(texts: Iterable[str], dimensions: int) -> dict[str, np.ndarray]:
    """Of each word that is frequent enough a vector of length one. ValueError: SciPy is not installed."""
    words, ids, counts = _read(texts)
    if not words:
        return {}
    left, values, _ = reduced(ids, counts / counts.sum(), THIN, dimensions)
    rows = left * np.sqrt(values)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
    padded = np.zeros((len(words), dimensions), np.float32)
    padded[:, : rows.shape[1]] = rows
    return dict(zip(words, padded, strict=True))


def reduced(
    ids: np.ndarray, share: np.ndarray, thin: float, dimensions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What words and their neighbours tell of each other: words [W, D], singular values [D], contexts [C, D].

    ids: the text, words by their numbers, the most frequent first; -1: none. share [W]: of each word in the text.
    ValueError: SciPy is not installed.
    """
    try:
        import scipy.sparse  # noqa: F401
    except ImportError:
        raise ValueError(
            say(
                "learning from running text needs SciPy; pip install 'haina[words]'",
                "从文本学习词向量需要 SciPy；请运行 pip install 'haina[words]'",
            )
        ) from None
    chance = np.random.default_rng(1)
    seen = np.append(np.minimum(1, np.sqrt(thin / share)), 1.0)  # the last is what lies between texts
    near = _neighbours(ids[chance.random(len(ids)) < seen[ids]], len(share), min(CONTEXTS, len(share)))
    return _decomposed(_informative(near), min(dimensions, *near.shape), chance)


def _read(texts: Iterable[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Words, the most frequent first; the texts as their numbers, -1 for rare ones and between texts; counts."""
    number: dict[str, int] = {}
    found = array("i")
    for text in texts:
        found.extend([number.setdefault(word, len(number)) for word in _WORD.findall(text.lower())])
        found.extend([-1] * WINDOW)
    ids = np.frombuffer(found, np.int32)
    counts = np.bincount(ids[ids >= 0], minlength=len(number))
    order = np.argsort(-counts, kind="stable")[: int((counts >= LEAST).sum())]
    renumbered = np.full(len(number) + 1, -1, np.int32)
    renumbered[order] = np.arange(len(order))
    names = list(number)
    return [names[at] for at in order.tolist()], renumbered[ids], counts[order]


def _neighbours(ids: np.ndarray, words: int, contexts: int) -> csr_matrix:
    """How often each word [W] stands near each context [C]."""
    from scipy.sparse import csr_matrix

    total = csr_matrix((words, contexts), dtype=np.float32)
    for at in range(0, len(ids), STRETCH):
        here = ids[at : at + STRETCH + WINDOW]
        pairs = []
        for distance in range(1, WINDOW + 1):
            for one, other in ((here[:-distance], here[distance:]), (here[distance:], here[:-distance])):
                held = (one >= 0) & (other >= 0) & (other < contexts)
                pairs.append(one[held].astype(np.int64) * contexts + other[held])
        keys, count = np.unique(np.concatenate(pairs), return_counts=True)
        near = (count.astype(np.float32), (keys // contexts, keys % contexts))
        total = total + csr_matrix(near, shape=(words, contexts))
    return total


def _informative(near: csr_matrix) -> csr_matrix:
    """Positive pointwise mutual information in nats."""
    from scipy.sparse import csr_matrix

    of_word, of_context = np.asarray(near.sum(1)).ravel(), np.asarray(near.sum(0)).ravel() ** 0.75
    cells = near.tocoo()
    nats = np.log(cells.data * of_context.sum() / (of_word[cells.row] * of_context[cells.col]))
    told = nats > 0
    return csr_matrix((nats[told].astype(np.float32), (cells.row[told], cells.col[told])), shape=near.shape)


def _decomposed(
    matrix: csr_matrix, dimensions: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest singular values, with what stands to their left [W, D] and right [C, D]."""
    width = min(dimensions + SPARE, *matrix.shape)
    basis = np.linalg.qr(matrix @ chance.standard_normal((matrix.shape[1], width), np.float32))[0]
    for _ in range(ROUNDS):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
    left, values, right = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    return (basis @ left)[:, :dimensions], values[:dimensions], right[:dimensions].T
