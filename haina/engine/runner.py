"""Runner: the one seam between the engine and arithmetic. A Step goes in, logits come out.

The engine decides which tokens are fed and where their keys and values lie; a runner multiplies. Neither knows
the other's insides. N fed tokens of B rows, M of them with logits wanted, V vocabulary, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Step:
    """A ragged batch: row b feeds ids_N[row_start[b] : row_start[b + 1]]; its pages likewise."""

    ids_N: np.ndarray  # int32
    at_N: np.ndarray  # int32, the position of each fed token in its own row
    row_start_B1: np.ndarray  # int32
    pages: (
        np.ndarray
    )  # int32 page numbers: position p of a row is slot p % page_tokens of its page p // page_tokens
    page_start_B1: np.ndarray  # int32
    want_M: np.ndarray  # int32 indices into the fed tokens
    hidden: bool = False  # return hidden states (M, D) after the last norm instead of logits (M, V)


class Runner(Protocol):
    """Whatever can run a Step. It owns the weights and the cache."""

    page_tokens: int
    pages: int

    def step(self, step: Step) -> np.ndarray:
        """float32 (M, V), or (M, D) when hidden states are asked for. Keys and values of all N are kept."""
        ...
