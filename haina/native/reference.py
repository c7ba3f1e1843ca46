"""The kernels in NumPy: the definition that the native ones are tested against, argument for argument.

Readable, not fast; everything is computed in double and rounded to float32 at the end unless it says otherwise.
There is no second forward pass here: model/decoder.py is the network to be read.
N fed tokens, H query heads, K key heads, E width of a head; `Matrix` and the page layout are those of binding.py.
"""

from __future__ import annotations

import numpy as np

from haina.native.binding import Matrix, NativeCache
from haina.native.packing import CHUNK_COLS, GROUP_COLS, PACKED, assemble, integers, unpack

BLOCK_COLS = 128  # activations with one scale


def pack(dtype: str, w: np.ndarray) -> np.ndarray:
    """float32 [rows, cols] → the bytes of packing.py's pack, bit for bit: everything in float32, in this order.

    W8: scale = max|w| / 127 over 512 columns, q = w / scale. W4: `group_scale` gives the ideal scale of 32 columns;
    scale = max|ideal| / 127 over 512, s = ideal / scale (0 becomes 1), q = w / (s · scale). All are rounded to even.
    """
    rows, cols = w.shape
    groups = np.pad(w, ((0, 0), (0, -cols % GROUP_COLS))).reshape(rows, -1, GROUP_COLS)
    scaled = groups if dtype == "W8" else group_scale(groups)[..., None]
    chunks = np.arange(groups.shape[1]) // (CHUNK_COLS // GROUP_COLS)  # of each group
    top = np.maximum.reduceat(np.abs(scaled).max(2), np.unique(chunks, return_index=True)[1], axis=1)
    scale, inverse = top / np.float32(127), np.zeros_like(top)
    np.divide(np.float32(127), top, out=inverse, where=top >= 1e-36)
    s = np.rint(scaled * inverse[:, chunks, None])
    if dtype == "W8":
        return assemble(dtype, s.reshape(rows, -1)[:, :cols].astype(np.int8), None, scale)
    s[s == 0] = 1
    step = s * scale[:, chunks, None]
    back = np.divide(np.float32(1), step, out=np.zeros_like(step), where=step != 0)
    q = np.rint((groups * back).clip(-8, 7))
    return assemble(dtype, q.reshape(rows, -1)[:, :cols].astype(np.int8), s[..., 0].astype(np.int8), scale)


def group_scale(w: np.ndarray) -> np.ndarray:
    """The signed scales [rows, groups] with which q in -8 .. 7 come nearest to w [rows, groups, 32], in float32.

    Ten scales are tried, 0.70 to 1.15 of the one that puts the extreme weight at -8. The q of each have a best scale
    a / b, with a = sum w·q and b = sum q², that leaves the error sum w² - a²/b: the largest a²/b wins.
    """
    extreme = np.take_along_axis(w, np.abs(w).argmax(2)[..., None], 2)[..., 0]
    usable = np.abs(extreme) >= np.float32(1e-30)
    first = np.where(usable, extreme, np.float32(1)) * np.float32(-0.125)
    best, most = first.copy(), np.full_like(first, -1)
    for step in range(10):
        factor = np.float32(0.7) + np.float32(0.05) * np.float32(step)
        q = np.rint((w * (1 / (first * factor))[..., None]).clip(-8, 7))
        a, b = in_order(q * w), in_order(q * q)
        better = (b > 0) & (a * a > most * b)
        best[better] = a[better] / b[better]
        most[better] = a[better] * a[better] / b[better]
    return np.asarray(np.where(usable, best, np.float32(0)))


def in_order(x: np.ndarray) -> np.ndarray:
    """The sums over 32 columns as eight lanes make them: of columns l, l + 8, ..., then of the lanes."""
    lanes, total = np.zeros_like(x[..., :8]), np.zeros_like(x[..., 0])
    for i in range(0, GROUP_COLS, 8):
        lanes += x[..., i : i + 8]
    for lane in range(8):
        total += lanes[..., lane]
    return total


def weights(w: Matrix) -> np.ndarray:
    """The weights as float32 [rows, cols]; exact, but for the product with the scale of W8 and W4."""
    shape = (w.rows, w.cols)
    if w.dtype == "BF16":
        bits = w.data.view(np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if w.dtype in PACKED:
        return unpack(w.dtype, w.data, w.rows, w.cols)
    return w.data.view({"F32": np.float32, "F16": np.float16}[w.dtype]).reshape(shape).astype(np.float32)


def round_activations(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [tokens, cols] → int8 [tokens, cols], and float32 [tokens, ceil(cols/128)]: x ≈ q · scale.

    scale = max|x| / 127 over 128 columns; ties go to even. A block with NaN or infinity gets the scale NaN.
    """
    tokens, cols = x.shape
    blocks = np.pad(x, ((0, 0), (0, -cols % BLOCK_COLS))).reshape(tokens, -1, BLOCK_COLS)
    top = np.abs(blocks).max(2)
    scale = np.where(np.isfinite(top), top / np.float32(127), np.float32(np.nan))
    usable = scale >= np.finfo(np.float32).tiny
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=usable)
    with np.errstate(invalid="ignore"):
        q = np.where(usable[..., None], np.rint(blocks * inverse[..., None]), 0).clip(-127, 127)
    return q.astype(np.int8).reshape(tokens, -1)[:, :cols], scale


def matmul_packed(w: Matrix, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """The product with a packed matrix, bit for bit: exact integers over 128 columns, then float32 in this order."""
    q, s, scale = integers(w.dtype, w.data, w.rows, w.cols)
    a, a_scale = round_activations(x)
    whole = q.astype(np.int64) * (1 if s is None else np.repeat(s, GROUP_COLS, axis=1)[:, : w.cols])
    y = np.zeros((len(x), w.rows), np.float32)
    for chunk in range(0, w.cols, CHUNK_COLS):
        part = np.zeros_like(y)
        for at in range(chunk, min(chunk + CHUNK_COLS, w.cols), BLOCK_COLS):
            columns = slice(at, min(at + BLOCK_COLS, chunk + CHUNK_COLS, w.cols))
            sums = (a[:, columns].astype(np.int64) @ whole[:, columns].T).astype(np.float32)
            part += sums * a_scale[:, at // BLOCK_COLS, None]
        y += part * scale[:, chunk // CHUNK_COLS]
    return y if bias is None else y + bias


def matmul(w: Matrix, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """y [tokens, rows] = x [tokens, cols] · wᵀ + bias [rows]."""
    if w.dtype in PACKED:
        return matmul_packed(w, x, bias)
    y: np.ndarray = x.astype(np.float64) @ weights(w).astype(np.float64).T
    return (y if bias is None else y + bias).astype(np.float32)


def head(w: Matrix, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """y [tokens, n] = x [tokens, cols] · w[ids]ᵀ: columns of the whole product."""
    return matmul(w, x)[:, ids]


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


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """What a cache of this dtype makes of keys or values [..., E], as float32.

    F16 and BF16 round to nearest even. I8: scale · (-127 … 127), the scale being max|x| / 127 over E; a NaN or an
    infinity makes all E of them NaN, and a scale below the smallest normal float makes them 0.
    """
    if dtype == "F32":
        return x
    if dtype == "BF16":
        bits = x.view(np.uint32)
        even = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
        return np.asarray(np.where(np.isnan(x), x, even.view(np.float32)))
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "F16":
            return x.astype(np.float16).astype(np.float32)
        scale = np.abs(x).max(-1, keepdims=True) / np.float32(127)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale >= np.finfo(np.float32).tiny)
        y = np.rint(x * inverse).clip(-127, 127) * scale
        return np.asarray(np.where(np.isfinite(scale), y, np.float32(np.nan)))


def stored(cache: NativeCache, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys and values of one layer, each as float32 [pages, K, page_tokens, E]."""
    keys, values = cache.keys[layer].swapaxes(-1, -2), cache.values[layer]
    if cache.dtype == "BF16":
        keys, values = ((x.astype(np.uint32) << 16).view(np.float32) for x in (keys, values))
    if cache.dtype == "I8":
        keys, values = keys * cache.key_scale[layer, ..., None], values * cache.value_scale[layer, ..., None]
    return keys.astype(np.float32), values.astype(np.float32)


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
