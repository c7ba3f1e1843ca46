"""Constraints made of constraints: the words of their definition, biases that add up, and nothing found twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.engine.combine import And, Or, Seq, Weighted
from haina.engine.constraint import (
    All,
    Allowed,
    Constraint,
    Dense,
    Forced,
    Sparse,
    State,
    dead_end,
    ids_of,
    is_over,
    mask_of,
    nothing_follows,
)

V, BITS = 70, 96  # a mask of three words
IDS = (3, 31, 69)
Word = tuple[int, ...]
EVERY_WORD = [word for length in range(4) for word in product(IDS, repeat=length)]


@dataclass(frozen=True)
class Words:
    """A constraint whose states say what they are: the words that may still come; its own start, and a state."""

    words: frozenset[Word]
    form: str = "sparse"
    nats: float | None = None

    def start(self) -> State:
        return self

    def allowed(self) -> Allowed:
        ids = np.array(sorted({word[0] for word in self.words if word}), np.int32)
        if self.form == "forced" and len(self.words) == 1 and () not in self.words:
            return Forced(next(iter(self.words)))
        if self.form == "dense":
            return Dense(mask_of(ids, V), None if self.nats is None else np.full(BITS, self.nats, np.float32))
        return Sparse(ids, None if self.nats is None else np.full(len(ids), self.nats, np.float32))

    def step(self, token: int) -> State | None:
        rest = frozenset(word[1:] for word in self.words if word[:1] == (token,))
        return Words(rest, self.form, self.nats) if rest else None

    def accepting(self) -> bool:
        return () in self.words

    def key(self) -> Hashable:
        return self.words

    def bound(self) -> float:
        return 0.0 if self.words else -math.inf

    def __str__(self) -> str:
        return str(sorted(self.words))


WORDS = st.builds(
    Words,
    st.frozensets(st.sampled_from(EVERY_WORD), min_size=1, max_size=6),
    st.sampled_from(["sparse", "dense", "forced"]),
)


def accepts(constraint: Constraint, word: Word) -> bool:
    state: State | None = constraint.start()
    for id in word:
        state = None if state is None else state.step(id)
    return state is not None and state.accepting()


def offered(allowed: Allowed) -> set[int]:
    if isinstance(allowed, All):
        return set(range(V))
    ways = allowed.ways if isinstance(allowed, Forced) else allowed
    ids = ids_of(ways.mask) if isinstance(ways, Dense) else ways.ids
    assert sorted(set(ids.tolist())) == ids.tolist() and ids.dtype == np.int32
    return set(ids.tolist())


def bias_of(allowed: Allowed) -> dict[int, float]:
    assert isinstance(allowed, Sparse | Dense) and allowed.bias is not None
    assert allowed.bias.dtype == np.float32
    if isinstance(allowed, Sparse):
        return dict(zip(allowed.ids.tolist(), allowed.bias.tolist(), strict=True))
    assert len(allowed.bias) == BITS
    return {id: float(allowed.bias[id]) for id in ids_of(allowed.mask).tolist()}


def states(state: State, depth: int = 3) -> Iterator[State]:
    yield state
    for id in IDS if depth else ():
        if (after := state.step(id)) is not None:
            yield from states(after, depth - 1)


def check_states(constraint: Constraint) -> None:
    """What is offered is what `step` takes; what is forced can be walked and no end is skipped."""
    for state in states(constraint.start()):
        allowed = state.allowed()
        assert offered(allowed) == {id for id in range(V) if state.step(id) is not None}
        if isinstance(allowed, Forced):
            walked: State | None = state
            for id in allowed.ids:
                assert walked is not None and not walked.accepting()
                walked = walked.step(id)
            assert walked is not None


@settings(deadline=None)
@given(WORDS, WORDS)
def test_and_is_the_intersection(a: Words, b: Words) -> None:
    both = And((a, b))
    assert {word for word in EVERY_WORD if accepts(both, word)} == a.words & b.words
    check_states(both)


@settings(deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=3))
def test_or_is_the_union(parts: list[Words]) -> None:
    some = Or(tuple(parts))
    assert {word for word in EVERY_WORD if accepts(some, word)} == frozenset.union(*(p.words for p in parts))
    check_states(some)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_seq_is_the_concatenation(a: Words, b: Words) -> None:
    sequence = Seq(a, b)
    pairs = {x + y for x in a.words for y in b.words}
    assert {word for word in EVERY_WORD if accepts(sequence, word)} == pairs & set(EVERY_WORD)
    check_states(sequence)


def test_ways_that_meet_again_become_one() -> None:
    """Without that, a text of many parts would be followed in ever more ways."""
    once = Words(frozenset([(3,), (3, 3), (3, 3, 3)]))
    state: State = Seq(once, Seq(once, Seq(once, once))).start()
    keys = set()
    for _ in range(6):
        after = state.step(3)
        assert after is not None
        state = after
        keys.add(len(str(state).split(" or ")))
    assert max(keys) <= 12


@pytest.mark.parametrize("other", ["sparse", "dense"])
def test_a_short_list_stays_short_and_biases_add_up(other: str) -> None:
    few = Words(frozenset([(3,), (31,)]), "sparse", 1.5)
    met = And((Words(frozenset([(3,), (31,), (69,)]), other, 2.0), few)).start().allowed()
    assert isinstance(met, Sparse) and bias_of(met) == {3: 3.5, 31: 3.5}
    joined = Or((few, Words(frozenset([(31,), (69,)]), other, 2.0))).start().allowed()
    assert bias_of(joined) == {3: 1.5, 31: 2.0, 69: 2.0}  # the better way to say it counts


def test_a_wish_forbids_nothing_and_fades_when_broken() -> None:
    wish = Weighted(Words(frozenset([(3, 31)])), 2.0, V)
    state = wish.start()
    assert bias_of(state.allowed()) == {id: 2.0 * (id == 3) for id in range(V)}
    hard = Words(frozenset([(3, 31), (69, 31)]))
    assert bias_of(And((hard, wish)).start().allowed()) == {3: 2.0, 69: 0.0}
    kept, broken = state.step(3), state.step(5)
    assert kept is not None and bias_of(kept.allowed())[31] == 2.0 and kept.bound() == math.inf
    assert broken is not None and broken.allowed() == All() and broken.bound() == 0.0
    assert len({state.key(), kept.key(), broken.key()}) == 3


def test_one_that_is_forced_gives_way_when_the_other_cuts_otherwise() -> None:
    """a is "3 31" for sure, though 69 says the same characters; b lets only 69 pass."""

    class Certain(Words):
        def allowed(self) -> Allowed:
            return Forced((3, 31), Sparse(np.array([3, 69], np.int32)))

    a, b = Certain(frozenset([(3, 31), (69,)])), Words(frozenset([(69,)]))
    allowed = And((a, b)).start().allowed()
    assert isinstance(allowed, Forced) and allowed.ids == (69,)


def test_a_dead_end_is_seen_and_described() -> None:
    dead = And((Words(frozenset([(3,)])), Words(frozenset([(31,)]))))
    over, open_end = Words(frozenset([()])), Words(frozenset([(), (3,)]))
    assert nothing_follows(dead.start()) and not is_over(dead.start())
    assert is_over(over) and not nothing_follows(over)
    assert not is_over(open_end) and not nothing_follows(open_end)
    line = dead_end(dead.start())
    assert "[(3,)] and [(31,)]" in line and "\n" not in line
    assert len(dead_end(Words(frozenset(EVERY_WORD)))) < 300
    assert nothing_follows(Or(()).start()) and And((dead, Words(frozenset()))).start().bound() == -math.inf


# -- wishes -----------------------------------------------------------------------------------------------------------


def test_the_larger_wish_counts_and_one_outlives_the_other() -> None:
    """3 breaks the second wish; the first still holds, beside one that allows everything."""
    some = Or((Weighted(Words(frozenset([(3, 31)])), 2.0, V), Weighted(Words(frozenset([(69,)])), 5.0, V)))
    start = some.start()
    assert bias_of(start.allowed()) == {id: {3: 2.0, 69: 5.0}.get(id, 0.0) for id in range(V)}
    after = start.step(3)
    assert after is not None
    assert {id: nats for id, nats in bias_of(after.allowed()).items() if nats} == {31: 2.0}


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_a_wish_within_a_wish_adds_up(form: str) -> None:
    wish = Weighted(Words(frozenset([(3,), (31,)]), form, 1.5), -2.0, V)
    assert bias_of(wish.start().allowed()) == {id: -0.5 * (id in (3, 31)) for id in range(V)}
    twice = Weighted(Weighted(Words(frozenset([(3,)]), form), 1.0, V), 2.0, V)
    assert bias_of(twice.start().allowed()) == {id: 2.0 + (id == 3) for id in range(V)}


def test_a_bound_is_hopeful_of_every_part() -> None:
    plain, dead = Words(frozenset([(3,)])), Words(frozenset())
    wish = Weighted(plain, 5.0, V)
    assert Seq(plain, wish).start().bound() == And((plain, wish)).start().bound() == math.inf
    assert Seq(plain, dead).start().bound() == Seq(dead, wish).start().bound() == -math.inf
    assert Weighted(wish, -1.0, V).start().bound() == math.inf  # what it likes brings more than it costs
    assert Weighted(plain, -1.0, V).start().bound() == Weighted(dead, -1.0, V).start().bound() == 0.0


# -- what is kept -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked(Words):
    """Notes how often it is asked what it allows."""

    times: Counter[frozenset[Word]] = field(default_factory=Counter, compare=False)

    def allowed(self) -> Allowed:
        self.times[self.words] += 1
        return super().allowed()


def test_a_state_finds_once_what_it_allows() -> None:
    times: Counter[frozenset[Word]] = Counter()
    a, b = (Asked(frozenset(words), times=times) for words in ([(), (3,)], [(31, 31)]))
    for constraint in (And((a, b)), Or((a, b)), Seq(a, b), Weighted(a, 1.0, V)):
        times.clear()
        state = constraint.start()
        assert not is_over(state) and state.allowed() is state.allowed()
        nothing_follows(state)
        assert set(times.values()) == {1}
