"""Adapter: a low-rank change of a model's matrices (LoRA, arXiv:2106.09685), in the files of Hugging Face's PEFT.

    adapter_config.json          rank, alpha, which matrices, and what we refuse: DoRA, biases, whole modules
    adapter_model.safetensors    base_model.model.model.layers.N.self_attn.W_pack.lora_A.weight [rank, in],
                                 …lora_B.weight [out, rank]; or adapter_model.bin, which is read without being run
    generation_config.json       of ours: the chat format that was learnt, as in a model's folder
    manifest.json                of ours: sha256 of the files, and the fingerprint of the model that it was trained on

Names are those of the model that it was trained on: q, k and v apart or one W_pack. `changes` says what it adds to
which of our tensors, for a model of either layout. It does not know the model's weights, training or the engine.
Format: huggingface/peft 0.21, src/peft/tuners/lora/config.py and utils/save_and_load.py.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from haina.checkpoint.checkpoint import Checkpoint, json_bytes
from haina.checkpoint.layout import Part, layout
from haina.checkpoint.manifest import Manifest
from haina.checkpoint.new_folder import new_folder
from haina.checkpoint.raw import Stored
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.read_pickle import read_pickle
from haina.checkpoint.read_safetensors import SafetensorsWriter, read_safetensors
from haina.model.config import ModelConfig
from haina.wording import say

CONFIG = "adapter_config.json"
GENERATION = "generation_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # in the order in which they are looked for
TARGETS = ("W_pack", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MAX_RANK = 256

_NAME = re.compile(
    rf"base_model\.model\.(model\.layers\.(?:0|[1-9]\d{{0,4}})\.(?:self_attn|mlp)\.(?:{'|'.join(TARGETS)}))"
    r"\.lora_([AB])(?:\.default)?\.weight"
)
_FLOATS = ("F32", "F16", "BF16")

# Keys of adapter_config.json that do not change what is computed once an adapter is trained: how training began and
# what it did, bookkeeping, and the shape of what only other keys switch on. `peft_type`, `r` and so on are read.
_NEUTRAL_KEYS = frozenset(
    """auto_mapping base_model_name_or_path corda_config direction eva_config exclude_modules inference_mode
    layers_pattern lora_dropout lora_ga_config loftq_config megatron_core merge_weights num_samples peft_version
    qalora_group_size revision runtime_config sample_scaler scale stable_gamma task_type kl_loss_weight buffer_size
    use_entropy dirichlet_prior""".split()
)
_READ_KEYS = frozenset(
    (
        "peft_type",
        "r",
        "lora_alpha",
        "use_rslora",
        "target_modules",
        "layers_to_transform",
        "init_lora_weights",
    )
)
# Beginnings of A and B that leave the base as it is; the others (PiSSA, OLoRA, …) subtract from it.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


class Pair(NamedTuple):
    """A [rank, in] and B [out, rank], float32: y += (x·Aᵀ)·Bᵀ, times a scale."""

    a_RI: np.ndarray
    b_OR: np.ndarray


@dataclass(frozen=True)
class Adapter:
    """Pairs by the names of their modules, such as model.layers.0.self_attn.W_pack; all have one rank."""

    pairs: Mapping[str, Pair]
    alpha: float
    rslora: bool = False  # the scale is alpha / √rank (arXiv:2312.03732), not alpha / rank
    dropout: float = 0.0  # of x in training
    base: str = ""  # the model that it was trained on, as its author names it
    base_sha256: str = ""  # its `fingerprint`, where the adapter is of ours
    generation: Mapping[str, Any] = field(
        default_factory=dict
    )  # over the model's own: the chat format it was taught
    every_layer: bool = True  # not only some, chosen for training
    where: str = "adapter"  # for messages: where it was found

    @property
    def rank(self) -> int:
        return len(next(iter(self.pairs.values())).a_RI)

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def targets(self) -> list[str]:
        """The last words of the modules' names."""
        return sorted({name.rpartition(".")[2] for name in self.pairs})

    @property
    def parameters(self) -> int:
        return sum(a_RI.size + b_OR.size for a_RI, b_OR in self.pairs.values())

    @classmethod
    def read(cls, folder: str | Path) -> Adapter:
        """From a PEFT folder. ValueError, one line, names the file, the key or tensor that is wrong, and the cure."""
        folder = Path(folder)
        manifest = Manifest.read(folder)
        if manifest is not None:
            manifest.verify(folder)
        settings = read_json_object(folder / CONFIG)
        _check_settings(folder / CONFIG, settings)
        file = next((folder / name for name in WEIGHTS if (folder / name).exists()), folder / WEIGHTS[0])
        stored = read_safetensors(file) if file.suffix == ".safetensors" else read_pickle(file)
        pairs = _pairs(file, stored, settings["r"])
        _check_complete(file, pairs, settings)
        return cls(
            pairs,
            alpha=float(settings.get("lora_alpha", 8)),
            rslora=bool(settings.get("use_rslora")),
            dropout=float(settings.get("lora_dropout") or 0.0),
            base=str(settings.get("base_model_name_or_path") or ""),
            base_sha256=str(manifest.source.get("base_sha256", "")) if manifest else "",
            generation=read_json_object(folder / GENERATION) if (folder / GENERATION).exists() else {},
            every_layer=settings.get("layers_to_transform") is None,
            where=str(folder),
        )

    def write(self, folder: str | Path) -> None:
        """A folder that PEFT loads; it appears whole or not at all. ValueError: the place is taken, the disk full."""
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rslora,
            "target_modules": self.targets,
            "bias": "none",
            "fan_in_fan_out": False,
            "layers_to_transform": None
            if self.every_layer
            else sorted({int(m.split(".")[2]) for m in self.pairs}),
            "inference_mode": True,
            "modules_to_save": None,
        }
        found = {
            f"base_model.model.{module}.lora_{letter}.weight": np.ascontiguousarray(array, np.float32)
            for module, pair in self.pairs.items()
            for letter, array in zip("AB", pair, strict=True)
        }
        with new_folder(Path(folder)) as part:
            (part / CONFIG).write_bytes(json_bytes(settings))
            if self.generation:
                (part / GENERATION).write_bytes(json_bytes(dict(self.generation)))
            name_bytes = sum(map(len, found))
            with SafetensorsWriter(part / WEIGHTS[0], names=len(found), name_bytes=name_bytes) as writer:
                for name, array in found.items():
                    writer.write(writer.add(name, "F32", array.shape), array.reshape(-1).view(np.uint8))
            about = {"name": Path(folder).resolve().name, "base": self.base, "base_sha256": self.base_sha256}
            Manifest.of(part, about).write(part)

    def doubts(self, checkpoint: Checkpoint) -> list[str]:
        """A line if it was trained on another model of the same shape, whose weights it does not fit."""
        if self.base_sha256 in ("", fingerprint(checkpoint)):
            return []
        return [
            say(
                f"{self.where}: was trained on another model than {checkpoint.folder} ({self.base}); "
                "what it says may be nonsense",
                f"{self.where}：训练时所用的模型（{self.base}）不是 {checkpoint.folder}，回答可能不知所云",
            )
        ]

    def places(self, config: ModelConfig) -> dict[str, Part]:
        """Which of our tensors it changes: rows start..stop of the module's B, the last of W_pack's being v's.

        ValueError names the module that this network does not have, or not in this shape.
        """
        found: dict[str, Part] = {}
        used: set[str] = set()
        for packed in (False, True):
            for name, part in layout(config, packed=packed).items():
                module = part.stored.removesuffix(".weight")
                if module not in self.pairs or (packed and module in used and part.stored == name):
                    continue
                if name in found:
                    raise _unfit(self.where, module, "changes what another module changes", "与另一模块重复")
                self._check_shape(module, part)
                used.add(module)
                found[name] = part
        self._check_modules(config, used)
        return found

    def changes(self, config: ModelConfig) -> dict[str, Pair]:
        """What it adds to each of our tensors, the scale in B. ValueError as `places`."""
        found = {}
        for name, part in self.places(config).items():
            a_RI, b_OR = self.pairs[part.stored.removesuffix(".weight")]
            found[name] = Pair(a_RI, b_OR[part.start : part.stop] * np.float32(self.scale))
        return found

    def _check_shape(self, module: str, part: Part) -> None:
        a_RI, b_OR = self.pairs[module]
        shape = (len(b_OR), a_RI.shape[1])
        if shape != part.shape:
            own, needed = list(shape), list(part.shape)
            en = f"is made for a matrix {own}, the model has {needed}"
            raise _unfit(self.where, module, en, f"针对 {own} 的矩阵，而模型为 {needed}")

    def _check_modules(self, config: ModelConfig, used: set[str]) -> None:
        if missing := self.pairs.keys() - used:
            raise _unfit(self.where, min(missing), "is not in this model", "在此模型中不存在")
        have, layers = len({module.split(".")[2] for module in self.pairs}), config.num_hidden_layers
        if self.every_layer and have != layers:
            en, zh = (
                f"is one of {have} layers, the model has {layers}",
                f"等共 {have} 层，而模型有 {layers} 层",
            )
            raise _unfit(self.where, min(self.pairs), en, zh)


def fingerprint(checkpoint: Checkpoint) -> str:
    """sha256 of a model's norms, which stay the same numbers in whatever form its matrices are packed."""
    digest = hashlib.sha256()
    for name in checkpoint.names():
        if len(checkpoint.shape(name)) == 1:
            digest.update(np.ascontiguousarray(checkpoint.tensor(name).float32()).tobytes())
    return digest.hexdigest()


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter rather than a model."""
    return (folder / CONFIG).exists()


def _check_settings(file: Path, settings: Mapping[str, Any]) -> None:
    """ValueError names the first key that would change what is computed."""
    if settings.get("peft_type") != "LORA":
        kind = settings.get("peft_type")
        raise _refused(file, "peft_type", kind, "only LORA adapters can be used", "仅支持 LORA 适配器")
    rank, alpha = settings.get("r"), settings.get("lora_alpha", 8)
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise _refused(file, "r", rank, f"the rank must be 1 to {MAX_RANK}", f"秩须为 1 至 {MAX_RANK}")
    if type(alpha) not in (int, float) or not 0 < alpha < 1e6:
        raise _refused(file, "lora_alpha", alpha, "must be a positive number", "须为正数")
    start = settings.get("init_lora_weights", True)
    if not any(start is plain or start == plain for plain in _PLAIN_STARTS):
        en = "training changed the base model, too; convert it to a plain LoRA (PEFT's save_pretrained can)"
        raise _refused(
            file,
            "init_lora_weights",
            start,
            en,
            "训练时也改动了基座；请用 PEFT 的 save_pretrained 转为普通 LoRA",
        )
    if not isinstance(settings.get("target_modules"), list):
        en = "write the modules as a list"
        raise _refused(file, "target_modules", settings.get("target_modules"), en, "请写成列表")
    for key, value in settings.items():
        if key not in _READ_KEYS | _NEUTRAL_KEYS and value not in (None, False, [], {}, "none"):
            en = "only plain LoRA can be used; train it without, or merge it with PEFT"
            raise _refused(file, key, value, en, "仅支持普通 LoRA；请不带此项训练，或用 PEFT 合并")


def _pairs(file: Path, stored: Mapping[str, Stored], rank: int) -> dict[str, Pair]:
    """The arrays of a file. ValueError names the tensor that is not half of a pair of this rank."""
    halves: dict[tuple[str, str], np.ndarray] = {}
    for name, tensor in stored.items():
        match = _NAME.fullmatch(name)
        if match is None or (match[1], match[2]) in halves:
            en = f"is no LoRA of {', '.join(TARGETS)} in a layer"
            raise _wrong(file, name, en, f"不属于各层 {'、'.join(TARGETS)} 的 LoRA")
        halves[match[1], match[2]] = _array(file, name, tensor)
    found = {}
    for module in dict.fromkeys(module for module, _ in halves):
        a_RI, b_OR = (halves.get((module, letter)) for letter in "AB")
        if a_RI is None or b_OR is None:
            raise _wrong(file, f"{module}.lora_{'B' if b_OR is None else 'A'}", "is missing", "缺失")
        if len(a_RI) != rank or b_OR.shape[1] != rank:
            en = f"A {list(a_RI.shape)} and B {list(b_OR.shape)} have not the rank {rank} of {CONFIG}"
            zh = f"A {list(a_RI.shape)} 与 B {list(b_OR.shape)} 的秩与 {CONFIG} 中的 {rank} 不符"
            raise _wrong(file, module, en, zh)
        found[module] = Pair(a_RI, b_OR)
    if not found:
        raise _wrong(file, "lora_A", "is missing: the file holds no tensor", "缺失：文件中没有张量")
    return found


def _array(file: Path, name: str, tensor: Stored) -> np.ndarray:
    if tensor.dtype not in _FLOATS or len(tensor.shape) != 2 or 0 in tensor.shape:
        en = f"is {tensor.dtype} {list(tensor.shape)}, not a matrix of {', '.join(_FLOATS)}"
        raise _wrong(
            file, name, en, f"为 {tensor.dtype} {list(tensor.shape)}，须为 {'、'.join(_FLOATS)} 矩阵"
        )
    raw = tensor.raw()
    if not raw.finite():
        raise _wrong(file, name, "holds NaN or infinity", "中有 NaN 或无穷大")
    return raw.float32()


def _check_complete(file: Path, pairs: Iterable[str], settings: Mapping[str, Any]) -> None:
    """Each target of the config is there in the same layers."""
    of_target: dict[str, set[int]] = {}
    for module in pairs:
        of_target.setdefault(module.rpartition(".")[2], set()).add(int(module.split(".")[2]))
    every = set().union(*of_target.values())
    if settings.get("layers_to_transform") is None:
        every |= set(range(max(every) + 1))
    for target in sorted({str(name).rpartition(".")[2] for name in settings["target_modules"]}):
        missing = every - of_target.get(target, set())
        if missing:
            raise _wrong(file, f"{target} of model.layers.{min(missing)}", "is missing", "缺失")


def _refused(file: Path, key: str, value: Any, en: str, zh: str) -> ValueError:
    shown = ascii(value)[:60]
    return ValueError(say(f"{file}: {key} = {shown}: {en}", f"{file}：{key} = {shown}：{zh}"))


def _wrong(file: Path, name: str, en: str, zh: str) -> ValueError:
    shown = ascii(name[:200])[1:-1]
    return ValueError(
        say(f"{file}: {shown} {en}; get the adapter again", f"{file}：{shown} {zh}；请重新获取该适配器")
    )


def _unfit(where: str, module: str, en: str, zh: str) -> ValueError:
    return ValueError(
        say(
            f"{where}: {module} {en}; use the adapter with the model that it was trained on",
            f"{where}：{module} {zh}；请与训练它时所用的模型搭配使用",
        )
    )
