"""The lines of files a person names, and a seeded sample of them; for learning a vocabulary.

Plain text, JSON Lines with `text` or `messages` in their rows (plain or .zst), or a corpus folder. One pass, in the
memory of the sample. It does not know what the lines are for.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from haina.data.read import rows
from haina.wording import say


def lines_of(path: Path) -> Iterator[str]:
    """The lines that hold text. ValueError: no such file, no text in a row, or bytes that are not UTF-8."""
    for text in texts_of(path):
        yield from (line for line in text.splitlines() if line.strip())


def texts_of(path: Path) -> Iterator[str]:
    """The text of each row of a .jsonl(.zst) file or a corpus folder; of plain text, each line."""
    if path.is_dir():
        found = sorted((path / "documents").glob("*.jsonl.zst"))
        if not found:
            raise ValueError(
                say(
                    f"{path}: no corpus folder (no documents/*.jsonl.zst); name files, or a folder of haina data build",
                    f"{path}：不是语料目录（没有 documents/*.jsonl.zst）；请给出文件，或 haina data build 生成的目录",
                )
            )
        for file in found:
            yield from texts_of(file)
    elif path.name.endswith((".jsonl", ".jsonl.zst")):
        for number, row in enumerate(rows(path), 1):
            yield _text(row, path, number)
    else:
        yield from _plain(path)


def _text(row: dict[str, Any], file: Path, number: int) -> str:
    text, messages = row.get("text"), row.get("messages")
    if isinstance(text, str):
        return text
    if isinstance(messages, list):
        return "\n".join(str(m["content"]) for m in messages if isinstance(m, dict) and "content" in m)
    raise ValueError(
        say(
            f"{file}:{number}: has neither text nor messages; give each row one of them",
            f"{file}:{number}：既没有 text 也没有 messages；每行须有其一",
        )
    )


def _plain(file: Path) -> Iterator[str]:
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                text = "\0"
            if "\0" in text:
                raise ValueError(
                    say(
                        f"{file}:{number}: is not UTF-8 text; convert the file, for example: iconv -f GB18030 -t UTF-8",
                        f"{file}:{number}：不是 UTF-8 文本；请先转换编码，例如：iconv -f GB18030 -t UTF-8",
                    )
                )
            yield text


def sample(lines: Iterable[str], most_bytes: int, *, seed: int = 0) -> list[str]:
    """Lines in their order, drawn evenly, of at most so many bytes; all of them if there are no more.

    Every line gets a random number, and those with the lowest stay.
    """
    chance = random.Random(seed)
    kept: list[tuple[float, int, str]] = []  # a heap: the highest number first
    size = 0
    for place, line in enumerate(lines):
        heapq.heappush(kept, (-chance.random(), place, line))
        size += len(line.encode())
        while size > most_bytes and kept:
            size -= len(heapq.heappop(kept)[2].encode())
    return [line for _, _, line in sorted(kept, key=lambda item: item[1])]
