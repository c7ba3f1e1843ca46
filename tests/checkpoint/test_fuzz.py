"""Every reader of a model folder against mutated bytes: success or a ValueError of one line, nothing else.

HAINA_FUZZ is the number of mutations over all targets (`make fuzz` sets it; the usual run takes few, always
the same). An audit hook watches for what no reader may do: run, compile or write anything. Each example has
a deadline, so that a hang fails, too.
"""

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.manifest import Manifest
from haina.checkpoint.raw import Stored
from haina.checkpoint.read_gguf import read_gguf
from haina.checkpoint.read_pickle import read_pickle
from haina.checkpoint.read_safetensors import read_safetensors

MUTATIONS = int(os.environ.get("HAINA_FUZZ", "1500"))

FORBIDDEN = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "exec",
    "compile",
    "socket.connect",
}
watching = False


def forbid(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: it cannot be taken away again, so it sleeps unless a reader runs."""
    if watching:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if event in FORBIDDEN or writes:
            raise AssertionError(f"a reader did {event} {arguments!r}")


sys.addaudithook(forbid)


@contextmanager
def watched() -> Iterator[None]:
    global watching
    watching = True
    try:
        yield
    finally:
        watching = False


# Pieces that mean something to one reader or another; mutations splice them in.
TOKENS = [
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nSize\n", b"ccollections\nOrderedDict\n",
    b"ios\nsystem\n", b"P0\n", b"X\x04\x00\x00\x00true", b")R", b"\x85R", b"h\x00", b"r\xff\xff\xff\xff",
    b"\x8a\x08" + b"\xff" * 8, b"J\xff\xff\xff\xff", b"\x82\x01", b"\x81", b"\x93",
    *(bytes([code]) for code in b"Rbo(tuse02]}.Q"),
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\xff" * 4, b"\xff" * 8, bytes(8), b"\x00\x00\x00\x80",
    b"-1", b"0", b"1e999", b"1e308", b"0.5", b"NaN", b"null", b"true", b"[]", b"{}", b"[[", b'{"a":', b'""',
    b'"../x"', b'"\\ud800"', b"18446744073709551616", b"9223372036854775807", b"4294967296", b"16777216",
    b'"F64"', b'"BF16"', b"\n", b"\xef\xbb\xbf",
]  # fmt: skip
PLACES = 1 << 16  # places in the content are told in these parts of its length

edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "insert", "delete", "copy", "truncate"]),
        st.integers(0, PLACES - 1),
        st.integers(0, PLACES - 1),
        st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    """content after the changes."""
    data = bytearray(content)
    for how, where, other, piece in changes:
        at, from_ = where * len(data) // PLACES, other * len(data) // PLACES
        if how == "flip" and data:
            data[at] ^= piece[0] or 1
        elif how == "set":
            data[at : at + len(piece)] = piece
        elif how == "insert":
            data[at:at] = piece
        elif how == "delete":
            del data[at : at + len(piece)]
        elif how == "copy":
            data[at:at] = data[from_ : from_ + 40]
        elif how == "truncate":
            del data[max(at, len(data) - len(piece) * 8) :]
    return bytes(data)


STATE = {
    "model.norm.weight": torch.ones(4),
    "a.weight": torch.arange(12).reshape(3, 4).half().T,
    "b.weight": torch.ones(5).bfloat16(),
}


def torch_saved(*, as_zip: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": STATE}, file, _use_new_zipfile_serialization=as_zip)
    return file.getvalue()


ZIP, LEGACY = torch_saved(as_zip=True), torch_saved(as_zip=False)
SAFETENSORS = save({name: tensor.contiguous() for name, tensor in STATE.items()})
HEADER_END = 8 + int.from_bytes(SAFETENSORS[:8], "little")


def pickle_of_zip() -> bytes:
    with zipfile.ZipFile(io.BytesIO(ZIP)) as archive:
        return archive.read("archive/data.pkl")


def zip_with(pickle: bytes) -> bytes:
    """ZIP with another pickle: mutations then reach the machine, not only the container."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ZIP)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle if name.endswith(".pkl") else old.read(name))
    return file.getvalue()


def safetensors_with(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + SAFETENSORS[HEADER_END:]


def whole(content: bytes) -> bytes:
    return content


# Single files: what is mutated, the file around it, and its reader.
FILES: dict[str, tuple[bytes, Callable[[bytes], bytes], Callable[[Path], dict[str, Stored]]]] = {
    "zip": (ZIP, whole, read_pickle),
    "pickle in a zip": (pickle_of_zip(), zip_with, read_pickle),
    "legacy": (LEGACY, whole, read_pickle),
    "safetensors": (SAFETENSORS, whole, read_safetensors),
    "header of safetensors": (SAFETENSORS[8:HEADER_END], safetensors_with, read_safetensors),
}
IN_A_FOLDER = [
    "config.json", "generation_config.json", "pytorch_model.bin.index.json", "manifest.json",
    "pytorch_model-00001-of-00002.bin",
]  # fmt: skip

OTHERS = ["GGUF", "start of a GGUF", "4bits folder", "4-bit safetensors"]
TARGETS = len(FILES) + len(IN_A_FOLDER) + len(OTHERS)


def read_all(file: Path, read: Callable[[Path], dict[str, Stored]]) -> None:
    for stored in read(file).values():
        raw = stored.raw()
        assert raw.dtype not in ("F32", "F16", "BF16") or raw.float32().shape == stored.shape


def open_all(file: Path) -> None:
    look_at(Checkpoint.open(file.parent))


def open_file(file: Path) -> None:
    look_at(Checkpoint.open(file))


def look_at(checkpoint: Checkpoint) -> None:
    shapes = checkpoint.config.tensor_shapes()
    assert {name: raw.float32().shape for name, raw in checkpoint.tensors()} == shapes


def fuzz(file: Path, valid: bytes, wrap: Callable[[bytes], bytes], drive: Callable[[Path], None]) -> None:
    """Write mutations of `valid` to `file` and drive its reader: it may be silent or raise a good ValueError."""

    @settings(
        max_examples=MUTATIONS // TARGETS + 1,
        deadline=10_000,
        database=None,
        derandomize="HAINA_FUZZ" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(edits)
    def survives(changes: list[tuple[str, int, int, bytes]]) -> None:
        file.unlink(missing_ok=True)  # a new file: the old one may still be mapped
        file.write_bytes(wrap(mutated(valid, changes)))
        try:
            with watched():
                drive(file)
        except ValueError as error:
            assert "\n" not in str(error) and str(file.parent) in str(error)

    file.write_bytes(wrap(valid))
    drive(file)
    survives()


@pytest.mark.parametrize("what", FILES)
def test_mutated_files(what: str, tmp_path: Path) -> None:
    valid, wrap, read = FILES[what]
    fuzz(tmp_path / "some.file", valid, wrap, lambda file: read_all(file, read))


@pytest.mark.parametrize("name", IN_A_FOLDER)
def test_a_mutated_file_in_a_folder(name: str, hf: Any, folder: Any, weights: Any) -> None:
    place = folder(hf, weights(hf), shards=2)
    generation = {"top_k": 5, "temperature": 0.3, "eos_token_id": [2]}
    (place / "generation_config.json").write_text(json.dumps(generation))
    if name == "manifest.json":
        Manifest.of(place, {"licence": "Apache-2.0"}).write(place)
    file = place / name
    fuzz(file, file.read_bytes(), whole, open_all)


@pytest.mark.parametrize("what", OTHERS[:2])
def test_a_mutated_gguf(what: str, hf: Any, weights: Any, write_gguf: Any) -> None:
    hf |= {"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 32}
    file = write_gguf(hf, weights(hf, packed=False), "Q4_0")
    content = file.read_bytes()
    start = min(content.index(stored.data.tobytes()) for stored in read_gguf(file).tensors.values())
    if what == "GGUF":
        fuzz(file, content, whole, open_file)
    else:
        fuzz(file, content[:start], lambda head: head + bytes(-len(head) % 32) + content[start:], open_file)


@pytest.mark.parametrize("what", OTHERS[2:])
def test_a_mutated_4_bit_folder(what: str, hf: Any, folder: Any, weights: Any, in_nf4: Any) -> None:
    flat = what == "4-bit safetensors"
    state, _ = in_nf4(weights(hf), flat=flat)
    place = folder(hf, state, "safetensors" if flat else "legacy")
    file = place / ("model.safetensors" if flat else "pytorch_model.bin")
    fuzz(file, file.read_bytes(), whole, open_all)


def test_the_watch_is_awake() -> None:
    with pytest.raises(AssertionError, match="a reader did"), watched():
        eval("1 + 1")
