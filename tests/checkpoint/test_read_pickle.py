"""The .bin reader: torch's files bit for bit, wrong files refused in one line, hostile ones never run."""

import io
import pickle
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.checkpoint.pickle_machine import NAMES
from haina.checkpoint.read_pickle import read_pickle

CONTAINERS = ["zip", "legacy"]


def saved(value: Any, container: str, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=container == "zip", **options)
    return file.getvalue()


def bits(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, Any]]:
    def read_bytes(content: bytes) -> dict[str, Any]:
        file = tmp_path / "some.bin"
        file.write_bytes(content)
        return read_pickle(file)

    return read_bytes


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_type_bit_for_bit(container: str, protocol: int, read: Callable[[bytes], Any]) -> None:
    types = [torch.half, torch.bfloat16, torch.float, torch.double, torch.int8, torch.uint8, torch.int16]
    types += [torch.int32, torch.int64, torch.bool]
    state = OrderedDict((f"x.{dtype}", (torch.randn(3, 5) * 9).to(dtype)) for dtype in types)
    found = read(saved(state, container, pickle_protocol=protocol))
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].shape == (3, 5)
        assert np.array_equal(found[name].raw().data, bits(tensor))


@pytest.mark.parametrize("container", CONTAINERS)
def test_views_of_one_storage(container: str, read: Callable[[bytes], Any]) -> None:
    base = torch.randn(6, 4).half()
    state = {
        "whole": base,
        "rows": base[2:5],
        "transposed": base.T,
        "columns": base[:, 1:3],
        "one": base[3, 2],
    }
    state["empty"] = base[:0]
    found = read(saved(state, container))
    for name, tensor in state.items():
        assert found[name].shape == tuple(tensor.shape)
        assert np.array_equal(found[name].raw().data, bits(tensor)), name


@pytest.mark.parametrize("container", CONTAINERS)
def test_shapes_of_the_content(container: str, read: Callable[[bytes], Any]) -> None:
    module = torch.nn.Linear(3, 2)
    plain = {"weight", "bias"}
    assert set(read(saved(module.state_dict(), container))) == plain  # an OrderedDict with _metadata
    assert set(read(saved({"state_dict": module.state_dict(), "epoch": 3, "lr": 0.1}, container))) == plain
    assert set(read(saved({"model": dict(module.state_dict()), "args": None}, container))) == plain
    assert set(read(saved({"module": dict(module.named_parameters())}, container))) == plain
    with_extras = {"weight": module.weight, "size": torch.Size([3, 4]), "type": torch.float16, "n": [1, (2,)]}
    assert set(read(saved(with_extras, container))) == {"weight"}


def test_any_prefix_in_the_zip(tmp_path: Path) -> None:
    for name in ("archive.bin", "pytorch_model-00001-of-00002.bin"):
        torch.save({"a": torch.ones(2)}, tmp_path / name)
        assert np.array_equal(read_pickle(tmp_path / name)["a"].raw().float32(), [1, 1])


def rezip(
    content: bytes, change: Callable[[str, bytes], bytes | None], how: int = zipfile.ZIP_STORED
) -> bytes:
    """The same zip with each member changed (None: left out)."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", how) as new:
        for name in old.namelist():
            member = change(name, old.read(name))
            if member is not None:
                new.writestr(name, member)
    return file.getvalue()


GOOD = saved({"a": torch.ones(4, 4), "b": torch.ones(3)}, "zip")
LEGACY = saved({"a": torch.ones(4, 4), "b": torch.ones(3)}, "legacy")


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) >= 1
    return content.replace(old, new, 1)


def in_pickle(old: bytes, new: bytes) -> bytes:
    """GOOD with bytes of its pickle replaced."""
    return rezip(GOOD, lambda name, data: replaced(data, old, new) if name.endswith(".pkl") else data)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


FOUR_BY_FOUR = b"K\x04K\x04\x86"
WRONG = {
    "empty": b"",
    "not a pickle": b"hello, this is no model at all",
    "zip cut in half": GOOD[: len(GOOD) // 2],
    "zip without its end": GOOD[:-30],
    "legacy cut in a weight": LEGACY[:-5],
    "legacy cut in the pickle": LEGACY[:300],
    "zip compressed": rezip(GOOD, lambda name, data: data, zipfile.ZIP_DEFLATED),
    "zip without data.pkl": rezip(GOOD, lambda name, data: None if name.endswith(".pkl") else data),
    "storage missing": rezip(GOOD, lambda name, data: None if name.endswith("data/0") else data),
    "storage too short": rezip(GOOD, lambda name, data: data[:-4] if name.endswith("data/0") else data),
    "big-endian": rezip(GOOD, lambda name, data: b"big" if name.endswith("byteorder") else data),
    "view outside": in_pickle(FOUR_BY_FOUR, b"K\x04K\x05\x86"),
    "view begins too late": in_pickle(b"K\x00" + FOUR_BY_FOUR, b"K\x01" + FOUR_BY_FOUR),
    "view expanded": in_pickle(
        FOUR_BY_FOUR + b"q\x08" + b"K\x04K\x01\x86", b"K\xffK\xff\x86q\x08K\x00K\x00\x86"
    ),
    "negative size": in_pickle(FOUR_BY_FOUR, b"J\xfc\xff\xff\xffJ\xfc\xff\xff\xff\x86"),
    "one size, two strides": in_pickle(FOUR_BY_FOUR, b"K\x10\x85"),
    "a name twice": in_pickle(text("b"), text("a")),
    "a list": saved([torch.ones(2)], "zip"),
    "no tensor": saved({"a": 1}, "zip"),
    "one tensor, no dict": saved(torch.ones(2), "zip"),
    "tar of torch 0.1": b"storages\0" * 100,
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8\n",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_in_one_line(what: str, read: Callable[[bytes], Any]) -> None:
    with pytest.raises(ValueError, match=r"some\.bin: ") as caught:
        read(WRONG[what])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def in_last_entry(content: bytes, at: int, value: int) -> bytes:
    """A zip with a number of the last entry of its directory replaced (20, 24: sizes; 42: place)."""
    at += content.rindex(b"PK\x01\x02")
    return content[:at] + struct.pack("<I", value) + content[at + 4 :]


def test_zip_member_that_points_elsewhere(read: Callable[[bytes], Any]) -> None:
    comment = b"PK\x03\x04"  # what a member begins with, four bytes before the end
    commented = GOOD[:-2] + struct.pack("<H", len(comment)) + comment
    assert set(read(commented)) == {"a", "b"}
    for place in (7, len(GOOD) - 3, len(GOOD), 0xFFFFFFFE):
        with pytest.raises(ValueError, match=r"some\.bin: zip member .* is not where it should be"):
            read(in_last_entry(commented, 42, place))
    with pytest.raises(ValueError, match=r"some\.bin: zip member .* ends behind the file"):
        read(in_last_entry(in_last_entry(GOOD, 20, 9999), 24, 9999))


def hostile(canary: Path) -> dict[str, bytes]:
    """Pickles that make the file `canary` in one way or another when they are run, or try to."""
    command, source = text(f"touch {canary}"), text(f"open({str(canary)!r}, 'w')")
    system, call = b"cos\nsystem\n", command + b"\x85R."
    return {
        "GLOBAL REDUCE": b"\x80\x02" + system + call,
        "GLOBAL posix": b"\x80\x02cposix\nsystem\n" + call,
        "GLOBAL eval": b"\x80\x02cbuiltins\neval\n" + source + b"\x85R.",
        "GLOBAL __builtin__": b"\x80\x02c__builtin__\neval\n" + source + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + call,
        "STACK_GLOBAL dotted": b"\x80\x04" + text("torch") + text("os.system") + b"\x93" + call,
        "STACK_GLOBAL of the memo": b"\x80\x04" + text("os") + b"\x94" + text("system")
        + b"\x94h\x00h\x01\x93" + call,
        "INST": b"(" + command + b"ios\nsystem\n.",
        "OBJ": b"(" + system + command + b"o.",
        "NEWOBJ": b"\x80\x02cbuiltins\nlist\ncbuiltins\nmap\n" + system + b"(" + command + b"l\x86\x81\x85R.",
        "NEWOBJ_EX": b"\x80\x04cbuiltins\neval\n" + source + b"\x85}\x92.",
        "BUILD __setstate__": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("__setstate__") + system
        + b"sb" + command + b"b.",
        "EXT1": b"\x80\x02\x82\x01" + call,
        "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "PERSID": b"Pos.system\n.",
        "BINPERSID of a global": b"\x80\x02" + system + command + b"\x85RQ.",
        "BINPERSID with a function for a class": b"\x80\x02(" + text("storage") + system + text("0")
        + text("cpu") + b"K\x01tQ.",
        "copyreg": b"\x80\x02ccopyreg\n_reconstructor\n" + system + b"cbuiltins\nobject\nN\x87R.",
        "copyreg codes": b"\x80\x02ccopyreg\nadd_extension\n" + text("os") + text("system")
        + b"K\x01\x87R0\x82\x01" + call,
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncos\n__dict__\n" + text("system") + b"\x86R" + call,
        "torch.load again": b"\x80\x02ctorch.serialization\nload\n" + call,
        "torch.hub": b"\x80\x02ctorch.hub\nload\n" + call,
        "name with a newline": b"\x80\x04" + text("torch\nos") + text("system") + b"\x93" + call,
        "rebuild of a function": b"\x80\x02ctorch._utils\n_rebuild_parameter\n" + system + b"\x88}\x87R.",
        "hook in a tensor": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + system + b"K\x00))\x89}tR.",
        "call of a dict": b"\x80\x02}" + call,
        "call of a string": b"\x80\x02" + text("os.system") + call,
    }  # fmt: skip


RUN_BY_PICKLE = ["GLOBAL REDUCE", "GLOBAL posix", "GLOBAL eval", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ"]


@pytest.mark.parametrize("what", RUN_BY_PICKLE)
def test_the_canary_would_sing(what: str, tmp_path: Path) -> None:
    """These pickles are dangerous: Python's own reader runs them."""
    canary = tmp_path / "canary"
    result = pickle.loads(hostile(canary)[what])
    if hasattr(result, "close"):
        result.close()
    assert canary.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("what", hostile(Path("canary")))
def test_no_pickle_runs(what: str, container: str, tmp_path: Path, read: Callable[[bytes], Any]) -> None:
    canary = tmp_path / "canary"
    attack = hostile(canary)[what]
    if container == "zip":
        content = rezip(GOOD, lambda name, data: attack if name.endswith(".pkl") else data)
    else:
        start = LEGACY.index(b"\x80\x02}q\x00(X\x01\x00\x00\x00a")
        content = LEGACY[:start] + attack + LEGACY[LEGACY.index(b"\x80\x02]q\x00") :]
    with pytest.raises(ValueError, match=r"some\.bin: "):
        read(content)
    assert not canary.exists()


def test_a_refusal_names_the_global_and_the_cure(read: Callable[[bytes], Any]) -> None:
    attack = b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R."
    with pytest.raises(ValueError, match=r"'os\.system' is not allowed.*safetensors"):
        read(rezip(GOOD, lambda name, data: attack if name.endswith(".pkl") else data))


def test_only_names_of_data_are_allowed() -> None:
    """A reader of the allow-list should see at a glance that none of these does anything."""
    calls = {name for name in NAMES if not name.startswith("torch.") or "_utils" in name}
    rebuild = {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"}
    assert calls == {"collections.OrderedDict"} | rebuild


BOMBS = {
    "doubling tuples": b"\x80\x02K\x00q\x00" + b"h\x00h\x00\x86q\x00" * 5000 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "many marks": b"\x80\x02" + b"(" * 2_000_000 + b".",
    "deep stack": b"\x80\x02" + b"N" * 2_000_000 + b".",
    "long string": b"\x80\x02X\xff\xff\xff\x7f.",
    "long integer": b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
    "long integer, four bytes of length": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "huge memo index": b"\x80\x02Nr\xff\xff\xff\xff.",
    "dict in itself": b"\x80\x02}q\x00" + text("a") + b"h\x00s.",
    "list in itself": b"\x80\x02]q\x00h\x00a.",
    "long shape, many times": b"\x80\x02(" + b"K\x01" * 100_000 + b"tq\x00"
    + b"ctorch\nSize\nh\x00\x85R" * 10_000 + b".",
    "frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
    "key that is a dict": b"\x80\x02}}Ns.",
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_no_pickle_exhausts_us(what: str, read: Callable[[bytes], Any]) -> None:
    start_s = time.process_time()
    with pytest.raises(ValueError, match=r"some\.bin: "):
        read(rezip(GOOD, lambda name, data: BOMBS[what] if name.endswith(".pkl") else data))
    assert time.process_time() - start_s < 5
