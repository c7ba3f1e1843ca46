"""The native kernels one by one, with the names and arguments of reference.py: for tests and benchmarks.

The product never calls them: `binding.forward` runs the whole network in one call. Arrays must be float32 and
C-contiguous (asserted: the callers are ours). threads and isa as in `binding.forward`.
"""

from __future__ import annotations

from ctypes import byref, c_double, c_float, c_int32, c_int64, c_void_p

import numpy as np

from haina.native.binding import Matrix, NativeCache, NativeModel, run
from haina.native.checks import check_status, pointer
from haina.native.library import library
from haina.native.machine import ISAS, Isa
from haina.native.step import make_step


def _p(array: np.ndarray | None, dtype: type[np.generic] = np.float32) -> c_void_p:
    assert array is None or (array.dtype == dtype and array.flags.c_contiguous)
    return c_void_p(pointer(array))


def matmul(
    w: Matrix, x: np.ndarray, bias: np.ndarray | None = None, *, threads: int = 1, isa: Isa = "best"
) -> np.ndarray:
    """y [tokens, rows] = x [tokens, cols] · wᵀ + bias [rows]."""
    assert x.shape[1] == w.cols and (bias is None or bias.shape == (w.rows,))
    y = np.empty((x.shape[0], w.rows), np.float32)
    c, count = w.c(), c_int64(x.shape[0])
    status = library().haina_matmul(
        byref(c), _p(bias), _p(x), count, _p(y), c_int32(threads), c_int32(ISAS[isa])
    )
    check_status(status)
    return y


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float, *, isa: Isa = "best") -> np.ndarray:
    """x / sqrt(mean(x²) + eps) · weight for each row of x [rows, width]."""
    assert x.ndim == 2 and weight.shape == x.shape[1:]
    y = np.empty_like(x)
    rows, width = map(c_int64, x.shape)
    args = (_p(x), _p(weight), c_float(eps), rows, width, _p(y), c_int32(ISAS[isa]))
    check_status(library().haina_rms_norm(*args))
    return y


def angles(at: np.ndarray, rotary: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin [tokens, rotary/2] of at · theta^(-2i/rotary)."""
    cos, sin = (np.empty((at.size, rotary // 2), np.float32) for _ in "cs")
    tokens, dims = c_int64(at.size), c_int32(rotary)
    check_status(library().haina_angles(_p(at, np.int32), tokens, dims, c_double(theta), _p(cos), _p(sin)))
    return cos, sin


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """x [tokens, heads, E] with its first R dims turned in halves; x itself is left alone."""
    tokens, heads, width = x.shape
    assert cos.shape == sin.shape and cos.shape[0] == tokens
    y: np.ndarray = x.copy()
    sizes = (c_int64(tokens), c_int32(heads), c_int32(width), c_int32(2 * cos.shape[1]))
    check_status(library().haina_rotate(_p(y), _p(cos), _p(sin), *sizes))
    return y


def silu_mul(gate: np.ndarray, up: np.ndarray, *, isa: Isa = "best") -> np.ndarray:
    """silu(gate) · up."""
    assert gate.shape == up.shape
    y = np.empty_like(gate)
    args = (_p(gate), _p(up), c_int64(gate.size), _p(y), c_int32(ISAS[isa]))
    check_status(library().haina_silu_mul(*args))
    return y


def store(
    model: NativeModel,
    cache: NativeCache,
    layer: int,
    keys: np.ndarray,
    values: np.ndarray,
    *,
    at: np.ndarray,
    row_start_B1: np.ndarray,
    pages: np.ndarray,
    page_start_B1: np.ndarray,
    threads: int = 1,
    isa: Isa = "best",
) -> None:
    """Keys and values [N, K, E] into the slots of one layer of the cache."""
    assert keys.shape == values.shape == (at.size, model.K, model.E) and 0 <= layer < model.layers
    ids = np.zeros_like(at)
    step = make_step(ids, at, row_start_B1, pages, page_start_B1)
    more = (c_int32(layer), _p(keys), _p(values))
    run(library().haina_store, model, cache, step, *more, threads=threads, isa=isa)


def attention(
    model: NativeModel,
    cache: NativeCache,
    layer: int,
    q: np.ndarray,
    *,
    at: np.ndarray,
    row_start_B1: np.ndarray,
    pages: np.ndarray,
    page_start_B1: np.ndarray,
    threads: int = 1,
    isa: Isa = "best",
) -> np.ndarray:
    """Queries [N, H, E] against the pages of one layer of the cache → [N, H, E]."""
    assert q.shape == (at.size, model.H, model.E) and 0 <= layer < model.layers
    y, ids = np.empty_like(q), np.zeros_like(at)
    step = make_step(ids, at, row_start_B1, pages, page_start_B1)
    more = (c_int32(layer), _p(q), _p(y))
    run(library().haina_attention, model, cache, step, *more, threads=threads, isa=isa)
    return y
