"""What goes wrong in one request is its own end: others go on, every page comes back, nothing wrong is shared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from haina.engine.constraint import All, Allowed, Forced, Sparse, State
from haina.engine.engine import Engine
from haina.engine.request import Beams, Embed, Request, Score, Token
from haina.engine.sampling import Sampling

GREEDY = Sampling(temperature=0)
Make = Callable[..., Engine]


@dataclass(frozen=True)
class Law:
    """What `say` allows at every place of a text of `length`."""

    say: Callable[[int], Allowed]
    length: int
    at: int = 0

    def start(self) -> State:
        return self

    def allowed(self) -> Allowed:
        return self.say(self.at) if self.at < self.length else few([])

    def step(self, token: int) -> State:
        return replace(self, at=self.at + 1)

    def accepting(self) -> bool:
        return self.at == self.length

    def key(self) -> int:
        return self.at

    def bound(self) -> float:
        return 0.0


def few(ids: Iterable[int]) -> Allowed:
    return Sparse(np.array(sorted(ids), np.int32))


def broken(at: int) -> Allowed:
    if at == 2:
        raise KeyError("a table has no such rhyme")
    return few([4, 5, 6])


def all_said(engine: Engine, numbers: list[int]) -> list[list[Token]]:
    tokens = [event for _ in range(200) for event in engine.step() if isinstance(event, Token)]
    assert not engine.busy and engine.pages.free == engine.pages.count
    return [[token for token in tokens if token.request == number] for number in numbers]


def with_companions(engine: Engine, bad: Request) -> list[Token]:
    """The tokens of a request that goes wrong in the midst of two that must not notice."""
    good = [Request((1, 2, 3), 12, GREEDY), Request((4, 5), 12, Sampling(seed=1))]
    alone = [[token.id for token in engine.generate([one])] for one in good]
    first = engine.add(good[0])
    number = engine.add(bad)
    said = all_said(engine, [first, number, engine.add(good[1])])
    assert [[token.id for token in tokens] for tokens in (said[0], said[2])] == alone
    return said[1]


def test_a_rule_that_raises(remember: Make) -> None:
    said = with_companions(remember(pages=40), Request((7, 8), 9, GREEDY, constraint=Law(broken, 6)))
    assert [token.finish for token in said] == [None, None, "error"] and "rhyme" in said[-1].error


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error")])
@pytest.mark.parametrize("what", ["answer", "beams"])
def test_a_head_that_raises(remember: Make, error: Exception, what: str) -> None:
    engine = remember(pages=60)

    def head(hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        raise error

    engine.runner.head = head  # type: ignore[method-assign]
    law = Law(lambda at: few([4, 5, 6]), 4)
    bad = Request((7, 8), 9, Sampling(), constraint=law, beams=Beams(3) if what == "beams" else None)
    (told,) = with_companions(engine, bad)
    assert told.finish == "error" and ("memory" in told.error or "CUDA error" in told.error)


@pytest.mark.parametrize("what", [Score(tuple(range(10)), ((1, 2, 3), (4, 5, 6))), None])
def test_a_copy_that_raises_costs_time_only(remember: Make, what: Score | None) -> None:
    beams = Request(tuple(range(10)), 5, Sampling(), n=3, beams=Beams(4))
    expected = events(remember(pages=60), what or beams)
    engine = remember(pages=60)

    def copy(sources: Any, targets: Any) -> None:
        raise MemoryError

    engine.runner.copy = copy  # type: ignore[method-assign]
    assert events(engine, what or beams) == expected
    assert engine.pages.free == 60


def events(engine: Engine, asked: Score | Request) -> list[object]:
    number = engine.add(asked)
    assert number >= 0
    return [event for _ in range(60) for event in engine.step()]


def test_ctrl_c_ends_one_request_and_keeps_the_engine(remember: Make) -> None:
    engine = remember(pages=40)
    expected = [token.id for token in engine.generate([Request((1, 2, 3), 12, GREEDY)])]
    head, calls = engine.runner.head, 0

    def interrupted(hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return head(hidden_MD, ids)

    engine.runner.head = interrupted  # type: ignore[method-assign]
    good = engine.add(Request((1, 2, 3), 12, GREEDY))
    engine.add(Request((7, 8), 9, GREEDY, constraint=Law(lambda at: few([4, 5]), 5)))
    heard: list[Token] = []
    with pytest.raises(KeyboardInterrupt):
        while True:
            heard += [event for event in engine.step() if isinstance(event, Token)]
    while engine.busy:
        heard += [event for event in engine.step() if isinstance(event, Token)]
    assert [token.id for token in heard if token.request == good] == expected
    assert engine.pages.free == 40


def test_pages_of_a_job_that_failed_are_found_by_nobody(remember: Make) -> None:
    engine = remember(pages=40)
    request = Request(tuple(range(17)), 3, GREEDY, constraint=Law(broken, 6))
    with pytest.raises(ValueError, match="rhyme"):
        list(engine.generate([request]))
    list(engine.generate([replace(request, constraint=None)]))
    assert engine.counts.shared == 0


@pytest.mark.parametrize("ids", [(8,), (8, 9)])
def test_an_id_that_ends_texts_is_never_part_of_one(remember: Make, ids: tuple[int, ...]) -> None:
    """Where the text may not end it is not offered; where nothing else is, that is told."""
    engine = remember(pages=40)
    for seed in range(10):
        law = Law(lambda at: few([4, *ids]), 3)
        request = Request((1, 2), 9, Sampling(seed=seed), stop_ids=frozenset(ids), constraint=law)
        assert [token.id for token in engine.generate([request])] == [4, 4, 4]
    for nothing in (lambda at: few(ids), lambda at: Forced(ids)):
        with pytest.raises(ValueError, match="dead end"):
            engine.add(Request((1, 2), 9, stop_ids=frozenset(ids), constraint=Law(nothing, 3)))
    with pytest.raises(ValueError, match="no token may be chosen"):
        banned = Law(lambda at: Forced((8, 5)), 3)
        list(engine.generate([Request((1, 2), 9, banned_ids=frozenset({8}), constraint=banned)]))


def test_when_all_that_is_allowed_is_banned_the_state_is_shown(remember: Make) -> None:
    engine = remember(pages=40)
    law = Law(lambda at: few([4, 5]), 3)
    with pytest.raises(ValueError, match=r"no token may be chosen.*Law"):
        list(engine.generate([Request((1, 2), 9, GREEDY, banned_ids=frozenset({4, 5}), constraint=law)]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_and_vectors_are_numbers(remember: Make, bad: float) -> None:
    engine = remember(pages=40)
    engine.runner.logits = lambda state: np.full(40, bad, np.float32)  # type: ignore[attr-defined]
    for answer in ([1], [1, 2]):
        with pytest.raises(ValueError, match="not a number"):
            engine.score([1, 2, 3], [answer])
    engine.runner.state = lambda ids: np.full(8, bad, np.float32)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="not a number"):
        engine.embed([[1, 2, 3]])
    assert engine.pages.free == 40


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (Request((1,), math.nan), "max_new_tokens = nan"),  # type: ignore[arg-type]
        (Request((1,), 2.5), "max_new_tokens = 2.5"),  # type: ignore[arg-type]
        (Request((1,), True), "max_new_tokens = True"),
        (Request((1,), priority=math.nan), "priority = nan"),  # type: ignore[arg-type]
        (Request((1.5,)), "token id 1.5"),  # type: ignore[arg-type]
        (Request((1,), n=0), "n = 0: use a whole number from 1 to 64"),
        (Request((1,), n=65), "n = 65"),
        (Request((1,), n=3, best_of=2), "best_of = 2"),
        (Request((1,), n=3, beams=Beams(2)), "beams = 2"),
        (Request((1,), best_of=2, beams=Beams(2)), "best_of does not go with beams"),
        (
            Request((1,), sampling=Sampling(temperature=0.5), beams=Beams(2)),
            "leave out the sampling settings",
        ),
        (Request((1,), sampling=Sampling(logit_bias=((99, 1.0),))), "token id 99"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(remember: Make, request_: Request, named: str) -> None:
    engine = remember(pages=40)
    with pytest.raises(ValueError, match=named):
        engine.add(request_)
    assert not engine.busy


def test_many_biases_are_no_long_text(remember: Make) -> None:
    biases = tuple((id, 1.0) for id in range(40)) * 2
    assert list(remember(pages=20).generate([Request((1,), 2, Sampling(seed=1, logit_bias=biases[:40]))]))


def test_a_step_has_no_more_lines_than_were_promised(remember: Make) -> None:
    engine = remember(pages=4000, context=40)
    widest = 0
    step = engine.runner.step

    def counted(fed: Any) -> Any:
        nonlocal widest
        widest = max(widest, len(fed.row_start_B1) - 1)
        return step(fed)

    engine.runner.step = counted  # type: ignore[method-assign]
    for i in range(6):
        engine.add(Request((i, 2), 4, Sampling(), beams=Beams(40)))
        engine.add(Score((i, 3), tuple((j, j) for j in range(30))))
        engine.add(Embed((i, 4)))
    while engine.busy:
        engine.step()
    assert 40 <= widest <= 64


def test_an_unconstrained_stretch_does_not_end_where_it_may_not(remember: Make) -> None:
    law = Law(lambda at: All(), 5)
    request = Request((1, 2), 9, Sampling(seed=1), stop_ids=frozenset(range(20)), constraint=law)
    said = [token.id for token in remember(pages=40).generate([request])]
    assert len(said) == 5 and min(said) >= 20


def test_a_higher_priority_takes_the_pages_of_a_lower_one(remember: Make) -> None:
    engine = remember(pages=10)
    low = [engine.add(Request((i, 2), 18, GREEDY)) for i in range(2)]
    engine.step()
    high = engine.add(Request(tuple(range(30)), 2, GREEDY, priority=1))
    order = [event.request for _ in range(100) for event in engine.step() if isinstance(event, Token)]
    assert order.index(high) <= 2 and engine.counts.preempted > 0
    assert set(order) == {*low, high} and engine.pages.free == 10
