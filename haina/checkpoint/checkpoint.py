"""Checkpoint: a model folder or GGUF file, read tensor by tensor, nothing in it executed; and `save`, its reverse.

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

from haina.checkpoint.gguf_model import GgufModel, gguf_file, read_gguf_model
from haina.checkpoint.layout import Part, check, header_entry, layout, llamafied, packed_dtype, unpack_names
from haina.checkpoint.manifest import FILE, Manifest, Progress
from haina.checkpoint.new_folder import new_folder
from haina.checkpoint.raw import Raw, Stored, chunks, give_back, tensor_bytes, unreadable
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.read_safetensors import SafetensorsWriter
from haina.checkpoint.shards import plain_name, read_weights
from haina.model.config import ModelConfig, packed_config
from haina.model.families import FAMILIES
from haina.native.packing import PACKED
from haina.text.tokenizer import Tokenizer
from haina.wording import say

HEAD = "lm_head.weight"
_SOURCE_LIMIT_BYTES = 2 << 20  # of a modeling_*.py, which is only searched for a word


@dataclass
class Checkpoint:
    """A model folder that was found whole: config, generation settings, tokenizer, and tensors on demand.

    Of a model in a GGUF file, `folder` is the path of that file.
    """

    folder: Path
    config: ModelConfig
    generation: dict[str, Any]  # generation_config.json, or nothing
    manifest: Manifest | None
    _stored: Mapping[str, Stored] = field(repr=False)
    _parts: Mapping[str, Part] = field(repr=False)
    _fold: bool = field(repr=False)  # whether the rows of the head are still to be normalised
    _finite: set[str] = field(default_factory=set, repr=False)  # names whose values have been looked at
    _gguf: GgufModel | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: str | Path, *, progress: Progress | None = None, verify: bool = True) -> Checkpoint:
        """Open a Hugging Face folder, a GGUF file, or a folder with one GGUF file in it.

        Weights are not read yet, but everything about them is checked. With a manifest.json every listed file is
        read once and compared; `progress` hears (file name, bytes done, bytes in all). verify=False: not compared,
        for who only wants to know what is there. ValueError, one line, names the file, the tensor or key, and the
        cure.
        """
        folder = Path(folder)
        if (file := gguf_file(folder)) is not None:
            return cls._open_gguf(file)
        _require_folder(folder)
        manifest = Manifest.read(folder)
        if manifest is not None and verify:
            manifest.verify(folder, progress)
        config = _read_config(folder)
        generation_file = folder / "generation_config.json"
        generation = read_json_object(generation_file) if generation_file.exists() else {}
        stored = unpack_names(folder, config, read_weights(folder))
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

    @classmethod
    def _open_gguf(cls, file: Path) -> Checkpoint:
        model = read_gguf_model(file)
        config, manifest = model.config, Manifest({}, dict(model.source))
        if config.num_hidden_layers > len(model.tensors):
            raise _too_many_layers(file, config, len(model.tensors))
        parts = layout(config, packed=False)
        check(file, config, parts, model.tensors)
        fold = config.head == "normed"
        checkpoint = cls(file, config, model.generation, manifest, model.tensors, parts, fold, _gguf=model)
        checkpoint._require_rows_for_tokens()
        return checkpoint

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """tokenizer.model, opened once. ValueError if it is missing or damaged."""
        if self._gguf:
            return Tokenizer(self._gguf.tokenizer, file=str(self.folder))
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

    def dtype(self, name: str) -> str:
        """The element type of a tensor as it is read."""
        return self._stored[self._parts[name].stored].dtype

    def coding(self, name: str) -> str:
        """How a tensor is stored: its dtype, or the code from which it is decoded, such as Q4_K or NF4."""
        return self._stored[self._parts[name].stored].coding

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, [out, in]."""
        part = self._parts[name]
        return (part.stop - part.start, *part.shape[1:])

    def rows(self, name: str, start: int, stop: int, *, fold: bool = True) -> Raw:
        """Rows start..stop of a tensor (packed: whole blocks), as `tensor` gives all of them.

        fold=False: a NormHead is as it lies in the file.
        """
        part = self._parts[name]
        raw = self._stored[part.stored].rows(part.start + start, part.start + stop).raw()
        if name not in self._finite and not raw.finite():
            raise _not_finite(self.folder, name)
        return _with_unit_rows(raw) if fold and self._fold and name == HEAD else raw

    def tensor(self, name: str, *, bits: Literal[16, 8, 4] = 16) -> Raw:
        """One tensor by our name. ValueError names it if it holds NaN or infinity (looked for once).

        A view of the mapped file; a copy of this tensor only where the file has it transposed or misaligned.
        A NormHead is computed: float32, rows of length 1. bits=8, bits=4: a matrix that is not packed yet comes
        packed (`packed_dtype`), a few rows in float32 at a time; ValueError if its values are too large for that.
        """
        shape = self.shape(name)
        dtype = None if self.dtype(name) in PACKED else packed_dtype(name, shape, bits)
        if dtype is None:
            raw = self.rows(name, 0, shape[0])
        else:
            raw = Raw(dtype, shape, np.empty(tensor_bytes(dtype, shape), np.uint8))
            for start, stop in chunks(shape):
                raw.rows(start, stop).data[:] = self.rows(name, start, stop).rounded(dtype).data
            require_in_range(self.folder, name, raw)
        self._finite.add(name)
        return raw

    def tensors(self) -> Iterator[tuple[str, Raw]]:
        """Every tensor with our name, one at a time: dropped before the next, none stays in memory."""
        for name in self._parts:
            yield name, self.tensor(name)

    def give_back(self, name: str) -> None:
        """The tensor is not needed for now: its mapped pages need not stay in memory."""
        give_back(self._stored[self._parts[name].stored].data)

    def tokenizer_bytes(self) -> bytes:
        """What a tokenizer.model beside these weights holds."""
        return self._gguf.tokenizer if self._gguf else (self.folder / "tokenizer.model").read_bytes()

    @cached_property
    def adds_bos(self) -> bool:
        """Whether a text begins with bos: LLaMA's does, Baichuan's does not (tokenizer_config.json)."""
        if self._gguf:
            return self._gguf.adds_bos
        file = self.folder / "tokenizer_config.json"
        about = read_json_object(file) if file.exists() else {}
        llama = str(about.get("tokenizer_class", "")).startswith("Llama")
        return about.get("add_bos_token", llama) is True

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before using it."""
        return self._gguf.notes if self._gguf else ()

    def files(self) -> list[Path]:
        """Every file of the folder; of a GGUF file, itself."""
        return [self.folder] if self._gguf else sorted(p for p in self.folder.iterdir() if p.is_file())

    def license_files(self) -> list[Path]:
        """Files that state a licence: by their name first, then *.md files that speak of one."""
        home = self.folder.parent if self._gguf else self.folder
        paths = sorted(path for path in home.iterdir() if path.is_file())
        words = ("license", "licence", "许可", "copying")
        named = [path for path in paths if any(word in path.name.lower() for word in words)]
        if self._gguf:
            return named  # the folder may be one of downloads: other texts there are not the model's
        markdown = [path for path in paths if path.suffix.lower() == ".md" and path not in named]
        return named + [path for path in markdown if any(word in _start(path) for word in words[:3])]

    def _require_rows_for_tokens(self) -> None:
        file, pieces, rows = self.tokenizer.file, self.tokenizer.size, self.config.vocab_size
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
                f"{folder}: this is a file; give the folder that holds config.json, or a .gguf file",
                f"{folder}：这是一个文件；请给出 config.json 所在的目录，或 .gguf 文件",
            )
        ) from None
    except FileNotFoundError:
        raise ValueError(
            say(
                f"{folder}: no such folder or model; haina ls shows those that were pulled, "
                "haina pull OWNER/NAME fetches one, and haina-brook is built in",
                f"{folder}：没有这个目录或模型；haina ls 列出已下载的，haina pull 机构/名称 可下载，haina-brook 为内置",
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
    out = np.empty(raw.shape, np.float32)
    for start, chunk in raw.row_chunks():
        values = chunk.float32()
        length = np.maximum(np.sqrt(np.einsum("ij,ij->i", values, values)), np.float32(1e-12))
        np.divide(values, length[:, None], out=out[start : start + len(length)])
    return Raw.of(out)


def _not_finite(where: Path, name: str) -> ValueError:
    return ValueError(
        say(
            f"{where}: tensor {name} holds NaN or infinity; the weights are damaged, download them again",
            f"{where}：张量 {name} 中有 NaN 或无穷大；权重已损坏，请重新下载",
        )
    )


def require_in_range(where: Path, name: str, rounded: Raw) -> None:
    """ValueError if rows of a tensor, finite before, are not so in the type to which they were rounded."""
    if not rounded.finite():
        raise ValueError(
            say(
                f"{where}: tensor {name} has values too large for {rounded.dtype}; "
                "the weights are damaged, download them again",
                f"{where}：张量 {name} 中有数值超出 {rounded.dtype} 的范围；权重已损坏，请重新下载",
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
    weights: Literal["w8", "w4"] | None = None,
) -> None:
    """Write a folder that `Checkpoint.open` and others' tools read; it appears whole or not at all.

    tensors: each of our names once, in any order, float32, float16 or Raw; taken one at a time. weights: how
    matrices are packed, if they are; q, k and v then lie apart, and a head is folded already. tokenizer: the
    bytes of tokenizer.model. source: for the manifest; `licence` and `made` in it are shown to people. files:
    more files by name (LICENSE, README.md). ValueError if the place is occupied, the disk is full or a tensor
    holds NaN.
    """
    with new_folder(Path(folder)) as part:
        assert all(plain_name(name) for name in files)
        hf = config.to_hf() | (packed_config(weights) if weights else {})
        written = {**files, "config.json": json_bytes(hf), "generation_config.json": json_bytes(generation)}
        for name, content in {**written, "tokenizer.model": tokenizer}.items():
            (part / name).write_bytes(content)
        packed_qkv = weights is None and writes_packed_qkv(config)
        _write_weights(part / "model.safetensors", layout(config, packed=packed_qkv), tensors)
        assert FILE not in files
        Manifest.of(part, source).write(part)


def json_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _write_weights(
    file: Path, parts: dict[str, Part], tensors: Iterable[tuple[str, np.ndarray | Raw]]
) -> None:
    """Each tensor goes to its place in the file as it comes: q, k and v are joined there, not in memory."""
    names = {part.stored for part in parts.values()}
    places: dict[str, tuple[str, int]] = {}  # stored name → element type, offset
    with SafetensorsWriter(file, names=len(names), name_bytes=sum(len(name) + 3 for name in names)) as writer:
        for name, tensor in tensors:
            assert name in parts, f"{name} is not a tensor of this network, or was given twice"
            raw, part = tensor if isinstance(tensor, Raw) else Raw.of(tensor), parts.pop(name)
            assert raw.shape == (part.stop - part.start, *part.shape[1:]), name
            if not raw.finite():
                raise _not_finite(file.parent, name)
            if part.stored not in places:
                places[part.stored] = raw.dtype, writer.add(*header_entry(part.stored, raw.dtype, part.shape))
            dtype, at_bytes = places[part.stored]
            assert dtype == raw.dtype, f"{part.stored}: {dtype} and {raw.dtype} cannot be joined"
            writer.write(at_bytes + tensor_bytes(dtype, (part.start, *part.shape[1:])), raw.data)
    assert not parts, f"tensors never given: {sorted(parts)[:3]}"


def writes_packed_qkv(config: ModelConfig) -> bool:
    """As the family does; but a plain head that config.json cannot say needs q, k, v apart (`llamafied`)."""
    packs = FAMILIES[config.architecture].qkv == "packed"
    return packs and ModelConfig.from_hf(config.to_hf()).head == config.head
