"""The model card of haina-brook: what it was trained on and how, the loss curve, and samples by fixed seeds.

Everything in it is read from the run folder or produced by the checkpoint itself; nothing is typed by hand but
the sources of the text and the machine that it was trained on. It does not train and it does not judge.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Request
from haina.engine.sampling import Sampling
from haina.text.messages import Message, assemble, template_for

# What the text is, where it comes from, its licence. Commits are those of the data pack the run was made with.
SOURCES = [
    (
        "classical verse",
        "chinese-poetry/chinese-poetry@99ebbef, Werneror/Poetry@4cfe49c, "
        "THUNLP-AIPoet/Datasets@0a53d6a (CCPC)",
        "poems: public domain; the first two compilations: MIT",
    ),
    ("KdConv dialogues", "thu-coai/KdConv@653db76", "Apache-2.0"),
    ("BELLE evaluation set", "LianjiaTech/BELLE@645084d", "ODC-By"),
    ("ShareGPT rows (zh)", "shibing624/MedicalGPT@2f1008c", "Apache-2.0 repository; holds model output"),
    ("instruction rows (en)", "rasbt/LLMs-from-scratch@28c65cd", "Apache-2.0"),
    ("role-play rows (en)", "teknium1/GPTeacher@4810751", "MIT; holds GPT-4 output"),
    ("greetings", "this repository, haina/train/greetings.jsonl", "Apache-2.0"),
]
# The machine, as words behind the minutes of the clock and of the CPU.
MACHINE = (("beside other work", "on two cores"), ("（同时运行其他任务）", "（双核）"))
PROMPTS = [
    "你好",
    "你是谁？",
    "Hello!",
    "What can you do?",
    "白日依山尽",
    "千山鸟飞绝，万径人踪灭。",
    "秋风起兮白云飞",
    "续写：一夜春风吹柳绿",
    "以《春雨》为题写一首五言绝句",
    "中国的首都是哪里？",
]


def card(checkpoint: Checkpoint, run: Path) -> dict[str, bytes]:
    """The files of the card by name, from the logs and options of the `run` folder and the checkpoint's answers."""
    phases = [phase(run), phase(run / "tune")]
    return {"README.md": text(checkpoint, phases).encode(), "loss.png": curve(*phases)}


def phase(folder: Path) -> list[dict[str, Any]]:
    """The log of one phase of the run; the options it was run with stand in its first line."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [lines[0] | json.loads((folder / "run.json").read_text("utf-8")), *lines[1:]]


def curve(*phases: list[dict[str, Any]]) -> bytes:
    """The loss of training and validation against tokens, one phase after the other, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), dpi=110)
    axes = figure.subplots()
    before = 0.0
    for number, lines in enumerate(phases, 1):
        seen = [before + line["tokens"] / 1e6 for line in lines]
        axes.plot(seen, [line["nats"] for line in lines], lw=0.8, label=f"training, phase {number}")
        valid = [
            (at, line["valid_nats"]) for at, line in zip(seen, lines, strict=True) if "valid_nats" in line
        ]
        axes.plot(*zip(*valid, strict=True), "o-", ms=3, label=f"validation, phase {number}")
        before = seen[-1]
    axes.set(xlabel="million tokens seen", ylabel="nats per token")
    axes.grid(alpha=0.3)
    axes.legend()
    out = io.BytesIO()
    figure.savefig(out, bbox_inches="tight")
    return out.getvalue()


def text(checkpoint: Checkpoint, phases: list[list[dict[str, Any]]]) -> str:
    """The card in English and Chinese."""
    config = checkpoint.config
    tokens = sum(lines[-1]["tokens"] for lines in phases)
    steps = " + ".join(str(lines[-1]["step"] + 1) for lines in phases)
    valid = ", ".join(f"{lines[-1]['valid_nats']:.3f}" for lines in phases)
    rates = ", ".join(f"{lines[0]['matrix_lr']} / {lines[0]['other_lr']}" for lines in phases)
    size_bytes = sum(file.stat().st_size for file in checkpoint.folder.glob("*.safetensors"))
    table = "\n".join(f"| {what} | {where} | {licence} |" for what, where, licence in SOURCES)
    return f"""# haina-brook 海纳·溪

The embedded model of haina: so small that it answers at once on any machine, and honest about it.
海纳自带的模型：小到任何电脑都能立刻作答，也正因为小，能力十分有限。

| | |
|---|---|
| network 网络 | {config.architecture}: width {config.hidden_size}, {config.num_hidden_layers} layers, \
{config.num_attention_heads} heads, feed-forward {config.intermediate_size}, context {config.max_position_embeddings} |
| parameters 参数 | {config.parameters:,}; 8 bits each (W8) 每个 8 位 (W8), {size_bytes / 1e6:.1f} MB |
| tokenizer 词表 | SentencePiece BPE, {checkpoint.tokenizer.size:,} pieces, byte fallback, no normalisation |
| training 训练 | {steps} steps, {tokens / 1e6:.1f} M tokens seen: all of the text, then answers only; \
Muon / AdamW {rates} |
| time 用时 | {minutes(phases)} |
| loss 损失 | validation after each phase 各阶段后验证集: {valid} nats/token |
| licence 许可 | Apache-2.0 |

![loss curve 损失曲线](loss.png)

## Text 语料
| what 内容 | where from 来源 | licence 许可 |
|---|---|---|
{table}

Dialogues of a non-commercial or unstated licence were left out. The poems are in the public domain; CCPC, one of
their three compilations, states no licence of its own.
未使用非商用或许可不明的对话。诗词均属公有领域；三种汇编之一 CCPC 未声明许可。

## Samples 样例
Settings of generation_config.json, seed 1, nothing picked by hand. 种子固定为 1，未经挑选。

{samples(checkpoint)}

## Limits 局限
- It knows greetings, short small talk and the sound of classical verse. Facts, arithmetic, reasoning: expect errors.
- 它会打招呼、简单闲聊、续写诗句；知识、计算与推理都不可靠，重要的事请自行核实。
- Some well-known poems were held out of its text on purpose and will be continued freely.
- 部分名篇特意未放入训练语料，续写结果会与原作不同。

## Repeat it 重新训练
```
pip install 'haina[train]'  # in a clone: .venv/bin/pip install '.[train]'
haina train brook --data DATA --out runs/brook
```
DATA holds `poetry/` and `chat/` made from the repositories above (JSON Lines, one row a poem with `title author
dynasty form lines`, or a dialogue with `messages source`; `train/` and `valid/` in each). The run resumes where it
was stopped. DATA 目录由上列仓库整理而成（JSON Lines 格式）；训练中断后会从断点继续。
"""


def minutes(phases: list[list[dict[str, Any]]]) -> str:
    """How long the training took, by the clock and on the CPU, all phases together."""
    clock, cpu = (sum(lines[-1][name] for lines in phases) / 60 for name in ("seconds", "cpu_s"))
    en, zh = MACHINE
    return f"{clock:.0f} minutes {en[0]}, {cpu:.0f} CPU minutes {en[1]} " + (
        f"历时 {clock:.0f} 分钟{zh[0]}，CPU 时间 {cpu:.0f} 分钟{zh[1]}"
    )


def samples(checkpoint: Checkpoint, seed: int = 1) -> str:
    """A table of fixed prompts and what the model answers."""
    engine, tokenizer = Engine.open(checkpoint), checkpoint.tokenizer
    template = template_for(checkpoint.config.architecture, checkpoint.generation)
    assert template is not None
    padding = range(tokenizer.size, checkpoint.config.vocab_size)  # rows of the matrix that mean nothing
    banned = tokenizer.control_ids.union(padding) - template.stop_ids
    sampling = replace(Sampling.from_generation(checkpoint.generation), seed=seed)
    rows = ["| prompt | answer |", "|---|---|"]
    for prompt in PROMPTS:
        ids = assemble([Message("user", prompt)], tokenizer, template, room_tokens=256).ids
        request = Request(ids, 128, sampling, template.stop_ids, banned)
        answer = tokenizer.decode([token.id for token in engine.generate([request])])
        rows.append(f"| {prompt} | {answer.replace(chr(10), '<br>').replace('|', chr(92) + '|')} |")
    return "\n".join(rows)
