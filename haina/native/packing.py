"""Packed matrices: W8 and W4, the layout in which the native kernels multiply and in which files are mapped.

docs/formats.md describes the bytes. Here they are made (`pack`, native; `assemble` from integers already chosen)
and read back (`unpack`, native; `integers`). It knows one matrix; it does not know files, names or models.

W4 has two levels: weight = q · s · scale, q in -8..7, s an int8 for 32 columns of a row, scale a float32 for 512.
W8 has one: weight = q · scale, q in -127..127. Rows go in blocks of 32, four columns of a row in four neighbouring
bytes, so that a vector register of any width holds whole rows of what the dot-product instructions want.
"""

from __future__ import annotations

from ctypes import byref, c_int32, c_int64, c_void_p
from typing import Any

import numpy as np

from haina.native.checks import check_status, vector
from haina.native.library import CMatrix, library
from haina.native.machine import usable_threads

PACKED = ("W4", "W8")
BLOCK_ROWS = 32
CHUNK_COLS = 512
GROUP_COLS = 32
DTYPE_NUMBERS = {"W8": 4, "W4": 5}  # haina_dtype in haina.h

_GROUP_BYTES = {"W4": 512, "W8": 1024}  # of the weights of 32 rows and 32 columns


def _chunks(cols: int) -> list[int]:
    """The number of groups in each chunk of a row."""
    groups = -(-cols // GROUP_COLS)
    most = CHUNK_COLS // GROUP_COLS
    return [min(most, groups - start) for start in range(0, groups, most)]


def _chunk_bytes(dtype: str, groups: int) -> int:
    group_scales = BLOCK_ROWS if dtype == "W4" else 0
    return 4 * BLOCK_ROWS + groups * (group_scales + _GROUP_BYTES[dtype])


def block_bytes(dtype: str, cols: int) -> int:
    """Bytes of a block of 32 rows."""
    return sum(_chunk_bytes(dtype, groups) for groups in _chunks(cols))


def packed_bytes(dtype: str, rows: int, cols: int) -> int:
    """Bytes of a whole matrix."""
    return -(-rows // BLOCK_ROWS) * block_bytes(dtype, cols)


def pack(dtype: str, w: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Round float32 [rows, cols] to uint8 [row_blocks * block_bytes]; the same bytes on every machine.

    Group scales of W4 are found by search for the least squared error; reference.py has the rule. Parts of a matrix
    may be packed one by one if each but the last has whole blocks of 32 rows. The values must be finite.
    """
    assert w.dtype == np.float32 and w.ndim == 2 and w.flags.c_contiguous
    rows, cols = w.shape
    out = np.empty(packed_bytes(dtype, rows, cols), np.uint8)
    at = (c_void_p(w.ctypes.data), c_int64(rows), c_int64(cols), c_void_p(out.ctypes.data))
    number, workers = c_int32(DTYPE_NUMBERS[dtype]), c_int32(threads or usable_threads())
    check_status(library().haina_pack(number, *at, workers))
    return out


def assemble(dtype: str, q: np.ndarray, group_scale: np.ndarray | None, scale: np.ndarray) -> np.ndarray:
    """The bytes of integers already chosen: q int8 [rows, cols], group_scale int8 [rows, ceil(cols/32)] (W4 only),
    scale float32 [rows, ceil(cols/512)]."""
    rows, cols = q.shape
    blocks, chunks = -(-rows // BLOCK_ROWS), _chunks(cols)
    q = _padded(q, blocks * BLOCK_ROWS, sum(chunks) * GROUP_COLS).reshape(blocks, BLOCK_ROWS, -1)
    scale = _padded(scale, blocks * BLOCK_ROWS, len(chunks)).reshape(blocks, BLOCK_ROWS, -1)
    out, group = [], 0
    for i, groups in enumerate(chunks):
        out.append(np.ascontiguousarray(scale[:, :, i], "<f4").view(np.uint8))
        if dtype == "W4":
            assert group_scale is not None
            s = _padded(group_scale, blocks * BLOCK_ROWS, sum(chunks)).reshape(blocks, BLOCK_ROWS, -1)
            s = np.ascontiguousarray(s[:, :, group : group + groups].transpose(0, 2, 1))
            out.append(s.reshape(blocks, -1).view(np.uint8))
        part = q[:, :, group * GROUP_COLS : (group + groups) * GROUP_COLS]
        words = part.reshape(blocks, BLOCK_ROWS, groups, 8, 4).transpose(0, 2, 3, 1, 4)
        if dtype == "W4":
            nibbles = (words + 8).astype(np.uint8)
            words = nibbles[:, :, 0::2] | nibbles[:, :, 1::2] << 4
        out.append(np.ascontiguousarray(words).reshape(blocks, -1).view(np.uint8))
        group += groups
    return np.concatenate(out, axis=1).reshape(-1)


def _padded(values: np.ndarray, rows: int, cols: int) -> np.ndarray:
    return np.pad(values, ((0, rows - values.shape[0]), (0, cols - values.shape[1])))


def integers(
    dtype: str, data: np.ndarray, rows: int, cols: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """What `assemble` was given: q [rows, cols], group_scale or None, scale."""
    blocks, chunks = -(-rows // BLOCK_ROWS), _chunks(cols)
    data = data.reshape(blocks, -1)
    qs, ss, scales = [], [], []
    at = 0

    def take(n_bytes: int, dtype: Any) -> np.ndarray:
        nonlocal at
        at += n_bytes
        return np.ascontiguousarray(data[:, at - n_bytes : at]).view(dtype)

    for groups in chunks:
        scales.append(take(4 * BLOCK_ROWS, "<f4").reshape(-1, 1))
        if dtype == "W4":
            s = take(groups * BLOCK_ROWS, np.int8).reshape(blocks, groups, BLOCK_ROWS)
            ss.append(s.transpose(0, 2, 1).reshape(-1, groups))
            b = take(groups * 512, np.uint8).reshape(blocks, groups, 4, 1, BLOCK_ROWS, 4)
            words = (np.concatenate([b & 15, b >> 4], axis=3).view(np.int8) - np.int8(8)).reshape(
                blocks, groups, 8, BLOCK_ROWS, 4
            )
        else:
            words = take(groups * 1024, np.int8).reshape(blocks, groups, 8, BLOCK_ROWS, 4)
        qs.append(words.transpose(0, 3, 1, 2, 4).reshape(blocks * BLOCK_ROWS, -1))
    q, scale = np.concatenate(qs, axis=1)[:rows, :cols], np.concatenate(scales, axis=1)[:rows]
    return q, np.concatenate(ss, axis=1)[:rows] if ss else None, scale


def unpack(dtype: str, data: np.ndarray, rows: int, cols: int, *, threads: int | None = None) -> np.ndarray:
    """The weights as float32 [rows, cols]: integer · scale, rounded once."""
    return unpack_rows(dtype, data, rows, cols, np.arange(rows, dtype=np.int32), threads=threads)


def unpack_rows(
    dtype: str, data: np.ndarray, rows: int, cols: int, ids: np.ndarray, *, threads: int | None = None
) -> np.ndarray:
    """Rows `ids` (int32, 0 .. rows-1) of the matrix as float32 [ids, cols], with the bits of `unpack`."""
    assert ids.dtype == np.int32 and ids.flags.c_contiguous and (not ids.size or ids.min() >= 0)
    assert not ids.size or ids.max() < rows
    out = np.empty((ids.size, cols), np.float32)
    vector("matrix", data, np.uint8, packed_bytes(dtype, rows, cols))
    w = CMatrix(data.ctypes.data, rows, cols, DTYPE_NUMBERS[dtype])
    places = c_void_p(ids.ctypes.data), c_int64(ids.size), c_void_p(out.ctypes.data)
    check_status(library().haina_unpack(byref(w), *places, c_int32(threads or usable_threads())))
    return out


def scales(dtype: str, data: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """All float32 scales [row_blocks, chunks, 32] as a copy: what to look for NaN in."""
    blocks, chunks = -(-rows // BLOCK_ROWS), _chunks(cols)
    data, out, at = data.reshape(blocks, -1), [], 0
    for groups in chunks:
        out.append(data[:, at : at + 4 * BLOCK_ROWS])
        at += _chunk_bytes(dtype, groups)
    return np.ascontiguousarray(np.stack(out, axis=1)).view("<f4")
