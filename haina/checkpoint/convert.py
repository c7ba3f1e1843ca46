"""Convert: a checkpoint into another folder with packed (W4, W8) or bfloat16 matrices, a few rows at a time.

The weights are written front to back, each run of rows rounded by one of a few threads, so memory does not grow
with the model and the sha256 of the file is known when its last byte is. Everything lies in a work folder beside
the destination until it is whole. A journal there says how far the file is safely on the disk: after a kill, a
power cut or a full disk the same call goes on from there, and the folder is the same to the last byte: on any
machine, but for a Rounding, whose arithmetic may differ in the last bits between machines. Another call at the same
place is refused: what lies there may be the work of hours.

It does not know how weights are rounded (native/packing.py) nor how they lie in the source (checkpoint.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np

from haina import __version__
from haina.checkpoint.checkpoint import Checkpoint, json_bytes, require_in_range, writes_packed_qkv
from haina.checkpoint.layout import header_entry, layout, packed_dtype
from haina.checkpoint.manifest import FILE, USED, FileRecord, Manifest, Progress
from haina.checkpoint.new_folder import alone, disk_full, put_in_place, refuse_occupied, require_room, to_disk
from haina.checkpoint.raw import Raw, chunks, tensor_bytes
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.read_safetensors import file_header
from haina.model.config import packed_config
from haina.native.machine import usable_threads
from haina.native.packing import BLOCK_ROWS, PACKED
from haina.wording import say, system_reason

Target = Literal["w4", "w8", "bf16"]
BITS: dict[Target, Literal[16, 8, 4]] = {"w4": 4, "w8": 8, "bf16": 16}

RoundRows = Callable[[np.ndarray], np.ndarray]  # float32 rows of a matrix → their packed bytes

WEIGHTS = "model.safetensors"
SYNC_BYTES = 128 << 20  # written between two entries of the journal: what a kill costs at most
_READ_BYTES = 4 << 20


class Rounding(Protocol):
    """Another way to pack matrices than pack()'s."""

    identity: str  # what decides the bytes: a conversion goes on only with the same

    def of(self, name: str) -> RoundRows | None:
        """For every tensor in the order of the file; None: as usual. The RoundRows may be called by several threads."""
        ...


def convert(
    checkpoint: Checkpoint,
    destination: str | Path,
    *,
    to: Target,
    rounding: Rounding | None = None,
    threads: int | None = None,
    sync_bytes: int = SYNC_BYTES,
    progress: Progress = lambda what, done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Write the checkpoint to a new folder `destination`: q, k and v apart and a NormHead folded, unless to bf16.

    progress hears (what, bytes of the source done, of all); note hears in a sentence when an earlier attempt goes on
    or is thrown away, when Ctrl-C stops this one, and that it was done before. threads: None is one per usable CPU;
    the bytes do not depend on it. ValueError, one line: the place is occupied, being written or another conversion's,
    the source is packed already, a value is NaN, infinite or too large, the disk is full. What was done stays beside
    the destination then.
    """
    place = Path(os.path.abspath(destination))
    plan = _plan(checkpoint, to, rounding)
    with _work_folder(place, note) as work:
        _refuse_other_work(work, plan, place)
        if _made_before(place, plan):
            note(say(f"{place}: done already", f"{place}：先前已经转换完成"))
            return
        refuse_occupied(place, source=checkpoint.folder)
        there = work / "model" / WEIGHTS
        require_room(place, plan.file_bytes() - (there.stat().st_size if there.exists() else 0))
        record = _write_weights(work, plan, threads or usable_threads(), sync_bytes, progress, note)
        _write_rest(work / "model", plan, record)
        put_in_place(work / "model", place)


@dataclass(frozen=True)
class _Plan:
    """All that decides what is written, settled before the first byte."""

    checkpoint: Checkpoint
    to: Target
    dtypes: dict[str, str]  # by our names, in the order of the file
    header: bytes
    rounding: Rounding | None

    @property
    def source(self) -> str:
        return str(self.checkpoint.folder.resolve())

    def source_bytes(self, name: str) -> int:
        return tensor_bytes(self.checkpoint.dtype(name), self.checkpoint.shape(name))

    def file_bytes(self, tensors: int | None = None) -> int:
        """Bytes of the file up to the end of its first `tensors`; None: of all."""
        shape, items = self.checkpoint.shape, list(self.dtypes.items())[:tensors]
        return len(self.header) + sum(tensor_bytes(dtype, shape(name)) for name, dtype in items)

    def identity(self) -> dict[str, Any]:
        """What must be the same for a conversion to go on: the program, the target, the files that decide a tensor."""
        used = [path for path in self.checkpoint.files() if any(map(path.match, ("*.gguf", *USED)))]
        stats = {path.name: path.stat() for path in used if path.name != FILE}
        return {
            "haina": __version__,
            "to": self.to,
            "rounding": self.rounding.identity if self.rounding else None,
            "header": hashlib.sha256(self.header).hexdigest(),
            "source": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
        }


def _plan(checkpoint: Checkpoint, to: Target, rounding: Rounding | None) -> _Plan:
    """Matrices first: their blocks are then aligned to 32 bytes whatever the lengths of the vectors."""
    config, bits = checkpoint.config, BITS[to]
    if any(checkpoint.dtype(name) in PACKED for name in checkpoint.names()) and to != "bf16":
        raise _packed_already(checkpoint.folder)
    parts = layout(config, packed=to == "bf16" and writes_packed_qkv(config))
    dtypes: dict[str, str] = {}
    for name in sorted(parts, key=lambda name: len(parts[name].shape) == 1):
        same = "BF16" if to == "bf16" else checkpoint.dtype(name)
        dtypes[name] = packed_dtype(name, checkpoint.shape(name), bits) or same
    entries = {
        parts[name].stored: header_entry(parts[name].stored, dtype, parts[name].shape)
        for name, dtype in dtypes.items()
    }
    return _Plan(checkpoint, to, dtypes, file_header(entries.values()), rounding)


# The work folder: model/ becomes the destination, journal.json says how far model/model.safetensors is.


@contextmanager
def _work_folder(place: Path, note: Callable[[str], None]) -> Iterator[Path]:
    """The folder beside the place where it is made. It stays as long as there is something to go on from."""
    work = place.parent / f".{place.name}.converting"
    busy = say(
        f"{place}: another haina is converting to this place; wait for it or choose another",
        f"{place}：另一个 haina 进程正在向此处转换；请等待其完成或换个位置",
    )
    try:
        work.mkdir(parents=True, exist_ok=True)
        with alone(work / "lock", busy):
            try:
                yield work
            except KeyboardInterrupt:
                kept = say("the work is kept, the same command goes on", "进度已保留，运行同一命令可继续")
                note(say(f"stopped; {kept}", f"已停止；{kept}"))
                raise
            finally:
                if not (work / "model").exists():
                    shutil.rmtree(work)
    except OSError as error:
        en, zh = ("make room", "请腾出空间") if disk_full(error) else ("put that right", "请排除故障")
        raise ValueError(
            say(
                f"{place}: not written: {system_reason(error)}; {en} and run the same command again, "
                "it goes on from where it stopped",
                f"{place}：未能写入：{system_reason(error)}；{zh}后重新运行同一命令，将从中断处继续",
            )
        ) from error


@dataclass(frozen=True)
class _Journal:
    """The first `tensors` of the plan are on the disk; the file up to there has this sha256 (hex)."""

    source: str  # where the model was
    plan: dict[str, Any]
    tensors: int
    sha256: str

    @classmethod
    def read(cls, work: Path) -> _Journal | None:
        """None if there is none, and if it is damaged: nothing can go on from it."""
        try:
            found = read_json_object(work / "journal.json")
        except ValueError:
            return None
        match found:
            case {"source": str(), "plan": dict(), "tensors": int(), "sha256": str()} if len(found) == 4:
                return cls(**found)
        return None

    def write(self, work: Path) -> None:
        """In place of the last one, in one step."""
        new = work / "journal.new"
        new.write_bytes(json_bytes(vars(self)))
        to_disk(new)
        new.replace(work / "journal.json")


def _refuse_other_work(work: Path, plan: _Plan, place: Path) -> None:
    """ValueError if there is unfinished work from another model or with other options.

    The same model whose files have changed, or another haina, begins anew: nothing can go on from there (`_begun`).
    """
    journal, identity = _Journal.read(work), plan.identity()
    if journal is None or journal.plan == identity or not (work / "model").exists():
        return
    if journal.source == plan.source and all(journal.plan.get(k) == identity[k] for k in ("to", "rounding")):
        return
    made = f"{journal.plan.get('to')}" + (" --calibrate" if journal.plan.get("rounding") else "")
    raise ValueError(
        say(
            f"{place}: unfinished work from {journal.source} as {made} is here: the same command goes on; "
            f"choose another name, or remove {work}",
            f"{place}：此处有未完成的转换（{journal.source}，{made}）：运行原来的命令可继续；"
            f"请换个名字，或删除 {work}",
        )
    )


def _made_before(place: Path, plan: _Plan) -> bool:
    """Whether the folder there is what this call would make: what it says of itself, and some rows of each tensor.

    Never with a Rounding: only rounding once more could tell.
    """
    if plan.rounding or not (place / FILE).exists():
        return False
    try:
        made = Checkpoint.open(place, verify=False)
    except ValueError:
        return False
    there, here = made.manifest, plan.checkpoint
    return (
        there is not None
        and there.source == _source(plan)
        and made.generation == here.generation
        and made.tokenizer_bytes() == here.tokenizer_bytes()
        and set(made.names()) == set(plan.dtypes)
        and all(_same_rows(made, plan, name) for name in plan.dtypes)
    )


def _same_rows(made: Checkpoint, plan: _Plan, name: str) -> bool:
    shape = plan.checkpoint.shape(name)
    if (made.dtype(name), made.shape(name)) != (plan.dtypes[name], shape):
        return False
    rows = min(BLOCK_ROWS, shape[0])
    expected = _round(plan, name, 0, rows, None)
    return np.array_equal(made.rows(name, 0, rows, fold=False).data, expected.data)


class _Output:
    """model.safetensors on its way, with the sha256 of what was written."""

    def __init__(self, file: IO[bytes]):
        self.file, self.sha256, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.count(data)

    def count(self, data: bytes | memoryview) -> None:
        """Take bytes that are in the file already into the sum."""
        self.sha256.update(data)
        self.bytes += len(data)

    def to_disk(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


def _write_weights(
    work: Path, plan: _Plan, threads: int, sync_bytes: int, progress: Progress, note: Callable[[str], None]
) -> FileRecord:
    """The weights, from where the journal says to the end; returns what the manifest says of the file."""
    identity = plan.identity()
    output, tensors = _begun(work, plan, identity, note)
    with output.file:
        names = list(plan.dtypes)
        total = sum(map(plan.source_bytes, names))
        done = sum(map(plan.source_bytes, names[:tensors]))
        synced = output.bytes
        what = say(f"converting to {plan.to}", f"转换为 {plan.to}")
        progress(what, done, total)
        for name, last, rows in _rounded(plan, names[tensors:], threads):
            output.write(rows.data.data)
            done += tensor_bytes(plan.checkpoint.dtype(name), rows.shape)
            progress(what, done, total)
            if not last:
                continue
            plan.checkpoint.give_back(name)
            tensors += 1
            if output.bytes - synced >= sync_bytes or tensors == len(names):
                output.to_disk()
                synced = output.bytes
                _Journal(plan.source, identity, tensors, output.sha256.hexdigest()).write(work)
    return FileRecord(output.bytes, output.sha256.hexdigest())


def _begun(
    work: Path, plan: _Plan, identity: dict[str, Any], note: Callable[[str], None]
) -> tuple[_Output, int]:
    """The file as the journal says it is, and the tensors in it; a new one if there is no journal of this plan."""
    file, journal = work / "model" / WEIGHTS, _Journal.read(work)
    if journal and journal.plan == identity and file.exists():
        output, whole_bytes = _Output(file.open("r+b")), plan.file_bytes(journal.tensors)
        while data := output.file.read(min(_READ_BYTES, whole_bytes - output.bytes)):
            output.count(data)
        if (output.bytes, output.sha256.hexdigest()) == (whole_bytes, journal.sha256):
            output.file.truncate(output.bytes)
            note(say("going on where the last run stopped", "从上次中断处继续"))
            return output, journal.tensors
        output.file.close()
    if (work / "journal.json").exists():
        why = say("the source or haina has changed, or it is damaged", "源文件或海纳版本已变，或其内容已损坏")
        note(say(f"an unfinished conversion is thrown away: {why}", f"丢弃未完成的转换：{why}"))
        (work / "journal.json").unlink()
    shutil.rmtree(work / "model", ignore_errors=True)
    (work / "model").mkdir()
    output = _Output(file.open("xb"))
    output.write(plan.header)
    return output, 0


def _rounded(plan: _Plan, names: list[str], threads: int) -> Iterator[tuple[str, bool, Raw]]:
    """(name, whether it is the end of the tensor, rows of it, rounded), in the order of the file.

    Each run of rows is rounded by one thread (NumPy and pack let go of the GIL); few lie ready, however slow the disk.
    """
    waiting: deque[tuple[str, bool, Future[Raw]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for name in names:
            rows = plan.checkpoint.shape(name)[0]
            round_rows = plan.rounding.of(name) if plan.rounding else None
            for start, stop in chunks(plan.checkpoint.shape(name)):
                waiting.append((name, stop == rows, pool.submit(_round, plan, name, start, stop, round_rows)))
                if len(waiting) > 2 * threads:
                    yield _next(waiting)
        while waiting:
            yield _next(waiting)


def _next(waiting: deque[tuple[str, bool, Future[Raw]]]) -> tuple[str, bool, Raw]:
    name, last, rows = waiting.popleft()
    return name, last, rows.result()


def _round(plan: _Plan, name: str, start: int, stop: int, round_rows: RoundRows | None) -> Raw:
    rows, dtype = plan.checkpoint.rows(name, start, stop, fold=plan.to != "bf16"), plan.dtypes[name]
    packed = round_rows(rows.float32()) if round_rows else None
    rounded = rows.rounded(dtype, threads=1) if packed is None else Raw(dtype, rows.shape, packed)
    require_in_range(plan.checkpoint.folder, name, rounded)
    return rounded


def _write_rest(folder: Path, plan: _Plan, weights: FileRecord) -> None:
    """Everything but the weights: config, generation settings, tokenizer, licences, manifest."""
    checkpoint, to = plan.checkpoint, plan.to
    config = checkpoint.config if to == "bf16" else replace(checkpoint.config, head="plain")
    hf = config.to_hf() | (packed_config(to) if to != "bf16" else {})
    for path in checkpoint.license_files():
        shutil.copyfile(path, folder / path.name)
    (folder / "config.json").write_bytes(json_bytes(hf))
    (folder / "generation_config.json").write_bytes(json_bytes(checkpoint.generation))
    (folder / "tokenizer.model").write_bytes(checkpoint.tokenizer_bytes())
    (folder / "tokenizer_config.json").write_bytes(json_bytes({"add_bos_token": checkpoint.adds_bos}))
    Manifest.of(folder, _source(plan), known={WEIGHTS: weights}).write(folder)


def _source(plan: _Plan) -> dict[str, Any]:
    """Where the weights come from and how they were made, for the manifest."""
    manifest, rounding = plan.checkpoint.manifest, plan.rounding
    source = dict(manifest.source) if manifest else {}
    made = f"haina convert --to {plan.to}" + (f" --calibrate ({rounding.identity})" if rounding else "")
    source["made"] = f"{source['made']}; {made}" if "made" in source else made
    source["from"] = plan.checkpoint.folder.resolve().name
    return source


def _packed_already(folder: Path) -> ValueError:
    return ValueError(
        say(
            f"{folder}: packed already; rounding twice would lose more, convert the folder that it was made from",
            f"{folder}：已经是量化格式；再次舍入会损失更多精度，请转换其来源目录",
        )
    )
