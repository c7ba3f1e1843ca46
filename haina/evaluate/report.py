"""The record of an evaluation as tables: for the terminal in the person's language, for the model card in both.

It knows the record that haina/evaluate/brook.py makes, and nothing of how its figures came about.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from haina.wording import say

Record = dict[str, Any]
Rows = list[list[str]]
Words = Callable[[str, str], str]  # of English and Chinese, the one to show, or both

NAMES = {
    "CCPM": ("CCPM, verse for a description", "CCPM 据意选诗"),
    "last word": ("last word of a sentence", "句末词"),
    "typed keys": ("typed pinyin", "拼音转汉字"),
    "verse": ("quatrains asked for", "命题绝句"),
    "language": ("answer in the language", "回答语言"),
    "chat checks": ("chat checks", "对话检查"),
    "loops": ("ran into a loop", "陷入重复"),
    "exam": ("exam, no examples", "考试（零样本）"),
    "speed": ("speed", "速度"),
    "beyond its own likelihood": ("by likelihood gained", "按似然增益"),
    "likelihood": ("by likelihood", "按似然"),
    "characters in common": ("characters in common", "字面重合"),
    "characters": ("characters", "字"),
    "clauses": ("clauses", "整句"),
    "form, unconstrained": ("right form, unconstrained", "格式正确，未加约束"),
    "as asked": ("as asked", "符合要求"),
    "passed": ("passed", "通过"),
    "answers": ("answers", "回答"),
    "first token": ("first token", "首个词元"),
    "decode": ("decode", "生成"),
    "ladder": ("held-out loss of the run", "训练所达验证损失"),
    "nats over predicted": ("over the ladder's prediction", "与缩放律预测之比"),
}
MOST_CHARACTERS = 400  # of a sample that the card shows
BITS = ("bits", "5-gram", "against 5-gram", "xz -9", "PPMd")


def table(record: Record) -> str:
    """For the terminal."""
    lines = [_about(record, say), ""]
    for rows in filter(None, (_bits(record, say), _others(record, say))):
        lines += [*_aligned(rows), ""]
    lines += _rivals(record, say)
    if not record["finished"]:
        lines.append(say("Stopped before the end: what was done by then.", "中途停止，以上为已完成的部分。"))
    lines += [say(*note) for note in record["notes"]]
    lines.append(_reading(say))
    return "\n".join(lines)


def markdown(record: Record, pictures: Sequence[str] = ()) -> str:
    """A section of the model card, in English and Chinese."""

    def both(en: str, zh: str) -> str:
        return en if en == zh else f"{en} {zh}"

    parts = ["## Evaluation 评测", "", _about(record, both), "", _reading(both), ""]
    for rows in filter(None, (_bits(record, both), _others(record, both))):
        parts += [*_piped(rows), ""]
    parts += ["  \n".join(_rivals(record, both)), ""]
    parts += [f"![{name}]({name})\n" for name in pictures]
    samples = [["prompt 提问", "answer 回答"]]
    samples += [[one["prompt"], _cut(one["text"])] for one in record["samples"]]
    seed = record["seed"]
    parts += [
        "### Twenty samples, unchosen 未经挑选的二十个样例",
        "",
        f"Seed 种子 {seed}.",
        "",
        *_piped(samples),
    ]
    return "\n".join([*parts, "", *(both(*note) for note in record["notes"]), ""])


def write(record: Record, folder: Path, run: Path | None) -> None:
    """evaluation.json and evaluation.md, with the pictures of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    found = (
        [file for name in ("ladder.png", "curves.png") for file in sorted(run.glob(f"*/{name}"))]
        if run
        else []
    )
    names = [f"{file.parent.name}-{file.name}" for file in found]
    for file, name in zip(found, names, strict=True):
        shutil.copyfile(file, folder / name)
    text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    (folder / "evaluation.md").write_text(markdown(record, names), encoding="utf-8")


def _about(record: Record, words: Words) -> str:
    machine = record["machine"]
    parts = [
        record["model"],
        words(f"{record['parameters']:,} parameters", f"参数量 {record['parameters']:,}"),
        machine["processor"],
        words(f"{machine['threads']} threads", f"{machine['threads']} 线程"),
        words(f"seed {record['seed']}", f"种子 {record['seed']}"),
    ]
    if machine["load"] is not None:
        parts.append(words(f"load {machine['load']:.1f}", f"系统负载 {machine['load']:.1f}"))
    return " · ".join(parts)


def _reading(words: Words) -> str:
    return words(
        "In brackets: 95 % intervals (bootstrap over documents, or Wilson). Lower bits are better.",
        "括号内为 95 % 置信区间（按文档自助法，或 Wilson 区间）。比特数越低越好。",
    )


def _bits(record: Record, words: Words) -> Rows:
    """A row for each domain, a column for each rival."""
    found = {(f["measure"], f["of"]): f for f in record["figures"] if f["measure"] in BITS}
    domains = dict.fromkeys(of for _, of in found)
    shown = [name for name in BITS if any(measure == name for measure, _ in found)]
    if not domains:
        return []
    heads = {
        "bits": words("bits/byte", "比特/字节"),
        "against 5-gram": words("to 5-gram (≤ 0.8)", "与 5-gram 之比（≤ 0.8）"),
    }
    rows = [[words("held-out text", "验证集"), "n", *(heads.get(name, name) for name in shown)]]
    for domain in domains:
        n = str(found["bits", domain]["n"])
        cells = [_value(found[name, domain]) if (name, domain) in found else "" for name in shown]
        rows.append([domain, n, *cells])
    return rows


def _rivals(record: Record, words: Words) -> list[str]:
    """What the models and compressors beside the network had seen."""
    notes = {f["measure"]: f["note"] for f in record["figures"] if f["measure"] in BITS and f["note"][0]}
    return [f"{name}: {words(*note)}" for name, note in notes.items()]


def _others(record: Record, words: Words) -> Rows:
    others = [f for f in record["figures"] if f["measure"] not in BITS]
    if not others:
        return []
    heads = [("measure", "项目"), ("", ""), ("measured", "实测"), ("n", "n"), ("asked", "目标"), ("", "")]
    rows = [[words(*head) for head in heads]]
    for f in others:
        names = [words(*NAMES.get(name, (name, name))) for name in (f["measure"], f["of"])]
        rows.append([*names, _value(f), str(f["n"]), _goal(f, words), words(*f["note"])])
    return rows


def _goal(f: Record, words: Words) -> str:
    if f["goal"] is None:
        return ""
    sign, value = f["goal"]
    met = words("yes", "是") if f["met"] else words("no", "否")
    return f"{sign} {value * 100:g} %: {met}" if f["unit"] == "%" else f"{sign} {value:g}: {met}"


def _value(f: Record) -> str:
    scale, digits = {"%": (100, 1), "ms": (1, 1), "tokens/s": (1, 0)}.get(f["unit"], (1, 3))
    unit = f" {f['unit']}" if f["unit"] in ("%", "ms", "tokens/s") else ""
    value = f"{scale * f['value']:.{digits}f}{unit}"
    if f["low"] is None:
        return value
    return f"{value} ({scale * f['low']:.{digits}f}–{scale * f['high']:.{digits}f})"


def bits_table(record: Record) -> str:
    """The record of `haina evaluate bits-per-byte` for the terminal."""
    heads = [
        say("domain", "领域"),
        say("bits/byte", "比特/字节"),
        say("nats/token", "奈特/词元"),
        say("documents", "文档"),
        say("tokens", "词元"),
        say("bytes", "字节"),
    ]
    rows = [heads]
    for row in record["domains"]:
        low, high = row["interval_95"]
        counts = [f"{row[key]:,}" for key in ("documents", "tokens", "bytes")]
        value = f"{row['bits_per_byte']:.4f} ({low:.4f}–{high:.4f})"
        rows.append([row["domain"] or say("all", "全部"), value, f"{row['nats_per_token']:.4f}", *counts])
    return "\n".join([*_aligned(rows), "", _reading(say)])


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} […]"


def _piped(rows: Rows) -> Iterable[str]:
    cells = [[_escaped(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (cells[0], ["---"] * len(cells[0]), *cells[1:])]


def _escaped(cell: str) -> str:
    """What a model says is never HTML."""
    return cell.replace("<", "&lt;").replace("|", "\\|").replace("\n", "<br>")


def _aligned(rows: Rows) -> Iterable[str]:
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _columns(text: str) -> int:
    """Columns of a terminal: two for a Chinese character."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
