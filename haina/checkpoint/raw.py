"""Raw: a tensor as it lies in a file, and Stored: the place in a file where one lies.

NumPy has no bfloat16, so a tensor is a name of its element type, a shape and its bytes. This module knows
bytes and element types; it does not know files' formats, names of tensors or models. The names of the types
are those of safetensors (huggingface/safetensors, README, "Format"), and W4 and W8 for our packed matrices
(docs/formats.md).
"""

from __future__ import annotations

import math
import mmap
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from haina.native.packing import BLOCK_ROWS, PACKED, pack, packed_bytes, scales, unpack
from haina.wording import say, system_reason

# Bytes of one element, by the names of safetensors.
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1,
}  # fmt: skip

# The types that a weight can have here; the others occur in files and are refused by name when asked for.
WEIGHT_DTYPES = ("F32", "F16", "BF16", *PACKED)

# Type of the integers with the same bits, and the bits of +infinity: larger ones are NaN, sign bit apart.
_INFINITY: dict[str, tuple[type[np.signedinteger], type[np.unsignedinteger], int]] = {
    "F32": (np.int32, np.uint32, 0x7F800000),
    "F16": (np.int16, np.uint16, 0x7C00),
    "BF16": (np.int16, np.uint16, 0x7F80),
}

_CHUNK_BYTES = 4 << 20  # of float32, when a tensor is converted in pieces


def tensor_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor. Of its first rows alone, it is where the next row begins (packed: whole blocks of rows)."""
    if dtype in PACKED:
        rows, cols = shape
        return packed_bytes(dtype, rows, cols)
    return math.prod(shape) * ITEM_BYTES[dtype]


def chunks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The rows of a tensor in runs (start, stop), each small in float32 and, but for the last, of whole blocks."""
    step = max(1, _CHUNK_BYTES // (4 * BLOCK_ROWS * math.prod(shape[1:]) or 1)) * BLOCK_ROWS
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


@dataclass(frozen=True)
class Raw:
    """A tensor as it lies in a file.

    data: uint8 [nbytes], read-only, C order, usually a view of a memory map; aligned to the element size, or to
    a float32 if it is packed.
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray

    def __post_init__(self) -> None:
        assert self.data.dtype == np.uint8 and self.data.ndim == 1 and self.data.flags.c_contiguous
        assert self.data.nbytes == tensor_bytes(self.dtype, self.shape)

    @classmethod
    def of(cls, array: np.ndarray) -> Raw:
        """View a float32 or float16 array as Raw; nothing is copied if it is C-contiguous."""
        dtype = {"float32": "F32", "float16": "F16"}[array.dtype.name]
        return cls(dtype, array.shape, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def float32(self) -> np.ndarray:
        """A new float32 array of `shape`; exact for every type (packed: the integers' product, rounded once)."""
        if self.dtype in PACKED:
            rows, cols = self.shape
            return unpack(self.dtype, self.data, rows, cols)
        if self.dtype == "BF16":
            bits = self.data.view(np.uint16).astype(np.uint32)
            bits <<= 16
            values = bits.view(np.float32)
        else:
            stored = {"F32": np.float32, "F16": np.float16}[self.dtype]
            values = self.data.view(stored).astype(np.float32)
        return values.reshape(self.shape)

    def rounded(self, dtype: str, *, threads: int | None = None) -> Raw:
        """The same tensor as W4, W8 (a matrix of finite values, native/packing.py), F32, F16 or BF16, ties to even.

        F16 and BF16 give infinity beyond their largest value. All of the tensor is in float32 for a while: `chunks`.
        """
        if dtype == self.dtype:
            return self
        values = self.float32()
        if dtype in PACKED:
            return Raw(dtype, self.shape, pack(dtype, values, threads=threads))
        if dtype in ("F32", "F16"):
            with np.errstate(over="ignore"):
                return Raw.of(values if dtype == "F32" else values.astype(np.float16))
        assert dtype == "BF16"
        bits = values.reshape(-1).view(np.uint32)
        bits += (bits >> 16 & 1) + np.uint32(0x7FFF)
        bits >>= 16
        return Raw(dtype, self.shape, bits.astype(np.uint16).view(np.uint8))

    def rows(self, start: int, stop: int) -> Raw:
        """Rows start..stop of a matrix (or elements of a vector) as a view: nothing is copied.

        Of a packed matrix: blocks of 32 rows.
        """
        if self.dtype in PACKED:
            assert start % BLOCK_ROWS == 0 and (stop % BLOCK_ROWS == 0 or stop == self.shape[0])
        shape = (stop - start, *self.shape[1:])
        first, last = (tensor_bytes(self.dtype, (row, *self.shape[1:])) for row in (start, stop))
        return Raw(self.dtype, shape, self.data[first:last])

    def row_chunks(self) -> Iterator[tuple[int, Raw]]:
        """The same tensor in runs of rows with the first row of each: small enough to convert one by one."""
        for start, stop in chunks(self.shape):
            yield start, self.rows(start, stop)

    def finite(self) -> bool:
        """Whether no element is NaN or infinite. Looks at the bits where they lie: no copy, no conversion.

        As signed integers the positive floats are in order, as unsigned ones so are the negative floats
        after them; so NaN and infinity are at the top of one of the two orders.
        """
        if self.dtype in PACKED:
            rows, cols = self.shape
            return bool(np.isfinite(scales(self.dtype, self.data, rows, cols)).all())
        if not self.data.size:
            return True
        signed, unsigned, infinity = _INFINITY[self.dtype]
        sign_bit = 1 << (8 * ITEM_BYTES[self.dtype] - 1)
        below_minus = self.data.view(unsigned).max() < infinity | sign_bit
        return bool(below_minus and self.data.view(signed).max() < infinity)


@dataclass(frozen=True)
class Stored:
    """A tensor in a mapped file, not read yet: `raw()` reads it.

    data:    uint8, the mapped bytes from the tensor's first element on (at least as many as it needs).
    strides: in elements, where the file says so (PyTorch views); None means C order.
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray
    strides: tuple[int, ...] | None = None

    @property
    def coding(self) -> str:
        """How the values are written: as their dtype, or in a code that is decoded to it when they are read."""
        return self.dtype

    def rows(self, start: int, stop: int) -> Stored:
        """Rows start..stop of a matrix (or elements of a vector), as `Raw.rows`."""
        if self.strides is None:
            first = tensor_bytes(self.dtype, (start, *self.shape[1:]))
        else:
            first = start * self.strides[0] * ITEM_BYTES[self.dtype]
        return replace(self, shape=(stop - start, *self.shape[1:]), data=self.data[first:])

    def raw(self) -> Raw:
        """The tensor: a view if it lies in C order and aligned, otherwise the one copy that is needed."""
        item_bytes = 4 if self.dtype in PACKED else ITEM_BYTES[self.dtype]
        if self.strides is not None and not in_c_order(self.shape, self.strides):
            strides_bytes = [stride * item_bytes for stride in self.strides]
            item = np.ndarray(self.shape, f"V{item_bytes}", self.data, strides=strides_bytes)
            return Raw(self.dtype, self.shape, np.ascontiguousarray(item).reshape(-1).view(np.uint8))
        data = self.data[: tensor_bytes(self.dtype, self.shape)]
        if data.ctypes.data % item_bytes:
            data = data.copy()
        data.flags.writeable = False
        return Raw(self.dtype, self.shape, data)


def in_c_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether strides (in elements) are those of a C-contiguous array; dims of size 1 do not count."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return math.prod(shape) == 0
        expected *= size
    return True


def map_file(path: Path) -> np.ndarray:
    """The bytes of a regular file as a read-only uint8 memory map (nothing is read until it is touched).

    ValueError if it is missing, empty, not a regular file, or a Git LFS pointer instead of the file itself.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(say(f"{path}: not a regular file", f"{path}：不是普通文件"))
        with path.open("rb") as file:
            start = file.read(len(_LFS_START))
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if start else None
    except OSError as error:
        raise unreadable(path, error) from None
    if mapped is None:
        raise ValueError(
            say(f"{path}: the file is empty; download it again", f"{path}：文件是空的；请重新下载"),
        )
    if start == _LFS_START:
        raise ValueError(
            say(
                f"{path}: only a Git LFS pointer, the file was not downloaded; run `git lfs pull` there",
                f"{path}：这只是 Git LFS 指针，文件本身没有下载；请在该目录运行 `git lfs pull`",
            )
        )
    return np.frombuffer(mapped, np.uint8)


def give_back(data: np.ndarray) -> None:
    """Let the system take back the memory of mapped bytes that were read; reading them again finds them again.

    They are in its cache of files anyway, but count as this process's memory while it has them mapped. Nothing
    happens to an array that is not a view of a map, and on systems without madvise.
    """
    owner: object = data
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise") and data.size:
        start = data.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
        page = start - start % mmap.PAGESIZE
        owner.madvise(mmap.MADV_DONTNEED, page, start + data.nbytes - page)


_LFS_START = b"version https://git-lfs.github.com/spec/"


def unreadable(path: Path, error: OSError) -> ValueError:
    """What to raise when the system will not give us a file: its own words, in one line."""
    why = system_reason(error)
    return ValueError(say(f"{path}: cannot be read: {why}", f"{path}：无法读取：{why}"))
