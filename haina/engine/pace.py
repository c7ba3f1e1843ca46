"""Pace: how long the steps of this machine take, and so how many guesses are worth their time; Odds: how good they are.

A guess costs what a step with it takes longer, and brings a token if it and all before it are right. Both are learnt
while answers are made: nothing is known of the machine at first, and other programs come and go. Because estimates can
be wrong, the books are kept as well: bets that lose are stopped after a few steps' worth. It does not know tokens,
texts or where guesses come from. That the length should follow from acceptance and cost: arXiv:2211.17192, section 3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

MOST_GUESSES = 16  # of one line in one step
SAMPLES, ENOUGH = 9, 3  # steps whose median is taken, and at least
GROWTH = 0.25  # seconds ~ tokens ** GROWTH until more is known: on the low side, so that it is tried
STRIDE = 2  # no step is larger than so many times the largest that is known
FOLLOW = 0.3  # how fast a machine is seen to become slower
FORGET_STEPS = 512  # then the context is another, and what was measured may be wrong
LEARN_STEPS = 64  # so often is learnt from what was seen
SHORTEST_S = 1e-9  # of a step, where the clock is coarse
MARGIN = 1.05  # what guessing has to promise
HOPELESS = 0.03  # the chance of a guess that is not looked at
LOSS = 0.015  # of the time may be lost to guesses that promised more than they held
DEBT_STEPS, CREDIT_STEPS = 3.0, 5.0  # so much of it at once, and so much more of what was gained before
EXACT_TOKENS = 32  # larger steps are told apart by their first 5 bits


class Bet(NamedTuple):
    """So many guesses; how many of them will be right; tokens a second of the whole step with them."""

    guesses: int
    right: float
    rate: float


NO_BET = Bet(0, 0.0, 0.0)


class Pace:
    """The cost of a step by the tokens it feeds, and the bet that makes most of it.

    Known is the median of the last few steps of as many tokens. In between it is interpolated; beyond, it goes on as
    it went so far, so that good guesses are tried. Of several lines, each bets on top of those before it.
    """

    def __init__(self) -> None:
        self._samples: dict[int, deque[float]] = {}
        self._last: dict[int, int] = {}  # the step when such a one was met
        self._step = self._learnt = 0
        self._unit_s = 1.0  # how slow the machine is now: other programs and longer texts slow all steps down
        self._anchor = 0  # the size of steps without guesses whose cost defines the unit
        self._cost: list[float] = []  # of steps of 0, 1, 2 … tokens, in that unit; empty: nothing is known
        self._largest = 0  # step that may be tried
        self._debt = 0.0  # what bets have lost of late, in steps without guesses
        self._plan(1)

    def _plan(self, rows: int) -> None:
        """Another step will have so many lines; nothing has been bet on it."""
        self._rows, self._guesses, self._out = rows, 0, float(rows)
        self._price_s = self._paused_s = 0.0
        self.watching = False  # somebody looks for a bet on this step

    def best(self, chances: Iterable[float], guess_s: float = 0.0) -> Bet:
        """The bet with the most tokens a second. `guess_s`: what a guess costs beside feeding it."""
        cost, fed, out = self._cost, self._rows + self._guesses, self._out
        if self._debt > DEBT_STEPS or fed >= self._largest:
            return NO_BET
        price = guess_s / self._unit_s
        best, tokens, rate, right = 0, out, MARGIN * out / cost[fed], 1.0
        for count, chance in zip(range(1, self._largest - fed + 1), chances, strict=False):
            right *= chance
            out += right
            if out > rate * (taken := cost[fed + count] + count * price):
                best, tokens, rate = count, out, out / taken
            elif right < HOPELESS:
                break
        return Bet(best, tokens - self._out, rate) if best else NO_BET

    def place(self, bet: Bet, guess_s: float) -> None:
        """A bet is made. `guess_s`: as for `best`."""
        self._guesses += bet.guesses
        self._out += bet.right
        self._price_s += bet.guesses * guess_s

    def paused(self, seconds: float) -> None:
        """So long the step had to wait for guesses."""
        self._paused_s += seconds

    def said(self, tokens: int) -> None:
        """A line has grown by so many: with time, losses are forgotten."""
        if self._debt > 0:
            self._debt = max(0.0, self._debt - LOSS * tokens / self._rows)

    def judged(self, right: int) -> None:
        """So many guesses of a line were right."""
        self._debt = max(-CREDIT_STEPS, self._debt - right / self._rows)

    def timed(self, rows: int, tokens: int, seconds: float | None) -> None:
        """A step took so long (speculate.py, Drafters). The next one will have as many rows."""
        self._step += 1
        if seconds is not None:
            self._note(rows, tokens, max(seconds - self._paused_s, SHORTEST_S) / self._unit_s)
        self._plan(rows)

    def _note(self, rows: int, tokens: int, cost: float) -> None:
        """A step with as many tokens cost so much."""
        if rows < tokens < len(self._cost):
            self._book(rows, tokens, cost)
        size = _size(tokens)
        if tokens == rows and self._anchor not in self._samples:
            self._anchor = size
        samples = self._samples.setdefault(size, deque(maxlen=SAMPLES))
        known, fresh = len(samples) >= ENOUGH, len(samples) == ENOUGH - 1
        if size != self._anchor or not known:
            samples.append(cost)
        self._last[size] = self._step
        if known and tokens < len(self._cost):
            self._unit_s *= max(0.5, min(2.0, cost / self._cost[tokens])) ** FOLLOW
        too_short = 0 < len(self._cost) <= rows * (1 + MOST_GUESSES)
        if fresh or too_short or self._step - self._learnt > LEARN_STEPS:
            self._learn(rows)

    def _book(self, rows: int, tokens: int, cost: float) -> None:
        """What the bets on a step have cost: as it is known, or measured (but no guess more than a step)."""
        plain, whole = self._cost[rows], self._cost[tokens]
        if len(self._samples.get(_size(tokens), ())) < ENOUGH:
            whole = min(cost, plain * (1 + tokens - rows))
        self._debt += (whole + self._price_s / self._unit_s) / plain - 1

    def _learn(self, rows: int) -> None:
        """The cost of every size that steps of so many rows may have, from the samples."""
        self._learnt = self._step
        for size in [size for size, step in self._last.items() if self._step - step > FORGET_STEPS]:
            del self._samples[size], self._last[size]
        known = sorted(size for size, samples in self._samples.items() if len(samples) >= ENOUGH)
        if not known:
            self._cost, self._largest = [], 0
            return
        sizes = np.arange(max(len(self._cost), (rows + 1) * (1 + MOST_GUESSES)))
        medians = np.maximum.accumulate([median(self._samples[size]) for size in known])
        growth = GROWTH
        if len(known) > 1:
            growth = max(GROWTH, np.log(medians[-1] / medians[0]) / np.log(known[-1] / known[0]))
        cost = np.interp(sizes, known, medians)
        cost *= (np.maximum(sizes, known[-1]) / known[-1]) ** growth
        cost *= (np.minimum(np.maximum(sizes, 1), known[0]) / known[0]) ** GROWTH
        self._cost = cost.tolist()
        self._largest = min(STRIDE * known[-1], len(cost) - 1)


def _size(tokens: int) -> int:
    """Steps of nearly as many tokens have the same."""
    shift = max(0, tokens.bit_length() - EXACT_TOKENS.bit_length() + 1)
    return tokens >> shift << shift


class Odds:
    """How often guesses of each kind were right, the last ones above all; `chance` starts from what is believed."""

    def __init__(self, believed: Sequence[float], *, weight: float, memory: float):
        """`weight`: so many guesses would change a belief; `memory`: so many are remembered."""
        self.chance = list(believed)
        self._right = [weight * chance for chance in believed]
        self._seen = [weight] * len(self.chance)
        self._keep = 1 - 1 / memory

    def saw(self, kind: int, right: bool) -> None:
        self._right[kind] = self._keep * self._right[kind] + right
        self._seen[kind] = self._keep * self._seen[kind] + 1
        self.chance[kind] = self._right[kind] / self._seen[kind]
