"""Logits of a few ids: only their rows of the head are multiplied, with the bits that a whole step gives them.

For steps whose rule allows few tokens: 40 rows of 64,000 cost what gathering them costs. It knows a matrix; which ids
are worth asking for is the engine's business.
"""

from __future__ import annotations

from ctypes import byref, c_int32, c_int64, c_void_p

import numpy as np

from haina.native.checks import check_status, out_of_range, pointer, readable, refuse, vector
from haina.native.library import CMatrix, Status, library
from haina.native.machine import Isa, hands


def head(
    w: CMatrix, hidden_MD: np.ndarray, ids: np.ndarray, *, threads: int | None = None, isa: Isa = "best"
) -> np.ndarray:
    """y [M, n] = hidden [M, D] · w[ids]ᵀ, float32; of w = `NativeModel.c.head`, the logits that `forward` gives.

    hidden_MD: float32, states after the last norm. ids: int32 [n], in any order, as often as one likes.
    ValueError names the argument that is wrong; MemoryError if n rows of w do not fit beside it.
    """
    vector("ids", ids, np.int32)
    if not readable(hidden_MD, np.float32, 2) or hidden_MD.shape[1] != w.cols:
        raise refuse(
            "hidden_MD",
            f"must be contiguous float32 [M, {w.cols}]",
            f"须为连续的 float32 [M, {w.cols}] 数组",
        )
    y_Mn = np.empty((len(hidden_MD), ids.size), np.float32)
    workers, kernels = hands(threads, isa)
    status = library().haina_head(
        byref(w),
        c_void_p(pointer(ids)),
        c_int64(ids.size),
        c_void_p(pointer(hidden_MD)),
        c_int64(len(hidden_MD)),
        c_void_p(pointer(y_Mn)),
        c_int32(workers),
        c_int32(kernels),
    )
    if status == Status.BAD_IDS:
        raise out_of_range("ids", w.rows)
    check_status(status)
    return y_Mn
