"""The model card of haina-brook: what it was trained on and how, the loss curve, and the evaluation if there is one.

Everything in it is read from the run folder, the recipe of the sources and the record of `haina evaluate brook --out
RUN/evaluation`; no figure is typed by hand. It does not train and it does not judge.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.read_json import read_json_object
from haina.data.fetch import OURS
from haina.data.recipe import OPEN_LICENCES, read
from haina.evaluate.report import markdown
from haina.train.brook import branch
from haina.train.card import machine
from haina.train.log import clock
from haina.train.plan import flops_per_token
from haina.wording import short

PHASES = (
    ("long part, flat rate", "长训练（恒定学习率）"),
    ("falling rate, longer rows, talks", "学习率下降（长文本与对话）"),
    ("talks, answers only", "对话微调（只学回答）"),
)
NOT_EVALUATED = "Not evaluated yet 尚未评测：`haina evaluate brook`\n"


def card(model: Path, run: Path) -> dict[str, bytes]:
    """CARD.md and its pictures, by name. ValueError: a log of the run is missing."""
    place = branch(run)
    phases = [log(run / "base"), log(place / "fall"), log(place / "sft")]
    record = run / "evaluation" / "evaluation.json"
    found = markdown(read_json_object(record)) if record.exists() else NOT_EVALUATED
    return {"CARD.md": text(Checkpoint.open(model), run, phases, found).encode(), "loss.png": curve(phases)}


def log(folder: Path) -> list[dict[str, Any]]:
    """What the run in the folder wrote down, a line each time."""
    lines = (folder / "log.jsonl").read_text("utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "nats" in line]


def curve(phases: Sequence[Sequence[dict[str, Any]]]) -> bytes:
    """The loss of training against tokens, one phase after the other, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), dpi=110)
    axes = figure.subplots()
    before = 0.0
    for (name, _), lines in zip(PHASES, phases, strict=True):
        seen = [before + (line["tokens"] - lines[0]["tokens"]) / 1e6 for line in lines]
        axes.plot(seen, [line["nats"] for line in lines], lw=0.9, label=name)
        before = seen[-1]
    axes.set(xlabel="million tokens seen", ylabel="nats per token")
    axes.grid(alpha=0.3)
    axes.legend()
    out = io.BytesIO()
    figure.savefig(out, bbox_inches="tight")
    return out.getvalue()


def text(
    checkpoint: Checkpoint, run: Path, phases: Sequence[Sequence[dict[str, Any]]], evaluation: str
) -> str:
    """The card in English and Chinese."""
    c, last = checkpoint.config, [lines[-1] for lines in phases]
    tokens = [lines[-1]["tokens"] - lines[0]["tokens"] for lines in phases]
    compute = flops_per_token(c, c.max_position_embeddings) * sum(tokens)
    return f"""# haina-brook 海纳·溪

The embedded model of haina: so small that it answers at once on any machine, and honest about it.
海纳自带的模型：小到任何电脑都能立刻作答，也正因为小，能力十分有限。

| | |
|---|---|
| network 网络 | {c.architecture}: width {c.hidden_size}, {c.num_hidden_layers} layers, {c.num_attention_heads} heads, \
feed-forward {c.intermediate_size}, context {c.max_position_embeddings} |
| parameters 参数 | {c.parameters:,}; 8 bits each (W8) 每个 8 位 (W8) |
| tokenizer 词表 | SentencePiece BPE, {checkpoint.tokenizer.size:,} pieces, byte fallback, no normalisation, \
character mode 逐字模式 |
| tokens seen 训练词元 | {short(sum(tokens))}, about 约 {compute:.2g} FLOPs |
| time 用时 | {clock(sum(line["seconds"] for line in last))}, \
{clock(sum(line["cpu_s"] for line in last))} of CPU time CPU 时间; {machine()} |
| energy 能耗 | not measured 未测量 |
| licence 许可 | Apache-2.0 |

| phase 阶段 | tokens 词元 | steps 步 | held-out bits/byte 验证集每字节比特数 |
|---|--:|--:|---|
{stages(phases, tokens)}

![loss curve 损失曲线](loss.png)

{evaluation}
## Text 语料
| what 内容 | where from 来源 | licence 许可 |
|---|---|---|
{sources()}

Talks, greetings and templates are our own (haina/data/brook). Dialogues of a non-commercial or unstated licence were
left out; some open sets hold the output of other models.
对话、问候与模板为本项目所写（haina/data/brook）。未使用非商用或许可不明的对话；部分开放数据含其他模型的输出。

## Limits 局限
- It knows greetings, short small talk and the sound of classical verse. Facts, arithmetic, reasoning: expect errors.
- 它会打招呼、简单闲聊、续写诗句；知识、计算与推理都不可靠，重要的事请自行核实。
- Some well-known poems were held out of its text on purpose and will be continued freely.
- 部分名篇特意未放入训练语料，续写结果会与原作不同。

## Repeat it 重新训练
```
pip install 'haina[train,data]'  # in a clone: .venv/bin/pip install '.[train,data]'
haina data fetch --out data
haina train brook --data data --out runs/brook
haina evaluate brook runs/brook/model --data data --run runs/brook --out runs/brook/evaluation
```
A run resumes where it was stopped; the last command's report is in this card if it was there. The text that is
fetched is not the very same: haina/data/sources.toml says where it differs.
训练中断后会从断点继续；若已有评测报告，则一并写入本卡。取得的语料与原语料略有出入，见 haina/data/sources.toml。
Text 语料 `{fingerprint(run / "tokens")}`, late 后段 `{fingerprint(run / "late")}`, seed 种子 0.
"""


def stages(phases: Sequence[Sequence[dict[str, Any]]], tokens: Sequence[int]) -> str:
    """A row for each phase, with the last validation of each domain."""
    rows = []
    for (en, zh), lines, seen in zip(PHASES, phases, tokens, strict=True):
        judged: dict[str, Any] = next((line["valid"] for line in reversed(lines) if line.get("valid")), {})
        found = ", ".join(
            f"{domain} {about['bits_per_byte']}"
            for domain, about in judged.items()
            if "bits_per_byte" in about
        )
        rows.append(f"| {en} {zh} | {short(seen)} | {lines[-1]['step'] + 1:,} | {found or '–'} |")
    return "\n".join(rows)


def sources() -> str:
    """The repositories of the text, a row each; those without an open licence only name words that are left out."""
    rows = []
    for source in read(OURS).source:
        if source.licence not in OPEN_LICENCES:
            continue
        where = (source.git or "").removeprefix("https://github.com/")
        rows.append(f"| {source.name} | {where}@{(source.commit or '')[:7]} | {source.licence} |")
    return "\n".join(rows)


def fingerprint(folder: Path) -> str:
    """Of the tokens in a folder: sha256 of tokens.json, its beginning."""
    return hashlib.sha256((folder / "tokens.json").read_bytes()).hexdigest()[:16]
