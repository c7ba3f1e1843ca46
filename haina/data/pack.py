"""Documents as rows of a fixed length, and batches of rows by global sample index.

Nothing is thrown away: a document longer than a row is cut into pieces, and the pieces fill rows best fit, longest
first: each goes where it leaves the least room (Ding et al., arXiv:2404.10830). Batch number n is a pure function of n
and the seed, whatever the number of machines: a resumed run sees what an uninterrupted one sees, and its state is a
number. `Samples` reads a token folder as it goes, `Rows` lies in memory. It knows token ids only, neither text nor
models.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np

from haina.data.tokens import Tokens
from haina.text.messages import IGNORED
from haina.wording import say


@dataclass(frozen=True)
class Rows:
    """Packed rows: `ids_NT` and, for each token, the id to predict after it (IGNORED: nothing)."""

    ids_NT: np.ndarray
    targets_NT: np.ndarray

    def batch(self, step: int, rows: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the batch of `step` (B, T): every epoch visits each row once, in its own order."""
        samples = np.arange(step * rows, (step + 1) * rows)
        epochs, places = np.divmod(samples, len(self.ids_NT))
        chosen = [_order(len(self.ids_NT), int(e), seed)[p] for e, p in zip(epochs, places, strict=True)]
        return self.ids_NT[chosen], self.targets_NT[chosen]


@lru_cache(maxsize=2)  # a batch may lie across two epochs
def _order(count: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def pack(documents: Iterable[tuple[np.ndarray, np.ndarray]], length: int) -> Rows:
    """Fill rows of `length` with (ids, targets) documents; what stays empty is id 0 with target IGNORED."""
    pieces = [
        (ids[at : at + length], targets[at : at + length])
        for ids, targets in documents
        for at in range(0, len(ids), length)
    ]
    pieces.sort(key=lambda piece: -len(piece[0]))
    rows = best_fit([len(ids) for ids, _ in pieces], length)
    packed_ids = np.zeros((len(rows), length), np.int32)
    packed_targets = np.full((len(rows), length), IGNORED, np.int32)
    for row, numbers in enumerate(rows):
        at = 0
        for ids, targets in (pieces[n] for n in numbers):
            packed_ids[row, at : at + len(ids)] = ids
            packed_targets[row, at : at + len(ids)] = targets
            at += len(ids)
    return Rows(packed_ids, packed_targets)


def best_fit(sizes: list[int], length: int) -> list[list[int]]:
    """Rows of piece numbers: each piece, in the order given, into the row with the least room that holds it."""
    rows: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # free tokens → rows that have as many
    rooms: list[int] = []  # the keys of with_room, ascending
    for number, size in enumerate(sizes):
        at = bisect_left(rooms, size)
        if at == len(rooms):
            room, row = length, len(rows)
            rows.append([])
        else:
            room = rooms[at]
            row = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[at]
        rows[row].append(number)
        if room - size not in with_room:
            insort(rooms, room - size)
        with_room.setdefault(room - size, []).append(row)
    return rows


@dataclass(frozen=True)
class Batch:
    """Rows of a batch. documents_BT numbers the documents of a row from 0 (what stays empty is a document of its
    own); positions_BT counts from 0 in each of them."""

    ids_BT: np.ndarray
    targets_BT: np.ndarray
    documents_BT: np.ndarray
    positions_BT: np.ndarray


class Samples:
    """Rows of `length` tokens by global sample index, read from a token folder as they are asked for.

    An epoch shows each document as often as its own weight times that of its domain says: 2.5 is twice or three
    times, by a coin that falls the same way every time. A document longer than a row is cut. Sample n is a pure
    function of n and the seed.
    """

    def __init__(
        self, tokens: Tokens, length: int, *, mixture: Mapping[str, float] | None = None, seed: int = 0
    ) -> None:
        """mixture: domain → weight; one that is not named has weight 1. ValueError: no such domain, or nothing left."""
        self.tokens, self.length, self.seed = tokens, length, seed
        self._weights = _weights(tokens, mixture or {})
        self._starts = [0]  # of epochs, in samples
        self._kept: dict[int, Epoch] = {}

    def rows_of_epoch(self, epoch: int) -> int:
        return len(self._epoch(epoch))

    def batch(self, number: int, rows: int) -> Batch:
        return self.at(range(number * rows, (number + 1) * rows))

    def at(self, samples: Iterable[int]) -> Batch:
        rows = [self._row(sample) for sample in samples]
        return Batch(*(np.stack(column) for column in zip(*rows, strict=True)))

    def _row(self, sample: int) -> tuple[np.ndarray, ...]:
        epoch = self._epoch_of(sample)
        pieces = self._epoch(epoch).row(sample - self._starts[epoch])
        ids, targets = np.zeros(self.length, np.int32), np.full(self.length, IGNORED, np.int32)
        documents, positions = (np.zeros(self.length, np.int32) for _ in range(2))
        at = 0
        for number, (document, first, size) in enumerate(pieces):
            here = slice(at, at + size)
            ids[here], targets[here] = self.tokens.piece(document, first, size)
            documents[here], positions[here] = number, np.arange(size)
            at += size
        documents[at:], positions[at:] = len(pieces), np.arange(self.length - at)
        return ids, targets, documents, positions

    def _epoch_of(self, sample: int) -> int:
        while sample >= self._starts[-1]:
            self._starts.append(self._starts[-1] + len(self._epoch(len(self._starts) - 1)))
        return bisect_right(self._starts, sample) - 1

    def _epoch(self, number: int) -> Epoch:
        if number not in self._kept:
            lengths = self.tokens.documents["length"]
            made = Epoch.of(lengths, self._weights, self.length, np.random.default_rng((self.seed, number)))
            self._kept = {n: epoch for n, epoch in self._kept.items() if n == number - 1} | {number: made}
        return self._kept[number]


@dataclass(frozen=True)
class Epoch:
    """Which pieces lie in which row. Row n holds the pieces order[ends[n - 1] : ends[n]]."""

    document_N: np.ndarray  # of each piece
    first_N: np.ndarray  # its first token in the document
    size_N: np.ndarray
    order_N: np.ndarray
    ends_R: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray, weights: np.ndarray, length: int, chance: np.random.Generator) -> Epoch:
        times = np.floor(weights + chance.random(len(weights))).astype(np.int64)
        shown = chance.permutation(np.repeat(np.arange(len(lengths)), times))
        pieces = -(-lengths[shown].astype(np.int64) // length)
        document_N = np.repeat(shown, pieces)
        first_N = length * (np.arange(len(document_N)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
        size_N = np.minimum(lengths[document_N] - first_N, length)
        longest = np.argsort(-size_N, kind="stable")
        rows = best_fit(size_N[longest].tolist(), length)
        rows = [rows[n] for n in chance.permutation(len(rows))]
        order_N = longest[np.fromiter(chain.from_iterable(rows), np.int64, len(longest))]
        return cls(document_N, first_N, size_N, order_N, np.cumsum([len(row) for row in rows]))

    def __len__(self) -> int:
        return len(self.ends_R)

    def row(self, number: int) -> list[tuple[int, int, int]]:
        """(document, first token, tokens) of each piece of a row."""
        chosen = self.order_N[self.ends_R[number - 1] if number else 0 : self.ends_R[number]]
        columns = (self.document_N[chosen], self.first_N[chosen], self.size_N[chosen])
        return list(zip(*(column.tolist() for column in columns), strict=True))


def _weights(tokens: Tokens, mixture: Mapping[str, float]) -> np.ndarray:
    """How often an epoch shows each document."""
    domains = list(tokens.domains)
    for name, weight in mixture.items():
        if name not in domains:
            raise ValueError(
                say(
                    f"{tokens.folder}: no domain {name}; there are: {', '.join(domains)}",
                    f"{tokens.folder}：没有 {name} 这个领域；可用：{'、'.join(domains)}",
                )
            )
        if not 0 <= weight < 1000:
            raise ValueError(
                say(
                    f"the weight of {name} is {weight}; it must lie between 0 and 1000",
                    f"{name} 的权重为 {weight}，应在 0 到 1000 之间",
                )
            )
    by_domain = np.array([mixture.get(name, 1.0) for name in domains])
    weights = tokens.documents["weight"] * by_domain[tokens.documents["domain"]]
    if not weights.any():
        raise ValueError(
            say(
                f"{tokens.folder}: every weight is 0, so there is nothing to show; raise one",
                f"{tokens.folder}：所有权重均为 0，没有可用的文档；请调高其中之一",
            )
        )
    return np.asarray(weights)
