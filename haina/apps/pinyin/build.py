"""The prior of the input method, made again: `python -m haina.apps.pinyin.build DATA [--more FILE]… --out FOLDER`.

Text that may be shipped (haina/data/brook/sources.py is the gate) is cut into the words of the lexicon, the cut
learnt from the text itself in two rounds; a trigram of them (ngram.py) is pruned and rounded to bytes. Words are
numbered by how common they are, so that 16 bits name those that have followers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from haina.apps.pinyin import ngram
from haina.apps.pinyin.lexicon import BOUNDARY, NUMBER, OTHER, SPECIAL, Lexicon, stored, trie
from haina.apps.pinyin.lexicon import LONGEST as LONGEST_WORD
from haina.native.lattice import BACKOFF_FROM, STEP, Prior, Segmenter, Trie
from haina.text.normalize import codes

COMMON = 65_500  # words that have followers
CHUNK = 1 << 20  # characters cut at once
ROUNDS = 2
_DROPPED = re.compile("[“”‘’「」『』《》〈〉\"'\u200b\ufeff]")


def tokens(texts: Iterable[str], segmenter: Segmenter) -> np.ndarray:
    """uint32, the numbers of the words of texts; what is no Chinese word stands as one of the special ones."""
    return np.concatenate([_tokens(text, segmenter) for text in _chunks(texts)])


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    held, size = list[str](), 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size > CHUNK:
            yield "\n".join(held) + "\n"
            held, size = [], 0
    yield "\n".join(held) + "\n"


def _tokens(text: str, segmenter: Segmenter) -> np.ndarray:
    chars = codes(_DROPPED.sub("", text))
    kind = np.full(len(chars), ord(SPECIAL[BOUNDARY]), np.uint32)
    han = (chars >= 0x4E00) & (chars < 0xA000) | (chars == 0x3007)
    digit = (chars >= 0x30) & (chars < 0x3A) | (chars == 0x2E) | (chars == 0x25)
    latin = (chars >= 0x41) & (chars < 0x5B) | (chars >= 0x61) & (chars < 0x7B)
    kind[han], kind[digit], kind[latin] = chars[han], ord(SPECIAL[NUMBER]), ord(SPECIAL[OTHER])
    repeats = (kind[1:] == kind[:-1]) & (kind[1:] < 0x10)
    found = segmenter(np.ascontiguousarray(kind[np.concatenate([[True], ~repeats])]))
    found[found == np.uint32(0xFFFFFFFF)] = OTHER
    return found


def cut(lexicon: Lexicon, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The text as words, and how often each occurs; the cut is learnt in ROUNDS."""
    times = lexicon.times / max(lexicon.times.sum(), 1) * 5e7
    found = np.zeros(0, np.uint32)
    for _ in range(ROUNDS):
        segmenter = Segmenter(lexicon.words, _segment_nats(times, lexicon.words))
        found = tokens(texts, segmenter)
        counted = np.bincount(found, minlength=len(lexicon.words)).astype(np.float64)
        times = counted + 0.3 * lexicon.times / max(lexicon.times.sum(), 1) * counted.sum()
    return found, counted


def _segment_nats(times: np.ndarray, words: list[str]) -> np.ndarray:
    floor = np.array([0.3 if len(word) > 1 else 0.05 for word in words])
    return -np.log((times + floor) / (times + floor).sum())


def renumber(lexicon: Lexicon, counted: np.ndarray) -> tuple[Lexicon, np.ndarray]:
    """The lexicon with common words first (the special ones stay), and the new number of each old one."""
    rank = counted + lexicon.times / max(lexicon.times.sum(), 1) * counted.sum()
    order = np.argsort(-rank[len(SPECIAL) :], kind="stable") + len(SPECIAL)
    order = np.concatenate([np.arange(len(SPECIAL)), order])
    new = np.empty(len(order), np.uint32)
    new[order] = np.arange(len(order), dtype=np.uint32)
    words = [lexicon.words[i] for i in order.tolist()]
    readings = [(int(new[word]), way, nats) for word, way, nats in lexicon.readings]
    return Lexicon(words, readings, lexicon.times[order]), new


def unigram(words_N: np.ndarray, lexicon: Lexicon, film: float) -> np.ndarray:
    """Probability of each word alone: half by how many different words it follows (Kneser and Ney), the others by how
    often it occurs here, and (`film`) in subtitles; a little for each word, by its length, so that none is impossible."""
    size = len(lexicon.words)
    times = np.bincount(words_N, minlength=size).astype(np.float64)
    pairs = np.unique(words_N[:-1].astype(np.uint64) << np.uint64(32) | words_N[1:])
    ways = np.bincount((pairs & np.uint64(0xFFFFFFFF)).astype(np.int64), minlength=size).astype(np.float64)
    floor = np.array([0.0 if word in SPECIAL else 1.0 / 4 ** min(len(word) - 2, 2) if len(word) > 1 else 0.02 for word in lexicon.words])
    text = 0.5 * ways / ways.sum() + 0.5 * times / times.sum()
    mixed = (1 - film) * text + film * lexicon.times / lexicon.times.sum()
    probability: np.ndarray = 0.985 * mixed + 0.015 * floor / floor.sum()
    return probability


def quantised(model: ngram.Trigram) -> Prior:
    """The trigram in bytes."""
    common = len(model.backoff_W)
    context, start = np.unique(model.context_T, return_index=True)
    return Prior(
        cost=stored(model.word_W),
        backoff=stored(model.backoff_W - BACKOFF_FROM),
        pair_cost=stored(model.nats_P),
        context_backoff=stored(model.backoff_P[context] - BACKOFF_FROM),
        triple_cost=stored(model.nats_T),
        pair_word=model.pair_P2[:, 1].astype(np.uint16),
        triple_word=model.word_T.astype(np.uint16),
        pair_start=np.searchsorted(model.pair_P2[:, 0], np.arange(common + 1)).astype(np.uint32),
        context=context.astype(np.uint32),
        triple_start=np.append(start, len(model.context_T)).astype(np.uint32),
        boundary=BOUNDARY,
        other=OTHER,
    )
