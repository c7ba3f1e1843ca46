"""A step of haina.h made from arrays, and what the library finds wrong with one in words.

Here it is seen to that C can read the arrays. The numbers in them are checked in forward.cpp, where a pass over them
takes nanoseconds instead of the ten microseconds of NumPy. It does not know weights or what a page holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, addressof, c_void_p
from typing import Protocol

import numpy as np

from haina.native.checks import out_of_range, pointer, refuse, vector
from haina.native.library import CCache, CLowRank, CModel, CStep, Status

MAX_POSITION = (1 << 30) - 1


class Changes(Protocol):
    """What rows of a step may add to the matrices of a network: adapter.py makes them."""

    @property
    def model(self) -> object: ...

    @property
    def c(self) -> Array[CLowRank]: ...


def make_step(
    ids: np.ndarray, at: np.ndarray, row_start: np.ndarray, pages: np.ndarray, page_start: np.ndarray
) -> CStep:
    """The step without outputs, threads and instruction set. The arrays must outlive it.

    ValueError names the array that is not int32, contiguous, aligned, or as long as another.
    """
    vector("ids", ids, np.int32)
    vector("at", at, np.int32, ids.size)
    vector("row_start_B1", row_start, np.int32)
    vector("pages", pages, np.int32)
    vector("page_start_B1", page_start, np.int32, row_start.size)
    arrays = (pointer(array) for array in (ids, at, row_start, pages, page_start))
    return CStep(*arrays, rows=row_start.size - 1, tokens=ids.size, owned=pages.size)


def ask(step: CStep, want: np.ndarray, hidden: np.ndarray, logits: np.ndarray, states: np.ndarray) -> None:
    """Let the step fill `logits` of the fed tokens `want`, and `states` of the fed tokens `hidden`."""
    step.want, step.wanted, step.logits = pointer(want), want.size, pointer(logits)
    step.want_hidden, step.wanted_hidden, step.hidden = pointer(hidden), hidden.size, pointer(states)


def use(step: CStep, adapter_B: np.ndarray, adapters: Sequence[Changes]) -> object:
    """Let row b use `adapters[adapter_B[b]]`, or none where that is -1. What is returned must outlive the step."""
    vector("adapter_B", adapter_B, np.int32, step.rows)
    table = (c_void_p * len(adapters))(*(addressof(adapter.c) for adapter in adapters))
    step.row_adapter, step.adapters, step.adapter_count = pointer(adapter_B), addressof(table), len(adapters)
    return table


def refusal(status: int, model: CModel, cache: CCache, step: CStep) -> ValueError:
    """What a status from BAD_IDS on says of a step."""
    in_range = {
        Status.BAD_IDS: ("ids", model.vocab),
        Status.BAD_AT: ("at", MAX_POSITION + 1),
        Status.BAD_PAGES: ("pages", cache.pages),
        Status.BAD_WANT: ("want", step.tokens),
        Status.BAD_WANT_HIDDEN: ("hidden", step.tokens),
    }
    in_order = {
        Status.BAD_ROW_START: ("row_start_B1", step.tokens),
        Status.BAD_PAGE_START: ("page_start_B1", step.owned),
    }
    others = {
        Status.AT_FALLS: ("at", "positions must rise within each row", "各行内的位置须严格递增"),
        Status.TOO_FEW_PAGES: (
            "pages",
            "a row has too few pages for its positions",
            "某一行的页数不足以容纳其位置",
        ),
        Status.BAD_ADAPTER: (
            "adapter_B",
            f"must lie in -1 to {step.adapter_count - 1}",
            f"须在 -1 至 {step.adapter_count - 1} 之间",
        ),
        Status.SAME_SLOT: ("pages", "two tokens would write the same slot", "有两个词元会写入同一位置"),
    }
    found = Status(status)
    if found in in_range:
        return out_of_range(*in_range[found])
    if found in in_order:
        name, end = in_order[found]
        return refuse(name, f"must rise from 0 to {end}", f"须从 0 递增至 {end}")
    return refuse(*others[found])
