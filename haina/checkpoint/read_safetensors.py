"""Read and write safetensors files: a length, a JSON header, then the bytes of the tensors.

Format: huggingface/safetensors, README, "Format". Our own, because the NumPy face of the library has no
bfloat16 and copies every tensor; ours gives views of one memory map. The library reads what we write and we
read what it writes (tests). This module knows names, types, shapes and bytes, not what the tensors mean.

Checked before a byte is used: the header's size, its JSON (no duplicate names), and that the tensors fill the
rest of the file exactly, one after another, each as large as its type and shape say. Not checked: the values.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from haina.checkpoint.raw import ITEM_BYTES, Stored, map_file
from haina.checkpoint.read_json import parse_json_object
from haina.wording import say

HEADER_LIMIT_BYTES = (
    16 << 20
)  # ~100,000 tensors, ours have under 1,000; the library's 100 MB parse to gigabytes
MAX_DIMS = 8
_ALIGNMENT = 64  # bytes, of the first tensor in a file that we write: a cache line


def read_safetensors(path: Path) -> dict[str, Stored]:
    """The tensors of a file by name, in the order in which they lie there. ValueError names what is amiss."""
    file = map_file(path)
    entries, tensors_at = _header(path, file)
    tensors_bytes = len(file) - tensors_at
    spans = sorted((_span(path, name, entry) for name, entry in entries.items()), key=lambda span: span[:2])
    found: dict[str, Stored] = {}
    end_before = 0
    for start, end, name, dtype, shape in spans:
        if start != end_before:
            en = f"starts at byte {start}, where the one before it ends at {end_before}"
            raise _wrong_tensor(path, name, en, f"从第 {start} 字节开始，而前一个张量止于 {end_before}")
        if end > tensors_bytes:
            en = f"ends at byte {end} of {tensors_bytes}: the file is truncated"
            raise _wrong_tensor(
                path, name, en, f"应止于第 {end} 字节，但只有 {tensors_bytes} 字节：文件不完整"
            )
        found[name] = Stored(dtype, shape, file[tensors_at + start : tensors_at + end])
        end_before = end
    if end_before != tensors_bytes:
        extra = tensors_bytes - end_before
        raise _damaged(path, f"{extra} bytes after the last tensor", f"最后一个张量之后多出 {extra} 字节")
    return found


def _header(path: Path, file: np.ndarray) -> tuple[dict[str, Any], int]:
    """The header's entries, without its metadata, and the offset of the first tensor."""
    if len(file) < 8:
        raise _damaged(path, "shorter than its own length field", "文件过短")
    (header_bytes,) = struct.unpack("<Q", file[:8].tobytes())
    if header_bytes > min(HEADER_LIMIT_BYTES, len(file) - 8):
        en = f"a header of {header_bytes} bytes in a file of {len(file)}"
        raise _damaged(path, en, f"文件共 {len(file)} 字节，头部却声称有 {header_bytes} 字节")
    header = parse_json_object(file[8 : 8 + header_bytes].tobytes(), say(f"{path}: header", f"{path}：头部"))
    header.pop("__metadata__", None)
    return header, 8 + header_bytes


def _span(path: Path, name: str, entry: Any) -> tuple[int, int, str, str, tuple[int, ...]]:
    """One entry of the header, checked on its own: start and end (bytes), name, dtype, shape."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _wrong_tensor(path, name, "has a malformed entry", "的条目格式不对")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        shown = repr(str(dtype)[:20])
        raise _wrong_tensor(path, name, f"is of unknown type {shown}", f"的类型不明：{shown}")
    if not _sizes(shape) or not _sizes(offsets) or len(shape) > MAX_DIMS or len(offsets) != 2:
        raise _wrong_tensor(path, name, "has a wrong shape or place", "的形状或位置不合法")
    start, end = offsets
    if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
        en = f"of {dtype} {shape} does not take {end - start} bytes"
        raise _wrong_tensor(path, name, en, f"为 {dtype} {shape}，与 {end - start} 字节不符")
    return start, end, name, dtype, tuple(shape)


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _wrong_tensor(path: Path, name: str, en: str, zh: str) -> ValueError:
    shown = repr(name[:200])
    return _damaged(path, f"tensor {shown} {en}", f"张量 {shown} {zh}")


def _damaged(path: Path, en: str, zh: str) -> ValueError:
    return ValueError(
        say(
            f"{path}: not a whole safetensors file: {en}; download it again",
            f"{path}：safetensors 文件不完整或已损坏：{zh}；请重新下载",
        )
    )


def file_header(entries: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The beginning of a file whose tensors (name, dtype, shape) follow it in this order, the first 64-aligned."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype, shape in entries:
        start, end = end, end + math.prod(shape) * ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text = text.ljust(len(text) + -(8 + len(text)) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


class SafetensorsWriter:
    """Write a safetensors file tensor by tensor, none of them held in memory.

    Room for the header is kept at the start, and the header written into it at the end (the format allows
    spaces after it), so types need not be known in advance, and a tensor may be written in parts.
    """

    def __init__(self, path: Path, *, names: int, name_bytes: int):
        """names: at most so many tensors; name_bytes: UTF-8 bytes of all their names together."""
        # 240 for {"dtype":"BF16","shape":[...],"data_offsets":[...]} of 8 and 2 numbers; 6: \u001f.
        room_bytes = 64 + 6 * name_bytes + 240 * names
        self.header_bytes = room_bytes + -(8 + room_bytes) % _ALIGNMENT
        self.file = path.open("xb")
        self.entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self.end = 0

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write_header()
        finally:
            self.file.close()

    def add(self, name: str, dtype: str, shape: tuple[int, ...]) -> int:
        """Make room for a tensor behind the last one; returns where its bytes begin, for `write`."""
        assert name not in self.entries
        start, n_bytes = self.end, math.prod(shape) * ITEM_BYTES[dtype]
        self.end = start + n_bytes
        self.entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, self.end]}
        return start

    def write(self, at_bytes: int, data: np.ndarray) -> None:
        """Write bytes of a tensor at the place that `add` returned, or further inside it."""
        assert at_bytes + data.nbytes <= self.end
        self.file.seek(8 + self.header_bytes + at_bytes)
        self.file.write(data.data)

    def _write_header(self) -> None:
        header = json.dumps(self.entries, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(header) <= self.header_bytes
        self.file.seek(0)
        self.file.write(struct.pack("<Q", self.header_bytes) + header.ljust(self.header_bytes))
        self.file.truncate(8 + self.header_bytes + self.end)
        self.file.flush()
