"""Bits per byte: how many bits a network needs to say a text, for each byte of the text in UTF-8.

Charged are the tokens that are text. Marks are not: roles, the end of a document, character mode. Nor is the first
token of a text that no mark opens: nothing is trained to say it, so it is given, and its bytes do not count either. A
text longer than the context is read in windows, each token once, with half of the context or more before it.
Bits per byte compare across vocabularies; nats per token do not. It does not know where texts come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from haina.data.encode import Encoder, Encoding
from haina.engine.request import Score
from haina.evaluate.interval import Estimate, ratio
from haina.evaluate.subject import Progress, Subject
from haina.text.messages import Template
from haina.text.tokenizer import Tokenizer
from haina.wording import say

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Document:
    """The ids of a text or dialogue, which of them are charged for, and the bytes that those say."""

    domain: str
    ids: np.ndarray  # int64 (T)
    charged: np.ndarray  # bool (T)
    bytes: int


@dataclass(frozen=True)
class Reader:
    """Rows → Documents: {"text": …} or {"messages": [{"role": …, "content": …}]}, as training reads them.

    bos: whether the family puts one before a text; then the first token is charged, too.
    """

    tokenizer: Tokenizer
    template: Template
    bos: bool = False

    def __call__(self, row: Row, number: int) -> Document:
        """ValueError says what is wrong with row `number`, counted from 1."""
        if self.tokenizer.character_mode is None:
            row = _without_mode(row)
        encoding = Encoding(self.tokenizer.file, bos=self.bos, template=self.template)
        found = Encoder(encoding, self.tokenizer)(row, number)
        ids = found.ids.astype(np.int64)
        charged = ~np.isin(ids, sorted(self.tokenizer.control_ids - {self.tokenizer.unk_id}))
        given = int(ids[0]) if charged[0] else None
        charged[0] = False
        first = self.tokenizer.added_bytes(given, opening=True)[0] if given is not None else b""
        return Document(found.domain, ids, charged, found.bytes - len(first))


def _without_mode(row: Row) -> Row:
    plain = {key: value for key, value in row.items() if key != "by_character"}
    if isinstance(row.get("messages"), list):
        plain["messages"] = [
            {key: value for key, value in m.items() if key != "by_character"} if isinstance(m, dict) else m
            for m in row["messages"]
        ]
    return plain


def nats(subject: Subject, documents: Sequence[Document], progress: Progress) -> np.ndarray:
    """float64 (N): what the charged tokens of each document cost. ValueError: the network fails."""
    found = np.zeros(len(documents))
    windows = [(n, *window) for n, d in enumerate(documents) for window in _windows(d, subject.context)]
    scored = subject.scores(score for _, score, _ in windows)
    for done, ((n, _, charged), scores) in enumerate(zip(windows, scored, strict=True), 1):
        costs = [-token.nats for token in scores.tokens[0]]
        found[n] += float(np.dot(costs, charged))
        progress(done, len(windows))
    return found


def _windows(document: Document, context: int) -> Iterator[tuple[Score, np.ndarray]]:
    """What to score after what, and which of it is charged."""
    ids, end = document.ids.tolist(), len(document.ids)
    start = 1
    while start < end:
        before = 1 if start == 1 else context // 2
        stop = min(end, start + context - before)
        prompt, answer = tuple(ids[start - before : start]), tuple(ids[start:stop])
        yield Score(prompt, (answer,), top_logprobs=0), document.charged[start:stop]
        start = stop


def per_byte(cost_nats: np.ndarray, documents: Sequence[Document]) -> Estimate:
    """Bits per byte of documents together."""
    size_bytes = np.array([document.bytes for document in documents])
    return ratio(cost_nats / math.log(2), size_bytes)


def measure(subject: Subject, file: Path, rows: Iterable[Row], progress: Progress) -> dict[str, Any]:
    """The record of `haina evaluate bits-per-byte --json`: all of a file's rows, and each domain that they name."""
    read = Reader(subject.tokenizer, subject.template, subject.checkpoint.adds_bos)
    documents = [replace(read(row, n), domain=_domain(row)) for n, row in enumerate(rows, 1)]
    documents = [document for document in documents if document.bytes > 0]
    if not documents:
        raise ValueError(say(f"{file}: holds no text to measure", f"{file}：没有可测量的文本"))
    cost = nats(subject, documents, progress)
    domains = dict.fromkeys(["", *(document.domain for document in documents)])
    return {"file": str(file), "domains": [_record(domain, documents, cost) for domain in domains]}


def _domain(row: Row) -> str:
    return str(row.get("domain") or row.get("source") or "")


def _record(domain: str, documents: Sequence[Document], cost: np.ndarray) -> dict[str, Any]:
    """Of the documents of a domain; "": of all."""
    chosen = [n for n, document in enumerate(documents) if document.domain == domain or not domain]
    some = [documents[n] for n in chosen]
    found = per_byte(cost[chosen], some)
    tokens, size_bytes = sum(int(d.charged.sum()) for d in some), sum(d.bytes for d in some)
    return {
        "domain": domain,
        "bits_per_byte": found.value,
        "interval_95": [found.low, found.high],
        "nats_per_token": float(cost[chosen].sum()) / max(tokens, 1),
        "documents": len(some),
        "tokens": tokens,
        "bytes": size_bytes,
    }
