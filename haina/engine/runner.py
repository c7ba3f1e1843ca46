"""Runner: the one seam between the engine and arithmetic. A Step goes in, logits and states come out.

The engine decides which tokens are fed and where their keys and values lie; a runner multiplies. Neither knows
the other's insides. N fed tokens of B rows, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from haina.checkpoint.adapter import Pair

Gpu = Literal["cuda", "mps"]  # cuda: NVIDIA's, and AMD's, which torch calls so too; mps: Apple's
Device = Literal["cpu", "torch", Gpu]  # cpu: native code; torch: torch on the CPU, to compare with


@dataclass(frozen=True)
class Step:
    """A ragged batch: row b feeds ids_N[row_start[b] : row_start[b + 1]]; its pages likewise."""

    ids_N: np.ndarray  # int32
    at_N: np.ndarray  # int32, the position of each fed token in its own row
    row_start_B1: np.ndarray  # int32
    # int32 page numbers: position p of a row is slot p % page_tokens of its page p // page_tokens. Rows may share
    # pages that none of them writes.
    pages: np.ndarray
    page_start_B1: np.ndarray  # int32
    want_M: np.ndarray  # int32 indices into the fed tokens: whose logits
    hidden_M: np.ndarray  # the same: whose states after the last norm
    adapter_B: np.ndarray | None = None  # int32: which adapter each row uses, -1: none; None: no row uses one


class Out(NamedTuple):
    """What a Step asked for, float32."""

    logits_MV: np.ndarray
    hidden_MD: np.ndarray


class Runner(Protocol):
    """Whatever can run a Step. It owns the weights and the cache."""

    page_tokens: int
    pages: int

    def step(self, step: Step) -> Out:
        """Keys and values of all N fed tokens are kept. Run again, the same step gives the same."""
        ...

    def head(self, hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """float32 (M, n): the logits of these int32 ids alone, of states that `step` gave."""
        ...

    def add_adapter(self, changes: Mapping[str, Pair]) -> None:
        """Steps may use it from now on, by the number of those added before it. `changes`: Adapter.changes."""
        ...

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Make pages equal to others, in all layers; none is both."""
        ...
