"""Scoring and Embedding: jobs that read texts and say numbers, or a vector, of them. They choose nothing.

A job may have to read a line again (scheduler.py); what it is told twice, it notes once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from haina.engine.line import Branches, Line
from haina.engine.pages import first_key
from haina.engine.request import Embed, Event, Score, Scored, Scores, Vector
from haina.engine.sampling import log_sum_exp, not_a_number

ANSWERS_AT_ONCE = 16  # of one job, in one step
Ranked = tuple[tuple[int, float], ...]  # ids with their nats, likeliest first


class Scoring:
    """The prompt is read once; answers are lines that begin with its pages."""

    def __init__(self, number: int, order: tuple[int, int], asked: Score, branches: Branches):
        self.number, self.order, self.asked, self.branches = number, order, asked, branches
        root = first_key(asked.tenant, asked.adapter)
        self.prompt = Line(list(asked.prompt), len(asked.prompt) - 1, root, adapter=asked.adapter)
        self.lines = [self.prompt]
        self.prompt_tokens = len(asked.prompt)
        self.nats = [np.zeros(len(answer)) for answer in asked.answers]  # of each token
        self.tops: list[dict[int, Ranked]] = [{} for _ in asked.answers]  # by place
        self._answer: dict[Line, int] = {}  # the lines being read
        self._waiting = deque(i for i, answer in enumerate(asked.answers) if len(answer) > 1)
        self.most_lines = 1 + min(ANSWERS_AT_ONCE, len(self._waiting))
        self.done = False

    def most_pages(self, page_tokens: int) -> int:
        shared, rest = divmod(self.prompt_tokens, page_tokens)
        own = sorted(-(-(rest + len(answer)) // page_tokens) for answer in self.asked.answers)
        return shared + 1 + sum(own[-ANSWERS_AT_ONCE:])

    def prepare(self) -> None:
        """Lines for answers, so many at a time, as soon as the prompt has been read."""
        while self.prompt.unfed == 0 and self._waiting and len(self._answer) < ANSWERS_AT_ONCE:
            i = self._waiting.popleft()
            line = self.branches.fork(self.prompt)
            line.ids += self.asked.answers[i][:-1]
            line.wanted = self.prompt_tokens
            self._answer[line] = i
            self.lines.append(line)

    def take(self, line: Line, rows: np.ndarray) -> Sequence[Event]:
        if line is self.prompt:
            for row in rows:
                total = log_z(row)
                for i, answer in enumerate(self.asked.answers):
                    self.nats[i][:1] = row[list(answer[:1])] - total
                    self._rank(i, 0, row, total)
        else:
            self._note(line, rows)
        self.done = not (self.prompt.unfed or self._waiting or self._answer)
        return [self._scores()] if self.done else []

    def _scores(self) -> Scores:
        sums = tuple(float(nats.sum()) for nats in self.nats)
        if self.asked.top_logprobs is None:
            return Scores(self.number, sums)
        tokens = (
            tuple(Scored(float(value), tops.get(t, ())) for t, value in enumerate(nats))
            for nats, tops in zip(self.nats, self.tops, strict=True)
        )
        return Scores(self.number, sums, tokens=tuple(tokens))

    def failed(self, error: str) -> Sequence[Event]:
        self.done = True
        return [Scores(self.number, (), error)]

    def _note(self, line: Line, rows: np.ndarray) -> None:
        i = self._answer[line]
        first = line.fed - len(rows) - self.prompt_tokens + 1  # index of the token after the first row
        for t, row in enumerate(rows, start=first):
            total = log_z(row)
            self.nats[i][t] = row[self.asked.answers[i][t]] - total
            self._rank(i, t, row, total)
        if line.unfed == 0:
            self.lines.remove(line)
            del self._answer[line]
            self.branches.release(line)

    def _rank(self, i: int, t: int, row: np.ndarray, total: float) -> None:
        """The likeliest ids in the place of token `t` of answer `i`."""
        if most := self.asked.top_logprobs:
            ids = np.argpartition(row, -most)[-most:]
            ids = ids[np.argsort(-row[ids], kind="stable")]
            self.tops[i][t] = tuple((int(id), float(row[id] - total)) for id in ids)


class Embedding:
    """One text, one vector."""

    def __init__(self, number: int, order: tuple[int, int], asked: Embed):
        self.number, self.order, self.asked, self.done = number, order, asked, False
        self.prompt_tokens, self.most_lines = len(asked.ids), 1
        wanted = 0 if asked.pooling == "mean" else len(asked.ids) - 1
        root = first_key(asked.tenant, asked.adapter)
        self.lines = [Line(list(asked.ids), wanted, root, hidden=True, adapter=asked.adapter)]
        self._sum_D: np.ndarray | float = 0.0

    def most_pages(self, page_tokens: int) -> int:
        return -(-len(self.asked.ids) // page_tokens)

    def prepare(self) -> None:
        pass

    def failed(self, error: str) -> Sequence[Event]:
        self.done = True
        return [Vector(self.number, np.zeros(0, np.float32), error)]

    def take(self, line: Line, rows: np.ndarray) -> Sequence[Event]:
        if line.fed - len(rows) <= line.wanted:
            self._sum_D = 0.0
        if len(rows):
            self._sum_D = self._sum_D + rows.sum(axis=0, dtype=np.float64)
        self.done = line.unfed == 0
        if not self.done:
            return []
        length = max(float(np.linalg.norm(self._sum_D)), 1e-12)
        if not np.isfinite(length):
            raise ValueError(not_a_number())
        return [Vector(self.number, np.asarray(self._sum_D / length, np.float32))]


def log_z(logits_V: np.ndarray) -> float:
    """What the logits' exponentials add up to, as a logarithm. ValueError: they are no numbers."""
    if not np.isfinite(logits_V.max()):
        raise ValueError(not_a_number())
    return log_sum_exp(logits_V)
