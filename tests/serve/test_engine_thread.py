"""EngineThread: events reach whoever asked, whoever leaves frees the pages at once, and the end is told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import haina
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Embed, Event, Request, Score, Scores, Token, Vector
from haina.engine.sampling import Sampling
from haina.serve.engine_thread import EngineStopped, EngineThread, Progress

GREEDY = Sampling(temperature=0)
ENDLESS = Request((300, 301), 500, Sampling(seed=1), stop_loops=False)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint.open(Path(haina.__file__).with_name("weights"))


@pytest.fixture
def thread(checkpoint: Checkpoint) -> Iterator[EngineThread]:
    running = EngineThread(Engine.open(checkpoint, threads=1, cache_bytes=8 << 20))
    yield running
    running.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


async def tokens(thread: EngineThread, request: Request) -> list[int]:
    return [event.id async for event in thread.events(request) if isinstance(event, Token)]


def idle(thread: EngineThread, within_s: float = 10) -> bool:
    """Whether all pages are free, before long."""
    end = time.monotonic() + within_s
    while time.monotonic() < end and thread.engine.pages.free < thread.engine.pages.count:
        time.sleep(0.005)
    return thread.engine.pages.free == thread.engine.pages.count and not thread.engine.busy


def test_many_tasks_hear_what_each_would_hear_alone(thread: EngineThread, checkpoint: Checkpoint) -> None:
    requests = [Request(tuple(range(300, 310 + i)), 20 + i, Sampling(seed=i)) for i in range(20)]

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(tokens(thread, request) for request in requests))

    plain = Engine.open(checkpoint, threads=1)
    assert run(all_at_once()) == [[token.id for token in plain.generate([request])] for request in requests]
    assert idle(thread)


def test_a_step_wakes_a_loop_once(thread: EngineThread) -> None:
    async def count() -> tuple[int, int]:
        loop, woken = asyncio.get_running_loop(), 0
        wake = loop.call_soon_threadsafe

        def counted(*arguments: Any) -> Any:
            nonlocal woken
            woken += threading.current_thread().name == "haina-engine"
            return wake(*arguments)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        asked = [Request((300, 301), 40, Sampling(seed=seed), stop_loops=False) for seed in range(16)]
        heard = await asyncio.gather(*(tokens(thread, request) for request in asked))
        return woken, sum(map(len, heard))

    woken, heard = run(count())
    assert heard > 200 and woken < 80, (woken, heard)


def test_an_answer_nobody_needs_ends_alone(thread: EngineThread) -> None:
    async def listen(unneeded: set[int]) -> list[int]:
        heard, asked = [0, 0, 0], Request((300, 301), 100, Sampling(seed=1), n=3, stop_loops=False)
        async for event in thread.events(asked):
            if isinstance(event, Token):
                heard[event.choice] += 1
                if event.choice in unneeded and heard[event.choice] == 5:
                    thread.end_choice(event.request, event.choice)
        return heard

    plain, one, all = run(listen(set())), run(listen({1})), run(listen({0, 1, 2}))
    assert plain[1] > 50 > one[1] and (plain[0], plain[2]) == (one[0], one[2])
    assert max(all) < 50 and idle(thread)


def test_scores_and_vectors(thread: EngineThread) -> None:
    async def both() -> list[object]:
        scores = [event async for event in thread.events(Score((300, 301), ((302,), (303, 304))))]
        vectors = [event async for event in thread.events(Embed((300, 301)))]
        return [*scores, *vectors]

    kinds = [type(event) for event in run(both()) if not isinstance(event, Progress)]
    assert kinds == [Scores, Vector]


def test_a_long_prompt_reports_its_progress(thread: EngineThread) -> None:
    async def heard() -> list[object]:
        return [event async for event in thread.events(Request(tuple([300] * 480), 1, GREEDY))]

    *reading, last = run(heard())
    assert reading == [Progress(256, 480)] and isinstance(last, Token)


def test_whoever_leaves_frees_the_pages(thread: EngineThread) -> None:
    async def leave() -> int:
        count = 0
        stream = thread.events(ENDLESS)
        async for event in stream:
            count += isinstance(event, Token)
            if count == 3:
                break
        await stream.aclose()
        return count

    assert run(leave()) == 3 and idle(thread, within_s=2)


def test_a_cancelled_task_frees_the_pages(thread: EngineThread) -> None:
    async def cancel() -> None:
        tasks = [asyncio.create_task(tokens(thread, ENDLESS)) for _ in range(5)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(r, asyncio.CancelledError)
            for r in await asyncio.gather(*tasks, return_exceptions=True)
        )

    run(cancel())
    assert idle(thread, within_s=2)


def test_a_refusal_reaches_the_one_who_asked(thread: EngineThread) -> None:
    async def both() -> list[Any]:
        good = Request((300,), 5, GREEDY)
        return await asyncio.gather(tokens(thread, Request(())), tokens(thread, good), return_exceptions=True)

    refused, answered = run(both())
    assert isinstance(refused, ValueError) and "empty prompt" in str(refused) and answered


def test_a_loop_that_is_gone_troubles_nobody(thread: EngineThread) -> None:
    async def begin() -> None:
        stream = thread.events(ENDLESS)
        await anext(stream)
        thread.kept = stream  # type: ignore[attr-defined]  # or it would be closed

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    assert run(tokens(thread, Request((300,), 5, GREEDY))) and idle(thread, within_s=2)


def test_after_the_end_requests_are_told(checkpoint: Checkpoint) -> None:
    thread = EngineThread(Engine.open(checkpoint, threads=1))

    async def until_closed() -> None:
        stream = thread.events(ENDLESS)
        await anext(stream)
        threading.Thread(target=thread.close).start()
        async for _ in stream:
            pass

    for work in (until_closed(), tokens(thread, Request((300,), 5, GREEDY))):
        with pytest.raises(RuntimeError, match="stopped"):
            run(work)
    assert not thread.alive


class Broken:
    """An engine whose first step fails, once somebody lets it; from then on it cannot even be asked."""

    def __init__(self) -> None:
        self.busy, self.stepping, self.fail = False, threading.Event(), threading.Event()

    def add(self, asked: object) -> int:
        assert not self.fail.is_set(), "nobody asks it any more"
        self.busy = True
        return 1

    def cancel(self, *of: int) -> None:
        raise AssertionError("nobody asks it any more")

    def step(self) -> list[Event]:
        self.stepping.set()
        self.fail.wait(10)
        raise MemoryError("out of memory")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_that_dies_leaves_nobody_waiting() -> None:
    """Not who is inside, nor who comes or goes while it dies, nor who is the reason."""
    engine = Broken()
    thread = EngineThread(engine)  # type: ignore[arg-type]

    async def all() -> list[Any]:
        inside = asyncio.create_task(tokens(thread, ENDLESS))
        await asyncio.to_thread(engine.stepping.wait, 10)
        late = [asyncio.create_task(tokens(thread, ENDLESS)) for _ in range(2)]
        await asyncio.sleep(0)
        late.pop().cancel()
        await asyncio.sleep(0)
        engine.fail.set()
        return await asyncio.gather(inside, *late, return_exceptions=True)

    assert [type(end) for end in run(all())] == [EngineStopped, EngineStopped]
    thread.close()
    engine = Broken()
    engine.add = lambda asked: [][0]  # type: ignore[method-assign]
    thread = EngineThread(engine)  # type: ignore[arg-type]
    with pytest.raises(EngineStopped):
        run(tokens(thread, ENDLESS))
    thread.close()


def test_who_waits_hears_only_what_is_new(checkpoint: Checkpoint) -> None:
    thread = EngineThread(Engine.open(checkpoint, threads=1, cache_bytes=2 << 20))

    async def heard(seed: int) -> list[Progress]:
        asked = Request(tuple([300 + seed] * 400), 20, Sampling(seed=seed), stop_loops=False)
        return [event async for event in thread.events(asked) if isinstance(event, Progress)]

    async def all_heard() -> list[list[Progress]]:
        return await asyncio.gather(*(heard(seed) for seed in range(12)))

    for told in run(all_heard()):
        assert told and not any(one == following for one, following in pairwise(told))
    thread.close()
