"""Show: everything worth knowing about a checkpoint before talking to it, as a record and as a table.

It reads configuration and sizes, not weights, and runs nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from haina.apps.chat import Settings
from haina.apps.model import context_tokens, model_name, need, size, stored_coding
from haina.apps.screen import columns, one_line, padded
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.memory import available_bytes
from haina.engine.sampling import Sampling
from haina.model.families import FAMILIES
from haina.native.packing import PACKED
from haina.options.talk import ChatOptions
from haina.text.messages import template_for
from haina.wording import say

SHAPE = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim",
)  # fmt: skip
SWITCHES = ("position", "head", "qkv_bias", "qk_norm", "tie_word_embeddings")


def describe(checkpoint: Checkpoint, *, context: int | None = None) -> dict[str, Any]:
    """The record that `haina show --json` prints. Sizes in bytes; memory with the cache of `context` tokens."""
    config, about = checkpoint.config, asdict(checkpoint.config)
    template = template_for(config.architecture, checkpoint.generation)
    tokens = context_tokens(checkpoint, context)
    return {
        "name": model_name(checkpoint),
        "folder": str(checkpoint.folder),
        "family": FAMILIES[config.architecture].name,
        "architecture": config.architecture,
        "parameters": config.parameters,
        "shape": {name: about[name] for name in SHAPE},
        "switches": {name: about[name] for name in SWITCHES},
        "context_tokens": config.max_position_embeddings,
        "precision": stored_coding(checkpoint),
        "disk_bytes": sum(path.stat().st_size for path in checkpoint.files()),
        "memory": {
            "context_tokens": tokens,
            "bytes_as_stored": need(checkpoint, 16, tokens).total,
            "bytes_8_bit": need(checkpoint, 8, tokens).total,
            "bytes_4_bit": need(checkpoint, 4, tokens).total,
            "available_bytes": available_bytes(),
        },
        "chat": template
        and {
            "user_id": template.user_id,
            "assistant_id": template.assistant_id,
            "stop_ids": sorted(template.stop_ids),
        },
        "settings": asdict(Settings.of(checkpoint, ChatOptions())),
        "licence_files": [path.name for path in checkpoint.license_files()],
        "source": checkpoint.manifest.source if checkpoint.manifest else {},
    }


def table(record: dict[str, Any]) -> str:
    """The record for people: a line for each thing, in their language."""
    rows = list(_rows(record))
    width = 2 + max(columns(label) for label, _ in rows)
    return "\n".join(padded(label, width) + one_line(value) for label, value in rows)


def licence_line(checkpoint: Checkpoint) -> str:
    """Under which licence a model may be used, or where that stands."""
    files = ", ".join(one_line(file.name) for file in checkpoint.license_files())
    if checkpoint.manifest and checkpoint.manifest.licence:
        return say("licence: ", "许可：") + one_line(checkpoint.manifest.licence)
    if files:
        return say(f"licence: see {files}", f"许可：见 {files}")
    return say(
        "licence: the folder does not state one; look where the model came from",
        "许可：目录中没有说明；请查看模型来源",
    )


def _rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    shape, memory, chat = record["shape"], record["memory"], record["chat"]
    parameters, tokens = record["parameters"], record["context_tokens"]
    layers, width, inner = (shape[n] for n in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    heads, head_dim, vocabulary = (shape[n] for n in ("num_attention_heads", "head_dim", "vocab_size"))
    free = memory["available_bytes"]
    rows = [
        (say("model", "模型"), record["name"]),
        (say("folder", "目录"), record["folder"]),
        (say("family", "家族"), f"{record['family']} ({record['architecture']})"),
        (
            say("parameters", "参数量"),
            f"{parameters:,}" + (f" ({parameters / 1e9:.1f} B)" if parameters > 1e8 else ""),
        ),
        (
            say("shape", "结构"),
            say(
                f"{layers} layers, width {width}, feed-forward {inner}, {heads} heads of {head_dim}, "
                f"vocabulary {vocabulary:,}",
                f"{layers} 层，宽 {width}，前馈 {inner}，{heads} 头 × {head_dim}，词表 {vocabulary:,}",
            ),
        ),
        (say("variant", "变体"), ", ".join(_switches(record))),
        (
            say("context", "上下文"),
            say(f"{tokens:,} tokens", f"{tokens:,} 词元"),
        ),
        (say("precision", "精度"), record["precision"]),
        (say("on disk", "磁盘占用"), size(record["disk_bytes"])),
        (say("memory", "内存需求"), _memory(memory, packed=record["precision"] in PACKED)),
        (say("free here", "本机可用"), say("unknown", "未知") if free is None else size(free)),
        (say("chat format", "对话格式"), _chat(chat)),
        (say("settings", "默认设置"), _settings(record["settings"])),
    ]
    if record["licence_files"]:
        rows.append((say("licence file", "许可文件"), ", ".join(record["licence_files"])))
    labels = {
        "licence": say("licence", "许可"),
        "made": say("made", "制作"),
        "text": say("text", "语料"),
        "page": say("page", "网页"),
        "revision": say("revision", "版本"),
        "from": say("made from", "原模型"),
        "pulled": say("pulled", "下载日期"),
    }
    source = {key: value for key, value in record["source"].items() if key != "name"}
    return rows + [(labels.get(key, one_line(key)), str(value)) for key, value in source.items()]


def _memory(memory: dict[str, Any], *, packed: bool) -> str:
    """What it needs as it is, and rounded at load unless that was done already."""
    stored, eight, four = (size(memory[f"bytes_{kind}"]) for kind in ("as_stored", "8_bit", "4_bit"))
    rounded = say(
        f", {eight} with --bits 8, {four} with --bits 4", f"，--bits 8 时 {eight}，--bits 4 时 {four}"
    )
    context = say(f" (context {memory['context_tokens']:,})", f"（上下文 {memory['context_tokens']:,}）")
    return say(f"{stored} as stored", f"按原样 {stored}") + ("" if packed else rounded) + context


def _switches(record: dict[str, Any]) -> list[str]:
    """The switches that are not LLaMA's, and the position scheme; heads that share keys."""
    shape, switches = record["shape"], record["switches"]
    named = {"rope": "RoPE", "alibi": "ALiBi", "normed": "NormHead"}
    found = [named[value] for value in (switches["position"], switches["head"]) if value in named]
    if shape["num_key_value_heads"] != shape["num_attention_heads"]:
        found.append(f"num_key_value_heads {shape['num_key_value_heads']}")
    return found + [name for name in ("qkv_bias", "qk_norm", "tie_word_embeddings") if switches[name]]


def _chat(chat: dict[str, Any] | None) -> str:
    if chat is None:
        return say("none: a base model, it continues text", "无：基座模型，只能续写")
    return say(
        f"role tokens: user {chat['user_id']}, assistant {chat['assistant_id']}",
        f"角色词元：用户 {chat['user_id']}，助手 {chat['assistant_id']}",
    )


def _settings(settings: dict[str, Any]) -> str:
    """Those that are on."""
    off = asdict(Sampling())
    asked = {name: value for name, value in settings["sampling"].items() if value != off[name]}
    asked["max_new_tokens"] = settings["max_new_tokens"]
    return ", ".join(f"{name} {value}" for name, value in asked.items())
