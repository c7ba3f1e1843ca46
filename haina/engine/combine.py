"""Combinators: constraints made of constraints, over ids, whatever the parts are: rules, grammars, other combinators.

Each state keeps what it has once found to be allowed: the engine asks several times a token, and a state is a value.
Not known here: characters. Rules are better joined as rules (engine/rule.py), which see traps and share tokens.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from haina.engine.constraint import (
    All,
    Allowed,
    Constraint,
    Dense,
    Forced,
    Sparse,
    State,
    bits_of,
    dense,
    everything,
    join,
    meet,
    spread,
    total,
    ways_of,
)


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
        return self._allowed

    @cached_property
    def _allowed(self) -> Allowed:
        every = [state.allowed() for state in self.states]
        ways: All | Sparse | Dense = All()
        for allowed in every:
            ways = meet(ways, ways_of(allowed))
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
        return self._allowed

    @cached_property
    def _allowed(self) -> Allowed:
        ways: All | Sparse | Dense = Sparse(np.zeros(0, np.int32))
        for state in self.states:
            ways = join(ways, ways_of(state.allowed()))
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
        return _Seq(self.first.start(), self.second.start())


@dataclass(frozen=True)
class _Seq:
    state: State
    then: State

    def allowed(self) -> Allowed:
        return self._allowed

    @cached_property
    def _allowed(self) -> Allowed:
        if not self.state.accepting():
            return self.state.allowed()
        return join(ways_of(self.state.allowed()), ways_of(self.then.allowed()))

    def step(self, token: int) -> State | None:
        after = self.state.step(token)
        stays = None if after is None else _Seq(after, self.then)
        goes = self.then.step(token) if self.state.accepting() else None
        return _any([stays, goes])

    def accepting(self) -> bool:
        return self.state.accepting() and self.then.accepting()

    def key(self) -> Hashable:
        return ("seq", self.state.key(), self.then.key())

    def bound(self) -> float:
        return total([self.state.bound(), self.then.bound()])

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
        return self._allowed

    @cached_property
    def _allowed(self) -> Allowed:
        ways = All() if self.state is None else ways_of(self.state.allowed())
        if isinstance(ways, All):
            return ways
        liked = dense(ways, self.vocab_size)
        if liked.bias is None:
            bias = spread(liked.mask, self.nats, 0.0)
        else:
            bias = np.where(bits_of(liked.mask), self.nats + liked.bias, np.float32(0))
        return Dense(everything(self.vocab_size), bias)

    def step(self, token: int) -> State | None:
        after = None if self.state is None else self.state.step(token)
        return _Weighted(after, self.nats, self.vocab_size)

    def accepting(self) -> bool:
        return True

    def key(self) -> Hashable:
        return ("weighted", self.nats, None if self.state is None else self.state.key())

    def bound(self) -> float:
        if self.state is None:
            return 0.0
        return math.inf if self.nats > 0 else max(0.0, self.state.bound())

    def __str__(self) -> str:
        return "anything" if self.state is None else f"{self.nats:+g} nats for {self.state}"
