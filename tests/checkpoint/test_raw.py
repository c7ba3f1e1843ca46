"""Raw and Stored: exact values for every type, views where possible, NaN found in every type."""

import numpy as np
import pytest
import torch

from haina.checkpoint.raw import Raw, Stored, tensor_bytes

TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def all_bit_patterns(dtype: str) -> np.ndarray:
    """Every 16-bit pattern, or a spread of 32-bit ones, as bytes."""
    if dtype == "F32":
        return (np.arange(1 << 16, dtype=np.uint32) * 0x10001).view(np.uint8)
    return np.arange(1 << 16, dtype=np.uint16).view(np.uint8)


@pytest.mark.parametrize("dtype", TORCH)
def test_float32_is_exact(dtype: str) -> None:
    data = all_bit_patterns(dtype)
    ours = Raw(dtype, (256, 256), data).float32()
    theirs = torch.from_numpy(data.copy()).view(TORCH[dtype]).float().reshape(256, 256).numpy()
    assert ours.dtype == np.float32 and ours.shape == (256, 256)
    number = ~np.isnan(theirs)
    assert np.array_equal(np.isnan(ours), ~number)
    assert np.array_equal(ours[number].view(np.uint32), theirs[number].view(np.uint32))


@pytest.mark.parametrize("dtype, error", [("W8", 0.01), ("W4", 0.1)])
def test_packed_rows_are_those_of_the_matrix(dtype: str, error: float) -> None:
    array = np.random.default_rng(1).standard_normal((75, 530)).astype(np.float32)
    raw = Raw.of(array).rounded(dtype)
    assert raw.nbytes == tensor_bytes(dtype, (75, 530)) == 3 * tensor_bytes(dtype, (32, 530))
    assert (raw.float32() - array).std() < error
    part = raw.rows(32, 75)
    assert np.shares_memory(part.data, raw.data)
    assert np.array_equal(part.float32(), raw.float32()[32:])
    assert np.array_equal(Raw.of(array[32:]).rounded(dtype).data, part.data)
    stored = Stored(dtype, (75, 530), raw.data).rows(32, 64).raw()
    assert np.array_equal(stored.float32(), raw.float32()[32:64])


def test_bfloat16_rounds_to_nearest_even() -> None:
    array = np.concatenate([
        (np.arange(1 << 16, dtype=np.uint32) * 0x10001 ^ 0x8000).view(np.float32),
        np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7F7FFF, 0x7F7F8000], np.uint32).view(np.float32),
    ])  # fmt: skip
    array = array[np.isfinite(array)]
    theirs = torch.from_numpy(array).bfloat16().view(torch.uint8).numpy()
    ours = Raw.of(array).rounded("BF16")
    assert np.array_equal(ours.data, theirs) and not ours.finite() and ours.rows(0, 9).finite()


def test_float32_is_a_new_array() -> None:
    array = np.ones((2, 3), np.float32)
    Raw.of(array).float32()[:] = 7
    assert (array == 1).all()


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_finite_finds_what_is_not(dtype: str, value: float) -> None:
    tensor = torch.tensor([0.0, -0.0, 1.0, -2.0]).to(TORCH[dtype])
    top = torch.finfo(TORCH[dtype])
    tensor[:2] = torch.tensor([top.max, top.min])
    assert Raw(dtype, (4,), tensor.view(torch.uint8).numpy()).finite()
    tensor[3] = value
    assert not Raw(dtype, (4,), tensor.view(torch.uint8).numpy()).finite()


@pytest.mark.parametrize("dtype", ["W8", "W4"])
@pytest.mark.parametrize("row", [0, 40])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_finite_looks_at_the_scales_of_packed_matrices(dtype: str, row: int, value: float) -> None:
    raw = Raw.of(np.ones((64, 1024), np.float32)).rounded(dtype)
    assert raw.finite()
    block, chunk_bytes = raw.data.reshape(2, -1)[row // 32], raw.nbytes // 4
    block[chunk_bytes : chunk_bytes + 128].view(np.float32)[row % 32] = value  # of the second 512 columns
    assert not raw.finite()


def test_rows_and_row_chunks_are_views() -> None:
    array = np.arange(3 << 20, dtype=np.float32).reshape(3 << 10, 1 << 10)
    raw = Raw.of(array)
    assert np.shares_memory(raw.rows(5, 9).data, array)
    chunks = list(raw.row_chunks())
    assert len(chunks) > 1
    assert [start for start, _ in chunks] == list(
        np.cumsum([0] + [chunk.shape[0] for _, chunk in chunks])[:-1]
    )
    assert np.array_equal(np.concatenate([chunk.float32() for _, chunk in chunks]), array)


def test_stored_gives_a_view_when_it_can_and_one_copy_when_it_must() -> None:
    array = np.arange(24, dtype=np.float32)
    data = array.view(np.uint8)
    view = Stored("F32", (4, 6), data).raw()
    assert np.shares_memory(view.data, array) and not view.data.flags.writeable
    transposed = Stored("F32", (6, 4), data, strides=(1, 6)).raw()
    assert np.array_equal(transposed.float32(), array.reshape(4, 6).T)
    rows = Stored("F32", (6, 4), data, strides=(1, 6)).rows(2, 5).raw()
    assert np.array_equal(rows.float32(), array.reshape(4, 6).T[2:5])
    odd = np.concatenate([np.zeros(1, np.uint8), data])[1:]
    copied = Stored("F32", (4, 6), odd).rows(1, 3).raw()
    assert copied.data.ctypes.data % 4 == 0
    assert np.array_equal(copied.float32(), array.reshape(4, 6)[1:3])
