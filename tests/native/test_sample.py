"""haina_choose: the same bits on every instruction set. What it chooses is tested in tests/engine/test_sampling.py."""

from __future__ import annotations

from array import array
from itertools import product

import numpy as np
import pytest

from haina.native import sample
from haina.native.library import CRule, Status
from haina.native.machine import Isa

RANDOM = np.random.default_rng(5)
SEEN, TIMES = array("i", [2, 5, 70]), array("i", [0, 1, 3])
REPEATING, NATS = np.array([1, 70], np.int32), np.array([0.5, 2], np.float32)
RULES = {
    "greedy": {},
    "all": {"temperature": 0.8},
    "published": {"temperature": 0.3, "top_k": 5, "top_p": 0.85, "repetition": 1.1},
    "every cut": {"temperature": 1.5, "top_k": 90, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.9},
    "every penalty": {"temperature": 1, "repetition": 1.2, "frequency": 0.3, "presence": 0.1, "top": 9},
}


def choices(isa: Isa) -> list[tuple[Status, bytes]]:
    random = np.random.default_rng(4)
    past = sample.history(SEEN, TIMES, REPEATING, NATS)
    found = []
    for n in (1, 3, 100, 1021):
        logits = (random.standard_normal(n) * 3).astype(np.float32)
        ids = np.sort(random.permutation(2000)[:n]).astype(np.int32)
        for few, changes in product((ids, None) if n > 70 else (ids,), RULES.values()):
            rule = CRule(**({"top_p": 1, "typical_p": 1, "repetition": 1} | changes))
            for uniform in random.random(20):
                status, chosen = sample.choose(rule, past, logits, few, uniform, isa=isa)
                found.append((status, bytes(chosen)))
    return found


@pytest.fixture(scope="module")
def plain_choices() -> list[tuple[Status, bytes]]:
    return choices("generic")


def test_every_instruction_set_chooses_the_same(plain_choices, isa) -> None:
    sample._choose.cache_clear()  # the fixture may have loaded another library
    found = choices(isa)
    sample._choose.cache_clear()
    assert found == plain_choices
    assert {status for status, _ in found} == {Status.OK}


def test_ids_beyond_the_row_are_refused() -> None:
    rule = CRule(top_p=1, typical_p=1, repetition=1)
    past = sample.history(SEEN, TIMES, REPEATING, NATS)
    for n, expected in ((71, Status.OK), (70, Status.BAD_IDS)):
        status, _ = sample.choose(rule, past, np.zeros(n, np.float32), None, 0.5)
        assert status == expected


def test_more_of_the_likeliest_than_there_is_room_for_are_refused() -> None:
    past = sample.history(SEEN[:0], TIMES[:0], REPEATING[:0], NATS[:0])
    for top, expected in ((64, Status.OK), (65, Status.BAD_ARGUMENT), (-1, Status.BAD_ARGUMENT)):
        rule = CRule(top_p=1, typical_p=1, repetition=1, top=top)
        status, chosen = sample.choose(rule, past, np.arange(100, dtype=np.float32), None, 0.5)
        assert status == expected
        assert status or list(chosen.top_ids) == list(range(99, 35, -1))


def test_the_share_that_rounding_leaves_beyond_the_end_is_the_last_weight() -> None:
    """A uniform number of 1, which no generator gives, stands for a sum that was rounded down."""
    logits = np.array([0, 1, 2, -np.inf, -np.inf], np.float32)
    past = sample.history(SEEN[:0], TIMES[:0], REPEATING[:0], NATS[:0])
    rule = CRule(temperature=1, top_p=1, typical_p=1, repetition=1)
    _, chosen = sample.choose(rule, past, logits, None, 1.0)
    assert chosen.id == 2


def test_log_sum_exp(isa) -> None:
    for n in (1, 3, 7, 1021):
        logits = (RANDOM.standard_normal(n) * 9).astype(np.float32)
        expected = np.log(np.exp(logits.astype(np.float64)).sum())
        assert sample.log_sum_exp(logits, isa=isa) == pytest.approx(expected, abs=1e-7)
    assert sample.log_sum_exp(np.float32([-np.inf, 3e38]), isa=isa) == np.float32(3e38)
