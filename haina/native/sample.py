"""haina_choose as Python calls it: from logits to the next id of one answer, in one call.

It knows structs and addresses; engine/sampling.py says what the settings mean, engine/sampler.py what a text has seen.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable
from ctypes import byref, c_double, c_int32, c_int64, c_void_p

import numpy as np

from haina.native.checks import check_status, pointer
from haina.native.library import CChosen, CHistory, CRule, Status, library
from haina.native.machine import ISAS, Isa


def history(seen: array[int], times: array[int], repeating: np.ndarray, nats: np.ndarray) -> CHistory:
    """Of int32 ids that rise, and how often each was said; int32 ids that rise, and float32 nats they lose.

    The arrays must outlive it, and grow no more.
    """
    repeats = (pointer(repeating), pointer(nats)) if len(repeating) else (None, None)
    return CHistory(seen.buffer_info()[0], times.buffer_info()[0], *repeats, len(seen), len(repeating))


def choose(
    rule: CRule,
    past: CHistory,
    logits: np.ndarray,
    ids: np.ndarray | None,
    uniform: float,
    *,
    isa: Isa = "best",
) -> tuple[Status, CChosen]:
    """The status, and what was chosen. logits: float32 (V), or (n) of the int32 `ids` alone, which rise."""
    assert logits.dtype == np.float32 and logits.flags.c_contiguous
    assert ids is None or (ids.dtype == np.int32 and ids.flags.c_contiguous and len(ids) == len(logits))
    chosen = CChosen()
    arrays = (pointer(logits), pointer(ids), len(logits))
    status = _choose()(byref(rule), byref(past), *arrays, uniform, byref(chosen), ISAS[isa])
    return Status(status), chosen


def log_sum_exp(logits_V: np.ndarray, *, isa: Isa = "best") -> float:
    """log Σ exp(x) of float32 (V), V at least 1; summed in double."""
    assert logits_V.dtype == np.float32 and logits_V.flags.c_contiguous
    found = c_double()
    row, count = c_void_p(pointer(logits_V)), c_int64(len(logits_V))
    check_status(library().haina_log_sum_exp(row, count, byref(found), c_int32(ISAS[isa])))
    return found.value


@functools.cache
def _choose() -> Callable[..., int]:
    function = library().haina_choose
    function.argtypes = (c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_double, c_void_p, c_int32)
    return function
