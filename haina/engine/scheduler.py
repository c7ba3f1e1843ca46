"""Scheduler: which lines the next step feeds, how many tokens of each, and who gets the pages.

A step feeds every line that is being continued its last token, and prompts together one chunk, so nobody waits longer
than a chunk. Who came first (among equal priorities) is admitted first and keeps its pages; when none are free,
whoever came last gives up its own and reads its text again later, which changes no bit of its answer. Of several
lines with one beginning one reads it, the others find its pages. It does not know what jobs ask, nor the network.
Sources: Orca (OSDI 2022), iteration-level scheduling; Sarathi-Serve (arXiv:2403.02310), chunked prefill;
vLLM v1/core/sched/scheduler.py, preemption by recomputation.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from haina.engine.line import Job, Line
from haina.engine.pages import Pages
from haina.model.config import ModelConfig

Copy = Callable[[Sequence[int], Sequence[int]], None]  # the contents of pages into others
# Of prompts, in one step: others, progress and Ctrl-C wait no longer than this. A larger model gets fewer tokens, but
# not fewer than its products need to be fast (docs/benchmarks.md, "matrix products alone"): 98 with a 13B.
CHUNK_TOKENS = 256
CHUNK_MULTIPLY_ADDS = 13 * 10**11


def chunk_tokens(config: ModelConfig) -> int:
    """Tokens of prompts fed in one step: fewer, the larger the model. A weight is one multiply-add a token."""
    return max(16, min(CHUNK_TOKENS, CHUNK_MULTIPLY_ADDS // config.parameters))


@dataclass(frozen=True)
class Turn:
    """`line` of `job` is fed its next `count` ids; of the last `wanted` of them something is wanted."""

    job: Job
    line: Line
    count: int

    @property
    def wanted(self) -> int:
        return max(0, min(self.count, self.line.fed + self.count - self.line.wanted))


@dataclass
class Counts:
    """What has happened since the engine was made, in tokens; and how often a job gave up its pages."""

    fed: int = 0
    shared: int = 0  # not fed, because their pages were found
    drafted: int = 0
    accepted: int = 0
    preempted: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of the tokens that did not have to be read."""
        return self.shared / max(1, self.shared + self.fed)


class Scheduler:
    """Jobs that wait and jobs that run, in the order in which they are served."""

    def __init__(self, pages: Pages, copy: Copy, *, chunk_tokens: int, logits_tokens: int, most_lines: int):
        """A step feeds prompts `chunk_tokens`, with logits of `logits_tokens` of them; at most so many lines."""
        self.pages, self.copy, self.counts = pages, copy, Counts()
        self.chunk_tokens, self.logits_tokens, self.most_lines = chunk_tokens, logits_tokens, most_lines
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self._step = 0

    def add(self, job: Job) -> None:
        bisect.insort(self.waiting, job, key=_order)

    def remove(self, job: Job, *, broken: bool = False) -> None:
        """Its pages are free before the next step. Nobody finds those of a broken job that it read alone."""
        queue = self.running if job in self.running else self.waiting
        at = bisect.bisect_left(queue, job.order, key=_order)
        del queue[queue.index(job, at)]
        for line in job.lines:
            for page in line.pages if broken else ():
                if self.pages.readers[page] == 1:
                    self.pages.unname(page)
            self.release(line, broken=broken)

    def fork(self, line: Line) -> Line:
        """The full pages are shared, the last one is copied; what finds no page is read again."""
        line.name_pages(self.pages)
        full, rest = divmod(min(line.fed, line.sure), self.pages.page_tokens)
        pages = line.pages[:full]
        for page in pages:
            self.pages.share(page)
        fed = full * self.pages.page_tokens
        if rest and (own := self.pages.take(1)):
            try:
                self.copy(line.pages[full : full + 1], own)
                pages, fed = pages + own, fed + rest
            except Exception:  # whatever a device may raise: it will be read again
                self.pages.give_back(own)
        ids = line.ids[: line.sure]
        keys = line.keys[:full]
        return Line(ids, len(ids) - 1, line.root, line.hidden, line.adapter, 0, fed, pages, keys, full)

    def release(self, line: Line, *, broken: bool = False) -> None:
        """Its pages are given back; what they hold can still be found, unless something is wrong with it."""
        line.drop_drafts()
        if not broken:
            line.name_pages(self.pages)
        self.pages.give_back(line.pages)
        line.pages, line.fed, line.named = [], 0, 0

    def plan(self) -> list[Turn]:
        """The turns of the next step; empty when there is nothing to do."""
        self._step += 1
        for job in self.running:
            for line in job.lines:
                line.name_pages(self.pages)
        self._admit()
        turns: list[Turn] = []
        readers: list[tuple[Job, Line]] = []
        for job, line in [(each, line) for each in self.running for line in each.lines]:
            if line.unfed - line.drafts > 1:
                readers.append((job, line))
            elif line.unfed and job in self.running and self._room(job, line, line.unfed):
                turns.append(Turn(job, line, line.unfed))  # what is left: guesses may have gone
        turns += self._chunk(readers)
        return [turn for turn in turns if turn.job in self.running]

    def _chunk(self, readers: list[tuple[Job, Line]]) -> list[Turn]:
        """The chunk, shared out evenly among lines of the highest priority: first those that waited longest."""
        readers.sort(key=lambda reader: (reader[0].order[0], reader[1].served, reader[0].order[1]))
        tokens, logits = self.chunk_tokens, self.logits_tokens
        turns: list[Turn] = []
        size = self.pages.page_tokens
        begun = (line.key(line.fed // size, size) for _, line in readers if line.fed % size)
        building = {key for key in begun if key}
        for i, (job, line) in enumerate(readers):
            if tokens <= 0 or job not in self.running or self._found(line, building):
                continue
            equals = sum(other.order[0] == job.order[0] for other, _ in readers[i:])
            share = max(size, -(-tokens // equals))
            count = min(line.unfed, tokens, share)
            before = max(0, line.wanted - line.fed)  # ids of which nothing is wanted
            if not line.hidden:
                count = min(count, before + max(logits, 1))
            if not self._room(job, line, count):
                continue
            turn = Turn(job, line, count)
            turns.append(turn)
            tokens -= count
            logits -= 0 if line.hidden else turn.wanted
        return turns

    def _found(self, line: Line, building: set[bytes]) -> bool:
        """Take the pages of this line that others have read. True: another is reading the next one right now."""
        size = self.pages.page_tokens
        while True:
            page = line.fed // size
            key = line.key(page, size) if (page + 1) * size <= line.wanted else None
            if key is None:
                return False
            if line.fed % size == 0:
                if (found := self.pages.find(key)) is not None:
                    self.pages.give_back(line.pages[page:])
                    line.pages[page:] = [found]
                    line.fed += size
                    line.found += 0 if line.again else size
                    self.counts.shared += 0 if line.again else size
                    continue
                if key in building:
                    return True
            building.add(key)
            return False

    def _room(self, job: Job, line: Line, count: int) -> bool:
        """Pages for the next `count` ids of a line, if need be those of the jobs that come last; False: not even so."""
        missing = self.pages.needed(line.fed + count) - len(line.pages)
        if missing > self.pages.free and line.drafts:  # nobody gives up pages for guesses
            count -= line.drafts
            line.drop_drafts()
            missing = self.pages.needed(line.fed + count) - len(line.pages)
        while missing > self.pages.free:
            last = self.running[-1]
            self._preempt(last)
            if last is job:
                return False
        line.pages += self.pages.take(max(0, missing)) or []
        line.served = self._step
        return True

    def _preempt(self, job: Job) -> None:
        self.counts.preempted += 1
        self.running.remove(job)
        for line in job.lines:
            self.release(line)
            line.again = True
        self.add(job)

    def _admit(self) -> None:
        """The first that waits, as soon as there is room; those of lower priority make it."""
        while self.waiting:
            job = self.waiting[0]
            if self._fits(job):
                bisect.insort(self.running, self.waiting.pop(0), key=_order)
            elif self.running[-1].order[0] > job.order[0]:
                self._preempt(self.running[-1])
            else:
                return

    def _fits(self, job: Job) -> bool:
        """Whether there are pages for all it has to read, one more for everyone, and lines for all it may have."""
        lines = sum(other.most_lines for other in self.running)
        pages = sum(map(self._new_pages, job.lines)) + lines
        return not self.running or (lines + job.most_lines <= self.most_lines and pages <= self.pages.free)

    def _new_pages(self, line: Line) -> int:
        """How many pages it would have to take, the one for its next token included."""
        size, page, read = self.pages.page_tokens, 0, 0
        while (key := line.key(page, size)) and (found := self.pages.look(key)) is not None:
            page += 1
            read += self.pages.readers[found] > 0
        return self.pages.needed(len(line.ids) + 1) - read


def _order(job: Job) -> tuple[int, int]:
    return job.order
