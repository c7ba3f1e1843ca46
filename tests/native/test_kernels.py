"""Every native kernel against its definition in reference.py, on each instruction set, over awkward sizes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from haina.native import kernels, reference

RANDOM = np.random.default_rng(1)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
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


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_row_of_weights_ends_where_it_ends(isa, dtype, matrix) -> None:
    """What lies behind a row is not read into it: the next row is NaN."""
    w = normal(2, 21)
    w[1] = np.nan
    y = kernels.matmul(matrix(w, dtype), normal(3, 21), isa=isa)
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


def test_rms_norm(isa) -> None:
    for width in (1, 7, 8, 33, 4096):
        x, weight = 100 * normal(3, width), normal(width)
        y = kernels.rms_norm(x, weight, 1e-6, isa=isa)
        np.testing.assert_allclose(y, reference.rms_norm(x, weight, 1e-6), rtol=3e-7)
    large = np.full((1, 8), 3e38, np.float32)
    assert np.isfinite(kernels.rms_norm(large, np.ones(8, np.float32), 1e-6, isa=isa)).all()


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


def test_silu_mul(isa) -> None:
    edge = np.array([-1e30, -200, -104, -90, -1, -0.0, 0, 1e-9, 3, 90, 1e30, np.inf, np.nan], np.float32)
    for gate in (edge, 20 * normal(1000), normal(1)):
        y = kernels.silu_mul(gate, np.full_like(gate, -1.5), isa=isa)
        true = reference.silu_mul(gate, np.full_like(gate, -1.5))
        np.testing.assert_allclose(y, true, rtol=4e-7, atol=1e-36)
    assert np.isnan(kernels.silu_mul(np.float32([-np.inf]), np.float32([1]), isa=isa))  # as ∞ / ∞


def test_silu_mul_does_not_depend_on_where_a_row_is_cut(isa) -> None:
    gate, up = 5 * normal(61), normal(61)
    whole = kernels.silu_mul(gate, up, isa=isa)
    parts = [kernels.silu_mul(gate[i : i + 7], up[i : i + 7], isa=isa) for i in range(0, 61, 7)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
