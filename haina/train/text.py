"""The text of a run: its vocabulary, its tokens, and what of them is held out for validation.

It opens what a person gives, a token folder or a corpus, which is encoded into the run (data/encode.py). It does not
know networks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from haina.data.encode import Encoding, write
from haina.data.pack import Samples
from haina.data.read import rows as read_rows
from haina.data.tokens import Tokens
from haina.options.training import TrainOptions
from haina.text.tokenizer import Tokenizer
from haina.train.loop import Held
from haina.wording import say

VALID_TOKENS = 1 << 17  # of all domains together; at most a hundredth of the text


def own_tokenizer(folder: Path, file: str | None) -> Tokenizer:
    """The run's tokenizer, copied into it. ValueError: none was given, or the run has another."""
    own = folder / "tokenizer.model"
    if file is None and not own.exists():
        raise ValueError(
            say(
                f"{folder}: which vocabulary? Give --tokenizer FILE, the one the text was encoded with",
                f"{folder}：用哪个词表？请用 --tokenizer 给出编码语料所用的文件",
            )
        )
    found = Tokenizer.open(own if file is None else file)
    if own.exists() and Tokenizer.open(own).sha256 != found.sha256:
        raise ValueError(
            say(
                f"{folder}: this run has another vocabulary than {file}; choose another --out",
                f"{folder}：此次训练的词表不是 {file}；请换一个 --out",
            )
        )
    if not own.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file), own)
    return found


def own_tokens(source: Path, folder: Path, tokenizer: Tokenizer) -> Tokens:
    """The token folder, or that of a corpus, encoded into the run. ValueError: it is neither."""
    if (source / "tokens.json").exists():
        return Tokens.open(source, tokenizer=tokenizer)
    files = sorted((source / "documents").glob("*.jsonl*"))
    if not files:
        raise ValueError(
            say(
                f"{source}: neither a token folder (tokens.json) nor a corpus (documents/*.jsonl.zst); "
                "make one with haina data build",
                f"{source}：既不是词元目录（tokens.json），也不是语料目录（documents/*.jsonl.zst）；"
                "请用 haina data build 制作",
            )
        )
    own, state = folder / "tokens", "".join(f"{f.name} {f.stat().st_size}\n" for f in files)
    manifest = source / "manifest.json"
    wire = manifest.read_bytes() if manifest.exists() else state.encode()
    origin = hashlib.sha256(wire).hexdigest()
    if (own / "tokens.json").exists():
        made = Tokens.open(own, tokenizer=tokenizer)
        if made.about["source"] == origin:
            return made
    print(say(f"{source}: encoding …", f"{source}：正在编码……"), flush=True)
    encoding = Encoding(str(folder / "tokenizer.model"))
    return write(_documents(files), own, encoding, workers=os.cpu_count() or 1, source=origin)


def _documents(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        yield from read_rows(file)


def held_out(tokens: Tokens) -> tuple[Tokens, dict[str, Tokens]]:
    """(what is trained on, what is not by domain): some whole documents of every domain, the same ones every time."""
    documents, names = tokens.documents, list(tokens.domains)
    room = VALID_TOKENS // len(names)
    held = np.zeros(len(documents), bool)
    for number in range(len(names)):
        own = np.flatnonzero((documents["domain"] == number) & (documents["weight"] > 0))
        mixed = np.random.default_rng(number).permutation(own)
        sizes = np.cumsum(documents["length"][mixed])
        enough = min(room, sizes[-1] // 100) if len(own) else 0
        held[mixed[: np.searchsorted(sizes, enough) + 1]] = len(own) > 1
    parts = {
        name: replace(tokens, documents=documents[held & (documents["domain"] == number)])
        for number, name in enumerate(names)
    }
    training = replace(tokens, documents=documents[~held])
    if learned_tokens(training) < 1:
        raise ValueError(
            say(
                f"{tokens.folder}: too little text to train on; add documents",
                f"{tokens.folder}：文本太少，无法训练；请增加文档",
            )
        )
    return training, {name: part for name, part in parts.items() if len(part.documents)}


def learned_tokens(tokens: Tokens) -> float:
    """Tokens of one epoch, by the weights of the documents."""
    return float((tokens.documents["length"] * tokens.documents["weight"].astype(np.float64)).sum())


def held_batches(tokens: Tokens, options: TrainOptions) -> Held:
    samples = Samples(replace(tokens, documents=_once(tokens.documents)), options.length)
    count = samples.rows_of_epoch(0)
    starts = range(0, count, options.rows)
    batches = [samples.at(range(at, min(at + options.rows, count))) for at in starts]
    return Held(batches, float(tokens.documents["bytes"].sum() / tokens.documents["length"].sum()))


def _once(documents: np.ndarray) -> np.ndarray:
    documents = documents.copy()
    documents["weight"] = 1.0
    return documents
