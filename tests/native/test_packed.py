"""W4 and W8: products equal to reference.py bit for bit on every instruction set, and the bytes that pack() makes."""

from __future__ import annotations

import numpy as np
import pytest

from haina.native import kernels, reference
from haina.native.binding import Matrix
from haina.native.packing import PACKED, assemble, block_bytes, integers, pack, packed_bytes, scales, unpack

RANDOM = np.random.default_rng(2)
SHAPES = [(1, 1), (33, 40), (64, 513), (70, 1100)]


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def chosen(dtype: str, rows: int, cols: int, **values: int) -> Matrix:
    """A matrix of integers and scales at random, any that the bytes can hold, or all alike."""
    groups, chunks = -(-cols // 32), -(-cols // 512)
    lowest, highest = (-8, 8) if dtype == "W4" else (-128, 128)
    q = RANDOM.integers(lowest, highest, (rows, cols)).astype(np.int8)
    s = RANDOM.integers(-128, 128, (rows, groups)).astype(np.int8)
    if values:
        q[:], s[:] = values["q"], values["s"]
    scale = 0.01 * normal(rows, chunks)
    return Matrix(dtype, assemble(dtype, q, s, scale), rows, cols)


def check(w: Matrix, x: np.ndarray, isa: str, bias: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    y = kernels.matmul(w, x, bias, isa=isa, threads=threads)
    expected = reference.matmul(w, x, bias)
    np.testing.assert_array_equal(y, expected)  # equal, NaN where NaN, but 0 = -0
    assert np.array_equal(np.signbit(y) | np.isnan(y), np.signbit(expected) | np.isnan(y))
    return y


@pytest.mark.parametrize("dtype", PACKED)
@pytest.mark.parametrize("rows, cols", SHAPES)
def test_products_have_the_bits_of_the_reference(isa, dtype, rows, cols) -> None:
    w, bias = chosen(dtype, rows, cols), normal(rows)
    for tokens in (*range(1, 10), 17, 97):
        check(w, normal(tokens, cols), isa, bias if tokens % 2 else None, threads=1 + tokens % 3)


@pytest.mark.parametrize("dtype, q", [("W4", -8), ("W4", 7), ("W8", -128), ("W8", 127)])
@pytest.mark.parametrize("s", [-128, 127])
def test_the_largest_sums_do_not_overflow(isa, dtype, q, s) -> None:
    """All weights and all activations at their extremes, of both signs and alternating."""
    w = chosen(dtype, 35, 640, q=q, s=s)
    x = np.ones((9, 640), np.float32)
    x[1:3] *= -1
    x[3:5, ::2] *= -1
    x[5:, RANDOM.random(640) < 0.5] *= -1
    check(w, x, isa)


@pytest.mark.parametrize("dtype", PACKED)
def test_rounding_of_activations(isa, dtype) -> None:
    """Zeros, denormals, the largest floats, ties, and blocks of a hundred orders of magnitude side by side."""
    x = normal(9, 700)
    x[0] = 0
    x[1] *= np.float32(1e-38)
    x[2] = 1e-45
    x[3] *= np.float32(1e37)
    x[4, :128] *= np.float32(1e-30)
    x[5] = np.arange(700) % 255 - 127 + np.float32(0.5)
    x[5, ::128] = 127
    x[6, 1:] = 0
    x[7] = np.float32(-127 * 1.1754944e-38)
    with np.errstate(over="ignore", invalid="ignore"):
        check(chosen(dtype, 40, 700), x, isa)


@pytest.mark.parametrize("dtype", PACKED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_its_token_alone(isa, dtype, bad) -> None:
    w, x = chosen(dtype, 40, 700), normal(9, 700)
    clean = check(w, x, isa)
    x[4, 699] = bad
    dirty = check(w, x, isa)
    assert np.isnan(dirty[4]).all()
    assert np.delete(dirty, 4, 0).tobytes() == np.delete(clean, 4, 0).tobytes()


def test_a_bad_scale_shows_in_its_row_alone(isa) -> None:
    q, s, scale = integers("W4", chosen("W4", 40, 700).data, 40, 700)
    scale[7, 1] = np.nan
    y = check(Matrix("W4", assemble("W4", q, s, scale), 40, 700), normal(3, 700), isa)
    assert np.isnan(y[:, 7]).all() and np.isfinite(np.delete(y, 7, 1)).all()


@pytest.mark.parametrize("dtype", PACKED)
def test_tokens_and_threads_do_not_change_bits(isa, dtype) -> None:
    w, x = chosen(dtype, 100, 1100), normal(110, 1100)
    together = kernels.matmul(w, x, isa=isa, threads=3)
    alone = np.concatenate([kernels.matmul(w, row[None], isa=isa) for row in x])
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("dtype", PACKED)
@pytest.mark.parametrize("rows, cols", SHAPES)
def test_pack_has_the_bytes_of_the_reference(isa, dtype, rows, cols) -> None:
    """Whatever kernels there are: `isa` has them packed by the best of its library."""
    heavy = RANDOM.standard_t(3, (rows, cols)).astype(np.float32)
    gaps = normal(rows, cols)
    gaps[0], gaps[:, ::7], gaps[:, 32:64] = 0, 0, 0
    whole = np.rint(4 * normal(rows, cols))
    for w in (normal(rows, cols), heavy, gaps, whole, heavy * np.float32(1e-36), heavy * np.float32(1e15)):
        assert pack(dtype, w, threads=2).tobytes() == reference.pack(dtype, w).tobytes()


@pytest.mark.parametrize("dtype", PACKED)
@pytest.mark.parametrize("rows, cols", SHAPES)
def test_bytes_and_integers_are_the_same_thing(dtype, rows, cols) -> None:
    data = chosen(dtype, rows, cols).data
    assert data.size == packed_bytes(dtype, rows, cols) and data.size % block_bytes(dtype, cols) == 0
    q, s, scale = integers(dtype, data, rows, cols)
    assert assemble(dtype, q, s, scale).tobytes() == data.tobytes()
    w = q * np.repeat(scale.astype(np.float64), 512, axis=1)[:, :cols]
    if s is not None:
        w *= np.repeat(s, 32, axis=1)[:, :cols]
    np.testing.assert_array_equal(unpack(dtype, data, rows, cols), w.astype(np.float32))
    blocks = scales(dtype, data, rows, cols)
    np.testing.assert_array_equal(blocks.transpose(0, 2, 1).reshape(-1, scale.shape[1])[:rows], scale)


@pytest.mark.parametrize("dtype", PACKED)
def test_the_layout_is_the_one_on_paper(dtype) -> None:
    """docs/formats.md, byte by byte: row 34, column 530 is in the second block, second chunk, first group."""
    w = np.zeros((40, 560), np.float32)
    w[34, 530] = -1
    data, column = pack(dtype, w), 530 - 512
    second = 128 + (544 if dtype == "W4" else 1024) * 16  # of a block: the first chunk has 16 groups
    chunk = data[block_bytes(dtype, 560) + second :]
    scale = chunk[4 * 2 : 4 * 3].view("<f4")[0]
    if dtype == "W4":
        s, byte = chunk[128 + 2].view(np.int8), chunk[128 + 2 * 32 + column // 8 * 128 + 2 * 4 + column % 4]
        assert (byte & 15 if column % 8 < 4 else byte >> 4) == 0 and -8 * int(s) * scale == pytest.approx(-1)
    else:
        assert chunk[128 + column // 4 * 128 + 2 * 4 + column % 4].view(np.int8) * scale == pytest.approx(-1)


@pytest.mark.parametrize("dtype", PACKED)
def test_parts_of_whole_blocks_may_be_packed_one_by_one(dtype) -> None:
    w = normal(100, 600)
    parts = [pack(dtype, w[i : i + 32]) for i in range(0, 100, 32)]
    assert np.concatenate(parts).tobytes() == pack(dtype, w).tobytes()


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x, dtype=np.float64).mean()))


@pytest.mark.parametrize("dtype, most", [("W4", 0.0815), ("W8", 0.0075)])
def test_the_error_is_that_of_the_format(dtype, most) -> None:
    """Relative, on Gaussian weights; llama.cpp's Q4_0 has .0859 (in 4.5 bits, W4 in 4.3125)."""
    w = normal(128, 2048)
    error = rms(unpack(dtype, pack(dtype, w), 128, 2048) - w) / rms(w)
    assert 0.9 * most < error < most
