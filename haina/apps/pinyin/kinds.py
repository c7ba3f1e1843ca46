"""Kinds of words, by the company they keep, and how much each kind likes to stand behind each other.

Words are vectors of their neighbours (positive PMI with the commonest words on either side, the first dimensions of its
SVD: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NIPS 2014), grouped by k-means on the
sphere. A word that was never seen behind another is then as likely as its kind is behind the other's kind: a bigram of
classes (Brown et al., "Class-Based n-gram Models of Natural Language", Computational Linguistics 18, 1992) under the
word trigram. Needs SciPy. What words spell is not known here.

Shape letters: N tokens, W words, K kinds, D dimensions.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from haina.apps.pinyin.ngram import Kinds

KINDS, DIMENSIONS = 100, 64  # kinds fit a byte
NEIGHBOURS = 4000  # the commonest words; words are numbered by how common they are
ROUNDS = 12
RARE = 5.0  # occurrences, under which a word's company says little
DISCOUNT = 0.75
_BITS = 20


def learn(words_N: np.ndarray, alone_W: np.ndarray, kinds: int = KINDS) -> Kinds:
    """Of a text (uint32; words >= len(alone_W) are not looked at)."""
    first, second = words_N[:-1].astype(np.int64), words_N[1:].astype(np.int64)
    known = (first < len(alone_W)) & (second < len(alone_W))
    first, second = first[known], second[known]
    vectors_WD, times_W = _vectors(first, second, len(alone_W))
    kind_W = _grouped(vectors_WD, times_W, kinds)
    return Kinds(alone_W, kind_W, _liking(first, second, kind_W, alone_W, kinds))


def _vectors(first: np.ndarray, second: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each word a vector of length 1 (or 0), and how many neighbours it has."""
    follows = sparse.coo_matrix((np.ones(len(first)), (first, second)), (words, words)).tocsr()
    beside = sparse.hstack([follows.T.tocsr()[:, :NEIGHBOURS], follows[:, :NEIGHBOURS]]).tocsr()
    times_W, times_C = np.asarray(beside.sum(1)).ravel(), np.asarray(beside.sum(0)).ravel() ** 0.75
    beside = beside.tocoo()
    pmi = np.log(beside.data * times_C.sum() / ((times_W[beside.row] + RARE) * times_C[beside.col]))
    matrix = sparse.coo_matrix((np.maximum(pmi, 0), (beside.row, beside.col)), beside.shape).tocsr()
    left_WD, sizes_D, _ = svds(matrix.astype(np.float32), k=min(DIMENSIONS, words - 1), random_state=0)
    return _unit(left_WD * np.sqrt(sizes_D)), times_W


def _grouped(vectors_WD: np.ndarray, times_W: np.ndarray, kinds: int) -> np.ndarray:
    """The kind of each word (uint8); the commonest words are the first centres."""
    weighed_WD = vectors_WD * np.sqrt(times_W + 1)[:, None]
    centres_KD = vectors_WD[np.argsort(-times_W, kind="stable")[:kinds]]
    for _ in range(ROUNDS):
        kind_W = np.argmax(vectors_WD @ centres_KD.T, axis=1)
        centres_KD = np.zeros_like(centres_KD)
        np.add.at(centres_KD, kind_W, weighed_WD)
        centres_KD = _unit(centres_KD)
    found: np.ndarray = kind_W.astype(np.uint8)
    return found


def _liking(
    first: np.ndarray, second: np.ndarray, kind_W: np.ndarray, alone_W: np.ndarray, kinds: int
) -> np.ndarray:
    """How many times likelier each kind is behind each other than alone: pairs of words count once."""
    pairs = np.unique(first << _BITS | second)
    first, second = pairs >> _BITS, pairs & (1 << _BITS) - 1
    times_KK = np.zeros((kinds, kinds))
    np.add.at(times_KK, (kind_W[first], kind_W[second]), 1.0)
    alone_K = np.bincount(kind_W, alone_W, kinds) / alone_W.sum()
    kept_KK = np.maximum(times_KK - DISCOUNT, 0)
    total_K = times_KK.sum(1, keepdims=True)
    share_KK = (kept_KK + (total_K - kept_KK.sum(1, keepdims=True)) * alone_K) / np.maximum(total_K, 1)
    share_KK = np.where(total_K > 0, share_KK, alone_K)
    return np.where(alone_K > 0, share_KK / np.maximum(alone_K, 1e-12), 1.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-6)[:, None]
    return found
