"""The text of a run: its vocabulary, its tokens, and what of them is held out for validation.

It opens what a person gives, a token folder or a corpus, which is encoded into the run (data/encode.py). It does not
know networks.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from haina.data.encode import Encoding, write
from haina.data.pack import Samples
from haina.data.read import rows as read_rows
from haina.data.tokens import Tokens, joined
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
        part = own.with_suffix(".new")
        shutil.copyfile(str(file), part)
        os.replace(part, own)
    return found


@dataclass(frozen=True)
class Text:
    """What a run is shown. whole: all its folders as one; of them `held`, by domain, is never trained on.

    mixture: domain → how often an epoch shows it, where that is not once. sha256: tells this text from another.
    """

    whole: Tokens
    training: Tokens
    held: Mapping[str, Tokens]
    mixture: Mapping[str, float]
    sha256: str

    @property
    def learned_tokens(self) -> float:
        """Of one epoch."""
        often = np.array([self.mixture.get(name, 1.0) for name in self.training.domains])
        documents = self.training.documents
        return float((documents["length"] * documents["weight"] * often[documents["domain"]]).sum())


def own_text(
    source: Path, mix: str, weights: str, folder: Path, tokenizer: Tokenizer, *, verify: bool = True
) -> Text:
    """The folders, opened or encoded into the run. mix: FOLDER or FOLDER=WEIGHT, weights: DOMAIN=WEIGHT, with commas
    between. In each folder the same documents are held out as if it were alone. verify: by their sha256.

    ValueError: no such folder or domain, another vocabulary, or a weight that is none.
    """
    texts = [(str(source), 1.0), *times(mix, "--mix")]
    places = [folder / ("tokens" if number == 0 else f"tokens-{number}") for number in range(len(texts))]
    opened = [
        own_tokens(Path(text), place, tokenizer, verify=verify)
        for (text, _), place in zip(texts, places, strict=True)
    ]
    apart = [held_out(reweighed(tokens, often)) for tokens, (_, often) in zip(opened, texts, strict=True)]
    names = dict.fromkeys(name for _, held in apart for name in held)
    held = {name: joined([held[name] for _, held in apart if name in held]) for name in names}
    wires = [(tokens.folder / "tokens.json").read_bytes() for tokens in opened]
    wires += [f" {often:g}".encode() for _, often in texts[1:]] + [weights.encode()]
    digest = hashlib.sha256(b"".join(wires)).hexdigest()
    training = joined([training for training, _ in apart])
    return Text(joined(opened), training, held, dict(times(weights, "--weights")), digest)


def times(asked: str, flag: str) -> list[tuple[str, float]]:
    """NAME=3 or NAME, with commas between, as names with numbers. ValueError: a number that is none."""
    found = []
    for part in filter(None, asked.split(",")):
        name, _, number = part.rpartition("=") if "=" in part else (part, "", "1")
        try:
            often = float(number)
        except ValueError:
            often = math.nan
        if not 0 <= often < 1000:
            raise ValueError(
                say(
                    f"{flag} {part}: a number from 0 to 1000 is to follow the =, as in {name or 'NAME'}=3",
                    f"{flag} {part}：等号后应为 0 到 1000 之间的数，如 {name or '名称'}=3",
                )
            )
        found.append((name, often))
    return found


def reweighed(tokens: Tokens, often: float) -> Tokens:
    """Every document is shown so often for each time that it was."""
    if often == 1.0:
        return tokens
    documents = tokens.documents.copy()
    documents["weight"] *= often
    return replace(tokens, documents=documents)


def own_tokens(source: Path, own: Path, tokenizer: Tokenizer, *, verify: bool = True) -> Tokens:
    """The token folder, or that of a corpus, encoded into `own`. ValueError: it is neither."""
    if (source / "tokens.json").exists():
        return Tokens.open(source, tokenizer=tokenizer, verify=verify)
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
    state = "".join(f"{f.name} {f.stat().st_size}\n" for f in files)
    manifest = source / "manifest.json"
    wire = manifest.read_bytes() if manifest.exists() else state.encode()
    origin = hashlib.sha256(wire).hexdigest()
    if (own / "tokens.json").exists():
        made = Tokens.open(own, tokenizer=tokenizer, verify=verify)
        if made.about["source"] == origin:
            return made
    print(say(f"{source}: encoding …", f"{source}：正在编码……"), flush=True)
    encoding = Encoding(str(own.parent / "tokenizer.model"))
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
    if not (training.documents["weight"] > 0).any():
        raise ValueError(
            say(
                f"{tokens.folder}: too little text to train on; add documents",
                f"{tokens.folder}：文本太少，无法训练；请增加文档",
            )
        )
    return training, {name: part for name, part in parts.items() if len(part.documents)}


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
