"""The texts of the bits: a sample of each held-out domain, and the training text that the rivals are given.

The same documents each time: they are taken in the order of a hash of their ids, each up to a length, until a domain
has its bytes. It does not know what is measured on them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haina.data.brook.base import base
from haina.data.brook.exchange import share
from haina.data.encode import Encoder, Encoding
from haina.data.tokens import CHAT, Tokens
from haina.evaluate.ngram import Text
from haina.evaluate.subject import Subject

Row = Mapping[str, Any]
SHARE = 0.12  # of the training documents are read where there is no token folder


def held_out(data: Path, most_bytes: int, most_characters: int) -> dict[str, list[Row]]:
    """Domain → documents of the `valid` part, cut short."""
    return _some(base(data, "valid"), most_bytes, most_characters)


def _some(found: Iterable[Row], most_bytes: int, most_characters: int) -> dict[str, list[Row]]:
    domains: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        domains[row["domain"]].append(_cut(row, most_characters))
    return {name: _enough(rows, most_bytes) for name, rows in domains.items()}


def _enough(rows: list[Row], most_bytes: int) -> list[Row]:
    taken, size = [], 0
    for row in sorted(rows, key=lambda row: share(_name(row))):
        if size >= most_bytes:
            break
        taken.append(row)
        size += len(plain(row).encode())
    return taken


def _name(row: Row) -> str:
    return f"{row['source']} {row['id']}"


def _cut(row: Row, most_characters: int) -> Row:
    """The beginning of a text, or the first turns of a dialogue, at least two."""
    if "text" in row:
        return {**row, "text": row["text"][:most_characters]}
    kept: list[Row] = []
    size = 0
    for message in row["messages"]:
        size += len(message["content"])
        if len(kept) >= 2 and len(kept) % 2 == 0 and size > most_characters:
            break
        kept.append(message)
    return {**row, "messages": kept}


def plain(row: Row) -> str:
    """What a document says, without marks."""
    return row["text"] if "text" in row else "\n".join(m["content"] for m in row["messages"])


@dataclass(frozen=True)
class Training:
    """What the network was trained on, for the n-grams as ids, and for the compressors some text of each domain."""

    text: Text
    texts: Mapping[str, bytes]
    whole: bool  # whether `text` is all of it


def of_tokens(folder: Path, subject: Subject, domains: Iterable[str], most_bytes: int) -> Training:
    """From a token folder of the run. ValueError: it is none, or one of another vocabulary."""
    tokens = Tokens.open(folder, tokenizer=subject.tokenizer, verify=False)
    shards = [
        np.memmap(folder / f"tokens-{n:05}.bin", tokens.about["dtype"], "r")
        for n in range(tokens.about["shards"])
    ]
    text = Text(shards, tokens.about["eos_id"], subject.tokenizer.size)
    names = list(tokens.domains)
    seen = {
        name: _decoded(tokens, names.index(name), shards, subject, most_bytes)
        for name in domains
        if name in names
    }
    return Training(text, seen, whole=True)


def _decoded(tokens: Tokens, domain: int, shards: Sequence[np.ndarray], subject: Subject, most: int) -> bytes:
    """Documents of a domain by chance, decoded, until they are so many bytes."""
    rows = tokens.documents[tokens.documents["domain"] == domain]
    parts: list[bytes] = []
    size = 0
    for row in np.random.default_rng(0).permutation(rows):
        if size >= most:
            break
        ids = shards[row["shard"]][row["start"] : row["start"] + row["length"]].tolist()
        parts.append(b"\n".join(text.encode() for text in _turns(ids, row["flags"] & CHAT, subject)))
        size += len(parts[-1])
    return b"\n".join(parts)[:most]


def _turns(ids: list[int], chat: int, subject: Subject) -> Iterator[str]:
    if not chat:
        yield subject.tokenizer.decode(ids)
        return
    roles, turn = (subject.template.user_id, subject.template.assistant_id), list[int]()
    for id in ids:
        if id in roles and turn:
            yield subject.tokenizer.decode(turn)
        turn = [] if id in roles else [*turn, id]
    yield subject.tokenizer.decode(turn)


def of_data(data: Path, subject: Subject, most_bytes: int) -> Training:
    """From the data pack: a share of the documents, up to `most_bytes` of each domain, encoded here."""
    read = (row for row in base(data, "train") if share(_name(row)) < SHARE)
    domains = _some(read, most_bytes, 1 << 20)
    mode = subject.tokenizer.character_mode is not None
    encoder = Encoder(Encoding(subject.tokenizer.file, template=subject.template), subject.tokenizer)
    shown = [
        row if mode else {k: v for k, v in row.items() if k != "by_character"}
        for found in domains.values()
        for row in found
    ]
    ids = [encoder(row, number).ids for number, row in enumerate(shown, 1)]
    text = Text([np.concatenate(ids)], subject.template.eos_id, subject.tokenizer.size)
    seen = {name: "\n".join(map(plain, rows)).encode()[:most_bytes] for name, rows in domains.items()}
    return Training(text, seen, whole=False)
