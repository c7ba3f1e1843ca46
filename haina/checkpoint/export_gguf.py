"""A checkpoint as one GGUF file: llama.cpp's names, keys, vocabulary, and rows of q and k in its order.

The counterpart of `gguf_model` and `gguf_vocabulary`, which undo it. What rotates goes as architecture `llama`,
whatever the number of layers; ALiBi as `baichuan`, which llama.cpp recognises by 40 layers. A NormHead is folded:
llama.cpp does not apply it. GGUF carries no character map: llama.cpp cuts Baichuan 1's full-width letters
otherwise than we do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from haina.checkpoint.checkpoint import json_bytes, require_in_range
from haina.checkpoint.export_plan import ExportPlan, HashedFile
from haina.checkpoint.export_tokenizer import chat_template, scores
from haina.checkpoint.gguf_model import IN_GGUF, LAYERS_IN_GGUF
from haina.checkpoint.manifest import FileRecord
from haina.checkpoint.new_folder import require_room
from haina.checkpoint.raw import Raw
from haina.checkpoint.write_gguf import (
    BLOCK_WEIGHTS,
    GgufType,
    Value,
    gguf_bytes,
    gguf_header,
    padding,
    quantised,
)
from haina.model.config import ModelConfig
from haina.text import spm
from haina.text.tokenizer import SPACE

ALIBI_LAYERS = 40  # llama.cpp `src/llama-model.cpp`: a baichuan of so many layers has ALiBi

_FILE_TYPES: dict[GgufType, int] = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q8_0": 7,
    "BF16": 32,
}  # `enum llama_ftype`
_ENDS = ("model.embed_tokens.weight", "lm_head.weight")
_INTERLEAVED = ("q_proj.weight", "k_proj.weight")


def write_gguf_model(path: Path, plan: ExportPlan, config: ModelConfig, kind: GgufType) -> FileRecord:
    """Write the file, and beside it what GGUF does not hold and haina reads: the tokenizer, how to answer."""
    shapes = config.tensor_shapes()
    kinds = {name: _kind(name, shape, kind) for name, shape in shapes.items()}
    header = gguf_header(
        _metadata(plan, config, kind), [(gguf_name(name), kinds[name], shapes[name]) for name in shapes]
    )
    require_room(plan.place, len(header) + sum(gguf_bytes(kinds[name], shapes[name]) for name in shapes))
    with HashedFile(path) as file:
        file.write(header)
        for name in shapes:
            for data in _encoded(plan, config, name, kinds[name]):
                file.write(data.data)
            file.write(padding(gguf_bytes(kinds[name], shapes[name])))
        record = file.record()
    (path.parent / "tokenizer.model").write_bytes(plan.checkpoint.tokenizer_bytes())
    (path.parent / "generation_config.json").write_bytes(json_bytes(plan.checkpoint.generation))
    return record


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor."""
    stem = name.removesuffix(".weight")
    if stem in IN_GGUF:
        return f"{IN_GGUF[stem]}.weight"
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{LAYERS_IN_GGUF[part]}.weight"


def _kind(name: str, shape: tuple[int, ...], kind: GgufType) -> GgufType:
    """Vectors are F32, as llama.cpp needs them; with Q4_0 embedding and head are Q8_0; odd widths stay F16."""
    if len(shape) == 1:
        return "F32"
    if kind in ("Q8_0", "Q4_0") and shape[1] % BLOCK_WEIGHTS:
        return "F16"
    return "Q8_0" if kind == "Q4_0" and name in _ENDS else kind


def _encoded(plan: ExportPlan, config: ModelConfig, name: str, kind: GgufType) -> Iterator[np.ndarray]:
    """The bytes of a tensor, a few rows at a time; of q and k all: their heads are read whole."""
    interleaved = name.endswith(_INTERLEAVED)
    blocks = kind in ("Q8_0", "Q4_0")
    for rows in plan.rows(name, "F32" if blocks else kind, whole=interleaved):
        raw = _in_pairs(rows, config.head_dim) if interleaved else rows
        if not blocks:
            yield raw.data
            continue
        assert kind in ("Q8_0", "Q4_0")
        records = quantised(raw.float32(), kind)
        require_in_range(plan.checkpoint.folder, name, Raw.of(np.ascontiguousarray(records["d"])))
        yield records.view(np.uint8)


def _in_pairs(raw: Raw, head_dim: int) -> Raw:
    """q or k with the rows 0, E/2, 1, E/2+1 … of each head: `gguf_model.Interleaved` is the way back."""
    heads = raw.shape[0] // head_dim
    halves = raw.data.reshape(heads, 2, head_dim // 2, -1)
    return Raw(raw.dtype, raw.shape, np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(-1))


def _metadata(plan: ExportPlan, config: ModelConfig, kind: GgufType) -> dict[str, Value]:
    arch = "llama" if config.position == "rope" else "baichuan"
    source = plan.checkpoint.manifest.source if plan.checkpoint.manifest else {}
    about: dict[str, Value] = {
        "general.architecture": arch,
        "general.type": "model",
        "general.name": str(source.get("name") or plan.checkpoint.folder.resolve().name),
        "general.file_type": _FILE_TYPES[kind],
        "general.quantization_version": 2,
    }
    if licence := source.get("licence"):
        about["general.license"] = str(licence)
    shape: dict[str, Value] = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
    }
    return (
        about
        | {f"{arch}.{key}": value for key, value in shape.items()}
        | _vocabulary(plan, config.vocab_size)
    )


def _vocabulary(plan: ExportPlan, rows: int) -> dict[str, Value]:
    """The pieces, and rows without one as unused; a piece that only a role may write is a control token."""
    tokenizer = plan.checkpoint.tokenizer
    model = spm.read(plan.checkpoint.tokenizer_bytes(), tokenizer.file)
    prefix, padding_ids = tokenizer.add_dummy_prefix, range(tokenizer.size, rows)
    pieces = [
        _as_llama_cpp(text, kind, prefix=prefix) for text, kind in zip(model.pieces, model.kinds, strict=True)
    ]
    texts = [text for text, _ in pieces] + [f"[PAD{id}]" for id in padding_ids]
    kinds = np.array([kind for _, kind in pieces] + [spm.UNUSED] * len(padding_ids), np.int32)
    kinds[sorted(tokenizer.control_ids - {tokenizer.unk_id})] = spm.CONTROL
    found: dict[str, Value] = {
        "model": "llama",
        "pre": "default",
        "tokens": texts,
        "scores": np.array([*scores(model), *([-1000.0] * len(padding_ids))], np.float32),
        "token_type": kinds,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "unknown_token_id": tokenizer.unk_id,
        "add_bos_token": plan.checkpoint.adds_bos,
        "add_eos_token": False,
        "add_space_prefix": prefix,
        "remove_extra_whitespaces": bool(model.normalizer.get(spm.REMOVE_EXTRA_WHITESPACES, True)),
    }
    keys = {f"tokenizer.ggml.{key}": value for key, value in found.items()}
    if template := plan.template:
        keys["tokenizer.ggml.eot_token_id"] = (
            template.user_id
        )  # an answer ends where the user's turn would begin
        keys["tokenizer.chat_template"] = chat_template(tokenizer, template)
    return keys


def _as_llama_cpp(text: str, kind: int, *, prefix: bool) -> tuple[str, int]:
    """llama.cpp looks for user-defined pieces in the text as it is typed, spaces and all.

    And puts the dummy prefix behind each that it finds (`src/llama-vocab.cpp`, `is_prev_special`), so with one they
    are normal: a character or a run of spaces is found all the same, a tag like <br/> is spelt.
    """
    if kind != spm.USER_DEFINED:
        return text, kind
    return (text, spm.NORMAL) if prefix else (text.replace(SPACE, " "), kind)
