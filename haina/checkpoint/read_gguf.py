"""Read a GGUF file, versions 2 and 3: its metadata as plain values, its tensors as places in one memory map.

Format: ggml-org/ggml@master docs/gguf.md: magic, version, counts, key-values, tensor infos, then the aligned
data. F32, F16 and BF16 tensors become views; quantised ones are decoded when they are read, only the rows
that are asked for. This module does not know what keys and tensors mean (`gguf_model` does).

Covered: every count, length, type and offset before it is used; names that occur twice; tensors that overlap
or leave the file; metadata of any size beyond 64 MiB. Not covered: the values of weights.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from haina.checkpoint.gguf_blocks import BLOCKS, Block, decode
from haina.checkpoint.raw import ITEM_BYTES, Raw, Stored, map_file
from haina.wording import say

METADATA_LIMIT_BYTES = 64 << 20  # 262,144 tokens with scores and merges take 10
MAX_NAME_BYTES = 1 << 16  # of a key; tensors have at most 64, which nobody relies on
MAX_STRING_BYTES = 1 << 20  # of a value; chat templates reach 20,000
MAX_DIMS = 4
MAX_ENTRIES = 100_000  # keys or tensors; ours have under 1,000
VERSIONS = (2, 3)

T = TypeVar("T", str, int, bool)

_PLAIN = {0: "F32", 1: "F16", 30: "BF16"}  # types that are stored as they are computed with
# Types that we cannot read, by the names under which files are offered (`enum ggml_type` of llama.cpp).
_OTHERS = {
    9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip

_NUMBERS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_BOOL, _STRING, _ARRAY = 7, 8, 9


@dataclass(frozen=True)
class Gguf:
    """metadata: str, int, float, bool, list[str], or a read-only array of numbers. tensors: by name, [out, in]."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Stored]

    def value(self, key: str, default: T) -> T:
        """The value of a key, or the default. ValueError if it is not of the default's type."""
        found = self.metadata.get(key, default)
        if type(found) is not type(default):
            shown = f"{ascii(key[:80])[1:-1]} = {str(found)[:40]!r}"
            raise damaged(self.path, shown, shown)
        return found


@dataclass(frozen=True)
class Blocks(Stored):
    """A quantised matrix: its dtype is what its rows become when they are read. data: exactly its blocks."""

    block: Block = field(kw_only=True)

    @property
    def coding(self) -> str:
        return self.block.name

    def rows(self, start: int, stop: int) -> Blocks:
        row_bytes = len(self.data) // self.shape[0]
        data = self.data[start * row_bytes : stop * row_bytes]
        return replace(self, shape=(stop - start, *self.shape[1:]), data=data)

    def raw(self) -> Raw:
        return Raw.of(decode(self.block, self.data).reshape(self.shape))


def read_gguf(path: Path) -> Gguf:
    """Everything about a file but the values of its weights. ValueError names what is amiss."""
    file = map_file(path)
    cursor = _Cursor(path, file)
    if cursor.take(4) != b"GGUF":
        raise ValueError(
            say(
                f"{path}: not a GGUF file, whatever its name says; take it again from where it came from",
                f"{path}：虽有 .gguf 之名，却不是 GGUF 文件；请从来源处重新取得",
            )
        )
    _check_version(path, cursor.number("<u4"))
    n_tensors, n_keys = cursor.number("<u8"), cursor.number("<u8")
    if max(n_tensors, n_keys) > MAX_ENTRIES:
        raise damaged(
            path, f"{n_tensors:,} tensors, {n_keys:,} keys", f"{n_tensors:,} 个张量、{n_keys:,} 个键"
        )
    metadata: dict[str, Any] = {}
    for _ in range(n_keys):
        key = cursor.text(MAX_NAME_BYTES)
        if key in metadata:
            raise damaged(path, f"the key {key[:80]!r} occurs twice", f"键 {key[:80]!r} 出现了两次")
        metadata[key] = cursor.value(cursor.number("<u4"))
    _check_parts(path, metadata)
    infos = [_info(cursor) for _ in range(n_tensors)]
    return Gguf(path, metadata, _tensors(path, file, infos, _data_at(path, metadata, cursor.at)))


@dataclass(frozen=True)
class _Info:
    """A tensor as the file announces it; the offset is in the data, `shape` is [out, in]."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


class _Cursor:
    """A place in the bytes of the metadata, from which values are taken one after the other."""

    def __init__(self, path: Path, file: np.ndarray):
        self.path, self.data, self.at = path, file[:METADATA_LIMIT_BYTES].data, 0
        self.cut = len(file) > METADATA_LIMIT_BYTES

    def take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            if self.cut:
                most = f"{METADATA_LIMIT_BYTES >> 20} MiB"
                raise damaged(self.path, f"its metadata is larger than {most}", f"元数据超过 {most}")
            raise damaged(self.path, "it ends inside its metadata", "在元数据中途结束")
        self.at += n
        return bytes(self.data[self.at - n : self.at])

    def number(self, dtype: str) -> Any:
        return self.numbers(dtype, 1)[0].item()

    def numbers(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)

    def text(self, most_bytes: int) -> str:
        (n,) = struct.unpack("<Q", self.take(8))
        if n > most_bytes:
            raise damaged(self.path, f"a string of {n:,} bytes", f"字符串长达 {n:,} 字节")
        try:
            return self.take(n).decode()
        except UnicodeDecodeError:
            raise damaged(self.path, "a string that is not UTF-8", "有字符串不是 UTF-8") from None

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text(MAX_STRING_BYTES)
        if kind == _ARRAY:
            return self.array(self.number("<u4"), self.number("<u8"))
        return self.some(kind, 1)[0].item()

    def array(self, kind: int, count: int) -> list[str] | np.ndarray:
        return (
            [self.text(MAX_STRING_BYTES) for _ in range(count)] if kind == _STRING else self.some(kind, count)
        )

    def some(self, kind: int, count: int) -> np.ndarray:
        """Numbers of a kind that the file names; an array in an array is one of those nobody writes."""
        if kind not in _NUMBERS:
            raise damaged(self.path, f"a value of unknown type {kind}", f"值的类型 {kind} 未知")
        if kind == _BOOL:
            return np.asarray(self.numbers("u1", count) != 0)
        return self.numbers(_NUMBERS[kind], count)


def _check_version(path: Path, version: int) -> None:
    if version in VERSIONS:
        return
    big_endian = version > 0 and version & 0xFFFF == 0
    en = "its numbers are big-endian" if big_endian else f"GGUF version {version}"
    zh = "其中的数是大端字节序" if big_endian else f"GGUF 版本 {version}"
    raise ValueError(
        say(
            f"{path}: {en}, which cannot be read (2 and 3 can); convert the model again with a current llama.cpp",
            f"{path}：{zh}，无法读取（可读版本 2、3）；请用新版 llama.cpp 重新转换",
        )
    )


def _check_parts(path: Path, metadata: dict[str, Any]) -> None:
    n = metadata.get("split.count")
    if type(n) is int and n > 1:
        raise ValueError(
            say(
                f"{path}: one of {n} parts; join them first: llama-gguf-split --merge FIRST-PART WHOLE.gguf",
                f"{path}：这是 {n} 个分片之一；请先合并：llama-gguf-split --merge 第一个分片 完整文件.gguf",
            )
        )


def _info(cursor: _Cursor) -> _Info:
    name = cursor.text(MAX_NAME_BYTES)
    n_dims = cursor.number("<u4")
    if not 1 <= n_dims <= MAX_DIMS:
        raise _wrong(cursor.path, name, f"has {n_dims} dimensions", f"有 {n_dims} 维")
    shape = tuple(cursor.numbers("<u8", n_dims).tolist()[::-1])
    return _Info(name, shape, cursor.number("<u4"), cursor.number("<u8"))


def _data_at(path: Path, metadata: dict[str, Any], end: int) -> int:
    """Where the data begins: behind the metadata, at the next multiple of the alignment."""
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise damaged(path, f"general.alignment = {alignment!r}", f"general.alignment = {alignment!r}")
    return end + -end % alignment


def _tensors(path: Path, file: np.ndarray, infos: list[_Info], data_at: int) -> dict[str, Stored]:
    """The place of each tensor, in the order of the data, after checking that it lies there by itself."""
    found: dict[str, Stored] = {}
    end_before = data_at
    for info in sorted(infos, key=lambda info: info.offset):
        start = data_at + info.offset
        end = start + _n_bytes(path, info)
        if info.name in found:
            raise _wrong(path, info.name, "occurs twice", "出现了两次")
        if start < end_before:
            raise _wrong(path, info.name, "overlaps the one before it", "与前一个张量重叠")
        if end > len(file):
            en = f"ends at byte {end:,} of {len(file):,}: the file is truncated"
            zh = f"应止于第 {end:,} 字节，但只有 {len(file):,} 字节：文件不完整"
            raise _wrong(path, info.name, en, zh)
        data = file[start:end]
        plain = _PLAIN.get(info.type)
        found[info.name] = (
            Stored(plain, info.shape, data)
            if plain
            else Blocks("F32", info.shape, data, block=BLOCKS[info.type])
        )
        end_before = end
    return found


def _n_bytes(path: Path, info: _Info) -> int:
    """Bytes of a tensor; ValueError if its type is not one that we read, or its rows are no whole blocks."""
    n = math.prod(info.shape)
    if n == 0:
        raise _wrong(path, info.name, "is empty", "是空的")
    if info.type in _PLAIN:
        return n * ITEM_BYTES[_PLAIN[info.type]]
    block = BLOCKS.get(info.type)
    if block is None:
        raise _unread(path, info)
    if len(info.shape) < 2 or info.shape[-1] % block.weights:
        en = f"of {block.name} {list(info.shape)} has no rows of whole blocks"
        raise _wrong(path, info.name, en, f"为 {block.name} {list(info.shape)}，每行不是整数个块")
    return n // block.weights * block.n_bytes


def _unread(path: Path, info: _Info) -> ValueError:
    kind = _OTHERS.get(info.type, str(info.type))
    known = ", ".join([*_PLAIN.values(), *(block.name for block in BLOCKS.values())])
    return ValueError(
        say(
            f"{path}: tensor {info.name[:200]!r} is of type {kind}, which haina does not read; "
            f"take a file with one of {known}",
            f"{path}：张量 {info.name[:200]!r} 的类型为 {kind}，海纳不能读取；请换用以下类型的文件：{known}",
        )
    )


def _wrong(path: Path, name: str, en: str, zh: str) -> ValueError:
    shown = repr(name[:200])
    return damaged(path, f"tensor {shown} {en}", f"张量 {shown} {zh}")


def damaged(path: Path, en: str, zh: str) -> ValueError:
    """What to raise when the bytes of a file contradict one another."""
    return ValueError(
        say(
            f"{path}: not a whole GGUF file: {en}; download it again",
            f"{path}：GGUF 文件不完整或已损坏：{zh}；请重新下载",
        )
    )
