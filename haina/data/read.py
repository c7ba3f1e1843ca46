"""Read rows of JSON Lines, plain or compressed with zstd, one at a time. It knows nothing of what a row means."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from haina.wording import say


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """Each line of a .jsonl or .jsonl.zst file as a dict. ValueError names the file and the line that is not one."""
    if not file.is_file():
        raise ValueError(
            say(
                f"{file}: no such file; the card of the model tells where its training text comes from",
                f"{file}：文件不存在；训练语料的来源见模型卡",
            )
        )
    with file.open("rb") as raw:
        stream = zstandard.ZstdDecompressor().stream_reader(raw) if file.suffix == ".zst" else raw
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8"), 1):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(
                    say(f"{file}:{number}: not a JSON object", f"{file}:{number}：不是 JSON 对象")
                )
            yield row
