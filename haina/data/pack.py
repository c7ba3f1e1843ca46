"""Documents as rows of a fixed length, and batches of rows by global sample index.

Nothing is thrown away: a document longer than a row is cut into pieces, and the pieces fill rows best fit,
longest first: each goes where it leaves the least room. Batch number n is a pure function of n and the seed,
whatever the number of machines, so a resumed run sees what an uninterrupted one sees. It knows token ids only,
neither text nor models.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from haina.text.messages import IGNORED


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
