"""What may be handed to C: arrays of the right dtype, layout and size; anything else is refused in one line.

It knows arrays and addresses; it does not know weights, caches or steps.
"""

from __future__ import annotations

from ctypes import addressof, c_char
from typing import Any

import numpy as np

from haina.native.library import Status
from haina.wording import say


def refuse(name: str, why_en: str, why_zh: str) -> ValueError:
    return ValueError(say(f"{name}: {why_en}", f"{name}：{why_zh}"))


def out_of_range(name: str, count: int) -> ValueError:
    return refuse(name, f"must lie in 0 to {count - 1}", f"须在 0 至 {count - 1} 之间")


def readable(array: Any, dtype: type[np.generic], ndim: int) -> bool:
    """Whether C can read it as `ndim` nested rows of dtype, one behind another."""
    right = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == ndim
    return right and array.flags.c_contiguous and array.flags.aligned


def vector(name: str, array: Any, dtype: type[np.generic], size: int | None = None) -> np.ndarray:
    """`array` itself if it is a contiguous, aligned 1-D array of dtype (and size); else ValueError naming it."""
    if not readable(array, dtype, 1):
        kind = np.dtype(dtype).name
        raise refuse(name, f"must be a contiguous 1-D {kind} array", f"须为连续的一维 {kind} 数组")
    if size is not None and array.size != size:
        raise refuse(
            name,
            f"has {array.size} elements where {size} are needed",
            f"有 {array.size} 个元素，应为 {size} 个",
        )
    checked: np.ndarray = array
    return checked


def pointer(array: np.ndarray | None) -> int | None:
    """The address of a contiguous array. By way of its buffer where it may be written: four times as fast, and a step
    has nine."""
    if array is None:
        return None
    if array.size and array.flags.writeable:
        return addressof(c_char.from_buffer(array.data))
    return array.ctypes.data


def check_status(status: int) -> None:
    """Turn the status of a call into an exception, where the caller has no better words for it."""
    if status == Status.NO_MEMORY:
        raise MemoryError(
            say("not enough memory for this step; feed fewer tokens", "内存不足；请减少一次输入的词元数")
        )
    assert status == Status.OK, f"the library refused what was let through: {Status(status).name}"
