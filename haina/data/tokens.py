"""Documents as token ids on disk: encoded once, then read by memory map, however large.

A token folder holds
    tokens-00000.bin …   the ids of whole documents, end to end; uint16, or uint32 for a large vocabulary
    learnt-00000.bin …   a bit for each of them: whether the model learns what follows it
    documents.npy        a row per document: DOCUMENT
    tokens.json          the vocabulary's sha256, the dtype, domains and licences with their counts, the shards' sha256
all little-endian; tokens.json is written last, so a folder that has one is whole. (The layout is that of
Megatron's indexed datasets: NVIDIA/Megatron-LM `megatron/core/datasets/indexed_dataset.py`, with the bits added.)

It reads what `haina/data/encode.py` writes. It does not know how rows are made of documents (`haina/data/pack.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from haina.text.messages import IGNORED
from haina.text.tokenizer import Tokenizer
from haina.wording import say

DOCUMENT = np.dtype(
    [
        ("start", "<i8"),  # its first token, counted from the beginning of its shard
        ("length", "<i4"),  # tokens
        ("bytes", "<i4"),  # of its text in UTF-8, for bits per byte
        ("weight", "<f4"),  # how often an epoch shows it
        ("shard", "<u2"),
        ("domain", "<u2"),  # its place in `Tokens.domains`
        ("flags", "<u2"),
    ]
)
CHAT, BY_CHARACTER = 1, 2  # flags
FORMAT = "haina tokens 1"


@dataclass(frozen=True)
class Tokens:
    """An open token folder."""

    folder: Path
    documents: np.ndarray  # of DOCUMENT
    about: Mapping[str, Any]  # tokens.json

    @classmethod
    def open(cls, folder: str | Path, *, tokenizer: Tokenizer | None = None, verify: bool = True) -> Tokens:
        """ValueError, one line: a file is missing, cut off or changed, or `tokenizer` is not the one used.

        verify=False compares lengths only, not the sha256 of every file.
        """
        folder = Path(folder)
        about = _about(folder)
        if tokenizer is not None and tokenizer.sha256 != about["tokenizer"]:
            raise ValueError(
                say(
                    f"{folder}: was encoded with another vocabulary than {tokenizer.file}; encode it again",
                    f"{folder}：编码时所用的词表不是 {tokenizer.file}；请重新编码",
                )
            )
        for name, expected in about["files"].items():
            _check(folder / name, expected, verify=verify)
        return cls(folder, np.load(folder / "documents.npy"), about)

    @property
    def domains(self) -> dict[str, dict[str, int]]:
        """Domain → its counts: documents, tokens, bytes; in the order of the column `domain`."""
        return dict(self.about["domains"])

    @property
    def total_tokens(self) -> int:
        return sum(counts["tokens"] for counts in self.domains.values())

    def piece(self, document: int, at: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids, targets) of tokens [at, at + length) of a document; IGNORED where nothing is learnt.

        The target is the token that follows, and eos where a user would speak: an answer learns to end
        (baichuan-inc/Baichuan2 `fine-tune/fine-tune.py`).
        """
        row = self.documents[document]
        tokens, learnt = self._shards[row["shard"]]
        first = int(row["start"]) + at
        ids = tokens[first : first + length].astype(np.int32)
        if at + length < row["length"]:
            follows = tokens[first + 1 : first + length + 1].astype(np.int32)
        else:
            follows = np.append(ids[1:], np.int32(IGNORED))
        bits = np.unpackbits(learnt[first // 8 : (first + length + 7) // 8], bitorder="little")
        targets = np.where(bits[first % 8 : first % 8 + length], follows, IGNORED)
        targets[targets == self.about["user_id"]] = self.about["eos_id"]
        return ids, targets

    @cached_property
    def _shards(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            (
                np.memmap(folder / f"tokens-{n:05}.bin", self.about["dtype"], "r"),
                np.memmap(folder / f"learnt-{n:05}.bin", np.uint8, "r"),
            )
            for folder, shards in self.about.get("joined", [(self.folder, self.about["shards"])])
            for n in range(shards)
        ]


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Several folders of one vocabulary as one: documents of equal domains are one domain. One folder is itself.

    ValueError: their ids of roles differ.
    """
    first, *others = parts
    if not others:
        return first
    for part in others:
        if any(part.about[key] != first.about[key] for key in ("tokenizer", "dtype", "eos_id", "user_id")):
            raise ValueError(
                say(
                    f"{part.folder}: encoded in another way than {first.folder}; encode both with one vocabulary",
                    f"{part.folder}：编码方式与 {first.folder} 不同；请用同一词表与对话格式重新编码",
                )
            )
    names = list(dict.fromkeys(name for part in parts for name in part.domains))
    counts = ("documents", "tokens", "bytes")
    domains = {n: {c: sum(p.domains.get(n, {}).get(c, 0) for p in parts) for c in counts} for n in names}
    documents, folders, shards = [], [], 0
    for part in parts:
        own = part.documents.copy()
        own["shard"] += shards
        own["domain"] = np.array([names.index(name) for name in part.domains], "<u2")[own["domain"]]
        documents.append(own)
        folders.append((part.folder, part.about["shards"]))
        shards += part.about["shards"]
    origin = " ".join(str(part.about["source"] or "–") for part in parts)
    licences = Counter[str]()
    for part in parts:
        licences.update(part.about.get("licences", {}))
    about = {
        **first.about,
        "domains": domains,
        "licences": dict(licences),
        "joined": folders,
        "shards": shards,
        "source": origin,
    }
    return Tokens(first.folder, np.concatenate(documents), about)


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _about(folder: Path) -> dict[str, Any]:
    file = folder / "tokens.json"
    try:
        about = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ValueError(
            say(
                f"{folder}: no tokens.json, so it is no whole token folder; encode the corpus (again)",
                f"{folder}：缺少 tokens.json，不是完整的词元目录；请（重新）编码语料",
            )
        ) from None
    except ValueError:
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(
            say(
                f"{file}: not written by this version; encode the corpus again",
                f"{file}：并非由此版本写成；请重新编码语料",
            )
        )
    return about


def _check(file: Path, expected: Mapping[str, Any], *, verify: bool) -> None:
    size = file.stat().st_size if file.exists() else 0
    if size != expected["bytes"]:
        raise ValueError(
            say(
                f"{file}: {size:,} bytes instead of {expected['bytes']:,}; encode the corpus again",
                f"{file}：应为 {expected['bytes']:,} 字节，实为 {size:,} 字节；请重新编码语料",
            )
        )
    if verify and sha256_of(file) != expected["sha256"]:
        raise ValueError(
            say(
                f"{file}: its contents have changed since it was written; encode the corpus again",
                f"{file}：写成之后内容有变；请重新编码语料",
            )
        )
