"""Read the tensors of a `pytorch_model.bin` without torch and without running it.

Two containers: a zip whose members are stored uncompressed (torch 1.6 and later), and the older five pickles
in a row with the storages behind them. Layouts: torch/serialization.py, `_save` and `_legacy_save`. Pickles
go through `pickle_machine`, an allow-list; tensors become views of one memory map, nothing is copied here.

Covered: hostile pickles, members outside the file, views outside their storage. Not covered: a changed byte
inside a weight (that is what `manifest` is for; checksums inside the zip are not computed, files are large).
"""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from haina.checkpoint.pickle_machine import Refused, Storage, View, load, malformed
from haina.checkpoint.raw import ITEM_BYTES, Stored, map_file
from haina.checkpoint.read_nf4 import join_lists
from haina.wording import say

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_WRAPPERS = ("state_dict", "model", "module")  # keys under which training scripts put the state dict
PICKLE_LIMIT_BYTES = 64 << 20

# What `zipfile` raises on a damaged directory.
_ZIP_ERRORS = (
    zipfile.BadZipFile, struct.error, NotImplementedError, ValueError, EOFError, OverflowError, OSError
)  # fmt: skip


def read_pickle(path: Path) -> dict[str, Stored]:
    """The tensors of a .bin file by name. ValueError names the file, what is wrong with it and the cure."""
    file = map_file(path)
    try:
        if file[:4].tobytes() == b"PK\x03\x04":
            value, storages = _read_zip(path, file)
        else:
            value, storages = _read_legacy(file)
        named = {name: value for name, value in _state_dict(value).items() if type(name) is str}
        tensors = {name: _stored(name, v, storages) for name, v in named.items() if type(v) is View}
        if not tensors:
            raise Refused("there is no tensor in it", "其中没有张量")
        lists = {name: v for name, v in named.items() if name.endswith(".quant_state")}
        return join_lists(path, tensors, {name: _places(name, v, storages) for name, v in lists.items()})
    except Refused as refused:
        raise ValueError(
            say(
                f"{path}: {refused}; download the file again, or have its author convert it to safetensors",
                f"{path}：{refused}；请重新下载，或请作者转换为 safetensors",
            )
        ) from None


def _state_dict(value: Any) -> dict[Any, Any]:
    """The state dict itself: the value, or what lies in it under the usual keys."""
    if type(value) is not dict:
        raise Refused("it holds no dict of tensors", "其中不是张量字典")
    if any(type(item) is View for item in value.values()):
        return value
    inner = (value[key] for key in _WRAPPERS if type(value.get(key)) is dict)
    return next(inner, value)


def _read_zip(path: Path, file: np.ndarray) -> tuple[Any, dict[str, np.ndarray]]:
    """The pickled value, and the bytes of each storage by its key."""
    members = _members(path, file)
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    n = len(pickles)
    if n != 1:
        raise Refused(f"a zip with {n} data.pkl instead of one", f"zip 中有 {n} 个 data.pkl，应为 1 个")
    prefix = pickles[0].removesuffix("data.pkl")
    order = members.get(prefix + "byteorder")
    if order is not None and order[:8].tobytes() != b"little":
        raise Refused("its numbers are big-endian", "其中的数是大端字节序")
    pickle = members[pickles[0]]
    if len(pickle) > PICKLE_LIMIT_BYTES:
        raise Refused("its pickle is too large", "pickle 过大")
    folder = prefix + "data/"
    storages = {name.removeprefix(folder): data for name, data in members.items() if name.startswith(folder)}
    return load(pickle.data).value, storages


def _members(path: Path, file: np.ndarray) -> dict[str, np.ndarray]:
    """The bytes of every member of a zip, as views of the mapped file."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except _ZIP_ERRORS:
        raise Refused(
            "the zip directory is damaged or cut off: the file is truncated",
            "zip 目录缺失或已损坏：文件不完整",
        ) from None
    found: dict[str, np.ndarray] = {}
    for info in infos:
        name, encrypted = info.filename, info.flag_bits & 1
        if info.compress_type != zipfile.ZIP_STORED or encrypted or info.file_size != info.compress_size:
            raise Refused(f"zip member {name[:120]!r} is compressed", f"zip 成员 {name[:120]!r} 经过压缩")
        if name in found:
            raise Refused(f"zip member {name[:120]!r} occurs twice", f"zip 成员 {name[:120]!r} 出现了两次")
        found[name] = _member(file, info)
    return found


def _member(file: np.ndarray, info: zipfile.ZipInfo) -> np.ndarray:
    """Behind a local header of 30 bytes, the name and the extra field (PKZIP APPNOTE 4.3.7) lie the bytes."""
    name, at = info.filename[:120], info.header_offset
    header = file[at : at + 30].tobytes() if at >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise Refused(f"zip member {name!r} is not where it should be", f"zip 成员 {name!r} 不在应在的位置")
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    start = at + 30 + name_bytes + extra_bytes
    if start + info.file_size > len(file):
        raise Refused(f"zip member {name!r} ends behind the file", f"zip 成员 {name!r} 超出文件末尾")
    return file[start : start + info.file_size]


def _read_legacy(file: np.ndarray) -> tuple[Any, dict[str, np.ndarray]]:
    """Magic, protocol, system, value, storage keys, then per key a count (int64) and the elements."""
    data = file.data
    if data[0] != 0x80:  # PROTO, with which every pickle of torch begins
        raise Refused("this is not a file that torch.save wrote", "不是 torch.save 写出的文件")
    magic = load(data)
    protocol = load(data, magic.end)
    if magic.value != _LEGACY_MAGIC or protocol.value != _LEGACY_PROTOCOL:
        raise Refused("this is not a file that torch.save wrote", "不是 torch.save 写出的文件")
    system = load(data, protocol.end)
    if type(system.value) is not dict or system.value.get("little_endian") is not True:
        raise Refused("its numbers are big-endian", "其中的数是大端字节序")
    saved = load(data, system.end)
    keys = load(data, saved.end)
    if type(keys.value) is not list or not all(
        type(key) is str and key in saved.storages for key in keys.value
    ):
        raise malformed()
    storages: dict[str, np.ndarray] = {}
    at = keys.end
    for key in keys.value:
        count = int.from_bytes(file[at : at + 8].tobytes(), "little")
        start, at = at + 8, at + 8 + count * ITEM_BYTES[saved.storages[key].dtype]
        if at > len(file):
            raise Refused("the file is truncated", "文件不完整")
        storages[key] = file[start:at]
    return saved.value, storages


def _stored(name: str, view: View, storages: dict[str, np.ndarray]) -> Stored:
    """The place of a tensor, after checking that all of it lies inside its storage."""
    storage: Storage = view.storage
    data, item_bytes = storages.get(storage.key), ITEM_BYTES[storage.dtype]
    shown = repr(name[:200])
    if data is None or len(data) < storage.size * item_bytes:
        raise Refused(f"the storage of tensor {shown} is missing or cut", f"张量 {shown} 的存储缺失或过短")
    negative = min((view.offset, *view.shape, *view.strides)) < 0
    if negative or len(view.shape) != len(view.strides) or not _inside(view):
        raise Refused(f"tensor {shown} reaches outside its storage", f"张量 {shown} 超出其存储范围")
    return Stored(storage.dtype, view.shape, data[view.offset * item_bytes :], view.strides)


def _places(name: str, value: Any, storages: dict[str, np.ndarray], depth: int = 0) -> Any:
    """A list of NF4 (`read_nf4`) with tensors as their places; deeper or longer ones than those stay as they are."""
    if type(value) is View:
        return _stored(name, value, storages)
    if type(value) in (list, tuple) and depth < 3 and len(value) <= 16:
        return [_places(name, item, storages, depth + 1) for item in value]
    return value


def _inside(view: View) -> bool:
    """Whether every element lies in the storage, and there are no more of them than it has (stride 0)."""
    n = math.prod(view.shape)
    steps = zip(view.shape, view.strides, strict=True)
    last = view.offset + sum((size - 1) * stride for size, stride in steps)
    return n == 0 or (last < view.storage.size and n <= view.storage.size)
