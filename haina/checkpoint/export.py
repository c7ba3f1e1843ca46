"""Export: a checkpoint as other programs want it: a LLaMA folder, a GGUF file, or a folder as Baichuan's own.

Whatever the weights are packed in, they come out as plain numbers (or as GGUF's blocks), a few rows at a time, so that
memory does not grow with the model. The folder appears whole or not at all, with the licences of the source and a
manifest. This module decides what can be said in which form; `export_folder` and `export_gguf` know the forms.

Forms: huggingface/transformers models/llama (config.json, names, half rotation as ours);
baichuan-inc/Baichuan-7B@6f3ef46 models/; ggml-org/llama.cpp@c392e50 convert_hf_to_gguf.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.export_folder import write_folder
from haina.checkpoint.export_gguf import ALIBI_LAYERS, write_gguf_model
from haina.checkpoint.export_plan import ExportPlan, stored_type
from haina.checkpoint.manifest import Manifest, Progress
from haina.checkpoint.new_folder import new_folder, refuse_occupied
from haina.checkpoint.write_gguf import GgufType
from haina.model.config import ModelConfig
from haina.text import spm
from haina.wording import say

Target = Literal["safetensors", "gguf", "baichuan"]
Dtype = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]

BLOCK_DTYPES = ("q8_0", "q4_0")  # GGUF's


def export(
    checkpoint: Checkpoint,
    destination: str | Path,
    *,
    to: Target,
    dtype: Dtype | None = None,
    progress: Progress = lambda what, done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write the checkpoint to a new folder; returns what another program is to be given: it, or the .gguf in it.

    A destination that ends in .gguf is that file alone.

    dtype: of the matrices; None is the source's own, F16 if that is a code (W4, NF4, Q4_K …). note hears what the form
    loses. ValueError, one line: the form cannot say this network or hold this dtype, the place is occupied, the disk is
    full, a value is NaN, infinite or too large. Nothing is left then.
    """
    place = Path(os.path.abspath(destination))
    refuse_occupied(place, source=checkpoint.folder)
    kind = _type(checkpoint, to, dtype)
    config = _config(checkpoint, to)
    what = say(f"exporting to {to}", f"导出为 {to}")
    plan = ExportPlan(checkpoint, place, what, progress, fold=to != "baichuan")
    alone = to == "gguf" and place.suffix == ".gguf" and not place.is_dir()
    folder = place.with_name(f".{place.name}.folder") if alone else place
    made = place
    with new_folder(folder) as part:
        if to == "gguf":
            _tell_what_is_lost(checkpoint, note)
            name = f"{_file_stem(place)}-{kind}.gguf"
            records = {name: write_gguf_model(part / name, plan, config, kind)}
            made = folder / name
        else:
            assert kind in ("F32", "F16", "BF16")
            records = write_folder(part, plan, config, kind)
        for path in checkpoint.license_files():
            if not (part / path.name).exists():
                shutil.copyfile(path, part / path.name)
        Manifest.of(part, _source(checkpoint, to, kind), known=records).write(part)
    return _alone(made, place) if alone else made


def _alone(made: Path, place: Path) -> Path:
    """The file out of its folder, at its place."""
    made.rename(place)
    shutil.rmtree(made.parent)
    return place


def _type(checkpoint: Checkpoint, to: Target, dtype: Dtype | None) -> GgufType:
    """How matrices are written."""
    known = [name for name in get_args(Dtype) if to == "gguf" or name not in BLOCK_DTYPES]
    if dtype is not None and dtype not in known:
        raise ValueError(
            say(
                f"--dtype {dtype}: --to {to} holds {', '.join(known)}; use one of these"
                + (", or --to gguf" if dtype in BLOCK_DTYPES else ""),
                f"--dtype {dtype}：--to {to} 可用 {'、'.join(known)}；请换用其中一种"
                + ("，或使用 --to gguf" if dtype in BLOCK_DTYPES else ""),
            )
        )
    chosen = dtype.upper() if dtype else stored_type(checkpoint)
    return cast(GgufType, chosen)


def _config(checkpoint: Checkpoint, to: Target) -> ModelConfig:
    """The network as the form says it. ValueError if it cannot."""
    config = checkpoint.config
    assert not config.qkv_bias and not config.qk_norm, "no family that we read has these switches"
    if to == "baichuan":
        return _as_baichuan(checkpoint)
    if to == "gguf":
        return _for_llama_cpp(checkpoint)
    if config.position == "alibi":
        others = "--to baichuan / --to gguf" if config.num_hidden_layers == ALIBI_LAYERS else "--to baichuan"
        raise _cannot(checkpoint, to, "its positions are ALiBi", "其位置编码为 ALiBi", others)
    _require_bpe(checkpoint, to)
    return replace(config, architecture="LlamaForCausalLM", head="plain")


def _as_baichuan(checkpoint: Checkpoint) -> ModelConfig:
    """A head that was folded is folded again by who reads it, which changes nothing but its rounding."""
    config, rope = checkpoint.config, checkpoint.config.position == "rope"
    own = "BaiChuanForCausalLM" if rope else "BaichuanForCausalLM"
    made = replace(config, architecture=config.architecture if config.architecture.startswith("Bai") else own)
    query_rows, key_rows = (
        n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads)
    )
    if (
        not query_rows == key_rows == config.hidden_size
        or config.rope_theta != 10000.0
        or config.tie_word_embeddings
    ):
        en = "Baichuan knows no shared or odd-sized heads, no other rotation, no tied output matrix"
        zh = "百川没有共享或特殊尺寸的注意力头、其他旋转基数、共享的输出矩阵"
        raise _cannot(checkpoint, "baichuan", en, zh, "--to safetensors")
    return made


def _for_llama_cpp(checkpoint: Checkpoint) -> ModelConfig:
    config = checkpoint.config
    _require_bpe(checkpoint, "gguf")
    if config.position == "rope":
        return replace(config, architecture="LlamaForCausalLM", head="plain")
    if config.num_hidden_layers != ALIBI_LAYERS:
        en = f"llama.cpp takes a Baichuan for one with ALiBi only if it has {ALIBI_LAYERS} layers"
        zh = f"llama.cpp 仅把 {ALIBI_LAYERS} 层的百川模型视为使用 ALiBi"
        raise _cannot(checkpoint, "gguf", en, zh, "--to baichuan")
    return replace(config, head="plain")


def _require_bpe(checkpoint: Checkpoint, to: Target) -> None:
    if _vocabulary(checkpoint).trainer.get(spm.MODEL_TYPE) != spm.BPE:
        en, zh = "its vocabulary is unigram, LLaMA's is BPE", "其词表为 unigram，而 LLaMA 用 BPE"
        raise _cannot(checkpoint, to, en, zh, "--to baichuan")


def _vocabulary(checkpoint: Checkpoint) -> spm.Model:
    return spm.read(checkpoint.tokenizer_bytes(), checkpoint.tokenizer.file)


def _cannot(checkpoint: Checkpoint, to: Target, en: str, zh: str, cure: str) -> ValueError:
    return ValueError(
        say(
            f"{checkpoint.folder}: cannot be written with --to {to}: {en}; use {cure.replace(' / ', ' or ')}",
            f"{checkpoint.folder}：无法用 --to {to} 导出：{zh}；请改用 {cure.replace(' / ', ' 或 ')}",
        )
    )


def _tell_what_is_lost(checkpoint: Checkpoint, note: Callable[[str], None]) -> None:
    if _vocabulary(checkpoint).normalizer.get(spm.CHARSMAP):
        note(
            say(
                "GGUF has no character map: llama.cpp cuts full-width letters and a few signs otherwise than Baichuan",
                "GGUF 不含字符映射表：llama.cpp 对全角字母等少数字符的切分与百川原版不同",
            )
        )


def _file_stem(place: Path) -> str:
    return place.name.removesuffix("-gguf").removesuffix(".gguf")


def _source(checkpoint: Checkpoint, to: Target, kind: str) -> dict[str, Any]:
    """Where the weights come from and how they were made, for the manifest."""
    source = dict(checkpoint.manifest.source) if checkpoint.manifest else {}
    made = f"haina export --to {to} --dtype {kind.lower()}"
    source["made"] = f"{source['made']}; {made}" if "made" in source else made
    source["from"] = checkpoint.folder.resolve().name
    return source
