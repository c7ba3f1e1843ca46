"""The model card of a pre-training, from the run alone: nothing in it is typed by hand."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import haina
from haina.checkpoint.read_json import read_json_object
from haina.data.tokens import Tokens
from haina.options.training import TrainOptions
from haina.train.log import clock
from haina.train.plan import SIZES, Plan
from haina.wording import short

# Fields of TrainOptions that are flags of their own and change what is learnt.
NUMBERS = (
    "optimiser", "matrix_lr", "other_lr", "momentum", "beta1", "beta2", "weight_decay", "schedule", "flat", "warm_up",
    "clip", "seed", "precision", "recompute", "threads", "patience", "valid_every",
)  # fmt: skip


def card(folder: Path, plan: Plan, tokens: Tokens, lines: Sequence[Mapping[str, Any]]) -> str:
    """README.md in English and Chinese: the network, the text with its fingerprint, the recipe, the result."""
    c, o, last, end = plan.config, plan.options, lines[-1], kept(lines, plan.options.patience)
    name, run = folder.resolve().name, read_json_object(folder / "run.json")
    return f"""# {name}

A base model pre-trained with haina {haina.__version__}: it continues text and was not taught to answer.
由海纳 {haina.__version__} 预训练的基座模型：只会续写文本，未经对话训练。

| | |
|---|---|
| network 网络 | {c.architecture}: width {c.hidden_size}, {c.num_hidden_layers} layers, {c.num_attention_heads} heads, \
feed-forward {c.intermediate_size}, {c.position}, {c.head} head, context {c.max_position_embeddings} |
| parameters 参数 | {c.parameters:,}, bf16 |
| vocabulary 词表 | {tokens.about["pieces"]:,} pieces, sha256 `{tokens.about["tokenizer"]}` |
| training 训练 | {end["step"] + 1:,} of {o.steps:,} steps, {short(end["tokens"])} tokens \
({end["tokens"] / plan.unique_tokens:.2g} epochs), {plan.flops * end["tokens"] / plan.tokens:.3g} FLOPs |
| begun from 起点 | {begun(run.get("from"))} |
| batch 批量 | {o.accumulate} × {o.rows} rows × {o.length} tokens; attention stays inside a document |
| optimiser 优化器 | {o.optimiser} {o.matrix_lr:g}, adamw {o.other_lr:.3g}, decay {o.weight_decay:g} (cautious), \
{rates(o)}, warm-up {o.warm_up}, clip {o.clip:g}, seed {o.seed}, {o.precision} |
| time 用时 | {clock(last["seconds"])}, {clock(last["cpu_s"])} of CPU time; {machine()} |
| energy 能耗 | not measured 未测量 |

![loss 损失](loss.png)

## Text 语料
tokens.json: sha256 of its source 来源摘要 `{tokens.about["source"] or "–"}`
licences 许可协议: {licences(tokens)}

| domain 领域 | documents 文档 | tokens 词元 | bytes 字节 | held-out nats/token 验证集 | bits/byte |
|---|--:|--:|--:|--:|--:|
{domains(tokens, end.get("valid", {}))}

## Limits 局限
It continues text of the kinds above; what it says may be wrong.
它续写上述类型的文本，内容可能有误。

## Repeat it 重新训练
TEXT: the corpus or token folder above, with its --mix 即上述语料目录或词元目录
```
{again(plan, run)}
```
"""


def begun(origin: Mapping[str, Any] | None) -> str:
    """The run and the state with which this one began."""
    if origin is None:
        return "random weights 随机权重"
    return f"{origin['run']}, step {origin['step']:,}, {short(origin['tokens'])} tokens, `{origin['state'][:16]}`"


def rates(o: TrainOptions) -> str:
    return f"wsd (flat to {o.flat:g}, then to {o.floor:g})" if o.schedule == "wsd" else o.schedule


def again(plan: Plan, run: Mapping[str, Any]) -> str:
    """The command with every flag that makes the numbers of such a run, four to a line."""
    o, c, origin = plan.options, plan.config, run.get("from")
    flags: dict[str, object] = {"size": plan.size, "position": c.position, "head": c.head}
    flags = {"from": f"{origin['run']}/states/{origin['step']:08}"} if origin else flags
    flags |= {"weights": run["weights"]} if run.get("weights") else {}
    flags |= {
        "tokens": plan.tokens,
        "batch": o.rows * o.accumulate * o.length,
        "rows": o.rows,
        "length": o.length,
    }
    flags |= {name.replace("_", "-"): getattr(o, name) for name in NUMBERS}
    flags |= {"z-loss": run.get("z_loss", "logsumexp"), "compile": "on" if o.compile else "off"}
    if plan.size not in SIZES and not origin:
        return f"haina train ladder TEXT --tokenizer tokenizer.model --length {o.length}"
    told = [
        f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"
        for name, value in flags.items()
    ]
    lines = [" ".join(told[at : at + 4]) for at in range(0, len(told), 4)]
    return " \\\n  ".join(["haina train pretrain TEXT --tokenizer tokenizer.model --out RUN", *lines])


def kept(lines: Sequence[Mapping[str, Any]], patience: int) -> Mapping[str, Any]:
    """The line of the log whose weights are published: the last, or with patience that of the best validation."""
    judged = [line for line in lines if "valid_nats" in line]
    return min(judged, key=lambda line: float(line["valid_nats"])) if patience and judged else lines[-1]


def licences(tokens: Tokens) -> str:
    """Each with the documents that have it, the most first."""
    counts: Mapping[str, int] = tokens.about.get("licences") or {}
    return ", ".join(f"{name} ({counts[name]:,})" for name in sorted(counts, key=lambda n: -counts[n])) or "–"


def domains(tokens: Tokens, valid: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each domain."""
    return "\n".join(
        f"| {name} | {n['documents']:,} | {n['tokens']:,} | {n['bytes']:,} "
        f"| {valid.get(name, {}).get('nats', '–')} | {valid.get(name, {}).get('bits_per_byte', '–')} |"
        for name, n in tokens.domains.items()
    )


def machine() -> str:
    """What computed, in a few words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}"
