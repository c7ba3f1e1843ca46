"""Sampling: Hugging Face's semantics, one generator a request."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from haina.engine.sampling import Sampler, Sampling

LOGITS = np.log(np.array([0.5, 0.2, 0.15, 0.1, 0.05], np.float32))
NONE = np.zeros(0, np.int64)


def draws(sampling: Sampling, logits: np.ndarray = LOGITS, count: int = 4000) -> np.ndarray:
    """How often each id is drawn when every draw sees the same logits."""
    sampler = Sampler(sampling, NONE, NONE)
    seen = []
    for _ in range(count):
        sampler.seen = NONE
        seen.append(sampler.choose(logits)[0])
    return np.bincount(seen, minlength=len(logits)) / count


def test_greedy_takes_the_first_of_the_largest() -> None:
    id, nats = Sampler(Sampling(temperature=0), NONE, NONE).choose(np.array([1, 3, 3, 0], np.float32))
    assert id == 1
    assert nats == pytest.approx(3 - np.log(np.exp([1, 3, 3, 0]).sum()))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(seed=1), [0.5, 0.2, 0.15, 0.1, 0.05]),
        (Sampling(seed=1, temperature=0.5), np.square([0.5, 0.2, 0.15, 0.1, 0.05]) / 0.325),
        (Sampling(seed=1, top_k=2), [5 / 7, 2 / 7, 0, 0, 0]),
        (Sampling(seed=1, top_p=0.6), [5 / 7, 2 / 7, 0, 0, 0]),  # the one that crosses 0.6 stays
        (Sampling(seed=1, top_p=0.01), [1, 0, 0, 0, 0]),
        (Sampling(seed=1, min_p=0.25), [0.5 / 0.85, 0.2 / 0.85, 0.15 / 0.85, 0, 0]),
        (Sampling(seed=1, top_k=3, top_p=0.8), [5 / 7, 2 / 7, 0, 0, 0]),  # top-p after top-k: 0.588, 0.824
    ],
)
def test_frequencies_are_the_distribution(sampling: Sampling, expected: list[float]) -> None:
    assert draws(sampling) == pytest.approx(np.array(expected), abs=0.03)


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_shortest_head(top_p: float) -> None:
    """Of equal weights those with the smaller ids; all of them have a turn, no other has."""
    random = np.random.default_rng(3)
    logits = np.log(random.integers(1, 6, 40)).astype(np.float32)
    weight = np.exp(logits.astype(np.float64))
    order = np.argsort(-weight, kind="stable")
    count = int(np.searchsorted(np.cumsum(weight[order]), top_p * weight.sum())) + 1
    assert set(np.flatnonzero(draws(Sampling(seed=1, top_p=top_p), logits))) == set(order[:count])


def test_a_uniform_number_falls_on_ids_in_their_order() -> None:
    weight = np.array([0.05, 0.1, 0.2, 0.5, 0.15])
    expected = np.searchsorted(np.cumsum(weight), np.random.default_rng(4).random(30), side="right")
    sampler = Sampler(Sampling(seed=4), NONE, NONE)
    assert [sampler.choose(np.log(weight))[0] for _ in range(30)] == expected.tolist()


@pytest.mark.parametrize("more", [{}, {"top_p": 0.95}, {"top_k": 5, "top_p": 0.85}, {"min_p": 0.05}])
def test_a_large_vocabulary_is_not_sorted(more: dict[str, Any]) -> None:
    """One choice of 125,696 takes less than a stable argsort of them (16 ms where this was written; ours 4)."""
    logits = np.random.default_rng(0).standard_normal(125_696).astype(np.float32)
    sampler = Sampler(Sampling(seed=0, repetition_penalty=1.1, **more), np.arange(4000), NONE)

    def best_s(work: Any) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
        return min(took)

    sorting_s = best_s(lambda: np.argsort(-logits.astype(np.float64), kind="stable"))
    assert best_s(lambda: sampler.choose(logits)) < 0.7 * sorting_s


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    """Once however often an id occurred, over prompt and output (transformers RepetitionPenaltyLogitsProcessor)."""
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0), np.array([0, 0, 2]), NONE)
    logits = np.array([3.0, 1.6, -1.0, -1.5], np.float32)  # → 1.5, 1.6, -2, -1.5
    assert [sampler.choose(logits)[0] for _ in range(2)] == [1, 0]


def test_banned_ids_are_never_chosen() -> None:
    sampler = Sampler(Sampling(seed=0), NONE, np.array([0, 1]))
    assert {sampler.choose(LOGITS)[0] for _ in range(200)} == {2, 3, 4}


@pytest.mark.parametrize("temperature", [1e-320, 1e-9])
def test_a_temperature_close_to_zero_is_greedy(temperature: float) -> None:
    assert draws(Sampling(temperature=temperature, seed=0), count=20)[0] == 1


def test_same_seed_same_answer() -> None:
    one, two, other = (Sampler(Sampling(seed=s), NONE, NONE) for s in (7, 7, 8))
    first, second, third = ([s.choose(LOGITS)[0] for _ in range(50)] for s in (one, two, other))
    assert first == second != third


def test_logits_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="not a number"):
        Sampler(Sampling(), NONE, NONE).choose(np.array([0.0, np.nan], np.float32))


@pytest.mark.parametrize(
    "field", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"min_p": 2}, {"repetition_penalty": 0}]
)
def test_settings_out_of_range_are_named(field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        Sampling(**field)


def test_defaults_come_from_the_checkpoint() -> None:
    chat = {"do_sample": True, "temperature": 0.3, "top_k": 5, "top_p": 0.85, "repetition_penalty": 1.1}
    assert Sampling.from_generation(chat) == Sampling(0.3, 5, 0.85, 0.0, 1.1)
    assert Sampling.from_generation({}).temperature == 0  # Hugging Face is greedy unless told otherwise
    assert Sampling.from_generation({"temperature": 0.3}).temperature == 0
    assert Sampling.from_generation({"do_sample": True}) == Sampling(top_k=50)  # its default
    assert Sampling.from_generation({"do_sample": True, "top_k": None}) == Sampling(top_k=0)


@pytest.mark.parametrize(
    "wrong",
    ['{"top_k": "5"}', '{"top_k": 5.9}', '{"top_k": 1e30}', '{"top_p": 0}', '{"temperature": NaN}',
     '{"min_p": true}', '{"do_sample": true, "temperature": 1' + "0" * 400 + "}"],
)  # fmt: skip
def test_wrong_defaults_are_named_with_their_file(wrong: str) -> None:
    generation = json.loads(wrong)
    field = list(generation)[-1]
    generation["do_sample"] = True
    with pytest.raises(ValueError, match=rf"^m/generation_config\.json: {field} = ") as caught:
        Sampling.from_generation(generation, file="m/generation_config.json")
    assert "use " in str(caught.value) or "correct" in str(caught.value)
