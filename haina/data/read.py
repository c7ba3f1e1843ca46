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
    for number, line in enumerate(_lines(file), 1):
        try:
            row = json.loads(line.decode("utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            row = None
        if not isinstance(row, dict):
            raise ValueError(
                say(
                    f"{file}:{number}: not a JSON object; correct the line, or make the file again",
                    f"{file}:{number}：不是 JSON 对象；请改正这一行，或重新生成文件",
                )
            )
        yield row


def _lines(file: Path) -> Iterator[bytes]:
    if not file.is_file():
        raise ValueError(
            say(
                f"{file}: no such file; the card of the model tells where its training text comes from",
                f"{file}：文件不存在；训练语料的来源见模型卡",
            )
        )
    with file.open("rb") as raw:
        if file.suffix != ".zst":
            yield from raw
            return
        try:
            yield from io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw))
        except zstandard.ZstdError as error:
            raise ValueError(
                say(
                    f"{file}: cannot be decompressed ({error}); fetch or make the file again",
                    f"{file}：无法解压（{error}）；请重新取得或生成此文件",
                )
            ) from None
