"""Speculation: guesses of the next tokens, fed along with the last one and kept as far as they are chosen.

A guess is accepted when the token chosen from its predecessor's logits is that guess; so what is said does not depend
on the guesses, only the speed does. Guesses come from sources: what stands earlier in the text (Lookup), a small model
(draft_model.py). Each says how likely its next guesses are right; Pace (pace.py) says how many of them are worth their
time, often none. It does not know logits, pages or the network.

Sources of the ideas: speculative decoding (arXiv:2211.17192) and prompt lookup (apoorvumang/prompt-lookup-decoding,
also vLLM v1/spec_decode/ngram_proposer.py); that one predicted text is followed while it holds, and judged at every
token, fed or not, is LZ77's (doi:10.1109/TIT.1977.1055714) and SuffixDecoding's (arXiv:2411.04975).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from haina.engine.line import Line
from haina.engine.pace import MOST_GUESSES, NO_BET, Odds, Pace
from haina.engine.request import Request

ID_BITS = 20  # the last three ids as one number; where larger ids are cut off, a guess is poor, no more
TWO, THREE = (1 << 2 * ID_BITS) - 1, (1 << 3 * ID_BITS) - 1
LONGEST = 8  # matches as long as this, or longer, are of one kind
# How often the next token is as it was after a match of so many; what a first request starts from.
LOOKUP_CHANCES = (0.0, 0.0, 0.4, 0.6, 0.7, 0.8, 0.8, 0.9, 0.9)
DOZE_STEPS, LOOK_STEPS = 8, 4  # after so many without a bet it is looked for one in every fourth only


class Ahead(Protocol):
    """What a request would say further on, were it up to other logits than the network's."""

    done: bool

    def choose(self, row: np.ndarray) -> None:
        """Append to the line what it would say there. ValueError: it cannot go on."""
        ...


Forking = Callable[[Line], Ahead]  # the line has the ids of the text; it is written on


class Drafter(Protocol):
    """The guesses of one answer."""

    def guess(self, ids: list[int], most: int, ahead: Forking) -> list[int]:
        """Up to `most` ids that may follow; none when guessing would not pay. `ids` is what it was, or goes on."""
        ...


class Drafters(Protocol):
    """Where the drafters of requests come from; they share what they learn about the machine.

    `watching`: they want to know how long this step takes.
    """

    @property
    def watching(self) -> bool: ...

    def drafter(self, request: Request) -> Drafter | None: ...

    def timed(self, rows: int, tokens: int, seconds: float | None) -> None:
        """A step fed `tokens` to `rows` lines in so many seconds; None: prompts were among them."""
        ...

    def judged(self, right: int) -> None:
        """So many guesses of a line in that step were right."""
        ...


def common(some: Sequence[int], others: Sequence[int]) -> int:
    """How many ids they begin with alike."""
    differ = (i for i, (a, b) in enumerate(zip(some, others, strict=False)) if a != b)
    return next(differ, min(len(some), len(others)))


class Source(Protocol):
    """One way to guess for one answer."""

    @property
    def guess_s(self) -> float:
        """What one guess costs beside feeding it."""
        ...

    def chances(self, ids: list[int], most: int) -> Iterable[float]:
        """How likely each of the next guesses is right if all before it are; called once a step."""
        ...

    def guesses(self, ids: list[int], count: int, ahead: Forking) -> list[int]:
        """Up to `count` of them."""
        ...


class Sources(Protocol):
    """Where those of requests come from."""

    def source(self, request: Request) -> Source: ...


# -- where from -------------------------------------------------------------------------------------------------


class Lookup:
    """What followed when the text was last as it is now. Its answers are free, so all are judged, fed or not."""

    guess_s = 0.0

    def __init__(self, believed: Sequence[float] = LOOKUP_CHANCES):
        """`believed`: the chances after a match of 0, 1, 2 … tokens."""
        self.odds = Odds(believed, weight=4, memory=64)
        self._after: dict[
            int, int
        ] = {}  # two or three ids → where the text went on after their last occurrence
        self._read = 0
        self._tail = 0  # the last three of the ids read
        self._at = self._length = 0  # the last `length` of them also stand before place `at`; 0: nowhere

    def chances(self, ids: list[int], most: int) -> Iterable[float]:
        if not self._read:
            self._index(ids)
        for i in range(self._read, len(ids)):
            self._come(ids, i)
        self._read = len(ids)
        if not self._length:
            return ()
        rising = self.odds.chance[self._length :]
        return (rising + rising[-1:] * (most - len(rising)))[:most]

    def guesses(self, ids: list[int], count: int, ahead: Forking) -> list[int]:
        """The text from there on; when that comes to the end of it, once more the same."""
        found = ids[self._at : self._at + count]
        return found if len(found) == count else (found * (count // len(found) + 1))[:count]

    def _index(self, ids: list[int]) -> None:
        """A prompt, of which nothing was foreseen."""
        after, tail = self._after, 0
        for i, id in enumerate(ids):
            after[tail] = after[tail & TWO] = i
            tail = (tail << ID_BITS | id) & THREE
        self._read, self._tail = len(ids), tail
        self._find()

    def _come(self, ids: list[int], i: int) -> None:
        """The i-th id has come: was it foreseen?"""
        id, tail, after = ids[i], self._tail, self._after
        if self._length:
            right = ids[self._at] == id
            self.odds.saw(self._length, right)
            self._at += 1
            self._length = min(self._length + 1, LONGEST) if right else 0
        after[tail] = after[tail & TWO] = i
        self._tail = (tail << ID_BITS | id) & THREE
        if not self._length:
            self._find()

    def _find(self) -> None:
        """The longest match of the end of the text."""
        tail, after = self._tail, self._after
        for length, key in ((3, tail), (2, tail & TWO)):
            if key in after:
                self._at, self._length = after[key], length
                return


class Lookups:
    """The Lookup of every request; it believes what the one before has learnt."""

    def __init__(self) -> None:
        self._last = Lookup()

    def source(self, request: Request) -> Lookup:
        self._last = Lookup(self._last.odds.chance)
        return self._last


# -- which ------------------------------------------------------------------------------------------------------


class Guesser:
    """The Drafter of one answer: at every step the source that promises most."""

    def __init__(self, pace: Pace, sources: Sequence[Source]):
        self._pace, self._sources = pace, sources
        self._steps = 0  # since the last bet
        self._length = 0  # of the text when it was last looked at

    def guess(self, ids: list[int], most: int, ahead: Forking) -> list[int]:
        self._steps += 1
        if self._steps > DOZE_STEPS and self._steps % LOOK_STEPS:
            return []
        pace, most = self._pace, min(most, MOST_GUESSES)
        if self._length:
            pace.said(len(ids) - self._length)
        pace.watching, self._length = True, len(ids)
        best, chosen = NO_BET, None
        for source in self._sources:
            bet = pace.best(source.chances(ids, most), source.guess_s)
            if bet.rate > best.rate:
                best, chosen = bet, source
        if chosen is None:
            return []
        self._steps = 0
        began = time.perf_counter()
        guesses = chosen.guesses(ids, best.guesses, ahead)
        pace.paused(time.perf_counter() - began)
        if guesses:
            pace.place(best, chosen.guess_s)
        return guesses


class Speculation:
    """The Drafters of an engine: prompt lookup for every request, and what else there is."""

    def __init__(self, *others: Sources):
        self._pace = Pace()
        self._sources: tuple[Sources, ...] = (Lookups(), *others)

    @property
    def watching(self) -> bool:
        return self._pace.watching

    def drafter(self, request: Request) -> Guesser:
        return Guesser(self._pace, [sources.source(request) for sources in self._sources])

    def timed(self, rows: int, tokens: int, seconds: float | None) -> None:
        self._pace.timed(rows, tokens, seconds)

    def judged(self, right: int) -> None:
        self._pace.judged(right)
