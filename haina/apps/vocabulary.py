"""Learn a vocabulary from files, as `haina tokenizer train` does: check, read, sample, learn, write, tell.

It knows neither SentencePiece (`haina/text/vocabulary.py`) nor file formats (`haina/data/sample.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from haina.data.sample import lines_of, sample
from haina.options.data import VocabularyOptions
from haina.text.characters import asked_for
from haina.text.tokenizer import Tokenizer
from haina.text.vocabulary import learn
from haina.wording import say, short


def train(files: list[Path], options: VocabularyOptions, *, report: Callable[[str], None]) -> str:
    """Write `options.out`; returns what to tell. ValueError: whatever is wrong with options, files or numbers."""
    if options.v1 and options.v2:
        raise ValueError(say("--v1 and --v2 exclude each other; give one", "--v1 与 --v2 只能选一个"))
    out = Path(options.out)
    if out.exists():
        raise ValueError(
            say(
                f"{out}: exists, and a model may depend on it; choose another name with --out",
                f"{out}：已存在，可能有模型依赖它；请用 --out 另起名称",
            )
        )
    named = map(Path, filter(None, options.characters.split(",")))
    needed = [*files, *(file for file in named if file.name != "common"), out.parent]
    for missing in (path for path in needed if not path.exists()):
        raise ValueError(
            say(
                f"{missing}: no such file or folder; check the name",
                f"{missing}：没有这个文件或目录；请核对名称",
            )
        )
    characters = asked_for(options.characters)
    report(say("reading …", "正在读取……"))
    lines = sample(chain.from_iterable(map(lines_of, files)), int(options.sample_mb * 1e6), seed=options.seed)
    report(say("learning …", "正在训练……"))
    wire = learn(
        lines, pieces=options.pieces, coverage=options.coverage, v1=options.v1, characters=characters
    )
    part = out.with_name(f"{out.name}.part")
    part.write_bytes(wire)
    os.replace(part, out)
    return _told(Tokenizer(wire, file=str(out)), sum(len(line.encode()) for line in lines), len(characters))


def _told(tokenizer: Tokenizer, size_bytes: int, characters: int) -> str:
    text = say(
        f"{tokenizer.file}: {tokenizer.size:,} pieces, from {short(size_bytes, 'B')} of text",
        f"{tokenizer.file}：{tokenizer.size:,} 个词元，语料 {short(size_bytes, 'B')}",
    )
    if tokenizer.character_mode:
        opens, closes = tokenizer.character_mode
        text += say(
            f"; {characters:,} characters have their own, ids {opens} and {closes} open and close character mode",
            f"；{characters:,} 个汉字各有独立词元，{opens} 与 {closes} 号词元开启、关闭逐字模式",
        )
    return text
