"""Checkpoint: a model folder, read one tensor at a time, nothing in it executed; and `save`, its reverse.

It joins what the other modules of this folder know: the files, the family's names, the manifest. Tensors come
out under our names (LLaMA's, q, k and v apart), as views of the mapped files wherever that is possible; a
NormHead comes out folded. It does not know devices, forward passes or chat.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from haina.checkpoint.layout import Part, check, layout, llamafied, scale_name
from haina.checkpoint.manifest import FILE, Manifest, Progress
from haina.checkpoint.new_folder import new_folder
from haina.checkpoint.raw import Raw, Stored, unreadable
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.read_safetensors import SafetensorsWriter
from haina.checkpoint.shards import plain_name, read_weights
from haina.model.config import ModelConfig
from haina.model.families import FAMILIES
from haina.text.tokenizer import Tokenizer
from haina.wording import say

HEAD = "lm_head.weight"
_SOURCE_LIMIT_BYTES = 2 << 20  # of a modeling_*.py, which is only searched for a word


@dataclass
class Checkpoint:
    """A model folder that was found whole: config, generation settings, tokenizer, and tensors on demand."""

    folder: Path
    config: ModelConfig
    generation: dict[str, Any]  # generation_config.json, or nothing
    manifest: Manifest | None
    _stored: Mapping[str, Stored] = field(repr=False)
    _parts: Mapping[str, Part] = field(repr=False)
    _fold: bool = field(repr=False)  # whether the rows of the head are still to be normalised
    _finite: set[str] = field(default_factory=set, repr=False)  # names whose values have been looked at

    @classmethod
    def open(cls, folder: str | Path, *, progress: Progress | None = None) -> Checkpoint:
        """Open a Hugging Face folder. Weights are not read yet, but everything about them is checked.

        With a manifest.json every listed file is read once and compared; `progress` hears (file name, bytes
        done, bytes in all). ValueError, one line, names the file, the tensor or key, and the cure.
        """
        folder = Path(folder)
        _require_folder(folder)
        manifest = Manifest.read(folder)
        if manifest is not None:
            manifest.verify(folder, progress)
        config = _read_config(folder)
        generation_file = folder / "generation_config.json"
        generation = read_json_object(generation_file) if generation_file.exists() else {}
        stored = read_weights(folder)
        split = llamafied(config, stored)
        if split:
            config = replace(config, head="plain")
        if config.num_hidden_layers > len(stored):
            raise _too_many_layers(folder, config, len(stored))
        parts = layout(config, packed=not split and FAMILIES[config.architecture].qkv == "packed")
        check(folder, config, parts, stored)
        checkpoint = cls(folder, config, generation, manifest, stored, parts, config.head == "normed")
        checkpoint._require_rows_for_tokens()
        return checkpoint

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """tokenizer.model, opened once. ValueError if it is missing or damaged."""
        file = self.folder / "tokenizer.model"
        if not file.exists():
            raise ValueError(
                say(
                    f"{file}: missing; copy this SentencePiece file from where the model came from",
                    f"{file}：文件缺失；请从模型来源处复制这个 SentencePiece 文件",
                )
            )
        return Tokenizer.open(file)

    def names(self) -> list[str]:
        """Our names of the tensors, in the order of the network. A tied head has no name of its own."""
        return list(self._parts)

    def tensor(self, name: str, *, bits: Literal[16, 8] = 16) -> Raw:
        """One tensor by our name. ValueError names it if it holds NaN or infinity (looked for once).

        A view of the mapped file; a copy of this tensor only where the file has it transposed or misaligned.
        A NormHead is computed: float32, rows of length 1 (int8 stays int8, its scales change).
        bits=8: a matrix comes rounded to int8 row by row, a few rows in float32 at a time.
        """
        part = self._parts[name]
        raw = self._stored[part.stored].rows(part.start, part.stop).raw()
        if raw.dtype == "I8":
            scale = self._stored[scale_name(part.stored)].rows(part.start, part.stop).raw()
            raw = replace(raw, scale=scale.data.view(np.float32))
        if name not in self._finite:
            if not raw.finite():
                raise _not_finite(self.folder, name)
            self._finite.add(name)
        if bits == 8 and len(raw.shape) == 2 and raw.dtype != "I8":
            raw = raw.rounded()
        return _with_unit_rows(raw) if self._fold and name == HEAD else raw

    def tensors(self) -> Iterator[tuple[str, Raw]]:
        """Every tensor with our name, one at a time: dropped before the next, none stays in memory."""
        for name in self._parts:
            yield name, self.tensor(name)

    def license_files(self) -> list[Path]:
        """Files that state a licence: by their name first, then *.md files that speak of one."""
        paths = sorted(path for path in self.folder.iterdir() if path.is_file())
        words = ("license", "licence", "许可", "copying")
        named = [path for path in paths if any(word in path.name.lower() for word in words)]
        markdown = [path for path in paths if path.suffix.lower() == ".md" and path not in named]
        return named + [path for path in markdown if any(word in _start(path) for word in words[:3])]

    def _require_rows_for_tokens(self) -> None:
        file, pieces, rows = self.folder / "tokenizer.model", self.tokenizer.size, self.config.vocab_size
        if pieces > rows:
            raise ValueError(
                say(
                    f"{file}: {pieces} pieces, but the embedding has only {rows} rows; "
                    "use the tokenizer.model that belongs to these weights",
                    f"{file}：词表有 {pieces} 个词元，词嵌入只有 {rows} 行；"
                    "请使用与这份权重配套的 tokenizer.model",
                )
            )


def _require_folder(folder: Path) -> None:
    try:
        names = os.listdir(folder)
    except NotADirectoryError:
        raise ValueError(
            say(
                f"{folder}: this is a file; give the folder that holds config.json",
                f"{folder}：这是一个文件；请给出 config.json 所在的目录",
            )
        ) from None
    except FileNotFoundError:
        raise ValueError(
            say(
                f"{folder}: no such folder; haina loads nothing from the network: download the model, "
                "then give its folder",
                f"{folder}：没有这个目录；海纳不联网，请先下载模型，再给出模型目录的路径",
            )
        ) from None
    except OSError as error:
        raise unreadable(folder, error) from None
    if "config.json" not in names:
        en, zh = ("no config.json", "没有 config.json") if names else ("the folder is empty", "目录是空的")
        raise ValueError(
            say(
                f"{folder}: {en}; give a Hugging Face folder (config.json, tokenizer.model, weights)",
                f"{folder}：{zh}；请给出 Hugging Face 格式的目录（config.json、tokenizer.model、权重）",
            )
        )


def _read_config(folder: Path) -> ModelConfig:
    """config.json by the family's rules. A Baichuan whose source, read as text, has a NormHead is normed."""
    file = folder / "config.json"
    config = ModelConfig.from_hf(read_json_object(file), file=str(file))
    if FAMILIES[config.architecture].qkv != "packed":
        return config
    sources = (path for path in folder.glob("modeling_*.py") if path.is_file())
    normed = any(b"NormHead" in _start_bytes(path, _SOURCE_LIMIT_BYTES) for path in sources)
    return replace(config, head="normed") if normed else config


def _start(path: Path) -> str:
    return _start_bytes(path, 1 << 16).decode(errors="replace").lower()


def _start_bytes(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes)
    except OSError as error:
        raise unreadable(path, error) from None


def _with_unit_rows(raw: Raw) -> Raw:
    """NormHead, folded: each row divided by its length (float32, at least 1e-12), a few rows at a time.

    torch.nn.functional.normalize as Baichuan 2 calls it: families' NormHead in modeling_baichuan.py.
    """
    rows = raw.shape[0]
    out = np.empty(raw.shape if raw.scale is None else (rows,), np.float32)
    for start, chunk in raw.row_chunks():
        values = chunk.float32()
        length = np.maximum(np.sqrt(np.einsum("ij,ij->i", values, values)), np.float32(1e-12))
        stop = start + len(length)
        if chunk.scale is None:
            np.divide(values, length[:, None], out=out[start:stop])
        else:
            np.divide(chunk.scale, length, out=out[start:stop])
    return Raw.of(out) if raw.scale is None else replace(raw, scale=out)


def _not_finite(where: Path, name: str) -> ValueError:
    return ValueError(
        say(
            f"{where}: tensor {name} holds NaN or infinity; the weights are damaged, download them again",
            f"{where}：张量 {name} 中有 NaN 或无穷大；权重已损坏，请重新下载",
        )
    )


def _too_many_layers(folder: Path, config: ModelConfig, tensors: int) -> ValueError:
    layers = config.num_hidden_layers
    return ValueError(
        say(
            f"{folder}: config.json has num_hidden_layers = {layers}, the weights only {tensors} tensors; "
            "take both from the same place",
            f"{folder}：config.json 中 num_hidden_layers = {layers}，权重却只有 {tensors} 个张量；"
            "请从同一处取得两者",
        )
    )


def save(
    folder: str | Path,
    config: ModelConfig,
    tensors: Iterable[tuple[str, np.ndarray | Raw]],
    *,
    tokenizer: bytes,
    generation: dict[str, Any],
    source: dict[str, Any],
    files: Mapping[str, bytes] = {},
) -> None:
    """Write a folder that `Checkpoint.open` and others' tools read; it appears whole or not at all.

    tensors: each of our names once, in any order, float32, float16 or Raw (BF16, int8 with scales); taken
    one at a time. tokenizer: the bytes of tokenizer.model. source: for the manifest; `licence` and `made` in
    it are shown to people. files: more files by name (LICENSE, README.md). ValueError if the place is
    occupied, the disk is full or a tensor holds NaN.
    """
    with new_folder(Path(folder)) as part:
        assert all(plain_name(name) for name in files)
        written = {**files, "config.json": _json(config.to_hf()), "generation_config.json": _json(generation)}
        for name, content in {**written, "tokenizer.model": tokenizer}.items():
            (part / name).write_bytes(content)
        _write_weights(part / "model.safetensors", config, tensors)
        assert FILE not in files
        Manifest.of(part, source).write(part)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _write_weights(file: Path, config: ModelConfig, tensors: Iterable[tuple[str, np.ndarray | Raw]]) -> None:
    """Each tensor goes to its place in the file as it comes: q, k and v are joined there, not in memory."""
    parts = layout(config, packed=_writes_packed(config))
    names = {part.stored for part in parts.values()} | {scale_name(part.stored) for part in parts.values()}
    places: dict[str, tuple[str, int]] = {}  # stored name → element type, offset
    with SafetensorsWriter(file, names=len(names), name_bytes=sum(map(len, names))) as writer:
        for name, tensor in tensors:
            assert name in parts, f"{name} is not a tensor of this network, or was given twice"
            raw, part = tensor if isinstance(tensor, Raw) else Raw.of(tensor), parts.pop(name)
            assert raw.shape == (part.stop - part.start, *part.shape[1:]), name
            if not raw.finite():
                raise _not_finite(file.parent, name)
            _write_rows(writer, places, raw, part)
            if raw.scale is not None:
                beside = replace(part, stored=scale_name(part.stored), shape=part.shape[:1])
                _write_rows(writer, places, Raw.of(raw.scale), beside)
    assert not parts, f"tensors never given: {sorted(parts)[:3]}"


def _write_rows(writer: SafetensorsWriter, places: dict[str, tuple[str, int]], raw: Raw, part: Part) -> None:
    if part.stored not in places:
        places[part.stored] = raw.dtype, writer.add(part.stored, raw.dtype, part.shape)
    dtype, at_bytes = places[part.stored]
    assert dtype == raw.dtype, f"{part.stored}: {dtype} and {raw.dtype} cannot be joined"
    writer.write(at_bytes + part.start * (raw.nbytes // raw.shape[0]), raw.data)


def _writes_packed(config: ModelConfig) -> bool:
    """As the family does; but a plain head that config.json cannot say needs q, k, v apart (`llamafied`)."""
    packs = FAMILIES[config.architecture].qkv == "packed"
    return packs and ModelConfig.from_hf(config.to_hf()).head == config.head
