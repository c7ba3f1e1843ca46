"""The machine as libhaina sees it: its processors, their instruction sets, how fast memory is read.

It knows neither weights nor steps.
"""

from __future__ import annotations

import math
import os
import time
from ctypes import c_int32, c_int64, c_void_p
from typing import Literal

import numpy as np

from haina.native.checks import check_status, refuse
from haina.native.library import library

Isa = Literal["best", "generic", "avx2", "avx512", "avxvnni", "neon"]

ISAS: dict[Isa, int] = {"best": 0, "generic": 1, "avx2": 2, "avx512": 3, "avxvnni": 4, "neon": 5}
MAX_THREADS = 1024


def has_isa(isa: Isa) -> bool:
    """Whether this machine and this library have the instruction set."""
    return bool(library().haina_has_isa(ISAS[isa]))


def usable_threads() -> int:
    """The CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_bandwidth(*, threads: int | None = None, seconds: float = 0.5) -> float:
    """Bytes a second that this machine reads from memory: the best pass over 256 MiB within `seconds`."""
    data = np.ones(32 << 20, np.int64)
    workers, best = c_int32(threads or usable_threads()), math.inf
    end = time.perf_counter() + seconds
    while math.isinf(best) or time.perf_counter() < end:
        start = time.perf_counter()
        check_status(library().haina_read(c_void_p(data.ctypes.data), c_int64(data.nbytes), workers))
        best = min(best, time.perf_counter() - start)
    return data.nbytes / best


def hands(threads: int | None, isa: Isa) -> tuple[int, int]:
    """How many threads, and the number of the instruction set. ValueError if this machine cannot."""
    threads = usable_threads() if threads is None else threads
    if not 0 < threads <= MAX_THREADS:
        raise refuse(
            "threads", f"{threads} is not 1 to {MAX_THREADS}", f"{threads} 不在 1 至 {MAX_THREADS} 之间"
        )
    if isa not in ISAS or not has_isa(isa):
        raise refuse("isa", f"this machine does not have {isa}", f"本机不支持 {isa}")
    return threads, ISAS[isa]
