"""Sampling: every operation against a plain definition in float64, and what a seed, a fork and an error mean."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from haina.engine.sampler import Sampler
from haina.engine.sampling import Sampling

LOGITS = np.log(np.array([0.5, 0.2, 0.15, 0.1, 0.05], np.float32))
NONE = np.zeros(0, np.int64)
V = 9  # of the small vocabulary


def definition(
    s: Sampling, logits: np.ndarray, text: list[int], said: list[int], banned: list[int]
) -> tuple[np.ndarray, float]:
    """The weight of every id, from the table of sampling.py; and how far the closest call was from the other way."""
    x = logits.astype(np.float64)
    for id, bias in s.logit_bias:
        x[id] = -np.inf if bias <= -100 else x[id] + bias
    x[banned] = -np.inf
    for id in set(text):
        x[id] = x[id] / s.repetition_penalty if x[id] > 0 else x[id] * s.repetition_penalty
    for id in set(said):
        x[id] -= s.frequency_penalty * said.count(id) + s.presence_penalty
    for id, longest in repeats(text[-s.dry_range_tokens :], set(s.dry_breaker_ids)).items():
        if longest >= s.dry_allowed_length:
            x[id] -= s.dry_multiplier * s.dry_base ** (longest - s.dry_allowed_length)
    if not np.isfinite(x.max()):
        return np.zeros(len(x)), 1.0
    x = (x - x.max()) / s.temperature
    margin = 1.0
    if 0 < s.top_k < len(x):
        inside = x >= np.sort(x)[-s.top_k]
        margin = min(margin, gap(np.sort(x)[::-1]))
        x[~inside] = -np.inf
    weight = np.exp(x)
    if s.top_p < 1:
        kept, sure = fewest(-x, weight, s.top_p)
        weight, margin = weight * kept, min(margin, sure)
    if s.min_p > 0:
        margin = min(margin, float(np.abs(weight - s.min_p).min()))
        weight = weight * (weight >= s.min_p)
    if s.typical_p < 1:
        p = weight[weight > 0] / weight.sum()
        surprise = np.full(len(x), np.inf)
        surprise[weight > 0] = np.abs(-np.log(p) - (p * -np.log(p)).sum())
        kept, sure = fewest(surprise, weight, s.typical_p)
        weight, margin = weight * kept, min(margin, sure)
    return weight, margin


def repeats(text: list[int], breakers: set[int]) -> dict[int, int]:
    """DRY: of each id the longest end of the text that it has followed before."""
    longest: dict[int, int] = {}
    for place in range(1, len(text)):
        length = 0
        while length < place and text[place - 1 - length] == text[-1 - length] not in breakers:
            length += 1
        if text[place] not in breakers:
            longest[text[place]] = max(length, longest.get(text[place], 0))
    return {id: length for id, length in longest.items() if length}


def fewest(key: np.ndarray, weight: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    order = np.argsort(key, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    count = int(np.searchsorted(reached, share)) + 1
    kept = np.zeros(len(key), bool)
    kept[order[:count]] = True
    return kept, min(gap(key[order]), float(np.abs(reached - share).min()))


def gap(ordered: np.ndarray) -> float:
    """The smallest difference of neighbours that are not equal: rounding must not swap them."""
    steps = np.abs(np.diff(ordered[np.isfinite(ordered)]))
    return float(steps[steps > 0].min(initial=1.0))


def under(weight: np.ndarray, uniform: float) -> tuple[int, float]:
    reached = np.cumsum(weight) / weight.sum()
    return int(np.searchsorted(reached, uniform, side="right")), float(np.abs(reached - uniform).min())


def draws(
    sampling: Sampling, logits: np.ndarray = LOGITS, count: int = 4000, banned: Any = NONE
) -> np.ndarray:
    """How often each id is drawn when every draw sees the same logits."""
    sampler = Sampler(sampling, NONE, np.array(banned, np.int64))
    seen = []
    for _ in range(count):
        seen.append(sampler.choose(logits).id)
        sampler.saw(seen[-1])
    return np.bincount(seen, minlength=len(logits))


# Odd numbers, so that logits are equal when nothing was done to them, and not by chance in one precision.
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 0.7, 1.0, 2.0]),
    top_k=st.sampled_from([0, 0, 1, 3, 6, 50]),
    top_p=st.sampled_from([1.0, 1.0, 0.95, 0.8, 0.5, 0.1]),
    min_p=st.sampled_from([0.0, 0.0, 0.03, 0.3]),
    typical_p=st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.2]),
    repetition_penalty=st.sampled_from([1.0, 1.3137, 0.8071]),
    frequency_penalty=st.sampled_from([0.0, 0.5313, -1.0417]),
    presence_penalty=st.sampled_from([0.0, 0.7129, -0.3571]),
    dry_multiplier=st.sampled_from([0.0, 0.8317]),
    dry_allowed_length=st.integers(1, 3),
    dry_range_tokens=st.sampled_from([0, 0, 5, 9]),
    dry_breaker_ids=st.sampled_from([(), (2,), (0, 7)]),
    logit_bias=st.sampled_from([(), ((1, -100.0), (3, 2.5)), ((0, -1), (8, -float("inf")))]),
    seed=st.integers(0, 2**70),
)
LOGIT_ROWS = st.lists(st.integers(-12, 12), min_size=V, max_size=V).map(
    lambda row: np.array(row, np.float32) / 4
)
TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=14)
BANNED = st.lists(st.integers(0, V - 1), max_size=4, unique=True)


@settings(max_examples=150, deadline=None)
@given(SAMPLINGS, LOGIT_ROWS, TEXTS, BANNED)
def test_choices_are_those_of_the_definition(
    sampling: Sampling, logits: np.ndarray, prompt: list[int], banned: list[int]
) -> None:
    sampler = Sampler(sampling, np.array(prompt), np.array(banned, np.int64))
    said: list[int] = []
    for uniform in np.random.default_rng(sampling.seed).random(6):
        weight, margin = definition(sampling, logits, prompt + said, said, banned)
        assume(weight.any())
        id, sure = under(weight, uniform)
        assume(min(margin, sure) > 1e-5)
        assert sampler.choose(logits).id == id
        sampler.saw(id)
        said.append(id)
        logits = np.roll(logits, 1)


@settings(max_examples=60, deadline=None)
@given(SAMPLINGS, LOGIT_ROWS, TEXTS, st.lists(st.integers(0, V - 1), min_size=1, max_size=V, unique=True))
def test_few_ids_are_the_vocabulary_with_the_others_banned(
    sampling: Sampling, logits: np.ndarray, prompt: list[int], few: list[int]
) -> None:
    ids = np.array(sorted(few), np.int32)
    sparse = Sampler(sampling, np.array(prompt), NONE)
    dense = Sampler(sampling, np.array(prompt), np.array(sorted(set(range(V)) - set(few)), np.int64))
    assume(not set(few) <= {id for id, bias in sampling.logit_bias if bias <= -100})
    for _ in range(6):
        id, nats, _ = sparse.choose(logits[ids], ids)
        assert id == dense.choose(logits).id
        assert nats == pytest.approx(logits[id] - np.log(np.exp(logits[ids].astype(float)).sum()), abs=1e-5)
        sparse.saw(id)
        dense.saw(id)


@pytest.mark.parametrize("step", [1 / 4096, 1 / 4], ids=["all different", "many equal"])
@pytest.mark.parametrize(
    "cuts",
    [{}, {"top_k": 40}, {"top_k": 3000}, {"top_p": 0.9}, {"top_p": 0.999}, {"min_p": 0.01}, {"typical_p": 0.8},
     {"typical_p": 0.2}, {"top_k": 5000, "top_p": 0.95, "min_p": 0.001, "typical_p": 0.9}],
)  # fmt: skip
def test_a_large_vocabulary_is_cut_as_a_small_one(cuts: dict[str, Any], step: float) -> None:
    random = np.random.default_rng(5)
    logits = (np.round(random.standard_normal(20_000) * 2 / step) * step).astype(np.float32)
    sampling = Sampling(seed=3, **cuts)
    weight, _ = definition(sampling, logits, [], [], [])
    sampler = Sampler(sampling, NONE, NONE)
    compared = 0
    for uniform in np.random.default_rng(3).random(50):
        id, sure = under(weight, uniform)
        chosen = sampler.choose(logits).id
        assert chosen == id or sure < 1e-6
        sampler.saw(chosen)
        compared += sure >= 1e-6
    assert compared > 40


@pytest.mark.parametrize("cut", ["top_p", "typical_p"])
def test_of_equal_weights_the_first_are_kept(cut: str) -> None:
    counts = draws(Sampling(seed=1, **{cut: 0.25}), np.zeros(4000, np.float32), 300)
    assert set(np.flatnonzero(counts)) <= set(range(1000))
    assert counts[500:1000].any()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(seed=1), [0.5, 0.2, 0.15, 0.1, 0.05]),
        (Sampling(seed=1, temperature=0.5), np.square([0.5, 0.2, 0.15, 0.1, 0.05])),
        (Sampling(seed=1, top_k=2), [5, 2, 0, 0, 0]),
        (Sampling(seed=1, top_p=0.6), [5, 2, 0, 0, 0]),  # the one that crosses 0.6 stays
        (Sampling(seed=1, top_p=0.01), [1, 0, 0, 0, 0]),
        (Sampling(seed=1, min_p=0.25), [0.5, 0.2, 0.15, 0, 0]),
        (Sampling(seed=1, top_k=3, top_p=0.8), [5, 2, 0, 0, 0]),  # top-p after top-k: 0.588, 0.824
        (
            Sampling(seed=1, typical_p=0.3),
            [0, 2, 1.5, 0, 0],
        ),  # 1.34 nats expected; 0.69, 1.61, 1.90, 2.30, 3.00
        (Sampling(seed=1, logit_bias=((0, -100), (4, float(np.log(4))))), [0, 0.2, 0.15, 0.1, 0.2]),
    ],
)
def test_draws_follow_the_distribution(sampling: Sampling, expected: list[float]) -> None:
    """Pearson's χ²: with at most 4 degrees of freedom it exceeds 23.5 once in 10,000 seeds."""
    drawn = draws(sampling)
    share = np.array(expected) / np.sum(expected) * drawn.sum()
    possible = share > 0
    assert not drawn[~possible].any()
    assert (np.square(drawn - share)[possible] / share[possible]).sum() < 23.5


def test_published_settings_mean_what_they_mean_in_transformers() -> None:
    torch = pytest.importorskip("torch")
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits = (np.random.default_rng(2).standard_normal(500) * 3).astype(np.float32)
    prompt = np.arange(100)
    sampling = Sampling(
        temperature=0.7, top_k=60, top_p=0.95, min_p=0.01, typical_p=0.9, repetition_penalty=1.1, seed=2
    )
    scores = torch.from_numpy(logits)[None]
    for step in (
        processors.RepetitionPenaltyLogitsProcessor(1.1),
        processors.TemperatureLogitsWarper(0.7),
        processors.TopKLogitsWarper(60),
        processors.TopPLogitsWarper(0.95),
        processors.MinPLogitsWarper(0.01),
        processors.TypicalLogitsWarper(0.9),
    ):
        scores = step(torch.from_numpy(prompt)[None], scores)
    weight = scores[0].double().softmax(-1).numpy()
    sampler = Sampler(sampling, prompt, NONE)
    assert 2 < (weight > 0).sum() < 60
    for uniform in np.random.default_rng(2).random(60):
        assert sampler.choose(logits).id == under(weight, uniform)[0]
        sampler.saw(0)  # an id of the prompt: the penalty stays the same


def test_dry_takes_more_from_longer_repetitions() -> None:
    """After 1 2 3 4 … 1 2 3 the 4 would make it four: 0.8 × 1.75 nats are taken from it."""
    for lead, expected in ((1.39, 0), (1.41, 4)):
        logits = np.zeros(6, np.float32)
        logits[4] = lead
        sampler = Sampler(
            Sampling(temperature=0, dry_multiplier=0.8), np.array([1, 2, 3, 4, 5, 1, 2, 3]), NONE
        )
        assert sampler.choose(logits).id == expected


def test_dry_forbids_an_endless_repetition_but_not_the_only_way_on() -> None:
    sampler = Sampler(Sampling(temperature=0, dry_multiplier=1), np.array([1, 2] * 500), NONE)
    logits = np.array([0, 900, 0], np.float32)
    assert sampler.choose(logits).id == 0
    assert sampler.choose(logits[1:2], np.array([1], np.int32)).id == 1


def test_penalties_of_openai_count_the_answer_alone() -> None:
    logits = np.array([1, 0.9, 0], np.float32)
    sampler = Sampler(Sampling(temperature=0, frequency_penalty=0.3), np.array([0, 0, 0]), NONE)
    said = []
    for _ in range(5):
        said.append(sampler.choose(logits).id)
        sampler.saw(said[-1])
    assert said == [0, 1, 0, 1, 0]


def test_greedy_takes_the_first_of_the_largest() -> None:
    id, nats, top = Sampler(Sampling(temperature=0), NONE, NONE).choose(np.array([1, 3, 3, 0], np.float32))
    assert (id, top) == (1, ())
    assert nats == pytest.approx(3 - np.log(np.exp([1, 3, 3, 0]).sum()))


@pytest.mark.parametrize("temperature", [1e-320, 1e-9])
def test_a_temperature_close_to_zero_is_greedy(temperature: float) -> None:
    assert draws(Sampling(temperature=temperature, seed=0), count=20)[0] == 20


def test_nats_are_those_of_the_network() -> None:
    """Whatever settings make of the logits; and so are those of the likeliest, banned ones among them."""
    sampling = Sampling(
        temperature=0, repetition_penalty=2, logit_bias=((4, 50),), top_logprobs=3, presence_penalty=1
    )
    id, nats, top = Sampler(sampling, np.array([0, 1]), np.array([0])).choose(LOGITS)
    assert (id, [i for i, _ in top]) == (4, [0, 1, 2])
    assert [nats, *(n for _, n in top)] == pytest.approx(np.log([0.05, 0.5, 0.2, 0.15]), abs=1e-6)


@given(LOGIT_ROWS, st.integers(0, 12))
def test_the_likeliest_are_in_order(logits: np.ndarray, count: int) -> None:
    logits[3] = -np.inf
    nats = logits - np.log(np.exp(logits.astype(float)).sum())
    order = sorted((id for id in range(V) if id != 3), key=lambda id: (-logits[id], id))[:count]
    ids = np.arange(10, 10 + V, dtype=np.int32)
    top = Sampler(Sampling(top_logprobs=count), NONE, NONE).choose(logits, ids).top
    assert [id for id, _ in top] == [10 + id for id in order]
    assert [n for _, n in top] == pytest.approx([nats[id] for id in order], abs=1e-5)


# -- seeds and forks ------------------------------------------------------------------------------------------


def test_a_uniform_number_falls_on_ids_in_their_order() -> None:
    weight = np.array([0.05, 0.1, 0.2, 0.5, 0.15])
    expected = np.searchsorted(np.cumsum(weight), np.random.default_rng(4).random(200), side="right")
    sampler = Sampler(Sampling(seed=4), NONE, NONE)
    for id in expected:
        assert sampler.choose(np.log(weight)).id == id
        sampler.saw(0)


def test_the_number_depends_on_the_seed_and_the_place_alone() -> None:
    """Not on how often was chosen, from what, what was seen, or which fork asks."""
    flat = np.zeros(10_000, np.float32)
    one, other = (Sampler(Sampling(seed=7), np.arange(count), NONE) for count in (3, 50))
    for i in range(100):
        fork = other.fork()
        fork.saw(5)
        fork.choose(LOGITS)
        assert one.choose(flat) == other.choose(flat) == other.choose(flat)
        one.saw(i)
        other.saw(2 * i)
    assert one.choose(flat) != Sampler(Sampling(seed=8), NONE, NONE).choose(flat)


def test_without_a_seed_answers_differ() -> None:
    flat = np.zeros(1 << 20, np.float32)
    assert len({Sampler(Sampling(), NONE, NONE).choose(flat).id for _ in range(4)}) > 1


def test_a_fork_goes_its_own_way() -> None:
    sampling = Sampling(
        seed=1, repetition_penalty=1.5, presence_penalty=0.5, dry_multiplier=2, dry_allowed_length=1
    )
    sampler, alone = (Sampler(sampling, np.array([0, 1, 2]), NONE) for _ in range(2))
    for id in (3, 1, 2, 4, 1, 3, 1):
        fork = sampler.fork()
        for other in (4, 4, 0):
            fork.saw(other)
        sampler.saw(id)
        alone.saw(id)
        assert sampler.choose(LOGITS) == alone.choose(LOGITS) == sampler.fork().choose(LOGITS)


# -- cost -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"top_p": 0.95}, {"top_k": 5, "top_p": 0.85}, {"min_p": 0.05}])
def test_a_large_vocabulary_is_not_sorted(more: dict[str, Any]) -> None:
    """One choice of 125,696 takes less than a stable argsort of them (16 ms where this was written; ours 0.7)."""
    logits = (np.random.default_rng(0).standard_normal(125_696) * 3).astype(np.float32)
    sampler = Sampler(Sampling(seed=0, repetition_penalty=1.1, **more), np.arange(4000), NONE)

    def best_s(work: Any) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
        return min(took)

    sorting_s = best_s(lambda: np.argsort(-logits.astype(np.float64), kind="stable"))
    assert best_s(lambda: sampler.choose(logits)) < 0.5 * sorting_s


# -- what cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(wrong: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        Sampler(Sampling(), NONE, NONE).choose(np.array([0.0, wrong, -np.inf], np.float32))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_without_a_choice_is_an_error(temperature: float) -> None:
    sampling = Sampling(temperature=temperature, logit_bias=((1, -100),), top_logprobs=2)
    banned = Sampler(sampling, NONE, np.array([0]))
    for logits, ids in (
        (LOGITS[:2], None),
        (LOGITS[2:4], np.array([0, 1])),
        (LOGITS[:0], np.zeros(0, np.int32)),
    ):
        with pytest.raises(ValueError, match="no token may be chosen"):
            banned.choose(logits, ids)
    with pytest.raises(ValueError, match="no token may be chosen"):
        Sampler(Sampling(temperature=temperature), NONE, NONE).choose(np.full(3, -np.inf, np.float32))


def test_a_bias_on_an_id_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"logit_bias names token id 5, and the model has 5"):
        Sampler(Sampling(logit_bias=((5, 1.0),)), NONE, NONE).choose(LOGITS)


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -1), ("temperature", float("nan")), ("temperature", "1"), ("temperature", True),
     ("top_k", -1), ("top_k", 2.0), ("top_p", 0), ("top_p", None), ("min_p", 2), ("typical_p", 0.0),
     ("repetition_penalty", 0), ("frequency_penalty", 2.5), ("presence_penalty", float("-inf")),
     ("dry_multiplier", -0.1), ("dry_base", 0.9), ("dry_allowed_length", 0), ("dry_allowed_length", 10**400),
     ("dry_range_tokens", -1),
     ("dry_breaker_ids", [1]), ("dry_breaker_ids", (-1,)), ("dry_breaker_ids", (1 << 31,)),
     ("top_logprobs", True), ("top_logprobs", 65), ("seed", -1), ("seed", 1.0), ("logit_bias", ((1 << 31, 0),)),
     ("logit_bias", {1: 2.0}), ("logit_bias", ((1,),)), ("logit_bias", ((1, 101),)), ("logit_bias", ((-1, 0),)),
     ("logit_bias", ((1, float("nan")),)), ("logit_bias", ((1, 1.0), (1, 2.0)))],
)  # fmt: skip
def test_settings_out_of_range_are_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{field} = .* is out of range; use .*$"):
        Sampling(**{field: value})


def test_settings_can_be_keys() -> None:
    sampling = Sampling(logit_bias=((1, -100),), dry_breaker_ids=(3, 4))
    assert {sampling: 1}[replace(sampling)] == 1


def test_defaults_come_from_the_checkpoint() -> None:
    chat = {"do_sample": True, "temperature": 0.3, "top_k": 5, "top_p": 0.85, "repetition_penalty": 1.1}
    assert Sampling.from_generation(chat) == Sampling(0.3, 5, 0.85, 0.0, 1.1)
    assert Sampling.from_generation({}).temperature == 0  # Hugging Face is greedy unless told otherwise
    assert Sampling.from_generation({"temperature": 0.3}).temperature == 0
    assert Sampling.from_generation({"do_sample": True}) == Sampling(top_k=50)  # its default
    assert Sampling.from_generation({"do_sample": True, "top_k": None}) == Sampling(top_k=0)
    assert Sampling.from_generation({"do_sample": True, "typical_p": 0.9}).typical_p == 0.9


@pytest.mark.parametrize(
    "wrong",
    ['{"top_k": "5"}', '{"top_k": 5.9}', '{"top_k": 1e30}', '{"top_p": 0}', '{"temperature": NaN}',
     '{"min_p": true}', '{"do_sample": true, "temperature": 1' + "0" * 400 + "}"],
)  # fmt: skip
def test_wrong_defaults_are_named_with_their_file(wrong: str) -> None:
    generation = json.loads(wrong)
    field = list(generation)[-1]
    generation["do_sample"] = True
    with pytest.raises(ValueError, match=rf"^m/generation_config\.json: {field} = .* use "):
        Sampling.from_generation(generation, file="m/generation_config.json")
