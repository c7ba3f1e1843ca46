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

import copy
from array import array

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

PERIODS = 512  # P, the longest period that is looked for, in tokens
LOOP_TOKENS = 1024
LOOP_ROUNDS = 256
ROUNDS = 4

_PERIOD_P = np.arange(1, PERIODS + 1)
_STRETCH_P = np.maximum(np.minimum(LOOP_TOKENS, LOOP_ROUNDS * _PERIOD_P), ROUNDS * _PERIOD_P)
ENOUGH_P = _STRETCH_P - _PERIOD_P  # the first round repeats nothing
_RUN_P, _TEXT_P = np.zeros(PERIODS, np.int32), np.full(PERIODS, -1, np.int32)  # before the first token


class Loops:
    """One answer, token by token.

    The detector looks when a loop may have become long enough: in ordinary text once in 250 tokens, for 0.1 ms.
    """

    def __init__(self) -> None:
        self._run_P = _RUN_P  # when it last looked: how many of the last tokens equal the one p before them,
        self._text_P = _TEXT_P  # and what they were, the newest first
        self._new = array("i")  # the tokens since
        self._wait = int(ENOUGH_P.min())  # so many of them before any run can be long enough

    def saw(self, id: int) -> bool:
        """Whether the answer, with this token, has become a loop."""
        self._new.append(id)
        return len(self._new) >= self._wait and self._look()

    def _look(self) -> bool:
        count = len(self._new)
        text = np.concatenate([np.array(self._new[::-1], np.int32), self._text_P])
        same_PN = sliding_window_view(text, count)[1 : PERIODS + 1] == text[:count]
        self._run_P = np.where(same_PN.all(axis=1), self._run_P + count, same_PN.argmin(axis=1))
        self._text_P, self._new = text[:PERIODS], array("i")
        missing = int((ENOUGH_P - self._run_P).min())
        self._wait = max(missing, 1)
        return missing <= 0

    def fork(self) -> Loops:
        """A copy that goes its own way."""
        other = copy.copy(self)
        other._new = self._new[:]
        return other
