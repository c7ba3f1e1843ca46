"""Duplicates at three levels: who stays, what it weighs, how many are caught; order and workers do not matter."""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from haina.data.dedup import DOCUMENTS, FINEWEB2, Keys, Scores, scores

HANZI = [chr(code) for code in range(0x4E00, 0x9000)]
ARRAYS = [field.name for field in fields(Scores) if field.name != "shards"]


def made(random: random.Random, chars: int = 30) -> str:
    return "".join(random.choices(HANZI, k=chars))


def corpus(count: int = 60) -> list[str]:
    """Texts of 4 paragraphs; every third shares one with its neighbour, every fifth is nearly the text before."""
    chance = random.Random(3)
    texts: list[str] = []
    for number in range(count):
        paragraphs = ["".join(f"{made(chance)}。" for _ in range(3)) for _ in range(4)]
        if number % 3 == 1:
            paragraphs[1] = texts[-1].split("\n")[0]
        texts.append(texts[-1].replace("，", "、") + "完" if number % 5 == 4 else "\n".join(paragraphs))
    return texts


def equal(one: Scores, other: Scores) -> bool:
    return all((getattr(one, name) == getattr(other, name)).all() for name in ARRAYS)


@pytest.fixture(scope="module")
def whole() -> Scores:
    return scores([Keys.of(corpus())])


def test_the_longest_of_a_cluster_stays() -> None:
    chance = random.Random(1)
    base, lone = made(chance, 400), made(chance, 400)
    found = scores([Keys.of([base, lone, base + "。", base + "再加一句", base[:-2]])])
    assert found.cluster_N.tolist() == [4, 1, 4, 4, 4]
    assert found.kept_N.tolist() == [False, True, False, True, False]
    assert found.weight_N.tolist() == [0, 1, 0, 1, 0]


def test_exact_means_the_same_letters() -> None:
    text = made(random.Random(2), 200)
    found = scores([Keys.of([text, f"“{text}”！", text[:-4] + "某某某某"])])
    assert found.kept_N.sum() == 1
    assert found.exact_N.sum() == (0 if found.kept_N[2] else 1)
    assert found.row(1) == {
        "cluster": 3, "kept": False, "exact": bool(found.exact_N[1]), "paragraphs": 0, "sentences": 0, "weight": 0,
    }  # fmt: skip


def test_what_stands_twice_counts_half() -> None:
    chance = random.Random(4)
    shared = f"{made(chance, 50)}。"
    texts = [
        f"{shared}\n{made(chance, 150)}。",
        f"{made(chance, 50)}。\n{shared}",
        f"{made(chance, 50)}。",
        "谢谢。\n谢谢。",
    ]
    found = scores([Keys.of(texts)])
    np.testing.assert_allclose(found.paragraphs_N, [0.25, 0.5, 0, 0])
    np.testing.assert_allclose(found.sentences_N, [0.25, 0.5, 0, 0])
    np.testing.assert_allclose(found.weight_N, [1 - 0.125, 1 - 0.25, 1, 1])


def test_sentences_are_found_in_other_paragraphs() -> None:
    chance = random.Random(5)
    shared = f"{made(chance, 40)}！"
    found = scores([Keys.of([f"{shared}{made(chance, 60)}。", f"{made(chance, 360)}。{shared}"])])
    assert found.paragraphs_N.tolist() == [0, 0]
    np.testing.assert_allclose(found.sentences_N, [0.4, 0.1])


def test_what_is_dropped_does_not_count() -> None:
    text = made(random.Random(6), 300)
    found = scores([Keys.of([text, text, text])])
    assert found.kept_N.tolist() == [True, False, False]
    assert found.sentences_N.tolist() == found.paragraphs_N.tolist() == [0, 0, 0]
    assert scores([Keys.of([text] * 4)], resample=FINEWEB2).weight_N.tolist() == [3, 0, 0, 0]


def test_shards_workers_and_memory_do_not_matter(whole: Scores) -> None:
    texts = corpus()
    parts = [texts[:7], [], texts[7:8], texts[8:]]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        shards = list(pool.map(Keys.of, parts))
    assert equal(scores(shards, memory_bytes=64), whole)
    assert [len(scores(shards).rows(n)) for n in range(4)] == [7, 0, 1, 52]


def test_order_does_not_matter(whole: Scores) -> None:
    texts = corpus()
    order = random.Random(8).sample(range(len(texts)), len(texts))
    found = scores([Keys.of(texts[n] for n in order)])
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name)[order], rtol=0, atol=1e-12)


def test_the_cases_are_there(whole: Scores) -> None:
    assert 0.7 < whole.kept_N.mean() < 0.95
    assert (whole.paragraphs_N > 0).any()


def test_kept_and_mapped_they_are_the_same(tmp_path: Path, whole: Scores) -> None:
    Keys.of(corpus()).save(tmp_path / "0")
    assert equal(scores([Keys.open(tmp_path / "0")]), whole)


def caught(similarity: float, pairs: int = 300) -> float:
    """The share of pairs of that Jaccard similarity over shingles that meet in a band."""
    chance = random.Random(round(similarity * 100))
    chars, texts = 900, []
    shared = round(2 * similarity / (1 + similarity) * chars)  # of both texts; their rests differ
    for _ in range(pairs):
        common = made(chance, shared)
        texts += [common + made(chance, chars - shared), common + made(chance, chars - shared)]
    keys = Keys.of(texts).levels[DOCUMENTS.name].keys[1:]
    return float((keys[:, ::2] == keys[:, 1::2]).any(0).mean())


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_pairs_are_caught_as_the_curve_says(similarity: float) -> None:
    """1 - (1 - s^8)^14: .05, .56, .92, 1.0 (FineWeb's figures); four standard deviations of 300 pairs."""
    expected = 1 - (1 - similarity**DOCUMENTS.rows) ** DOCUMENTS.bands
    spread = 4 * (expected * (1 - expected) / 300) ** 0.5
    assert abs(caught(similarity) - expected) < spread + 0.02


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["…", "\ud800\n", "中"], ["\x00" * 100_000]])
def test_next_to_nothing(texts: list[str]) -> None:
    found = scores([Keys.of(texts)])
    assert found.kept_N.tolist() == [True] * len(texts)
    assert found.weight_N.tolist() == [1] * len(texts)
    assert not scores([]).kept_N.size
