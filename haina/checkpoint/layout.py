"""Our tensor names and a family's: which rows of which stored tensor each of ours is.

Rows of a table in `model/families.py` say how a family packs q, k and v; this module turns them into places.
It holds the same map for reading and for writing, and the check that a folder has exactly the tensors of its
config. It reads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from haina.checkpoint.raw import WEIGHT_DTYPES, Stored
from haina.model.config import ModelConfig
from haina.model.families import FAMILIES
from haina.wording import say

_QKV = re.compile(r"(.*\.self_attn)\.([qkv])_proj\.(weight|bias)")
_SHOWN = 3  # names in one message


@dataclass(frozen=True)
class Part:
    """One of our tensors is rows start..stop of the tensor `stored`, which has the given shape."""

    stored: str
    shape: tuple[int, ...]
    start: int
    stop: int


def layout(config: ModelConfig, *, packed: bool) -> dict[str, Part]:
    """Where each tensor of ours lies. packed: q, k and v are the rows of one W_pack, in this order."""
    shapes = config.tensor_shapes()
    q_rows, kv_rows = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
    ends = {"q": q_rows, "k": q_rows + kv_rows, "v": q_rows + 2 * kv_rows}
    parts: dict[str, Part] = {}
    for name, shape in shapes.items():
        match = _QKV.fullmatch(name) if packed else None
        if match is None:
            parts[name] = Part(name, shape, 0, shape[0])
        else:
            attention, which, kind = match.groups()
            end = ends[which]
            packed_shape = (ends["v"], *shape[1:])
            parts[name] = Part(f"{attention}.W_pack.{kind}", packed_shape, end - shape[0], end)
    return parts


def llamafied(config: ModelConfig, names: Mapping[str, Stored]) -> bool:
    """Whether a folder of a family that packs q, k and v has them apart: converted to LLaMA's layout by the
    community (hiyouga's tools), with its output matrix already normalised."""
    packs = FAMILIES[config.architecture].qkv == "packed"
    return packs and any(name.endswith(".self_attn.q_proj.weight") for name in names)


def scale_name(stored: str) -> str:
    """The float32 scale of each row of an int8 matrix lies beside it under this name."""
    return stored + "_scale"


def check(folder: Path, config: ModelConfig, parts: Mapping[str, Part], stored: Mapping[str, Stored]) -> None:
    """ValueError unless the folder has exactly the tensors of its config, in shapes and types that we run."""
    expected = {part.stored: part.shape for part in parts.values()}
    missing = [name for name in expected if name not in stored]
    scaled = {scale_name(name) for name in expected if name in stored and stored[name].dtype == "I8"}
    known = scaled.union(expected)
    unknown = [name for name in stored if name not in known and not _ignored(name, config)]
    if missing or unknown:
        raise _not_the_tensors(folder, missing, unknown)
    for name, shape in expected.items():
        found = stored[name]
        if found.shape != shape:
            raise ValueError(
                say(
                    f"{folder}: tensor {name} has shape {list(found.shape)}, by config.json it would be "
                    f"{list(shape)}; they are not of one model, take both from the same place",
                    f"{folder}：张量 {name} 的形状为 {list(found.shape)}，按 config.json 应为 {list(shape)}；"
                    "二者不属于同一个模型，请从同一处取得",
                )
            )
        if found.dtype not in WEIGHT_DTYPES:
            raise _unusable(folder, name, found.dtype)
        if found.dtype == "I8":
            _check_scale(folder, name, shape, stored.get(scale_name(name)))


def _check_scale(folder: Path, name: str, shape: tuple[int, ...], scale: Stored | None) -> None:
    if scale is None or len(shape) != 2 or scale.dtype != "F32" or scale.shape != shape[:1]:
        raise ValueError(
            say(
                f"{folder}: int8 tensor {name} needs its scales, F32 [{shape[0]}]; convert the model again",
                f"{folder}：int8 张量 {name} 缺少 F32 [{shape[0]}] 的缩放系数；请重新转换模型",
            )
        )


def _ignored(name: str, config: ModelConfig) -> bool:
    """Buffers that can be computed, and the copy of a tied matrix."""
    tied = config.tie_word_embeddings and name == "lm_head.weight"
    return tied or name.endswith(".rotary_emb.inv_freq")


def _not_the_tensors(folder: Path, missing: list[str], unknown: list[str]) -> ValueError:
    en, zh = [], []
    if missing:
        en.append(f"missing {_some(missing)}")
        zh.append(f"缺少 {_some(missing)}")
    if unknown:
        en.append(f"unknown {_some(unknown)}")
        zh.append(f"不认识 {_some(unknown)}")
    if missing == ["lm_head.weight"]:
        en_cure = 'if the model ties it to the embedding, config.json must say "tie_word_embeddings": true'
        zh_cure = '若模型与词嵌入共享输出矩阵，config.json 须写明 "tie_word_embeddings": true'
    else:
        en_cure = "use the complete 16-bit folder of the model that config.json describes"
        zh_cure = "请使用与 config.json 相符、完整的 16 位模型目录"
    return ValueError(
        say(f"{folder}: tensors: {', '.join(en)}; {en_cure}", f"{folder}：张量：{'，'.join(zh)}；{zh_cure}")
    )


def _some(names: list[str]) -> str:
    more = f" (+{len(names) - _SHOWN})" if len(names) > _SHOWN else ""
    return ", ".join(ascii(name[:200])[1:-1] for name in names[:_SHOWN]) + more


def _unusable(folder: Path, name: str, dtype: str) -> ValueError:
    return ValueError(
        say(
            f"{folder}: tensor {name} of type {dtype} cannot be run; convert it to F32, F16 or BF16",
            f"{folder}：张量 {name} 的类型 {dtype} 无法运行；请转换为 F32、F16 或 BF16",
        )
    )
