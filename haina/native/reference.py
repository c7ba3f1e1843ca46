"""The kernels in NumPy: the definition that the native ones are tested against, argument for argument.

Readable, not fast; everything is computed in double and rounded to float32 at the end unless it says otherwise.
There is no second forward pass here: model/decoder.py is the network to be read.
N fed tokens, H query heads, K key heads, E width of a head; `Matrix` and the page layout are those of binding.py.
"""

from __future__ import annotations

import numpy as np

from haina.native.binding import Matrix


def quantize_rows(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round float32 [rows, cols] to int8 with one scale a row: w ≈ int8 * scale[row], scale = max|w| / 127.

    Symmetric, so 0 stays 0 and -128 does not occur. A row of zeros gets scale 0. ValueError is not raised for NaN:
    the caller has looked (Raw.finite). Returns (int8 [rows, cols], float32 [rows]).
    """
    scale = (np.abs(w).max(axis=1) / np.float32(127)).astype(np.float32)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.rint(w * inverse[:, None]).clip(-127, 127).astype(np.int8), scale


def weights(w: Matrix) -> np.ndarray:
    """The weights as float32 [rows, cols]; exact, but for the product with the scale of I8."""
    shape = (w.rows, w.cols)
    if w.dtype == "BF16":
        bits = w.data.view(np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    stored = {"F32": np.float32, "F16": np.float16, "I8": np.int8}[w.dtype]
    values = w.data.view(stored).reshape(shape).astype(np.float32)
    return values if w.scale is None else values * w.scale[:, None]


def matmul(w: Matrix, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """y [tokens, rows] = x [tokens, cols] · wᵀ + bias [rows]."""
    y: np.ndarray = x.astype(np.float64) @ weights(w).astype(np.float64).T
    return (y if bias is None else y + bias).astype(np.float32)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """x / sqrt(mean(x²) + eps) · weight over the last axis (arXiv:1910.07467)."""
    mean = np.square(x, dtype=np.float64).mean(-1, keepdims=True)
    y: np.ndarray = x / np.sqrt(mean + eps) * weight
    return y.astype(np.float32)


def angles(at: np.ndarray, rotary: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin [tokens, rotary/2] of at · theta^(-2i/rotary) (RoPE, arXiv:2104.09864, section 3.2.2)."""
    angle = at[:, None] * theta ** (-np.arange(0, rotary, 2) / max(rotary, 1))
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """x [tokens, heads, E] with its first R dims turned in halves: dim i with dim i + R/2."""
    half = cos.shape[1]
    a, b, rest = np.split(x.astype(np.float64), [half, 2 * half], axis=-1)
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1).astype(np.float32)


def silu_mul(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """silu(gate) · up, silu(a) = a / (1 + exp(-a)) (SwiGLU, arXiv:2002.05202)."""
    with np.errstate(over="ignore"):
        y: np.ndarray = gate / (1 + np.exp(-gate.astype(np.float64))) * up
    return y.astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis, in the dtype of x."""
    e: np.ndarray = np.exp(x - x.max(-1, keepdims=True))
    e /= e.sum(-1, keepdims=True)
    return e


def attention(
    q: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    *,
    at: np.ndarray,
    row_start_B1: np.ndarray,
    pages: np.ndarray,
    page_start_B1: np.ndarray,
    slopes_H: np.ndarray | None,
) -> np.ndarray:
    """Queries [N, H, E] against the pages of one layer, keys and values [pages, K, page_tokens, E] → [N, H, E].

    The token at position i sees slots j = 0 .. i of its row: softmax(q·k / sqrt(E) + slope·(j - i)) · v, with
    key head h / (H/K) for query head h (grouped heads, arXiv:2305.13245; ALiBi, arXiv:2108.12409).
    """
    N, H, E = q.shape
    group = H // keys.shape[1]
    y = np.empty((N, H, E), np.float32)
    for b in range(len(row_start_B1) - 1):
        mine = pages[page_start_B1[b] : page_start_B1[b + 1]]
        k_KSE, v_KSE = (x[mine].transpose(1, 0, 2, 3).reshape(x.shape[1], -1, E) for x in (keys, values))
        for n in range(row_start_B1[b], row_start_B1[b + 1]):
            i = at[n]
            k_HSE, v_HSE = (x[:, : i + 1].repeat(group, 0).astype(np.float64) for x in (k_KSE, v_KSE))
            scores_HS = np.einsum("he,hse->hs", q[n], k_HSE) / np.sqrt(E)
            if slopes_H is not None:
                scores_HS += slopes_H[:, None] * (np.arange(i + 1) - i)
            y[n] = np.einsum("hs,hse->he", softmax(scores_HS), v_HSE)
    return y
