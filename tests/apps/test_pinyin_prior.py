"""The trigram: every context sums to one, the library reads it as it is meant, kinds stand in for the unseen."""

import numpy as np
import pytest

from haina.apps.pinyin.ngram import Kinds, Trigram, train
from haina.native.lattice import STEP

build = pytest.importorskip("haina.apps.pinyin.build")  # haina[pinyin]
WORDS = 12


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    chance = np.random.default_rng(3)
    alone = chance.dirichlet(np.ones(WORDS))
    kind = np.arange(WORDS, dtype=np.uint8) % 3
    times = chance.random((3, 3)) + 0.1
    share = np.bincount(kind, alone)
    likings = times / times.sum(1, keepdims=True) / share
    return Kinds(alone, kind, likings)


@pytest.fixture(scope="module", params=[(0, 0), (40, 60)])
def model(request: pytest.FixtureRequest, kinds: Kinds) -> Trigram:
    text = np.random.default_rng(4).zipf(1.3, 3000).astype(np.uint32) % WORDS
    return train(text, kinds, request.param)


def nats(model: Trigram, kinds: Kinds, first: int, second: int, third: int) -> float:
    """Of the third word behind the others, as Katz backs off."""
    pairs = {tuple(pair): i for i, pair in enumerate(model.pair_P2.tolist())}
    triples = {(c, w): n for c, w, n in zip(model.context_T, model.word_T, model.nats_T, strict=True)}
    context = pairs.get((first, second))
    if (context, third) in triples:
        return float(triples[context, third])
    passed = model.backoff_P[context] if context in model.context_T else 0.0
    if (second, third) in pairs:
        return float(passed + model.nats_P[pairs[second, third]])
    unseen = kinds.unseen(np.array([second]), np.array([third]))[0]
    return float(passed + model.backoff_W[second] - np.log(unseen))


def test_every_context_sums_to_one(model: Trigram, kinds: Kinds) -> None:
    for first in range(0, WORDS, 3):
        for second in range(WORDS):
            p = sum(np.exp(-nats(model, kinds, first, second, third)) for third in range(WORDS))
            assert p == pytest.approx(1, abs=1e-6)


def test_the_library_reads_it(model: Trigram, kinds: Kinds) -> None:
    words = np.random.default_rng(5).integers(0, WORDS, 200).tolist()
    found = build.quantised(model, kinds, kinds.alone_W).costs(words)
    for i in range(2, len(words)):
        assert found[i] == pytest.approx(nats(model, kinds, *words[i - 2 : i + 1]), abs=2.01 * STEP)


def test_words_of_a_kind_stand_in_for_each_other() -> None:
    chance = np.random.default_rng(6)
    text = np.empty(4000, np.uint32)
    text[0::2], text[1::2] = chance.integers(0, 10, 2000), chance.integers(10, 20, 2000)
    text = text[~((text == 3) & (np.roll(text, -1) == 15))]  # 3 15 is never said
    found = build.learn(text, np.full(20, 0.05), kinds=2)
    assert len(set(found.kind_W[:10].tolist())) == len(set(found.kind_W[10:].tolist())) == 1
    behind = found.unseen(np.full(20, 3), np.arange(20))
    assert behind[15] > 5 * behind[4] and behind.sum() == pytest.approx(1, abs=1e-6)
