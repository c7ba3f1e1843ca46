"""Sets of ids: every form says the same, and what is met or joined is what the definition says."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.engine.constraint import (
    SPARSE_SHARE,
    All,
    Allowed,
    Dense,
    Forced,
    Sparse,
    State,
    dead_end,
    ids_of,
    is_empty,
    is_over,
    join,
    mask_of,
    meet,
    nothing_follows,
    smallest,
    spread,
    ways_of,
)

V = 64
Ways = All | Sparse | Dense


@settings(deadline=None)
@given(st.lists(st.integers(0, 99), unique=True), st.integers(100, 900))
def test_masks_and_lists_say_the_same(ids: list[int], size: int) -> None:
    few = np.array(ids, np.int32)
    assert ids_of(mask_of(few, size)).tolist() == sorted(ids)
    assert len(mask_of(few, size)) == math.ceil(size / 32)
    form = smallest(few, size)
    assert isinstance(form, Sparse) == (len(ids) <= size // SPARSE_SHARE) and offered_any(form) == sorted(ids)


def offered_any(form: Sparse | Dense) -> list[int]:
    ids: list[int] = (form.ids if isinstance(form, Sparse) else ids_of(form.mask)).tolist()
    return ids


@given(st.lists(st.integers(0, 69), unique=True))
def test_a_mask_is_spread_over_numbers(ids: list[int]) -> None:
    numbers = spread(mask_of(np.array(ids, np.int32), 70), 2.5, -np.inf)
    assert numbers.dtype == np.float32 and len(numbers) == 96
    assert numbers.tolist() == [2.5 if id in ids else -np.inf for id in range(96)]


# -- two sets ---------------------------------------------------------------------------------------------------------


def made(nats: dict[int, float], form: str, biased: bool) -> Ways:
    ids = np.array(sorted(nats), np.int32)
    bias = np.array([nats[id] for id in sorted(nats)], np.float32) if biased else None
    if form == "sparse":
        return Sparse(ids, bias)
    everywhere = np.full(V, 7.0, np.float32)  # what lies outside the mask means nothing
    if bias is not None:
        everywhere[ids] = bias
    return Dense(mask_of(ids, V), None if bias is None else everywhere)


WAYS = st.builds(
    made,
    st.dictionaries(st.integers(0, V - 1), st.integers(-4, 4).map(float), max_size=9),
    st.sampled_from(["sparse", "dense"]),
    st.booleans(),
)


def says(ways: Ways) -> dict[int, float]:
    """The bias of each id that is allowed."""
    if isinstance(ways, All):
        return dict.fromkeys(range(V), 0.0)
    ids = ids_of(ways.mask) if isinstance(ways, Dense) else ways.ids
    assert ids.dtype == np.int32 and (ways.bias is None or ways.bias.dtype == np.float32)
    bias = 0.0 * ids if ways.bias is None else ways.bias[ids] if isinstance(ways, Dense) else ways.bias
    return dict(zip(ids.tolist(), bias.tolist(), strict=True))


@given(WAYS, WAYS | st.just(All()))
def test_two_sets_meet(a: Ways, b: Ways) -> None:
    x, y = says(a), says(b)
    assert says(meet(a, b)) == says(meet(b, a)) == {id: x[id] + y[id] for id in x.keys() & y.keys()}


@given(WAYS, WAYS)
def test_two_sets_are_joined(a: Ways, b: Ways) -> None:
    x, y = says(a), says(b)
    either = {id: max(side[id] for side in (x, y) if id in side) for id in x.keys() | y.keys()}
    assert says(join(a, b)) == says(join(b, a)) == either


@given(WAYS)
def test_everything_keeps_the_bias_of_a_mask_beside_it(a: Ways) -> None:
    hopes = {id: max(nats, 0.0) for id, nats in says(a).items()} if isinstance(a, Dense) else {}
    assert says(join(a, All())) == says(join(All(), a)) == says(All()) | hopes


def test_only_what_has_no_id_is_empty() -> None:
    none, one = np.zeros(0, np.int32), np.array([63], np.int32)
    assert is_empty(Sparse(none)) and is_empty(Dense(mask_of(none, V)))
    for ways in (All(), Sparse(one), Dense(mask_of(one, V)), Forced((63,))):
        assert not is_empty(ways)
    assert says(ways_of(Forced((63, 1)))) == {63: 0.0}


# -- ends -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A state that says what it is told to."""

    ids: tuple[int, ...]
    end: bool
    name: str = ""

    def allowed(self) -> Allowed:
        return Sparse(np.array(self.ids, np.int32))

    def step(self, token: int) -> State | None:
        return self if token in self.ids else None

    def accepting(self) -> bool:
        return self.end

    def key(self) -> Hashable:
        return self

    def bound(self) -> float:
        return 0.0

    def __str__(self) -> str:
        return self.name


@pytest.mark.parametrize(("ids", "end"), [((), False), ((), True), ((3,), False), ((3,), True)])
def test_a_dead_end_is_no_end(ids: tuple[int, ...], end: bool) -> None:
    point = Point(ids, end)
    assert nothing_follows(point) == (not ids and not end)
    assert is_over(point) == (not ids and end)


def test_a_dead_end_is_shown_in_one_line() -> None:
    assert "at a b nothing may follow" in dead_end(Point((), False, "a\nb"))
    long = dead_end(Point((), False, "a" * 999 + "z"))
    assert "\n" not in long and len(long) < 300 and "…" in long and "z nothing" in long
