"""Scheduler: nobody waits longer than a chunk, who came first goes first, what was read is read once, and whatever
happens every answer is the one that its ids alone decide."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from haina.engine.engine import Engine
from haina.engine.pages import first_key
from haina.engine.request import Embed, Request, Score, Scores, Token, Vector
from haina.engine.sampling import Sampling, log_sum_exp

GREEDY = Sampling(temperature=0)
Make = Callable[..., Engine]


def expected(ids: Iterable[int], count: int, runner: Any) -> list[int]:
    """Greedy decoding without a cache."""
    text = list(ids)
    for _ in range(count):
        text.append(int(runner.after(text).argmax()))
    return text[len(text) - count :]


def drain(engine: Engine, *, steps: int = 10_000) -> dict[int, list[Token]]:
    said: dict[int, list[Token]] = {}
    while engine.busy and steps:
        steps -= 1
        for token in engine.step():
            assert isinstance(token, Token)
            said.setdefault(token.request, []).append(token)
    assert steps, "the engine does not come to an end"
    return said


def memory(engine: Engine) -> Any:
    return engine.runner


def asked(ids: Iterable[int], new: int = 4, **more: object) -> Request:
    return Request(tuple(ids), new, GREEDY, **more)  # type: ignore[arg-type]


def test_a_long_prompt_stalls_nobody(remember: Make) -> None:
    engine = remember(pages=60, context=200)
    engine.scheduler.chunk_tokens = 8
    talking = engine.add(asked([1, 2, 3], 30))
    engine.step()
    engine.add(asked(range(30), 1))
    engine.add(asked(range(5, 35), 1))
    for _ in range(9):
        before = memory(engine).tokens
        assert [token.request for token in engine.step()][:1] == [talking], "a step without its token"
        assert memory(engine).tokens - before <= 8 + 1


def test_a_short_prompt_is_not_behind_a_long_one(remember: Make) -> None:
    engine = remember(pages=200, context=500)
    engine.scheduler.chunk_tokens = 16
    long = engine.add(asked([i % 40 for i in range(400)], 1))
    short = engine.add(asked(range(20, 0, -1), 1))
    order = [token.request for _ in range(40) for token in engine.step()]
    assert order == [short, long]


def test_a_higher_priority_goes_first(remember: Make) -> None:
    engine = remember(pages=8)
    first, second = engine.add(asked([1, 2], 20)), engine.add(asked([3, 4], 20))
    urgent = engine.add(asked(range(20), 2, priority=1))
    said = [token.request for _ in range(100) for token in engine.step() if token.finish]
    assert said[0] == urgent and set(said) == {first, second, urgent}


def test_pages_are_given_up_by_who_came_last_and_no_answer_changes(remember: Make) -> None:
    engine = remember(pages=6)  # 24 tokens
    prompts = [[i, i + 1, i + 2] for i in range(5)]
    numbers = [engine.add(asked(ids, 18)) for ids in prompts]
    said = drain(engine)
    assert engine.counts.preempted > 0 and engine.pages.free == 6
    for number, ids in zip(numbers, prompts, strict=True):
        assert [token.id for token in said[number]] == expected(ids, 18, memory(engine))
    assert [said[number][-1].finish for number in numbers] == ["length"] * 5


def test_a_prefix_is_read_once(remember: Make) -> None:
    engine = remember(pages=40, context=100)
    system = list(range(24))
    drain_of(engine, asked([*system, 30], 2))
    fed = engine.counts.fed
    drain_of(engine, asked([*system, 31, 32], 2))
    assert engine.counts.fed - fed == 2 + 1 and engine.counts.shared == 24
    assert engine.counts.hit_rate == pytest.approx(24 / (24 + engine.counts.fed))


def test_a_prefix_is_read_once_by_those_who_come_together(remember: Make) -> None:
    engine = remember(pages=80, context=100)
    system = list(range(36))
    numbers = [engine.add(asked([*system, 36 + i], 3)) for i in range(4)]
    said = drain(engine)
    assert engine.counts.fed == 36 + 4 * 3 and engine.counts.shared == 3 * 36
    for i, number in enumerate(numbers):
        assert [token.id for token in said[number]] == expected([*system, 36 + i], 3, memory(engine))


def test_a_chat_costs_what_is_new(remember: Make) -> None:
    engine = remember(pages=200, context=700)
    text: list[int] = []
    costs = []
    for turn in range(20):
        text += [(7 * turn + i) % 40 for i in range(20)]
        before = engine.counts.fed
        text += [token.id for token in drain_of(engine, asked(text, 8))]
        costs.append(engine.counts.fed - before)
    assert max(costs) <= 20 + 8 + 4


def drain_of(engine: Engine, request: Request) -> list[Token]:
    number = engine.add(request)
    return drain(engine)[number]


def test_a_tenant_finds_only_its_own(remember: Make) -> None:
    engine = remember(pages=60, context=100)
    for tenant, fed in (("a", 33 + 1), ("b", 33 + 1), ("a", 1 + 1), ("", 33 + 1)):
        before = engine.counts.fed
        drain_of(engine, asked(range(33), 2, tenant=tenant))
        assert engine.counts.fed - before == fed, tenant
    assert len({first_key(tenant) for tenant in ("a", "b", "")}) == 3


def test_one_that_can_never_fit_is_refused_and_one_that_may_fit_waits(remember: Make) -> None:
    engine = remember(pages=5)
    with pytest.raises(ValueError, match="24 tokens of cache and there are 20"):
        engine.add(asked(range(10), 12))
    numbers = [engine.add(asked(range(16), 4)) for _ in range(2)]
    engine.step()
    assert len(engine.scheduler.running) == 1 and len(engine.scheduler.waiting) == 1
    assert set(drain(engine)) == set(numbers)


def test_n_answers_and_the_best_of_more(remember: Make) -> None:
    engine = remember(pages=60, context=60)
    sampled = Request(tuple(range(9)), 5, Sampling(seed=3), n=4)
    tokens = list(engine.generate([sampled]))
    answers = [tuple(token.id for token in tokens if token.choice == c) for c in range(4)]
    assert len(set(answers)) == 4 and all(len(answer) == 5 for answer in answers)
    again = list(engine.generate([Request(tuple(range(9)), 5, Sampling(seed=3))]))
    assert answers[0] == tuple(token.id for token in again)
    best = list(engine.generate([Request(tuple(range(9)), 5, Sampling(seed=3), n=2, best_of=4)]))
    nats = {c: sum(token.logprob_nats for token in tokens if token.choice == c) for c in range(4)}
    ranked = sorted(nats, key=lambda c: -nats[c])[:2]
    for c, first in enumerate(ranked):
        assert tuple(token.id for token in best if token.choice == c) == answers[first]


def test_scores_and_vectors_share_the_steps(remember: Make) -> None:
    engine = remember(pages=60, context=100)
    talking = engine.add(asked([1, 2, 3], 12))
    score = engine.add(Score(tuple(range(10)), ((1,), (2, 3, 4), (), tuple(range(20)))))
    embed = engine.add(Embed(tuple(range(9)), pooling="last"))
    found = [event for _ in range(40) for event in engine.step()]
    (scores,) = (event for event in found if isinstance(event, Scores))
    (vector,) = (event for event in found if isinstance(event, Vector))
    assert (scores.request, vector.request) == (score, embed)
    for answer, nats in zip(((1,), (2, 3, 4), (), tuple(range(20))), scores.nats, strict=True):
        assert nats == pytest.approx(nats_of(memory(engine), list(range(10)), answer), abs=1e-3)
    state = memory(engine).state(range(9))
    assert vector.vector_D == pytest.approx(state / np.linalg.norm(state))
    assert [e.id for e in found if isinstance(e, Token) and e.request == talking] == expected(
        [1, 2, 3], 12, memory(engine)
    )
    assert engine.pages.free == 60


def nats_of(runner: Any, text: list[int], answer: Iterable[int]) -> float:
    total = 0.0
    for id in answer:
        logits = runner.after(text)
        total += float(logits[id]) - log_sum_exp(logits)
        text = [*text, id]
    return total


def test_scores_survive_the_loss_of_their_pages(remember: Make) -> None:
    engine = remember(pages=12, context=40)
    answers = tuple(tuple((3 * i + k) % 40 for k in range(6)) for i in range(3))
    numbers = [engine.add(asked([i], 30, priority=1)) for i in range(2)]
    score = engine.add(Score(tuple(range(10)), answers))
    events = [event for _ in range(300) for event in engine.step()]
    (scores,) = (event for event in events if isinstance(event, Scores))
    assert scores.request == score
    for answer, nats in zip(answers, scores.nats, strict=True):
        assert nats == pytest.approx(nats_of(memory(engine), list(range(10)), answer), abs=1e-3)
    assert {event.request for event in events} == {score, *numbers} and engine.pages.free == 12


def test_a_verb_in_the_midst_of_steps_loses_nothing(remember: Make) -> None:
    engine = remember(pages=60)
    number = engine.add(asked([1, 2], 10))
    engine.step()
    engine.score([1, 2, 3], [[4, 5, 6]])
    tokens = [event for _ in range(20) for event in engine.step()]
    assert len(tokens) == 9 and {token.request for token in tokens} == {number}


class Traffic(RuleBasedStateMachine):
    """Requests come, steps are made, requests go: at any time the pages are accounted for, and answers are right."""

    PAGES = 14

    def __init__(self, remember: Make) -> None:
        super().__init__()
        self.engine = remember(self.PAGES)
        self.engine.scheduler.chunk_tokens = 10
        self.texts: dict[int, tuple[tuple[int, ...], int]] = {}
        self.said: dict[int, list[int]] = {}

    @rule(
        shared=st.integers(0, 20),
        own=st.lists(st.integers(0, 39), min_size=1, max_size=12),
        new=st.integers(1, 12),
        priority=st.integers(0, 1),
        tenant=st.sampled_from("ab"),
    )
    def add(self, shared: int, own: list[int], new: int, priority: int, tenant: str) -> None:
        ids = (*range(shared), *own)
        number = self.engine.add(asked(ids, new, priority=priority, tenant=tenant))
        self.texts[number], self.said[number] = (ids, min(new, 40 - len(ids))), []

    @rule(shared=st.integers(1, 12), answers=st.lists(st.lists(st.integers(0, 39), max_size=6), max_size=3))
    def score(self, shared: int, answers: list[list[int]]) -> None:
        self.engine.add(Score(tuple(range(shared)), tuple(map(tuple, answers))))

    @rule(count=st.integers(1, 8))
    def steps(self, count: int) -> None:
        for _ in range(count):
            for event in self.engine.step():
                if isinstance(event, Token):
                    self.hear(event)
                else:
                    assert not event.error

    def hear(self, token: Token) -> None:
        ids, new = self.texts[token.request]
        said = self.said[token.request]
        said.append(token.id)
        assert (token.finish == "length") == (len(said) == new)
        if token.finish:
            assert said == expected(ids, new, memory(self.engine))
            del self.texts[token.request], self.said[token.request]

    @precondition(lambda self: self.texts)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.texts)))
        self.engine.cancel(number)
        del self.texts[number], self.said[number]

    @invariant()
    def every_page_is_accounted_for(self) -> None:
        pages, readers = self.engine.pages, [0] * self.PAGES
        for job in self.engine.scheduler.running:
            for line in job.lines:
                for page in line.pages:
                    readers[page] += 1
        assert readers == pages.readers
        assert pages.free == readers.count(0)
        assert sorted([*pages._blank, *pages._idle]) == [p for p, n in enumerate(readers) if n == 0]
        assert not any(line.pages for job in self.engine.scheduler.waiting for line in job.lines)

    def teardown(self) -> None:
        for _ in range(5000):
            if self.engine.busy:
                self.steps(1)
        assert not self.texts and not self.engine.busy and self.engine.pages.free == self.PAGES


def test_traffic(remember: Make) -> None:
    """5,000 operations; a hundred thousand by `make torture`."""
    dose = 50 * int(os.environ.get("HAINA_TORTURE", 1))
    limits = settings(max_examples=dose, stateful_step_count=100, deadline=None)
    run_state_machine_as_test(lambda: Traffic(remember), settings=limits)  # type: ignore[no-untyped-call]
