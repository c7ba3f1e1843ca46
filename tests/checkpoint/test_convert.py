"""convert: the tensors that loading makes, in little memory; whatever stops it, the next call makes the same folder.

HAINA_TORTURE: at how many points a conversion is killed (`make torture` sets it; the usual run takes few).
"""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from haina.checkpoint import raw as raws
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.convert import BITS, convert
from haina.checkpoint.manifest import Manifest
from haina.checkpoint.raw import Raw
from haina.checkpoint.read_safetensors import read_safetensors
from haina.model.config import ModelConfig

KILLS = int(os.environ.get("HAINA_TORTURE", "3"))

SMALL = ModelConfig(
    architecture="BaichuanForCausalLM",
    vocab_size=90,
    hidden_size=72,
    intermediate_size=1050,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=36,
    max_position_embeddings=64,
    position="alibi",
    head="normed",
)
LLAMA = replace(
    SMALL,
    architecture="LlamaForCausalLM",
    num_key_value_heads=1,
    position="rope",
    rotary_dim=36,
    head="plain",
    tie_word_embeddings=True,
)
Source = Callable[..., Checkpoint]


@pytest.fixture
def source(tmp_path: Path, tokenizer_bytes: bytes) -> Source:
    """source(config, dtype) → a model with random weights in tmp_path/source."""

    def make(config: ModelConfig = SMALL, dtype: str = "BF16") -> Checkpoint:
        draw = np.random.default_rng(5)
        tensors = {}
        for name, shape in config.tensor_shapes().items():
            array = draw.standard_normal(shape).astype(np.float32)
            tensors[name] = Raw.of(array.astype(np.float16)) if dtype == "F16" else Raw.of(array)
            if dtype == "BF16":
                tensors[name] = tensors[name].rounded("BF16")
        save(
            tmp_path / "source",
            config,
            tensors.items(),
            tokenizer=tokenizer_bytes,
            generation={"top_k": 5},
            source={"name": "small", "licence": "none needed", "made": "by chance"},
            files={"LICENSE": b"Take it."},
        )
        return Checkpoint.open(tmp_path / "source")

    return make


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("config", [SMALL, LLAMA])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("to", ["w4", "w8"])
def test_packed_tensors_are_those_that_loading_makes(
    config: ModelConfig, dtype: str, to: Any, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raws, "_CHUNK_BYTES", 1 << 14)  # several chunks a tensor
    given = source(config, dtype)
    convert(given, tmp_path / "there", to=to, threads=3)
    made = Checkpoint.open(tmp_path / "there")
    assert made.config == replace(config, head="plain") and made.names() == given.names()
    for name in made.names():
        found, expected = made.tensor(name), given.tensor(name, bits=BITS[to])
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found.data, expected.data)
        assert found.data.ctypes.data % (32 if len(found.shape) == 2 else 1) == 0
    assert {made.dtype(name) for name in ("model.embed_tokens.weight", made.names()[-1])} >= {"W8"}
    assert made.dtype("model.layers.1.mlp.down_proj.weight") == to.upper()


def test_a_tensor_is_mapped_not_copied(source: Source, tmp_path: Path) -> None:
    convert(source(), tmp_path / "there", to="w4")
    made = Checkpoint.open(tmp_path / "there")
    stored = read_safetensors(tmp_path / "there" / "model.safetensors")
    for name in made.names():
        part = made.tensor(name).data
        assert not part.flags.owndata and not part.flags.writeable
    assert all(name.endswith((".w4", ".w8", "norm.weight")) for name in stored)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_bfloat16_keeps_the_layout_of_the_family(dtype: str, source: Source, tmp_path: Path) -> None:
    given = source(SMALL, dtype)
    convert(given, tmp_path / "there", to="bf16")
    theirs = read_safetensors(given.folder / "model.safetensors")
    ours = read_safetensors(tmp_path / "there" / "model.safetensors")
    assert set(ours) == set(theirs) and any("W_pack" in name for name in ours)
    for name, stored in theirs.items():
        expected = torch.from_numpy(stored.raw().float32()).bfloat16().view(torch.uint8).numpy().reshape(-1)
        assert ours[name].dtype == "BF16" and np.array_equal(ours[name].raw().data, expected)
    assert Checkpoint.open(tmp_path / "there").config == SMALL


def test_a_packed_folder_goes_to_bfloat16_and_no_further(source: Source, tmp_path: Path) -> None:
    convert(source(), tmp_path / "w8", to="w8")
    packed = Checkpoint.open(tmp_path / "w8")
    convert(packed, tmp_path / "bf16", to="bf16")
    name = "model.layers.0.self_attn.v_proj.weight"
    error = Checkpoint.open(tmp_path / "bf16").tensor(name).float32() - packed.tensor(name).float32()
    assert np.abs(error).max() < 0.01
    for to in ("w4", "w8"):
        with pytest.raises(ValueError, match="w8: packed already"):
            convert(packed, tmp_path / "again", to=to)  # type: ignore[arg-type]
    assert not (tmp_path / "again").exists()


def test_what_else_is_carried_over(source: Source, tmp_path: Path) -> None:
    convert(source(), tmp_path / "there", to="w8")
    made = Checkpoint.open(tmp_path / "there")
    assert [path.read_text() for path in made.license_files()] == ["Take it."]
    assert made.generation == {"top_k": 5} and made.manifest is not None
    assert made.manifest.source == {
        "name": "small", "licence": "none needed", "made": "by chance; haina convert --to w8", "from": "source",
    }  # fmt: skip
    again = Manifest.of(tmp_path / "there", made.manifest.source)  # read from the disk
    assert again == made.manifest and set(os.listdir(tmp_path)) == {"source", "there"}


@pytest.mark.parametrize("adds", [True, False])
def test_a_text_begins_as_it_did(adds: bool, source: Source, tmp_path: Path) -> None:
    given = source(LLAMA).folder
    (given / "manifest.json").unlink()
    (given / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": adds}))
    convert(Checkpoint.open(given), tmp_path / "there", to="w8")
    assert Checkpoint.open(tmp_path / "there").adds_bos == adds


def test_progress_counts_the_bytes_of_the_source(source: Source, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    convert(
        source(), tmp_path / "there", to="w8", progress=lambda _, done, total: heard.append((done, total))
    )
    done, total = zip(*heard, strict=True)
    assert set(total) == {2 * SMALL.parameters} and done[0] == 0 and done[-1] == total[0]
    assert list(done) == sorted(done)


# What stops it


@pytest.mark.parametrize(
    "value, to, message",
    [
        (np.finfo(np.float32).max, "bf16", "has values too large for BF16"),
        (np.nan, "bf16", "holds NaN or infinity"),
        (np.nan, "w8", "holds NaN or infinity"),
        (-np.inf, "w4", "holds NaN or infinity"),
    ],
)
def test_values_that_cannot_be_rounded_are_named(
    value: float, to: Any, message: str, source: Source, tmp_path: Path
) -> None:
    given = source(LLAMA, "F32").folder
    data = bytearray((given / "model.safetensors").read_bytes())
    data[-4:] = np.array([value], np.float32).tobytes()
    (given / "model.safetensors").write_bytes(data)
    (given / "manifest.json").unlink()
    with pytest.raises(ValueError, match=rf"source: tensor model\.norm\.weight {message}"):
        convert(Checkpoint.open(given), tmp_path / "there", to=to)
    assert not (tmp_path / "there").exists()


def test_values_too_large_for_w4_are_named(source: Source, tmp_path: Path) -> None:
    """Finite values, of which the scales would be infinite."""
    name = "model.layers.1.mlp.up_proj.weight"
    given = source(LLAMA, "F32")
    data, matrix = bytearray((given.folder / "model.safetensors").read_bytes()), given.tensor(name)
    at = data.index(matrix.data[:256].tobytes())
    data[at : at + 4] = np.array([1e38], np.float32).tobytes()
    (given.folder / "model.safetensors").write_bytes(data)
    (given.folder / "manifest.json").unlink()
    huge, message = Checkpoint.open(given.folder), rf"source: tensor {name} has values too large for W4"
    with pytest.raises(ValueError, match=message):
        convert(huge, tmp_path / "there", to="w4")
    with pytest.raises(ValueError, match=message):
        huge.tensor(name, bits=4)
    assert huge.tensor(name, bits=8).finite() and not (tmp_path / "there").exists()


def test_an_occupied_place_is_refused(source: Source, tmp_path: Path) -> None:
    given = source()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="there: already exists and is not an empty folder"):
        convert(given, tmp_path / "there", to="w8")
    assert set(os.listdir(tmp_path)) == {"source", "there"}


def test_nobody_is_told_to_remove_the_source(source: Source, tmp_path: Path) -> None:
    given = source()
    (tmp_path / "link").symlink_to(given.folder)
    for place in (given.folder, tmp_path, tmp_path / "link"):
        with pytest.raises(ValueError, match=f"{place}: that is the source itself; choose another name"):
            convert(given, place, to="w8")
    Checkpoint.open(given.folder)
    assert set(os.listdir(tmp_path)) == {"source", "link"}


def test_what_is_done_is_not_done_again(source: Source, tmp_path: Path) -> None:
    given, there, notes = source(), tmp_path / "there", list[str]()
    convert(given, there, to="w4")
    before = {path: path.stat().st_mtime_ns for path in there.iterdir()}
    convert(given, there, to="w4", note=notes.append)
    assert notes == [f"{there}: done already"]
    assert {path: path.stat().st_mtime_ns for path in there.iterdir()} == before
    assert set(os.listdir(tmp_path)) == {"source", "there"}


@pytest.mark.parametrize("what", ["options", "weights", "generation", "damaged"])
def test_what_is_something_else_is_not_done(what: str, source: Source, tmp_path: Path) -> None:
    given, there = source(), tmp_path / "there"
    convert(given, there, to="w4")
    if what == "weights":  # of the same name and shape, of another training
        file = given.folder / "model.safetensors"
        words = np.fromfile(file, np.uint16)
        words[-SMALL.parameters // 2 :] ^= 0x8000
        words.tofile(file)
        given = Checkpoint.open(given.folder, verify=False)
    elif what == "generation":
        given = replace(given, generation={"top_k": 6})
    elif what == "damaged":
        (there / "config.json").write_text("{")
    with pytest.raises(ValueError, match="there: already exists"):
        convert(given, there, to="w8" if what == "options" else "w4")


def test_a_link_is_no_place(source: Source, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "empty")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    for place in ("there", "nowhere"):
        with pytest.raises(ValueError, match=f"{place}: is a link; give the folder that it points to"):
            convert(source(), tmp_path / place, to="w8")
        shutil.rmtree(tmp_path / "source")
    convert(source(), tmp_path / "empty", to="w8")


@dataclass
class Asking:
    """A Rounding like any, which calls `ask` when it is asked for its identity: before anything is written."""

    ask: Callable[[], None]

    @property
    def identity(self) -> str:
        self.ask()
        return "as usual"

    def of(self, name: str) -> None:
        return None


@pytest.mark.skipif(os.name != "posix", reason="no flock")
def test_two_at_one_place_are_refused(source: Source, tmp_path: Path) -> None:
    given, asked = source(), list[str]()
    (tmp_path / "there").mkdir()  # an empty folder is no other conversion's

    def another(what: str = "begin", done: int = 0, total: int = 0) -> None:
        asked.append(what)
        with pytest.raises(ValueError, match="another haina is converting"):
            convert(given, tmp_path / "there", to="w4")

    convert(given, tmp_path / "there", to="w8", rounding=Asking(another), progress=another)
    assert Checkpoint.open(tmp_path / "there").dtype("model.embed_tokens.weight") == "W8"
    assert {"begin", "converting to w8"} == set(asked) and set(os.listdir(tmp_path)) == {"source", "there"}


class Stopped(Exception):
    pass


def test_a_disk_without_room_is_refused_before_anything_is_written(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match=r"there: 0\.0 GB more are needed on this disk, 0\.0 GB are free"):
        convert(source(), tmp_path / "there", to="w8")


def stop_at(share: float) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, total: int) -> None:
        if done >= share * total:
            raise Stopped

    return progress


def test_it_goes_on_where_it_stopped(source: Source, tmp_path: Path) -> None:
    given, there = source(), tmp_path / "there"
    convert(given, tmp_path / "whole", to="w4")
    with pytest.raises(Stopped):
        convert(given, there, to="w4", sync_bytes=1, progress=stop_at(0.8))
    heard: list[int] = []
    notes: list[str] = []
    convert(given, there, to="w4", progress=lambda _, done, total: heard.append(done), note=notes.append)
    assert heard[0] > 0.5 * heard[-1] and notes == ["going on where the last run stopped"]
    assert content(there) == content(tmp_path / "whole")


def test_a_file_that_decides_nothing_may_appear(source: Source, tmp_path: Path) -> None:
    given, notes = source(), list[str]()
    with pytest.raises(Stopped):
        convert(given, tmp_path / "there", to="w4", sync_bytes=1, progress=stop_at(0.8))
    (given.folder / "convert.log").write_text("80 %")
    convert(given, tmp_path / "there", to="w4", note=notes.append)
    assert notes == ["going on where the last run stopped"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"[1]",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: whole.replace(b'"sha256"', b'"sha25"'),
        lambda whole: whole.replace(b'"tensors": ', b'"mode": "x",\n"tensors": '),
        lambda whole: whole.replace(b'"tensors": ', b'"tensors": 0.5e'),
        lambda whole: whole.replace(b'"tensors": ', b'"tensors": 1'),
    ],
)
def test_a_damaged_journal_is_none(damage: Callable[[bytes], bytes], source: Source, tmp_path: Path) -> None:
    given, there, notes = source(), tmp_path / "there", list[str]()
    with pytest.raises(Stopped):
        convert(given, there, to="w4", sync_bytes=1, progress=stop_at(0.8))
    journal = tmp_path / ".there.converting" / "journal.json"
    journal.write_bytes(damage(journal.read_bytes()))
    convert(given, there, to="w4", note=notes.append)
    assert len(notes) == 1 and notes[0].startswith("an unfinished conversion is thrown away")
    convert(given, tmp_path / "whole", to="w4")
    assert content(there) == content(tmp_path / "whole")


@pytest.mark.parametrize("what", ["source", "part"])
def test_it_starts_again_when_something_has_changed(what: str, source: Source, tmp_path: Path) -> None:
    given, there = source(), tmp_path / "there"
    with pytest.raises(Stopped):
        convert(given, there, to="w4", sync_bytes=1, progress=stop_at(0.8))
    part = tmp_path / ".there.converting" / "model" / "model.safetensors"
    if what == "source":
        os.utime(given.folder / "model.safetensors", (1, 1))
    elif what == "part":
        part.write_bytes(bytes(part.stat().st_size))
    notes: list[str] = []
    convert(given, there, to="w4", note=notes.append)
    assert len(notes) == 1 and notes[0].startswith("an unfinished conversion is thrown away")
    convert(given, tmp_path / "whole", to="w4")
    assert content(there) == content(tmp_path / "whole")


@pytest.mark.parametrize("what", ["precision", "rounding", "model"])
def test_other_unfinished_work_is_not_thrown_away(what: str, source: Source, tmp_path: Path) -> None:
    given, there, work = source(), tmp_path / "there", tmp_path / ".there.converting"
    with pytest.raises(Stopped):
        convert(given, there, to="w4", sync_bytes=1, progress=stop_at(0.8))
    before, other = content(work / "model"), given
    if what == "model":
        shutil.copytree(given.folder, tmp_path / "other")
        os.utime(tmp_path / "other" / "model.safetensors", (1, 1))
        other = Checkpoint.open(tmp_path / "other")
    to: Any = "w8" if what == "precision" else "w4"
    rounding = Asking(lambda: None) if what == "rounding" else None
    said = f"there: unfinished work from {given.folder} as w4 is here: the same command goes on; choose another name, "
    with pytest.raises(ValueError, match=f"{said}or remove {work}"):
        convert(other, there, to=to, rounding=rounding)
    assert content(work / "model") == before
    notes: list[str] = []
    convert(given, there, to="w4", note=notes.append)
    assert notes == ["going on where the last run stopped"]


def test_ctrl_c_says_that_the_work_is_kept(source: Source, tmp_path: Path) -> None:
    def press(what: str, done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    given, notes = source(), list[str]()
    with pytest.raises(KeyboardInterrupt):
        convert(given, tmp_path / "there", to="w4", sync_bytes=1, progress=press, note=notes.append)
    assert notes == ["stopped; the work is kept, the same command goes on"]
    convert(given, tmp_path / "there", to="w4", note=notes.append)
    assert notes[1:] == ["going on where the last run stopped"]


SCRIPT = """
import os, resource, signal, sys
from haina.checkpoint import raw
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import convert
raw._CHUNK_BYTES = 1 << 14
checkpoint = Checkpoint.open({source!r})
events = 0
def event(*_):
    global events
    events += 1
    if events == {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(lambda name, arguments: event() if name.split(".")[0] in ("open", "os", "shutil") else None)
if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    convert(checkpoint, {there!r}, to="w4", sync_bytes=1 << 14, progress=event)
except ValueError as error:
    sys.exit(str(error))
print(events)
"""


def run(source: Path, there: Path, *, kill: int = 0, limit: int = 0) -> subprocess.CompletedProcess[str]:
    """A conversion in a process of its own: killed before the given event (a file opened, renamed, removed, a piece
    written), or not allowed files of more than `limit` bytes."""
    script = SCRIPT.format(source=str(source), there=str(there), kill=kill, limit=limit)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_after_a_kill_the_same_folder_comes_out(source: Source, tmp_path: Path) -> None:
    given = source().folder
    whole = run(given, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    chance = random.Random(os.environ.get("HAINA_TORTURE_SEED", "sea"))
    for number in range(KILLS):
        there = tmp_path / f"{number}"
        at = chance.randint(1, int(whole.stdout))
        assert run(given, there, kill=at).returncode == -signal.SIGKILL
        killed_at_the_end = there.exists()
        again = run(given, there)
        assert again.returncode == 0 or killed_at_the_end, again.stderr
        assert content(there) == content(tmp_path / "whole"), at
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="no RLIMIT_FSIZE")
def test_a_file_that_may_not_grow_is_one_line(source: Source, tmp_path: Path) -> None:
    given = source().folder
    convert(Checkpoint.open(given), tmp_path / "whole", to="w4")
    size = (tmp_path / "whole" / "model.safetensors").stat().st_size
    stopped = run(given, tmp_path / "there", limit=size // 2)
    assert stopped.returncode == 1 and stopped.stderr.count("\n") == 1
    assert (
        "there: not written: File too large; put that right and run the same command again" in stopped.stderr
    )
    assert not (tmp_path / "there").exists()
    assert run(given, tmp_path / "there").returncode == 0
    assert content(tmp_path / "there") == content(tmp_path / "whole")


def test_a_disk_that_fills_up_half_way_is_one_line(source: Source, tmp_path: Path) -> None:
    def full(what: str, done: int, total: int) -> None:
        if done > total / 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    given = source()
    with pytest.raises(ValueError, match="the disk is full; make room and run the same command again"):
        convert(given, tmp_path / "there", to="w4", progress=full)
    convert(given, tmp_path / "there", to="w4")


# Converted folders that are damaged


@pytest.fixture
def packed(source: Source, tmp_path: Path) -> Path:
    """A converted folder whose manifest is lost."""
    convert(source(), tmp_path / "packed", to="w4")
    (tmp_path / "packed" / "manifest.json").unlink()
    return tmp_path / "packed"


def refused(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        list(Checkpoint.open(folder).tensors())
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2, "weights": "w3"}, "written by a newer haina (format 2); upgrade haina"),
        ({"format": "1"}, "quantization_config: format = '1' cannot be run"),
        ({"weights": "w5"}, "weights = 'w5' cannot be run"),
        ({"groups": 64}, "groups = 64 is not known to haina"),
        ({"quant_method": "gptq"}, "quantization_config = "),
    ],
)
def test_another_format_is_refused(change: dict[str, Any], message: str, packed: Path) -> None:
    file = packed / "config.json"
    hf = json.loads(file.read_text())
    hf["quantization_config"] |= change
    file.write_text(json.dumps(hf))
    assert message in refused(packed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"])
def test_scales_that_are_no_numbers_are_refused(name: str, value: float, packed: Path) -> None:
    file = packed / "model.safetensors"
    tensor = Checkpoint.open(packed).tensor(name)
    data = bytearray(file.read_bytes())
    at = data.index(tensor.data[:4096].tobytes())
    data[at + 12 : at + 16] = np.array([value], np.float32).tobytes()
    file.write_bytes(data)
    assert f"tensor {name} holds NaN or infinity" in refused(packed)


def test_a_short_file_is_refused(packed: Path) -> None:
    file = packed / "model.safetensors"
    whole = file.read_bytes()
    for size in [*range(0, 200, 9), len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:size])
        assert "model.safetensors: " in refused(packed)


def test_a_flipped_bit_is_refused_by_the_manifest(source: Source, tmp_path: Path) -> None:
    convert(source(), tmp_path / "there", to="w4")
    file = tmp_path / "there" / "model.safetensors"
    whole = file.read_bytes()
    chance = random.Random(3)
    for at in [chance.randrange(len(whole)) for _ in range(20)]:
        data = bytearray(whole)
        data[at] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        said = refused(tmp_path / "there")
        assert (
            "model.safetensors: changed since it was written" in said and "; convert source again, or" in said
        )


def test_matrices_of_another_model_are_refused(packed: Path) -> None:
    file = packed / "config.json"
    hf = json.loads(file.read_text())
    file.write_text(json.dumps(hf | {"intermediate_size": 1024}))
    assert "mlp.gate_proj.weight.w4 is U8 [33, " in refused(packed)


# Memory

MEASURED = """
import sys
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import convert
def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
before = kib("VmRSS")
convert(Checkpoint.open({source!r}), {there!r}, to={to!r}, threads=2)
print((kib("VmHWM") - before) << 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("to", ["w8", "bf16"])
def test_memory_does_not_grow_with_the_model(to: str, tmp_path: Path, tokenizer_bytes: bytes) -> None:
    """A model of 300 MB whose largest tensor has 16: less than a third of it is in memory at any time."""
    config = replace(
        SMALL, vocab_size=4096, hidden_size=2048, intermediate_size=4096, num_hidden_layers=3, head_dim=1024
    )
    tensors = ((name, np.ones(shape, np.float16)) for name, shape in config.tensor_shapes().items())
    save(tmp_path / "source", config, tensors, tokenizer=tokenizer_bytes, generation={}, source={})
    script = MEASURED.format(source=str(tmp_path / "source"), there=str(tmp_path / "there"), to=to)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "source" / "model.safetensors").stat().st_size > 280e6
    assert int(done.stdout) < 2 * 16.8e6 + 60e6
