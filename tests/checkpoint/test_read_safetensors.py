"""Our safetensors reader and writer against the library's, and against files that are wrong."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from haina.checkpoint.raw import Raw
from haina.checkpoint.read_safetensors import SafetensorsWriter, read_safetensors

TENSORS = {
    "a.weight": torch.randn(3, 5),
    "b.weight": torch.randn(7, 2).half(),
    "c.weight": torch.randn(4).bfloat16(),
    "d.weight": torch.arange(-6, 7, dtype=torch.int8).reshape(13, 1),
    "e.scalar": torch.tensor(3.5),
    "f.empty": torch.zeros(0, 4),
    "海": torch.randn(2, 2, 2).half(),
}


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file(TENSORS, file, metadata={"format": "pt"})
    found = read_safetensors(file)
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].shape == tuple(tensor.shape)
        assert np.array_equal(found[name].raw().data, tensor.reshape(-1).view(torch.uint8).numpy())


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    file = tmp_path / "b.safetensors"
    dtypes = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8"}
    with SafetensorsWriter(
        file, names=len(TENSORS), name_bytes=sum(len(n.encode()) for n in TENSORS)
    ) as writer:
        for name, tensor in TENSORS.items():
            at = writer.add(name, dtypes[tensor.dtype], tuple(tensor.shape))
            writer.write(at, tensor.reshape(-1).view(torch.uint8).numpy())
    theirs = load_file(file)
    assert set(theirs) == set(TENSORS)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in TENSORS.items())
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_a_tensor_may_be_written_in_parts_and_in_any_order(tmp_path: Path) -> None:
    file, rows = tmp_path / "c.safetensors", np.arange(12, dtype=np.float32).reshape(4, 3)
    with SafetensorsWriter(file, names=2, name_bytes=4) as writer:
        at = writer.add("ab", "F32", (4, 3))
        writer.write(writer.add("cd", "F16", (2,)), Raw.of(np.ones(2, np.float16)).data)
        writer.write(at + 24, Raw.of(rows[2:]).data)
        writer.write(at, Raw.of(rows[:2]).data)
    assert np.array_equal(load_file(file)["ab"].numpy(), rows)


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def as_file(header: Any, data: bytes = bytes(8), *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


WRONG = {
    "empty file": b"",
    "no length": b"\1\2\3",
    "header longer than the file": as_file({}, length=1 << 40),
    "header over the limit": as_file(b"{}".ljust((16 << 20) + 1), b""),
    "not JSON": as_file(b"{nonsense"),
    "not an object": as_file([1]),
    "not UTF-8": as_file(b'{"\xff": 1}'),
    "nested without end": as_file(b'{"a":' + b"[" * 100_000),
    "number without end": as_file(b'{"a":' + b"9" * 100_000 + b"}"),
    "duplicate name": as_file(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2)),
    "entry is a list": as_file({"a": [1]}),
    "key missing": as_file({"a": {"dtype": "F32", "shape": [2]}}),
    "unknown type": as_file({"a": entry(dtype="F31")}),
    "type is a number": as_file({"a": entry(dtype=7)}),
    "negative size": as_file({"a": entry(shape=[-1, -2])}),
    "size is a float": as_file({"a": entry(shape=[2.0])}),
    "size is true": as_file({"a": entry(shape=[True, 2])}),
    "shape too long": as_file({"a": entry(shape=[1] * 8 + [2])}),
    "three offsets": as_file({"a": entry(offsets=[0, 8, 8])}),
    "offsets backwards": as_file({"a": entry(offsets=[8, 0])}),
    "behind the file": as_file({"a": entry(shape=[4], offsets=[0, 16])}),
    "size is not shape": as_file({"a": entry(shape=[1])}),
    "overlap": as_file({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
    "same place twice": as_file({"a": entry(), "b": entry()}),
    "hole": as_file({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
    "does not begin at 0": as_file({"a": entry(offsets=[4, 12])}, bytes(12)),
    "bytes left over": as_file({"a": entry()}, bytes(9)),
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8\n",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.safetensors"
    file.write_bytes(WRONG[what])
    with pytest.raises(ValueError, match=r"wrong\.safetensors") as caught:
        read_safetensors(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_right_file_beside_the_wrong_ones(tmp_path: Path) -> None:
    file = tmp_path / "right.safetensors"
    file.write_bytes(as_file({"a": entry(), "b": entry(offsets=[8, 16])}, bytes(16)))
    assert set(read_safetensors(file)) == {"a", "b"}
