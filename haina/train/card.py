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
from haina.train.plan import Plan


def card(folder: Path, plan: Plan, tokens: Tokens, lines: Sequence[Mapping[str, Any]]) -> str:
    """README.md in English and Chinese: the network, the text with its fingerprint, the recipe, the result."""
    c, o, last = plan.config, plan.options, lines[-1]
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
| training 训练 | {o.steps:,} steps, {plan.tokens / 1e6:,.1f} M tokens \
({plan.tokens / plan.unique_tokens:.2g} epochs), {plan.flops:.3g} FLOPs |
| begun from 起点 | {begun(run.get("from"))} |
| batch 批量 | {o.accumulate} × {o.rows} rows × {o.length} tokens; attention stays inside a document |
| optimiser 优化器 | {o.optimiser} {o.matrix_lr:g}, adamw {o.other_lr:.3g}, decay {o.weight_decay:g} (cautious), \
{rates(o)}, warm-up {o.warm_up}, clip {o.clip:g}, seed {o.seed}, {o.precision} |
| time 用时 | {clock(last["seconds"])}, {clock(last["cpu_s"])} of CPU time; {machine()} |
| energy 能耗 | not measured 未测量 |

![loss 损失](loss.png)

## Text 语料
tokens.json: sha256 of its source 来源摘要 `{tokens.about["source"] or "–"}`

| domain 领域 | documents 文档 | tokens 词元 | bytes 字节 | held-out nats/token 验证集 | bits/byte |
|---|--:|--:|--:|--:|--:|
{domains(tokens, last.get("valid", {}))}

## Limits 局限
Of this size a model writes fluent text of the kinds above and knows few facts; what it says may be wrong.
此规模的模型能写出上述类型的流畅文本，但知识有限，内容可能有误。

## Repeat it 重新训练
`run.json` beside this folder's run holds every number. 全部参数见训练目录中的 `run.json`。
```
haina train pretrain TOKENS --tokenizer tokenizer.model {again(plan, run)}
```
"""


def begun(origin: Mapping[str, Any] | None) -> str:
    """The run and the state with which this one began."""
    if origin is None:
        return "random weights 随机权重"
    return f"{origin['run']}, step {origin['step']:,}, {origin['tokens'] / 1e6:,.1f} M tokens, `{origin['state'][:16]}`"


def rates(o: TrainOptions) -> str:
    return f"wsd (flat to {o.flat:g}, then to {o.floor:g})" if o.schedule == "wsd" else o.schedule


def again(plan: Plan, run: Mapping[str, Any]) -> str:
    """Flags that begin such a run; run.json has the rest."""
    o, origin = plan.options, run.get("from")
    first = f"--from {origin['run']}/states/{origin['step']:08}" if origin else f"--size {plan.size}"
    batch = o.rows * o.accumulate * o.length
    return f"{first} --tokens {plan.tokens} --batch {batch} --length {o.length} --schedule {o.schedule} --seed {o.seed}"


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
