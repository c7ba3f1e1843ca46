"""Every native kernel against its definition in reference.py, on each instruction set, over awkward sizes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from haina.native import kernels, reference
from haina.native.binding import NativeCache

RANDOM = np.random.default_rng(1)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I8"])
@pytest.mark.parametrize("rows, cols", [(1, 1), (3, 5), (33, 17), (40, 96), (70, 1031)])
def test_matmul(isa, dtype, rows, cols, matrix) -> None:
    w, bias = matrix(normal(rows, cols), dtype), normal(rows)
    for tokens in (1, 2, 4, 5, 13, 49):
        x = normal(tokens, cols)
        y = kernels.matmul(w, x, bias, isa=isa, threads=2)
        assert np.abs(y - reference.matmul(w, x, bias)).max() < 2e-6 * cols**0.5 + 1e-6


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_16_bit_value_is_widened_exactly(isa, dtype, matrix) -> None:
    """Subnormals and infinities too; a NaN stays a NaN."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    w = matrix(np.zeros((1 << 16, 1), np.float32), dtype)
    w.data.flags.writeable = True
    w.data[:] = bits.view(np.uint8)
    y = kernels.matmul(w, np.ones((1, 1), np.float32), isa=isa)[0]
    np.testing.assert_array_equal(y, reference.weights(w)[:, 0])


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I8"])
def test_a_row_of_weights_ends_where_it_ends(isa, dtype, matrix) -> None:
    """What lies behind a row is not read into it: the next row is NaN (or its scale is)."""
    w = normal(2, 21)
    clean = matrix(w, dtype)
    if dtype == "I8":
        clean.scale[1] = np.nan
    else:
        w[1] = np.nan
        clean = matrix(w, dtype)
    y = kernels.matmul(clean, normal(3, 21), isa=isa)
    assert np.isfinite(y[:, 0]).all() and np.isnan(y[:, 1]).all()


def test_products_do_not_depend_on_companions_or_threads(isa, matrix) -> None:
    for cols in (7, 100, 2500):
        w, x = matrix(normal(41, cols), "BF16"), normal(100, cols)
        together = kernels.matmul(w, x, isa=isa, threads=3)
        alone = np.concatenate([kernels.matmul(w, row[None], isa=isa) for row in x])
        assert together.tobytes() == alone.tobytes()


def test_a_weight_is_read_once_for_several_tokens(matrix) -> None:
    """Six tokens cost far less than six times one. CPU time, so that a busy machine does not matter."""
    w, x = matrix(normal(1024, 4096), "BF16"), normal(6, 4096)

    def cpu_s(tokens: int) -> float:
        start = time.thread_time()
        kernels.matmul(w, x[:tokens])
        return time.thread_time() - start

    one, six = (min(cpu_s(tokens) for _ in range(9)) for tokens in (1, 6))
    assert six < 5 * one


def test_rms_norm() -> None:
    for width in (1, 7, 8, 4096):
        x, weight = 100 * normal(3, width), normal(width)
        np.testing.assert_allclose(
            kernels.rms_norm(x, weight, 1e-6), reference.rms_norm(x, weight, 1e-6), rtol=3e-7
        )
    assert np.isfinite(
        kernels.rms_norm(np.full((1, 8), 3e38, np.float32), np.ones(8, np.float32), 1e-6)
    ).all()


def test_angles_stay_exact_far_out() -> None:
    at = np.array([0, 1, 4095, 131071, 10_000_019], np.int32)
    for rotary, theta in ((2, 1e4), (64, 1e4), (128, 1e6)):
        for ours, true in zip(
            kernels.angles(at, rotary, theta), reference.angles(at, rotary, theta), strict=True
        ):
            np.testing.assert_allclose(ours, true, atol=2e-7, rtol=0)


@pytest.mark.parametrize("rotary", [0, 2, 6, 10])
def test_rotate(rotary) -> None:
    x = normal(4, 3, 10)
    cos, sin = reference.angles(np.array([0, 5, 6, 4000], np.int32), rotary, 1e4)
    np.testing.assert_allclose(kernels.rotate(x, cos, sin), reference.rotate(x, cos, sin), atol=5e-7)


def test_silu_mul() -> None:
    gate = np.array([-200, -90, -1, -0.0, 0, 1e-9, 3, 90, np.inf, np.nan], np.float32)
    up = np.full_like(gate, -1.5)
    np.testing.assert_allclose(
        kernels.silu_mul(gate, up), reference.silu_mul(gate, up), rtol=1e-6, atol=1e-30
    )


def test_half_rounds_as_numpy_does() -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[1:] + halves[:-1]) / 2
    near = np.concatenate([np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(0))])
    edge = np.array([65504, 65519.996, 65520, 1e30, np.inf, 1e-30, 0], np.float32)
    x = np.concatenate([halves, middles, near, edge])
    x = np.concatenate([x, -x])
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    assert kernels.half(x).tobytes() == expected.tobytes()
    assert np.isnan(kernels.half(np.array([np.nan], np.float32))).all()


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize("K, E", [(6, 10), (3, 24), (1, 70)])
def test_attention(isa, alibi, dtype, K, E, Tiny) -> None:
    tiny = Tiny(K=K, E=E, layers=1, alibi=alibi, rotary=0)
    model = tiny.model()
    cache = NativeCache(model, pages=20, page_tokens=7, dtype=dtype)
    cache.keys[:], cache.values[:] = normal(*cache.keys.shape), normal(*cache.values.shape)
    step = {
        "at": np.array([*range(40), 62, 3, 4, 9], np.int32),
        "row_start_B1": np.array([0, 40, 41, 41, 44], np.int32),
        "pages": RANDOM.permutation(20)[:17].astype(np.int32),
        "page_start_B1": np.array([0, 6, 15, 15, 17], np.int32),
    }
    q = normal(44, 6, E)
    y = kernels.attention(model, cache, 0, q, **step, threads=2, isa=isa)
    slopes = np.float32(2.0) ** -np.arange(6, dtype=np.float32) if alibi else None
    keys, values = cache.keys[0].astype(np.float32), cache.values[0].astype(np.float32)
    true = reference.attention(q, keys, values, **step, slopes_H=slopes)
    np.testing.assert_allclose(y, true, atol=2e-6)


def test_quantize_rows_keeps_each_weight_within_half_a_step() -> None:
    w = normal(9, 50)
    w[3] = 0
    data, scale = reference.quantize_rows(w)
    assert data.dtype == np.int8 and scale.dtype == np.float32 and data.min() >= -127
    assert (np.abs(data * scale[:, None] - w) <= scale[:, None] * 0.5001).all()
    assert (np.abs(data).max(axis=1)[[0, 1, 2, 4]] == 127).all() and scale[3] == 0
