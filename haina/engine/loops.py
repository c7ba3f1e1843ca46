"""Loops: has an answer become an endless repetition? So that it can be ended before it has filled the context.

For each period p the detector knows how many of the last tokens equal the one p before them. That is all: it knows
the ids of one answer, neither text nor probabilities, and finds exact repetition only; a list that counts on, a
refrain between different verses, a table whose rows differ in one token never last.

Repetition must have gone on for LOOP_TOKENS, or for LOOP_ROUNDS of a short period, and never for fewer than ROUNDS.
In 650,000 tokens of chats, poems, books and articles no passage comes three times in a row but short ones, for 32
tokens at most (rules, bars, refrains), and twice for 272 (an advertisement). It is what people ask for that needs
room: `haha` 100 times, a list of 200 zeros, 20 rows of 20. A loop takes that room anyway, and then for ever.
Engines that offer it stop sooner, and only when asked to: 3 copies and 48 tokens (waybarrios/vllm-mlx#723), 4 copies
of 16 tokens or more (ggml-org/llama.cpp#26039); vLLM's RepetitionDetectionParams has no defaults.
"""

from __future__ import annotations

import numpy as np

PERIODS = 512  # P, the longest period that is looked for, in tokens
LOOP_TOKENS = 1024
LOOP_ROUNDS = 256
ROUNDS = 4

_PERIOD_P = np.arange(1, PERIODS + 1)
_STRETCH_P = np.maximum(np.minimum(LOOP_TOKENS, LOOP_ROUNDS * _PERIOD_P), ROUNDS * _PERIOD_P)
ENOUGH_P = _STRETCH_P - _PERIOD_P  # the first round repeats nothing


class Loops:
    """One answer, token by token. A token costs a few operations on PERIODS integers, about 5 µs."""

    def __init__(self) -> None:
        self._run_P = np.zeros(PERIODS, np.int32)  # how many of the last tokens equal the one p before them
        self._text = np.full(8 * PERIODS, -1, np.int32)  # written from its end: the newest token comes first
        self._start = len(self._text) - PERIODS

    def saw(self, id: int) -> bool:
        """Whether the answer, with this token, has become a loop."""
        before_P = self._text[self._start : self._start + PERIODS]
        self._run_P += 1
        self._run_P *= before_P == id
        if self._start == 0:
            self._start = len(self._text) - PERIODS
            self._text[self._start :] = before_P
        self._start -= 1
        self._text[self._start] = id
        return bool((self._run_P >= ENOUGH_P).any())

    def fork(self) -> Loops:
        """A copy that goes its own way."""
        other = Loops()
        other._run_P, other._text, other._start = self._run_P.copy(), self._text.copy(), self._start
        return other
