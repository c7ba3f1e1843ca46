"""Engine: one checkpoint serving many requests at once. Ids in, ids out: generate, score, embed.

A request becomes a Job (generation.py, beams.py, scoring.py); the scheduler says which lines the next step feeds, the
runner multiplies, and the jobs take what they asked for. The engine is synchronous and belongs to one thread. It does
not know text, templates, HTTP or policy: stop strings live in text/stream.py, stopping is `cancel`.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from haina.checkpoint.adapter import Adapter
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.admission import MOST_LINES, check, check_adapter, check_room
from haina.engine.beams import BeamSearch
from haina.engine.devices import open_runner
from haina.engine.generation import Best, Generation
from haina.engine.line import Job
from haina.engine.memory import Bits, cache_token_bytes
from haina.engine.pages import Pages
from haina.engine.request import Asked, Embed, Event, Request, Score, Scores, Token, Vector
from haina.engine.runner import Device, Runner, Step
from haina.engine.sampler import Sampler
from haina.engine.scheduler import Counts, Scheduler, Turn, chunk_tokens
from haina.engine.scoring import Embedding, Scoring
from haina.engine.speculate import Drafters
from haina.model.config import ModelConfig
from haina.native.binding import CacheDtype
from haina.wording import say

Ids = Sequence[int]
LOGITS_TOKENS = 64  # of texts to be scored, whose logits are held at once: 32 MB with a vocabulary of 125,696
DEFAULT_CACHE_BYTES = 256 << 20


@dataclass
class _Served:
    """A request in flight: where its events go, its unfinished jobs, and what holds their tokens back."""

    mail: deque[Event]
    jobs: list[Job]
    best: Best | None


class Engine:
    """A runner, its pages and the requests in flight."""

    def __init__(self, config: ModelConfig, runner: Runner, *, drafters: Drafters | None = None):
        """`drafters` makes the guesses of speculative decoding; None: none are made."""
        self.config, self.runner, self.drafters = config, runner, drafters
        self.chunk_tokens = chunk_tokens(config)
        self.pages = Pages(runner.pages, runner.page_tokens)
        self.scheduler = Scheduler(
            self.pages,
            lambda sources, targets: self.runner.copy(sources, targets),
            chunk_tokens=self.chunk_tokens,
            logits_tokens=LOGITS_TOKENS,
            most_lines=MOST_LINES,
        )
        self.adapters: dict[str, int] = {}  # by name, as the runner numbers them
        self._served: dict[int, _Served] = {}
        self._unread: deque[Event] = deque()  # what `step` will return
        self._numbers = itertools.count()

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        *,
        device: Device | Literal["auto"] = "cpu",
        bits: Bits = 16,
        cache_bytes: int | None = None,
        cache_dtype: CacheDtype = "F16",
        threads: int | None = None,
        drafters: Drafters | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Engine:
        """Load the weights; `progress` hears how many tensors are there, and of how many.

        The cache takes `cache_bytes`; without it, one full context or DEFAULT_CACHE_BYTES, whichever is more.
        ValueError as `open_runner`.
        """
        config = checkpoint.config
        per_token = cache_token_bytes(config, cache_dtype)
        most = max(config.max_position_embeddings, DEFAULT_CACHE_BYTES // per_token)
        runner = open_runner(
            checkpoint,
            device=device,
            bits=bits,
            cache_tokens=cache_bytes // per_token if cache_bytes else most,
            cache_dtype=cache_dtype,
            threads=threads,
            progress=progress,
        )
        return cls(config, runner, drafters=drafters)

    @property
    def counts(self) -> Counts:
        return self.scheduler.counts

    @property
    def busy(self) -> bool:
        """Whether a request is in flight or an answer waits to be fetched by `step`."""
        return bool(self._served or self._unread)

    def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Requests may name it from now on; the network's own weights are not copied.

        ValueError: the name is taken, or the adapter is not for this network.
        """
        if not name or name in self.adapters:
            raise ValueError(
                say(
                    f"adapter {name!r}: the name is taken; use another",
                    f"适配器 {name!r}：名称已被占用；请换一个",
                )
            )
        self.runner.add_adapter(adapter.changes(self.config))
        self.adapters[name] = len(self.adapters)

    # -- requests ---------------------------------------------------------------------------------------------

    def add(self, asked: Asked) -> int:
        """Queue a request; returns its number. ValueError when it can never be served, with the figures."""
        return self._add(asked, self._unread)

    def _add(self, asked: Asked, mail: deque[Event]) -> int:
        check(asked, self.config)
        check_adapter(asked.adapter, self.adapters)
        number = next(self._numbers)
        jobs = self._made(asked, number)
        check_room(max(job.most_pages(self.pages.page_tokens) for job in jobs), self.pages)
        best_of = asked.best_of if isinstance(asked, Request) else None
        best = Best(asked.n, best_of) if isinstance(asked, Request) and best_of else None
        self._served[number] = _Served(mail, list(jobs), best)
        for job in jobs:
            self.scheduler.add(job)
            if job.done:  # all that it says is certain
                self._hear(job, job.take(job.lines[0], np.zeros((0, 0), np.float32)))
        return number

    def _made(self, asked: Asked, number: int) -> Sequence[Job]:
        order = (-asked.priority, number)
        if isinstance(asked, Embed):
            return [Embedding(number, order, asked)]
        if isinstance(asked, Score):
            return [Scoring(number, order, asked, self.scheduler)]
        limit = min(len(asked.ids) + asked.max_new_tokens, self.config.max_position_embeddings)
        if asked.beams:
            return [self._beam_search(asked, number, order, limit)]
        return [self._generation(asked, number, order, limit, c) for c in range(asked.best_of or asked.n)]

    def _beam_search(self, asked: Request, number: int, order: tuple[int, int], limit: int) -> BeamSearch:
        return BeamSearch(
            number,
            order,
            asked,
            stop_ids=self._known(asked.stop_ids),
            banned=self._known(asked.banned_ids),
            vocab_size=self.config.vocab_size,
            limit=limit,
            head=self._head,
            branches=self.scheduler,
        )

    def _generation(
        self, asked: Request, number: int, order: tuple[int, int], limit: int, choice: int
    ) -> Generation:
        sampling = asked.sampling
        if choice and sampling.seed is not None:
            (seed,) = np.random.SeedSequence([sampling.seed, choice]).generate_state(1, np.uint64)
            sampling = replace(sampling, seed=int(seed))
        return Generation(
            number,
            choice,
            order,
            asked,
            sampler=Sampler(sampling, np.array(asked.ids), self._known(asked.banned_ids)),
            stop_ids=self._known(asked.stop_ids),
            limit=limit,
            head=self._head,
            drafter=self.drafters.drafter(asked) if self.drafters else None,
        )

    def _known(self, ids: frozenset[int]) -> np.ndarray:
        """Those of the vocabulary, in their order."""
        return np.array(sorted(i for i in ids if 0 <= i < self.config.vocab_size), np.int32)

    def _head(self, hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return self.runner.head(hidden_MD, ids)

    def cancel(self, number: int, choice: int | None = None) -> None:
        """End a request, or one of its answers, whatever its state; its pages are free before the next step."""
        if served := self._served.get(number):
            for job in list(served.jobs):
                if choice is None or (isinstance(job, Generation) and job.choice == choice):
                    self.scheduler.remove(job)
                    served.jobs.remove(job)
            if not served.jobs:
                del self._served[number]

    def serves(self, number: int) -> bool:
        """Whether a request is in flight."""
        return number in self._served

    def prefilled(self, number: int) -> tuple[int, int]:
        """How many of a request's prompt tokens have been read, and how many there are."""
        if number not in self._served:
            return 0, 0
        job = self._served[number].jobs[0]
        return min(job.lines[0].fed, job.prompt_tokens), job.prompt_tokens

    # -- steps ------------------------------------------------------------------------------------------------

    def step(self) -> list[Event]:
        """One batch through the network; what it gave to requests that came by `add`."""
        self._step()
        events = list(self._unread)
        self._unread.clear()
        return events

    def _step(self) -> None:
        """Feed one batch. When the runner fails, every line is fed alone, and who fails again ends."""
        began = time.perf_counter()
        for job in list(self.scheduler.running):
            self._guarded(job, job.prepare)
        turns = self.scheduler.plan()
        assert turns or not self.scheduler.running, "there is work, but nothing to feed"
        if not turns:
            return
        try:
            rows = self._fed(turns)
        except Exception:  # whatever a device may raise
            for turn in turns:
                self._guarded(turn.job, partial(self._alone, turn))
            return
        if self.drafters and self.drafters.watching:
            continued = all(turn.count == 1 + turn.line.drafts for turn in turns)
            seconds = time.perf_counter() - began if continued else None
            self.drafters.timed(len(turns), sum(turn.count for turn in turns), seconds)
        for turn, found in zip(turns, rows, strict=True):
            self._guarded(turn.job, partial(self._take, turn, found))

    def _guarded(self, job: Job, act: Callable[[], object]) -> None:
        """Act for a job, unless it is done. Whatever goes wrong is its own end: of a device, a rule, a grammar."""
        if job.done:
            return
        try:
            act()
        except BaseException as error:
            self._hear(job, job.failed(_reason(error)), broken=True)
            if not isinstance(error, Exception):  # Ctrl-C
                raise

    def _alone(self, turn: Turn) -> None:
        (rows,) = self._fed([turn])
        self._take(turn, rows)

    def _fed(self, turns: list[Turn]) -> list[np.ndarray]:
        """What each turn wanted, of the ids it fed. The runner is called once; nothing else changes."""
        out = self.runner.step(_batch(turns, self.adapters))
        found, at = [], {True: 0, False: 0}
        for turn in turns:
            rows = out.hidden_MD if turn.line.hidden else out.logits_MV
            start = at[turn.line.hidden]
            at[turn.line.hidden] += turn.wanted
            found.append(rows[start : start + turn.wanted])
        return found

    def _take(self, turn: Turn, rows: np.ndarray) -> None:
        """The job takes its rows."""
        line = turn.line
        sure, drafts = line.sure, line.drafts
        line.fed += turn.count
        self.counts.fed += turn.count
        events = turn.job.take(line, rows)
        if self.drafters and drafts:
            self.drafters.judged(line.fed - sure)
            self.counts.drafted += drafts
            self.counts.accepted += line.fed - sure
        self._hear(turn.job, events)

    def _hear(self, job: Job, events: Iterable[Event], *, broken: bool = False) -> None:
        """What a job says goes to whoever asked; a job that is done goes."""
        served = self._served[job.number]
        for event in events:
            served.mail.extend(served.best.take(event) if served.best else [event])
        if job.done:
            self.scheduler.remove(job, broken=broken)
            served.jobs.remove(job)
            if not served.jobs:
                del self._served[job.number]

    # -- the three verbs --------------------------------------------------------------------------------------

    def generate(
        self, requests: Iterable[Request], *, on_prefill: Callable[[int, int], None] | None = None
    ) -> Generator[Token, None, None]:
        """Serve requests until all have ended; tokens come as they are made, `on_prefill(done, all)` before them.

        Several may run at once: each step serves all of them. ValueError when a request is refused, or fails.
        """
        for event in self._events(requests, on_prefill):
            assert isinstance(event, Token)
            if event.finish == "error":
                raise ValueError(event.error)
            yield event

    def score(self, prompt: Ids, answers: Sequence[Ids]) -> list[float]:
        """Nats of each answer after the prompt: the sum of its tokens' log-probabilities. The prompt runs once.

        ValueError when something is refused, or fails.
        """
        (scores,) = self._events([Score(tuple(prompt), tuple(map(tuple, answers)))])
        assert isinstance(scores, Scores)
        if scores.error:
            raise ValueError(scores.error)
        return list(scores.nats)

    def embed(self, rows: Sequence[Ids]) -> np.ndarray:
        """(B, D) float32: the mean of each row's hidden states after the last norm, scaled to length 1.

        ValueError when something is refused, or fails.
        """
        vectors: dict[int, np.ndarray] = {}
        for event in self._events(Embed(tuple(ids)) for ids in rows):
            assert isinstance(event, Vector)
            if event.error:
                raise ValueError(event.error)
            vectors[event.request] = event.vector_D
        found = [vectors[number] for number in sorted(vectors)]
        return np.stack(found) if found else np.zeros((0, self.config.hidden_size), np.float32)

    def _events(
        self, asked: Iterable[Asked], on_prefill: Callable[[int, int], None] | None = None
    ) -> Iterator[Event]:
        """The events of these requests, in a mailbox of their own; whoever stops listening cancels them."""
        mail: deque[Event] = deque()
        numbers: list[int] = []
        try:
            for one in asked:
                numbers.append(self._add(one, mail))
            while unfinished := [number for number in numbers if number in self._served]:
                done, total = self.prefilled(unfinished[0])
                if on_prefill and done < total:
                    on_prefill(done, total)
                self._step()
                while mail:
                    yield mail.popleft()
            yield from mail
        finally:
            for number in numbers:
                self.cancel(number)


def _reason(error: BaseException) -> str:
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, MemoryError):
        return say(
            "not enough memory for this request; shorten it, or close other programs",
            "内存不足，无法处理该请求；请缩短，或关闭其他程序",
        )
    return say(f"the request failed: {error!r}", f"该请求失败：{error!r}")


def _batch(turns: list[Turn], adapters: Mapping[str, int]) -> Step:
    """The arrays of a Step."""
    ids: list[int] = []
    at: list[int] = []
    rows, pages, page_starts = [0], [], [0]
    want: dict[bool, list[int]] = {True: [], False: []}
    for turn in turns:
        line, end = turn.line, turn.line.fed + turn.count
        ids += line.ids[line.fed : end]
        at += range(line.fed, end)
        rows.append(len(ids))
        pages += line.pages
        page_starts.append(len(pages))
        want[line.hidden] += range(len(ids) - turn.wanted, len(ids))
    arrays = (ids, at, rows, pages, page_starts, want[False], want[True])
    step = Step(*(np.array(values, np.int32) for values in arrays))
    if not any(turn.line.adapter for turn in turns):
        return step
    used = [adapters.get(turn.line.adapter, -1) for turn in turns]
    return replace(step, adapter_B=np.array(used, np.int32))
