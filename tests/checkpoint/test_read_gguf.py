"""The container of GGUF: what gguf-py writes is read; what contradicts itself is refused in one line."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from haina.checkpoint.read_gguf import Blocks, read_gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, type: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", type) + value


def info(name: str, dims: tuple[int, ...], type: int, offset: int) -> bytes:
    """dims as the file has them: the contiguous one first."""
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, type, offset)


def file_of(
    keys: list[bytes],
    infos: list[bytes],
    data: bytes = b"",
    *,
    head: bytes = b"GGUF\x03\x00\x00\x00",
    counts: tuple[int, int] | None = None,
) -> bytes:
    n_tensors, n_keys = counts or (len(infos), len(keys))
    start = head + struct.pack("<QQ", n_tensors, n_keys) + b"".join(keys) + b"".join(infos)
    return start + bytes(-len(start) % 32) + data


A = info("a", (4, 2), 0, 0)  # F32 [2, 4]
DATA = np.arange(8, dtype="<f4").tobytes()


def test_every_kind_of_value(tmp_path: Path) -> None:
    path = tmp_path / "all.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    V = gguf.GGUFValueType
    numbers = {
        V.UINT8: 200, V.INT8: -3, V.UINT16: 60000, V.INT16: -300, V.UINT32: 1 << 31, V.INT32: -(1 << 30),
        V.UINT64: 1 << 63, V.INT64: -(1 << 62), V.FLOAT32: 0.5, V.FLOAT64: 0.1, V.BOOL: True, V.STRING: "海纳",
    }  # fmt: skip
    for kind, value in numbers.items():
        writer.add_key_value(kind.name, value, kind)
        writer.add_key_value(f"{kind.name}s", [value, value], V.ARRAY, kind)
    writer.add_tensor("w", np.arange(6, dtype=np.float16).reshape(2, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_gguf(path)
    for kind, value in numbers.items():
        assert found.metadata[kind.name] == value and type(found.metadata[kind.name]) is type(value)
        assert list(found.metadata[f"{kind.name}s"]) == [value, value]
    w = found.tensors["w"]
    assert (w.dtype, w.shape) == ("F16", (2, 3))
    assert np.array_equal(w.raw().float32(), np.arange(6).reshape(2, 3))


def test_version_2_and_an_alignment_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "two.gguf"
    content = file_of([key("general.alignment", 4, struct.pack("<I", 64))], [A], head=b"GGUF\x02\x00\x00\x00")
    path.write_bytes(content + bytes(-len(content) % 64) + DATA)
    assert np.array_equal(read_gguf(path).tensors["a"].raw().float32(), np.arange(8).reshape(2, 4))


def test_nothing_is_decoded_before_its_rows_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "blocks.gguf"
    path.write_bytes(file_of([], [info("q", (64, 3), 8, 0)], bytes(range(204))))
    tensor = read_gguf(path).tensors["q"]
    assert isinstance(tensor, Blocks) and tensor.coding == "Q8_0"
    assert tensor.rows(1, 2).data.tobytes() == bytes(range(68, 136))
    assert np.array_equal(tensor.rows(1, 3).raw().float32(), tensor.raw().float32()[1:3])


U32 = struct.pack("<I", 7)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "another format": (b"PK\x03\x04" + bytes(40), "not a GGUF file, whatever its name says"),
    "version 1": (b"GGUF\x01\x00\x00\x00" + bytes(40), "GGUF version 1, which cannot be read"),
    "big-endian": (b"GGUF\x00\x00\x00\x03" + bytes(40), "its numbers are big-endian"),
    "only a start": (b"GGUF\x03\x00", "it ends inside its metadata"),
    "no end of keys": (file_of([], [], counts=(0, 5)), "it ends inside its metadata"),
    "counts": (file_of([], [], counts=(1 << 60, 1 << 63)), "1,152,921,504,606,846,976 tensors"),
    "a key twice": (file_of([key("a", 4, U32)] * 2, []), "the key 'a' occurs twice"),
    "a long string": (file_of([key("a", 8, struct.pack("<Q", 1 << 40))], []), "a string of 1,099,511,627,776 bytes"),
    "not UTF-8": (file_of([key("a", 8, struct.pack("<Q", 2) + b"\xff\xfe")], []), "a string that is not UTF-8"),
    "a type": (file_of([key("a", 77, U32)], []), "a value of unknown type 77"),
    "an array's type": (file_of([key("a", 9, struct.pack("<IQ", 77, 1))], []), "a value of unknown type 77"),
    "an array of arrays": (file_of([key("a", 9, struct.pack("<IQ", 9, 1))], []), "a value of unknown type 9"),
    "an array's length": (file_of([key("a", 9, struct.pack("<IQ", 6, 1 << 62))], []), "it ends inside its metadata"),
    "alignment 0": (file_of([key("general.alignment", 4, bytes(4))], []), "general.alignment = 0"),
    "no dimension": (file_of([], [info("a", (), 0, 0)]), "tensor 'a' has 0 dimensions"),
    "five dimensions": (file_of([], [info("a", (1,) * 5, 0, 0)]), "tensor 'a' has 5 dimensions"),
    "no element": (file_of([], [info("a", (4, 0), 0, 0)]), "tensor 'a' is empty"),
    "a huge shape": (file_of([], [info("a", (1 << 62, 1 << 62), 0, 0)], DATA), "the file is truncated"),
    "an offset": (file_of([], [info("a", (4, 2), 0, 1 << 63)], DATA), "the file is truncated"),
    "cut short": (file_of([], [A], DATA[:-1]), "tensor 'a' ends at byte 128 of 127: the file is truncated"),
    "a name twice": (file_of([], [A, A], DATA * 2), "tensor 'a' occurs twice"),
    "an overlap": (file_of([], [A, info("b", (4, 2), 0, 16)], DATA * 2), "tensor 'b' overlaps the one before it"),
    "half a block": (file_of([], [info("a", (48, 2), 8, 0)], DATA * 9), "has no rows of whole blocks"),
    "a vector of blocks": (file_of([], [info("a", (32,), 8, 0)], DATA * 9), "has no rows of whole blocks"),
    "IQ2_XXS": (file_of([], [info("a", (256, 2), 16, 0)], DATA * 9), "is of type IQ2_XXS, which haina does not read"),
    "type 99": (file_of([], [info("a", (256, 2), 99, 0)], DATA * 9), "is of type 99, which haina does not read"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, message = HOSTILE[what]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_gguf(path)
    said = str(caught.value)
    assert said.startswith(str(path)) and message in said and "\n" not in said
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match=r"[一-鿿]"):
        read_gguf(path)


def test_metadata_without_end(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("haina.checkpoint.read_gguf.METADATA_LIMIT_BYTES", 100)
    path = tmp_path / "long.gguf"
    path.write_bytes(file_of([key("a", 8, text("x" * 200))], []))
    with pytest.raises(ValueError, match="its metadata is larger than 0 MiB"):
        read_gguf(path)
