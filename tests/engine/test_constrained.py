"""The engine under constraints: what is allowed, forced, sparse and dense; ends, dead ends and guesses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from haina.engine.combine import Weighted
from haina.engine.constraint import All, Allowed, Dense, Forced, Sparse, State, mask_of
from haina.engine.engine import Engine
from haina.engine.request import Request, Token
from haina.engine.sampling import Sampling

GREEDY = Sampling(temperature=0)
Make = Callable[..., Engine]
END = 39
How = Callable[[Sequence[int]], Allowed]


def sparse(ids: Sequence[int]) -> Allowed:
    return Sparse(np.array(sorted(ids), np.int32))


def dense(ids: Sequence[int]) -> Allowed:
    return Dense(mask_of(np.array(sorted(ids), np.int32), 40))


@dataclass(frozen=True)
class Places:
    """The i-th token is one of places[i]; the end may come after the last, or earlier where `short` says so."""

    places: tuple[tuple[int, ...], ...]
    how: How = sparse
    short: frozenset[int] = frozenset()
    at: int = 0

    def start(self) -> State:
        return self

    def allowed(self) -> Allowed:
        if self.at == len(self.places):
            return sparse(())
        place = self.places[self.at]
        return Forced(place) if len(place) == 1 else self.how(place)

    def step(self, token: int) -> State | None:
        return replace(self, at=self.at + 1) if token in self.places[self.at] else None

    def accepting(self) -> bool:
        return self.at == len(self.places) or self.at in self.short

    def key(self) -> int:
        return self.at

    def bound(self) -> float:
        return 0.0


def run(engine: Engine, constraint: Places, **more: object) -> list[Token]:
    more = {"sampling": GREEDY, "stop_ids": frozenset({END}), **more}
    request = Request((1, 2, 3), 20, constraint=constraint, **more)  # type: ignore[arg-type]
    tokens = list(engine.generate([request]))
    assert engine.pages.free == engine.pages.count and not engine.busy
    return tokens


@pytest.mark.parametrize("how", [sparse, dense])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_token_is_the_likeliest_or_drawn_among_those_allowed(
    remember: Make, how: How, seed: int | None
) -> None:
    engine = remember(pages=20)
    places = ((4, 5, 6), (7, 8), (9, 10, 11, 12), (1, 2))
    tokens = run(
        engine, Places(places, how), sampling=Sampling(temperature=float(seed is not None), seed=seed)
    )
    assert [token.finish for token in tokens] == [None, None, None, "stop"]
    text = [1, 2, 3]
    for token, place in zip(tokens, places, strict=True):
        logits = engine.runner.after(text)[list(place)].astype(float)  # type: ignore[attr-defined]
        nats = logits - np.log(np.exp(logits).sum())
        assert token.id in place
        assert token.logprob_nats == pytest.approx(nats[place.index(token.id)], abs=1e-4)
        assert seed is not None or token.logprob_nats == pytest.approx(nats.max(), abs=1e-4)
        text.append(token.id)


def test_what_is_certain_is_said_without_a_step_of_its_own(remember: Make) -> None:
    engine = remember(pages=20)
    places = ((4,), (5,), (6, 7), (8,), (9,), (10,))
    tokens = run(engine, Places(places))
    assert [token.id for token in tokens][:2] == [4, 5] and [token.id for token in tokens][3:] == [8, 9, 10]
    assert [token.logprob_nats for token in tokens if token.id not in (6, 7)] == [0.0] * 5
    assert engine.runner.steps == 1  # type: ignore[attr-defined]
    assert engine.runner.tokens == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", [sparse, dense])
def test_the_end_may_come_where_it_is_allowed_and_only_there(remember: Make, how: How) -> None:
    engine = remember(pages=20)
    places = ((4, 5), (6, 7), (8, 9), (10, 11))
    lengths = {
        len(run(engine, Places(places, how, frozenset({2})), sampling=Sampling(seed=seed)))
        for seed in range(30)
    }
    assert lengths == {3, 4}  # two and the end, or all four and no end


def test_an_unconstrained_stretch_ends_only_where_it_may(remember: Make) -> None:
    @dataclass(frozen=True)
    class Long(Places):
        def allowed(self) -> Allowed:
            return All() if self.at < 6 else sparse(())

        def step(self, token: int) -> State:
            return replace(self, at=self.at + 1)

        def accepting(self) -> bool:
            return self.at == 6

    engine = remember(pages=20)
    for seed in range(20):
        assert len(run(engine, Long(()), sampling=Sampling(seed=seed, temperature=3.0))) == 6


def test_a_bias_moves_the_choice(remember: Make) -> None:
    def biased(ids: Sequence[int]) -> Allowed:
        bias = np.zeros(len(ids), np.float32)
        bias[-1] = 100
        return Sparse(np.array(ids, np.int32), bias)

    def biased_dense(ids: Sequence[int]) -> Allowed:
        bias = np.zeros(40, np.float32)
        bias[ids[-1]] = 100
        return Dense(mask_of(np.array(ids, np.int32), 40), bias)

    for how in (biased, biased_dense):
        tokens = run(remember(pages=20), Places(((4, 5), (6, 7, 8)), how))
        assert [token.id for token in tokens] == [5, 8]


def test_a_wish_moves_the_choice_and_forbids_nothing(remember: Make) -> None:
    """The vocabulary is no multiple of 32, as a mask is."""
    engine, request = remember(pages=20), Request((1, 2, 3), 3, GREEDY)
    plain = [token.id for token in engine.generate([request])]
    wished = Weighted(Places(((7, 8), (9, 10), (11, 12))), 100.0, 40)
    first, second, third = (token.id for token in engine.generate([replace(request, constraint=wished)]))
    assert first in (7, 8) and second in (9, 10) and third in (11, 12)
    slight = Weighted(Places(((7, 8), (9, 10), (11, 12))), 1e-6, 40)
    assert [token.id for token in engine.generate([replace(request, constraint=slight)])] == plain


@pytest.mark.parametrize("how", [sparse, dense])
def test_a_dead_end_is_told(remember: Make, how: How) -> None:
    engine = remember(pages=20)
    with pytest.raises(ValueError, match="dead end"):
        run(engine, Places(((4, 5), (), (6, 7)), how))
    assert engine.pages.free == 20 and not engine.busy


def test_a_constraint_that_allows_nothing_is_refused_before_anything_runs(remember: Make) -> None:
    engine = remember(pages=20)
    with pytest.raises(ValueError, match="dead end"):
        engine.add(Request((1, 2), constraint=Places(((), (6, 7)))))
    assert not engine.busy and engine.counts.fed == 0


def test_a_forced_text_stops_at_the_limit(remember: Make) -> None:
    engine = remember(pages=20)
    request = Request((1, 2, 3), 2, GREEDY, constraint=Places(((4,), (5,), (6,), (7,))))
    tokens = list(engine.generate([request]))
    assert [(token.id, token.finish) for token in tokens] == [(4, None), (5, "length")]


def test_constrained_and_free_requests_share_a_batch(remember: Make) -> None:
    engine = remember(pages=60)
    free = Request((1, 2), 8, Sampling(seed=1))
    bound = Request((1, 2), 8, Sampling(seed=1), constraint=Places(((4, 5), (6,), (7, 8, 9)), sparse))
    masked = Request((1, 2), 8, Sampling(seed=1), constraint=Places(((4, 5), (6,), (7, 8, 9)), dense))
    alone = [[token.id for token in remember(pages=60).generate([one])] for one in (free, bound, masked)]
    tokens = list(engine.generate([free, bound, masked]))
    numbers = sorted({token.request for token in tokens})
    assert [[token.id for token in tokens if token.request == number] for number in numbers] == alone
    assert alone[1] == alone[2]
