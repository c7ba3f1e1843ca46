"""Raw: a tensor as it lies in a file, and Stored: the place in a file where one lies.

NumPy has no bfloat16, so a tensor is a name of its element type, a shape and its bytes. This module knows
bytes and element types; it does not know files' formats, names of tensors or models. The names of the types
are those of safetensors (huggingface/safetensors, README, "Format").
"""

from __future__ import annotations

import math
import mmap
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from haina.native.reference import quantize_rows
from haina.wording import say, system_reason

# Bytes of one element, by the names of safetensors.
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1,
}  # fmt: skip

# The types that a weight can have here; the others occur in files and are refused by name when asked for.
WEIGHT_DTYPES = ("F32", "F16", "BF16", "I8")

# Type of the integers with the same bits, and the bits of +infinity: larger ones are NaN, sign bit apart.
_INFINITY: dict[str, tuple[type[np.signedinteger], type[np.unsignedinteger], int]] = {
    "F32": (np.int32, np.uint32, 0x7F800000),
    "F16": (np.int16, np.uint16, 0x7C00),
    "BF16": (np.int16, np.uint16, 0x7F80),
}

_CHUNK_BYTES = 1 << 20  # of work memory, when a tensor is converted in pieces


@dataclass(frozen=True)
class Raw:
    """A tensor as it lies in a file.

    data:  uint8 [nbytes], read-only, C order, usually a view of a memory map; aligned to the element size.
    scale: I8 only: float32 [rows]; the weight is i8 * scale[row].
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray
    scale: np.ndarray | None = None

    def __post_init__(self) -> None:
        assert self.data.dtype == np.uint8 and self.data.ndim == 1 and self.data.flags.c_contiguous
        assert self.data.nbytes == math.prod(self.shape) * ITEM_BYTES[self.dtype]
        assert self.scale is None or (self.dtype == "I8" and self.scale.shape == self.shape[:1])

    @classmethod
    def of(cls, array: np.ndarray) -> Raw:
        """View a float32 or float16 array as Raw; nothing is copied if it is C-contiguous."""
        dtype = {"float32": "F32", "float16": "F16"}[array.dtype.name]
        return cls(dtype, array.shape, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def float32(self) -> np.ndarray:
        """A new float32 array of `shape`; exact for every type (int8 is rounded once, by its scale)."""
        if self.dtype == "BF16":
            bits = self.data.view(np.uint16).astype(np.uint32)
            bits <<= 16
            values = bits.view(np.float32)
        else:
            stored = {"F32": np.float32, "F16": np.float16, "I8": np.int8}[self.dtype]
            values = self.data.view(stored).astype(np.float32)
        values = values.reshape(self.shape)
        if self.scale is not None:
            values *= self.scale.reshape(-1, *(1,) * (len(self.shape) - 1))
        return values

    def rows(self, start: int, stop: int) -> Raw:
        """Rows start..stop of a matrix (or elements of a vector) as a view: nothing is copied."""
        row_bytes = self.nbytes // self.shape[0]
        scale = None if self.scale is None else self.scale[start:stop]
        shape = (stop - start, *self.shape[1:])
        return replace(self, shape=shape, data=self.data[start * row_bytes : stop * row_bytes], scale=scale)

    def row_chunks(self) -> Iterator[tuple[int, Raw]]:
        """The same tensor in runs of rows with the first row of each: small enough to convert one by one."""
        step = max(1, _CHUNK_BYTES // (4 * math.prod(self.shape[1:]) or 1))
        for start in range(0, self.shape[0], step):
            yield start, self.rows(start, min(start + step, self.shape[0]))

    def rounded(self) -> Raw:
        """A float matrix as int8 with one scale a row (native/reference.py), a few rows in float32 at a time."""
        data, scale = np.empty(self.shape, np.int8), np.empty(self.shape[0], np.float32)
        for start, chunk in self.row_chunks():
            stop = start + chunk.shape[0]
            data[start:stop], scale[start:stop] = quantize_rows(chunk.float32())
        return Raw("I8", self.shape, data.reshape(-1).view(np.uint8), scale)

    def finite(self) -> bool:
        """Whether no element is NaN or infinite. Looks at the bits where they lie: no copy, no conversion.

        As signed integers the positive floats are in order, as unsigned ones so are the negative floats
        after them; so NaN and infinity are at the top of one of the two orders.
        """
        if self.dtype == "I8":
            return self.scale is None or bool(np.isfinite(self.scale).all())
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

    def rows(self, start: int, stop: int) -> Stored:
        """Rows start..stop of a matrix (or elements of a vector), as `Raw.rows`."""
        stride = math.prod(self.shape[1:]) if self.strides is None else self.strides[0]
        data = self.data[start * stride * ITEM_BYTES[self.dtype] :]
        return replace(self, shape=(stop - start, *self.shape[1:]), data=data)

    def raw(self) -> Raw:
        """The tensor: a view if it lies in C order and aligned, otherwise the one copy that is needed."""
        item_bytes = ITEM_BYTES[self.dtype]
        n_bytes = math.prod(self.shape) * item_bytes
        if self.strides is not None and not in_c_order(self.shape, self.strides):
            strides_bytes = [stride * item_bytes for stride in self.strides]
            item = np.ndarray(self.shape, f"V{item_bytes}", self.data, strides=strides_bytes)
            return Raw(self.dtype, self.shape, np.ascontiguousarray(item).reshape(-1).view(np.uint8))
        data = self.data[:n_bytes]
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


_LFS_START = b"version https://git-lfs.github.com/spec/"


def unreadable(path: Path, error: OSError) -> ValueError:
    """What to raise when the system will not give us a file: its own words, in one line."""
    why = system_reason(error)
    return ValueError(say(f"{path}: cannot be read: {why}", f"{path}：无法读取：{why}"))
