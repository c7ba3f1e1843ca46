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
from typing import Literal

from haina.checkpoint.raw import WEIGHT_DTYPES, Stored
from haina.model.config import ModelConfig
from haina.model.families import FAMILIES
from haina.native.packing import BLOCK_ROWS, PACKED, block_bytes
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


def header_entry(name: str, dtype: str, shape: tuple[int, ...]) -> tuple[str, str, tuple[int, ...]]:
    """Name, element type and shape of a tensor for the header of a file; `unpack_names` is the way back.

    A packed matrix is U8 [row blocks, bytes of a block] there, under a name that no other program looks for.
    """
    if dtype not in PACKED:
        return name, dtype, shape
    blocks = -(-shape[0] // BLOCK_ROWS)
    return f"{name}.{dtype.lower()}", "U8", (blocks, block_bytes(dtype, shape[1]))


def packed_dtype(name: str, shape: tuple[int, ...], bits: Literal[16, 8, 4]) -> str | None:
    """How a tensor is packed in a model of so many bits; None: it stays as it is.

    Vectors do not count. Embedding and head take 8 bits at least: every token goes through both.
    """
    if bits == 16 or len(shape) == 1:
        return None
    return "W8" if bits == 8 or name in ("model.embed_tokens.weight", "lm_head.weight") else "W4"


def unpack_names(folder: Path, config: ModelConfig, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors of a folder, packed matrices under our names and in the shapes that they stand for.

    ValueError if one is not what its config says (`header_entry`) or there twice.
    """
    shapes = config.tensor_shapes()
    found: dict[str, Stored] = {}
    for stored_name, tensor in stored.items():
        name, _, suffix = stored_name.rpartition(".")
        dtype, shape = suffix.upper(), shapes.get(name, ())
        if dtype not in PACKED or len(shape) != 2:
            found[stored_name] = tensor
            continue
        expected = header_entry(name, dtype, shape)
        if (stored_name, tensor.dtype, tensor.shape) != expected or name in stored or name in found:
            raise _not_the_matrix(folder, stored_name, tensor, expected)
        found[name] = Stored(dtype, shape, tensor.data)
    return found


def check(folder: Path, config: ModelConfig, parts: Mapping[str, Part], stored: Mapping[str, Stored]) -> None:
    """ValueError unless the folder has exactly the tensors of its config, in shapes and types that we run."""
    expected = {part.stored: part.shape for part in parts.values()}
    missing = [name for name in expected if name not in stored]
    unknown = [name for name in stored if name not in expected and not _ignored(name, config)]
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


def _not_the_matrix(
    folder: Path, name: str, found: Stored, expected: tuple[str, str, tuple[int, ...]]
) -> ValueError:
    is_, needed = f"{found.dtype} {list(found.shape)}", f"{expected[1]} {list(expected[2])}"
    return ValueError(
        say(
            f"{folder}: packed tensor {name} is {is_}, by config.json it would be {needed}, once; "
            "convert the model again",
            f"{folder}：量化张量 {name} 为 {is_}，按 config.json 应为 {needed} 且仅此一份；请重新转换模型",
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
        en_cure = "use the complete folder of the model that config.json describes"
        zh_cure = "请使用与 config.json 相符的完整模型目录"
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
