"""How much text a token holds: vocabularies side by side on a person's own files, and published figures below.

It judges a vocabulary by nothing else: fewer tokens are cheaper, not better understood.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haina.apps.screen import columns, one_line, padded
from haina.data.sample import sample, texts_of
from haina.text.tokenizer import Tokenizer
from haina.wording import say

MOST_BYTES = 8_000_000  # of a file; of a larger one a sample
HAN = re.compile(r"[\u3400-\u9fff]")
BLOCK = 8192  # characters that are encoded at once, as a long document would be

# On texts of others, so the figures compare among themselves only: source, what is counted, figures.
PUBLISHED = [
    (
        "Baichuan 2, arXiv:2309.10305, table 2",
        ("compression rate, lower is better", "压缩率，越低越好"),
        {
            "Baichuan 2 @125,696": 0.498,
            "BLOOM @250,680": 0.501,
            "ChatGLM2 @64,794": 0.527,
            "Baichuan @64,000": 0.570,
            "LLaMA 2 @32,000": 1.037,
        },
    ),
    (
        "baichuan-inc/Baichuan-7B README",
        ("compression rate, lower is better", "压缩率，越低越好"),
        {
            "ChatGLM @130,344": 0.631,
            "moss @106,029": 0.659,
            "Baichuan @64,000": 0.737,
            "Falcon @65,024": 1.049,
            "mpt-7b @50,254": 1.206,
            "LLaMA @32,000": 1.312,
        },
    ),
    (
        "tokenizer-arena, cc100 zh-Hans",
        ("bytes/token, higher is better", "字节/词元，越高越好"),
        {"Baichuan 2": 4.4, "Baichuan": 3.82, "LLaMA": 1.80},
    ),
    (
        "tokenizer-arena, cc100 en",
        ("bytes/token, higher is better", "字节/词元，越高越好"),
        {"Baichuan 2": 3.80, "Baichuan": 3.65, "bert-base-chinese": 2.71},
    ),
]

# Characters a token of Chinese and of English text, by the last two rows above (a Chinese character is three bytes): to
# say whether a measured figure is a good one.
KNOWN = {"Baichuan 2": (1.47, 3.80), "Baichuan": (1.27, 3.65)}
GOOD = 0.9  # of Baichuan's figure


def told_apart(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """(vocabularies, texts) of what a person names: files *.model and model folders; everything else.

    ValueError: one of the two is missing.
    """
    models = [path for path in paths if path.suffix == ".model" or (path / "tokenizer.model").exists()]
    texts = [path for path in paths if path not in models]
    if not models or not texts:
        raise ValueError(
            say(
                "give a tokenizer.model and a text to measure with: haina tokenizer report tokenizer.model corpus",
                "请给出词表与用来测量的文本：haina tokenizer report tokenizer.model corpus",
            )
        )
    return models, texts


def measure(models: list[Path], texts: list[Path]) -> dict[str, Any]:
    """The record of `haina tokenizer report --json`: every vocabulary on every text. ValueError names a bad file."""
    tokenizers = [Tokenizer.open(path / "tokenizer.model" if path.is_dir() else path) for path in models]
    rows = [
        {"tokenizer": tokenizer.file, "pieces": tokenizer.size, "text": str(text), **_held(tokenizer, blocks)}
        for text in texts
        for blocks in [list(_blocks(text))]
        for tokenizer in tokenizers
    ]
    published = [
        {"source": source, "counted": what[0], "figures": figures} for source, what, figures in PUBLISHED
    ]
    return {"measured": rows, "published": published}


def _blocks(file: Path) -> Iterator[str]:
    """The text, or a sample of it, in blocks of whole lines or documents."""
    block = ""
    for text in sample(texts_of(file), MOST_BYTES):
        block += text if text.endswith("\n") else text + "\n"
        if len(block) >= BLOCK:
            yield block
            block = ""
    if block:
        yield block


def _held(tokenizer: Tokenizer, blocks: list[str]) -> dict[str, Any]:
    if not blocks:
        raise ValueError(
            say("a text to measure with is empty; give another file", "用来测量的文本为空；请换一个文件")
        )
    began = time.process_time()  # of this one thread: other programs do not count
    tokens = sum(len(tokenizer.encode(block)) for block in blocks)
    seconds = time.process_time() - began
    size_bytes = sum(len(block.encode()) for block in blocks)
    return {
        "bytes": size_bytes,
        "tokens": tokens,
        "chinese": sum(map(len, map(HAN.findall, blocks))) / sum(map(len, blocks)),
        "bytes_per_token": size_bytes / tokens,
        "characters_per_token": sum(map(len, blocks)) / tokens,
        "mb_per_cpu_s": size_bytes / max(seconds, 1e-9) / 1e6,
    }


def table(record: dict[str, Any]) -> str:
    """The record for people, in their language."""
    heads = [
        say("text", "文本"),
        say("tokenizer", "词表"),
        say("pieces", "词元数"),
        say("bytes/token", "字节/词元"),
        say("characters/token", "字符/词元"),
        say("MB/s of a core", "MB/秒（单核）"),
    ]
    rows = [
        [
            one_line(row["text"]),
            one_line(row["tokenizer"]),
            f"{row['pieces']:,}",
            f"{row['bytes_per_token']:.2f}",
            f"{row['characters_per_token']:.2f}",
            f"{row['mb_per_cpu_s']:.1f}",
        ]
        for row in record["measured"]
    ]
    return "\n".join([*_aligned([heads, *rows]), "", *_verdicts(record["measured"]), "", *_published()])


def _verdicts(measured: list[dict[str, Any]]) -> list[str]:
    """For each text the vocabulary that holds most, and whether that is much."""
    found = []
    for text in dict.fromkeys(row["text"] for row in measured):
        best = max(
            (row for row in measured if row["text"] == text), key=lambda row: row["characters_per_token"]
        )
        held, chinese = best["characters_per_token"], best["chinese"]
        known = {name: 1 / (chinese / zh + (1 - chinese) / en) for name, (zh, en) in KNOWN.items()}
        good = held >= GOOD * known["Baichuan"]
        listed = say(", ", "，").join(f"{name} {figure:.2f}" for name, figure in known.items())
        name, where, share = one_line(best["tokenizer"]), one_line(text), f"{chinese:.0%}"
        en = "good" if good else "little; more --pieces, or more text to learn from, hold more"
        zh = "不错" if good else "偏低；增大 --pieces 或增加训练词表的语料可以提高"
        found.append(
            say(
                f"{where}: {name} holds {held:.2f} characters a token: {en} (with {share} Chinese, about: {listed})",
                f"{where}：{name} 每词元容纳 {held:.2f} 个字符，{zh}（汉字占 {share} 的文本，约为 {listed}）",
            )
        )
    return found


def _published() -> list[str]:
    lines = [say("Published, on other texts:", "已发表的数字，所用文本各不相同：")]
    for source, what, figures in PUBLISHED:
        listed = say(", ", "，").join(f"{name} {figure:g}" for name, figure in figures.items())
        lines.append(say(f"  {source} ({what[0]}): {listed}", f"  {source}（{what[1]}）：{listed}"))
    return lines


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(columns(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
