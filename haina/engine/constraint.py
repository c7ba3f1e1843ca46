"""Constraint: what a request may say next, as the engine sees it: immutable states over token ids.

A state answers `allowed` with the smallest form that says it: All, Forced (so many tokens follow with certainty and
need no sampling), Sparse (few ids: only their rows of the head are computed) or Dense (a bit for each id, the
layout of llguidance and xgrammar). `step` gives another state and leaves this one as it was, so a draft, a beam or a
retry keeps a reference and nothing is ever rolled back. Permissions may carry a bias in nats; biases add up.

Not known here: characters (engine/rule.py), grammars (engine/grammar.py), logits, requests. The end of the text is no
id of a set: `accepting` says whether it may come, and the engine offers the request's stop ids then.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from haina.wording import say

SPARSE_SHARE = 20  # up to 1/20 of a vocabulary is Sparse: more rows of a packed head cost as much as all
LONGEST_SHOWN = 160  # characters of a state in an error


@dataclass(frozen=True)
class All:
    """Every id."""


@dataclass(frozen=True, eq=False)
class Sparse:
    """These ids alone: sorted int32 (n); `bias` float32 (n) in nats, or None."""

    ids: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Dense:
    """The ids whose bit is set: uint32 (ceil(V / 32)), id i is bit i % 32 of word i // 32; `bias` float32 (V)."""

    mask: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Forced:
    """These ids follow, one after the other; the text may end before none of them.

    Where the same characters could be cut into tokens otherwise, `others` has every id that may come first: for a
    constraint that is met with this one and refuses the first.
    """

    ids: tuple[int, ...]
    others: Sparse | Dense | None = None

    @property
    def ways(self) -> Sparse | Dense:
        """The ids one of which comes first."""
        return self.others or Sparse(np.array(self.ids[:1], np.int32))


Allowed = All | Forced | Sparse | Dense


class State(Protocol):
    """A point in a constraint: a small immutable value. Its str() is one line for people.

    `allowed` and `step` raise ValueError, one line, when a grammar gets out of hand; only that request ends.
    """

    def allowed(self) -> Allowed: ...  # without the end of the text
    def step(self, token: int, /) -> State | None: ...  # None: not allowed
    def accepting(self) -> bool: ...  # may the end come now?
    def key(self) -> Hashable: ...  # equal keys have equal futures
    def bound(self) -> float: ...  # optimistic nats still to come; -inf: a dead end


class Constraint(Protocol):
    """What holds for a whole answer; compiled once, shared by requests."""

    def start(self) -> State: ...


def nothing_follows(state: State) -> bool:
    """Whether a state is a dead end: no token may come, and the end may not either."""
    return not state.accepting() and _empty(state.allowed())


def is_over(state: State) -> bool:
    """Whether nothing but the end may come."""
    return state.accepting() and _empty(state.allowed())


def dead_end(state: State) -> str:
    """What to tell a person about a dead end: one line that shows the state."""
    shown = shorten(str(state))
    return say(
        f"the constraint has come to a dead end: at {shown} nothing may follow and the text may not end; loosen it",
        f"约束走入死路：在 {shown} 处，既没有可接的内容，也不允许结束；请放宽约束",
    )


def shorten(text: str) -> str:
    """One line of at most LONGEST_SHOWN characters: the beginning and the end."""
    line = " ".join(text.split())
    half = LONGEST_SHOWN // 2
    return line if len(line) <= LONGEST_SHOWN else f"{line[: half - 1]}…{line[-half:]}"


def total(bounds: Iterable[float]) -> float:
    """The sum, in which a dead end outweighs any hope."""
    every = list(bounds)
    return -math.inf if -math.inf in every else sum(every)


# -- sets of ids ------------------------------------------------------------------------------------------------


def mask_of(ids: np.ndarray, size: int) -> np.ndarray:
    """Sorted or unsorted ids below `size` → uint32 (ceil(size / 32))."""
    bits = np.zeros(-(-size // 32) * 32, np.bool_)
    bits[ids] = True
    return np.packbits(bits, bitorder="little").view(np.uint32)


def ids_of(mask: np.ndarray) -> np.ndarray:
    """uint32 words → the ids whose bit is set, sorted int32."""
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).astype(np.int32)


def smallest(ids: np.ndarray, size: int) -> Sparse | Dense:
    """Ids of a vocabulary of `size`, in the form that costs less."""
    few = len(ids) <= size // SPARSE_SHARE
    return Sparse(_shared(np.sort(ids).astype(np.int32))) if few else Dense(_shared(mask_of(ids, size)))


def _shared(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _empty(allowed: Allowed) -> bool:
    if isinstance(allowed, Dense):
        return not allowed.mask.any()
    return not isinstance(allowed, All) and len(allowed.ids) == 0


def _ways(allowed: Allowed) -> All | Sparse | Dense:
    return allowed.ways if isinstance(allowed, Forced) else allowed


def _sum(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return b if a is None else a if b is None else np.asarray(a + b, np.float32)


def _meet(a: All | Sparse | Dense, b: All | Sparse | Dense) -> All | Sparse | Dense:
    """What both allow; a short list is filtered as it is and never becomes a mask."""
    if isinstance(a, All) or isinstance(b, All):
        return b if isinstance(a, All) else a
    if isinstance(a, Sparse):
        return _filter(a, b)
    return _filter(b, a) if isinstance(b, Sparse) else Dense(a.mask & b.mask, _sum(a.bias, b.bias))


def _filter(few: Sparse, by: Sparse | Dense) -> Sparse:
    ids = few.ids
    if isinstance(by, Sparse):
        at = np.searchsorted(by.ids, ids)
        keep = np.append(by.ids, -1)[at] == ids
    else:
        at = ids
        keep = (by.mask[ids >> 5] >> (ids & 31).astype(np.uint32) & 1).astype(np.bool_)
    other = None if by.bias is None else by.bias[at[keep]]
    return Sparse(ids[keep], _sum(None if few.bias is None else few.bias[keep], other))


def _join(a: All | Sparse | Dense, b: All | Sparse | Dense) -> All | Sparse | Dense:
    """What one of them allows; where both do, the larger bias holds."""
    if isinstance(a, All) or isinstance(b, All):
        return All()
    if a.bias is not None or b.bias is not None:
        return _join_biased(_listed(a), _listed(b))
    if isinstance(a, Sparse) and isinstance(b, Sparse):
        return Sparse(np.union1d(a.ids, b.ids))
    few, many = (a, b) if isinstance(b, Dense) else (b, a)
    assert isinstance(many, Dense)
    return Dense(many.mask | (few.mask if isinstance(few, Dense) else mask_of(few.ids, 32 * len(many.mask))))


def _join_biased(a: Sparse, b: Sparse) -> Sparse:
    ids = np.union1d(a.ids, b.ids)
    bias = np.full(len(ids), -np.inf, np.float32)
    for part in (a, b):
        at = np.searchsorted(ids, part.ids)
        bias[at] = np.maximum(bias[at], 0.0 if part.bias is None else part.bias)
    return Sparse(ids, bias)


def _listed(allowed: Sparse | Dense) -> Sparse:
    if isinstance(allowed, Sparse):
        return allowed
    ids = ids_of(allowed.mask)
    return Sparse(ids, None if allowed.bias is None else allowed.bias[ids])


# -- combinators ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class And:
    """All of them at once; their biases add up. Two rules are better joined by `Both`, which sees joint dead ends."""

    parts: tuple[Constraint, ...]

    def start(self) -> State:
        return _And(tuple(part.start() for part in self.parts))


@dataclass(frozen=True)
class _And:
    states: tuple[State, ...]

    def allowed(self) -> Allowed:
        every = [state.allowed() for state in self.states]
        ways: All | Sparse | Dense = All()
        for allowed in every:
            ways = _meet(ways, _ways(allowed))
        agreed = self._agreed(next((allowed.ids for allowed in every if isinstance(allowed, Forced)), ()))
        if not agreed and isinstance(ways, Sparse) and len(ways.ids) == 1 and not self.accepting():
            agreed = (int(ways.ids[0]),) if ways.bias is None else ()
        return Forced(agreed, None if isinstance(ways, All) else ways) if agreed else ways

    def _agreed(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """As many of the ids as all of them accept."""
        state: State = self
        for count, id in enumerate(ids):
            after = state.step(id)
            if after is None:
                return ids[:count]
            state = after
        return ids

    def step(self, token: int) -> State | None:
        states: list[State] = []
        for state in self.states:
            if (after := state.step(token)) is None:
                return None
            states.append(after)
        return _And(tuple(states))

    def accepting(self) -> bool:
        return all(state.accepting() for state in self.states)

    def key(self) -> Hashable:
        return ("and", *(state.key() for state in self.states))

    def bound(self) -> float:
        return total(state.bound() for state in self.states)

    def __str__(self) -> str:
        return " and ".join(map(str, self.states))


@dataclass(frozen=True)
class Or:
    """Any of them; whichever still hold are followed side by side."""

    parts: tuple[Constraint, ...]

    def start(self) -> State:
        return _any(part.start() for part in self.parts) or _Or(())


@dataclass(frozen=True)
class _Or:
    states: tuple[State, ...]

    def allowed(self) -> Allowed:
        ways: All | Sparse | Dense = Sparse(np.zeros(0, np.int32))
        for state in self.states:
            ways = _join(ways, _ways(state.allowed()))
        return ways

    def step(self, token: int) -> State | None:
        return _any(state.step(token) for state in self.states)

    def accepting(self) -> bool:
        return any(state.accepting() for state in self.states)

    def key(self) -> Hashable:
        return ("or", frozenset(state.key() for state in self.states))

    def bound(self) -> float:
        return max((state.bound() for state in self.states), default=-math.inf)

    def __str__(self) -> str:
        return " or ".join(map(str, self.states)) or "nothing"


def _any(states: Iterable[State | None]) -> State | None:
    """Those that are left, flat, each future once; None when none is."""
    parts = (state.states if isinstance(state, _Or) else (state,) for state in states if state is not None)
    left = {state.key(): state for part in parts for state in part}
    return next(iter(left.values())) if len(left) == 1 else _Or(tuple(left.values())) if left else None


@dataclass(frozen=True)
class Seq:
    """One, then the other. They change at the edge of a token: rules that shall share one are joined by `Then`."""

    first: Constraint
    second: Constraint

    def start(self) -> State:
        return _Seq(self.first.start(), self.second)


@dataclass(frozen=True)
class _Seq:
    state: State
    second: Constraint

    def allowed(self) -> Allowed:
        if not self.state.accepting():
            return self.state.allowed()
        return _join(_ways(self.state.allowed()), _ways(self.second.start().allowed()))

    def step(self, token: int) -> State | None:
        after = self.state.step(token)
        stays = None if after is None else _Seq(after, self.second)
        goes = self.second.start().step(token) if self.state.accepting() else None
        return _any([stays, goes])

    def accepting(self) -> bool:
        return self.state.accepting() and self.second.start().accepting()

    def key(self) -> Hashable:
        return ("seq", self.state.key(), self.second)

    def bound(self) -> float:
        return self.state.bound()

    def __str__(self) -> str:
        return str(self.state)


@dataclass(frozen=True)
class Weighted:
    """A wish: everything is allowed, and what the constraint allows gains `nats`, until a token breaks it.

    `vocab_size` is the V of the model.
    """

    part: Constraint
    nats: float
    vocab_size: int

    def start(self) -> State:
        return _Weighted(self.part.start(), self.nats, self.vocab_size)


@dataclass(frozen=True)
class _Weighted:
    state: State | None
    nats: float
    vocab_size: int

    def allowed(self) -> Allowed:
        ways = All() if self.state is None else _ways(self.state.allowed())
        if isinstance(ways, All):
            return ways
        liked = _listed(ways)
        bias = np.zeros(self.vocab_size, np.float32)
        bias[liked.ids] = self.nats if liked.bias is None else self.nats + liked.bias
        return Dense(_everything(self.vocab_size), bias)

    def step(self, token: int) -> State | None:
        after = None if self.state is None else self.state.step(token)
        return _Weighted(after, self.nats, self.vocab_size)

    def accepting(self) -> bool:
        return True

    def key(self) -> Hashable:
        return ("weighted", self.nats, None if self.state is None else self.state.key())

    def bound(self) -> float:
        return math.inf if self.nats > 0 and self.state is not None else 0.0

    def __str__(self) -> str:
        return "anything" if self.state is None else f"{self.nats:+g} nats for {self.state}"


@lru_cache(maxsize=8)
def _everything(size: int) -> np.ndarray:
    return _shared(mask_of(np.arange(size), size))
