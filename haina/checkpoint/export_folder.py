"""Weights, config and tokenizer as a Hugging Face folder: in LLaMA's names (q, k, v apart) or Baichuan's (W_pack).

Weights lie in shards of at most 5 GB with an index, as transformers writes them. LLaMA folders get what loads without
code from the folder: tokenizer.json beside tokenizer.model, and the chat format as a template. It does not know which
network may be written in which form (`export`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from haina.checkpoint.checkpoint import json_bytes
from haina.checkpoint.export_plan import ExportPlan, HashedFile
from haina.checkpoint.export_tokenizer import tokenizer_config, tokenizer_json
from haina.checkpoint.layout import header_entry, layout
from haina.checkpoint.manifest import FileRecord
from haina.checkpoint.new_folder import require_room
from haina.checkpoint.raw import tensor_bytes
from haina.checkpoint.read_safetensors import file_header
from haina.model.config import ModelConfig
from haina.model.families import FAMILIES

SHARD_BYTES = 5_000_000_000  # transformers' and the hub's habit

_IN_TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass
class Shard:
    """A weight file: names in it → (shape, our names of the tensors that it is made of, in order)."""

    tensors: dict[str, tuple[tuple[int, ...], list[str]]] = field(default_factory=dict)
    n_bytes: int = 0


def write_folder(
    folder: Path, plan: ExportPlan, config: ModelConfig, dtype: Literal["F32", "F16", "BF16"]
) -> dict[str, FileRecord]:
    """Fill a new folder with everything but licences and manifest; returns the records of the weight files."""
    packed = FAMILIES[config.architecture].qkv == "packed"
    shards = list(_shards(config, dtype, packed=packed))
    require_room(plan.place, sum(shard.n_bytes for shard in shards))
    names = _file_names(len(shards))
    records = {
        name: _write(folder / name, shard, plan, dtype) for name, shard in zip(names, shards, strict=True)
    }
    if len(shards) > 1:
        index = {name: file for file, shard in zip(names, shards, strict=True) for name in shard.tensors}
        about = {"total_size": sum(shard.n_bytes for shard in shards)}
        content = {"metadata": about, "weight_map": index}
        (folder / "model.safetensors.index.json").write_bytes(json_bytes(content))
    _write_rest(folder, plan, config, dtype, llama=not packed)
    return records


def _shards(config: ModelConfig, dtype: str, *, packed: bool) -> Iterator[Shard]:
    shard = Shard()
    for name, part in layout(config, packed=packed).items():
        n_bytes = tensor_bytes(dtype, part.shape)
        if part.stored not in shard.tensors:
            if shard.tensors and shard.n_bytes + n_bytes > SHARD_BYTES:
                yield shard
                shard = Shard()
            shard.tensors[part.stored] = (part.shape, [])
            shard.n_bytes += n_bytes
        shard.tensors[part.stored][1].append(name)  # q, k and v follow one another
    yield shard


def _file_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]


def _write(path: Path, shard: Shard, plan: ExportPlan, dtype: str) -> FileRecord:
    with HashedFile(path) as file:
        file.write(
            file_header(header_entry(name, dtype, shape) for name, (shape, _) in shard.tensors.items())
        )
        for _, names in shard.tensors.values():
            for name in names:
                for rows in plan.rows(name, dtype):
                    file.write(rows.data.data)
        return file.record()


def _write_rest(folder: Path, plan: ExportPlan, config: ModelConfig, dtype: str, *, llama: bool) -> None:
    checkpoint, tokenizer = plan.checkpoint, plan.checkpoint.tokenizer
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    hf = config.to_hf() | ids | {"torch_dtype": _IN_TORCH[dtype]}
    about: dict[str, Any] = {"add_bos_token": checkpoint.adds_bos, "add_eos_token": False}
    written = {
        "config.json": json_bytes(hf),
        "generation_config.json": json_bytes(_generation(plan) if llama else checkpoint.generation),
        "tokenizer.model": checkpoint.tokenizer_bytes(),
    }
    if llama:
        content = tokenizer_json(checkpoint.tokenizer_bytes(), tokenizer, adds_bos=checkpoint.adds_bos)
        written["tokenizer.json"] = json.dumps(content, ensure_ascii=False).encode()
        about |= tokenizer_config(tokenizer, plan.template, context=config.max_position_embeddings)
    else:
        about["tokenizer_class"] = "BaichuanTokenizer"
    written["tokenizer_config.json"] = json_bytes(about)
    for name, data in written.items():
        (folder / name).write_bytes(data)


def _generation(plan: ExportPlan) -> dict[str, Any]:
    """As the source has it, but an answer ends where the user's turn would begin, which other programs do not know."""
    template = plan.template
    if template is None:
        return plan.checkpoint.generation
    ends = [template.eos_id, *sorted(template.stop_ids - {template.eos_id})]
    return plan.checkpoint.generation | {"eos_token_id": ends}
