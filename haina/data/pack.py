"""Documents as rows of a fixed length, and batches of rows by global sample index.

Nothing is thrown away: a document longer than a row is cut into pieces, and the pieces fill rows first fit,
longest first. Batch number n is a pure function of n and the seed, whatever the number of machines, so a
resumed run sees what an uninterrupted one sees. It knows token ids only, neither text nor models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

IGNORE = -100  # a target that is not learned


@dataclass(frozen=True)
class Rows:
    """Packed rows: `ids_NT` and, for each token, the id to predict after it (IGNORE: nothing)."""

    ids_NT: np.ndarray
    targets_NT: np.ndarray

    def batch(self, step: int, rows: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the batch of `step` (B, T): every epoch visits each row once, in its own order."""
        samples = np.arange(step * rows, (step + 1) * rows)
        epochs, places = np.divmod(samples, len(self.ids_NT))
        chosen = [_order(len(self.ids_NT), int(e), seed)[p] for e, p in zip(epochs, places, strict=True)]
        return self.ids_NT[chosen], self.targets_NT[chosen]


def _order(count: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def pack(documents: Iterable[tuple[np.ndarray, np.ndarray]], length: int) -> Rows:
    """Fill rows of `length` with (ids, targets) documents; what stays empty is id 0 with target IGNORE."""
    pieces = [
        (ids[at : at + length], targets[at : at + length])
        for ids, targets in documents
        for at in range(0, len(ids), length)
    ]
    pieces.sort(key=lambda piece: -len(piece[0]))
    rows: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # free tokens → rows that have as many
    for number, (ids, _) in enumerate(pieces):
        free = next((f for f in range(len(ids), length) if with_room.get(f)), None)
        row = with_room[free].pop() if free is not None else len(rows)
        if free is None:
            rows.append([])
        rows[row].append(number)
        with_room.setdefault((free or length) - len(ids), []).append(row)
    packed_ids = np.zeros((len(rows), length), np.uint16)
    packed_targets = np.full((len(rows), length), IGNORE, np.int32)
    for row, numbers in enumerate(rows):
        at = 0
        for ids, targets in (pieces[n] for n in numbers):
            packed_ids[row, at : at + len(ids)] = ids
            packed_targets[row, at : at + len(ids)] = targets
            at += len(ids)
    return Rows(packed_ids, packed_targets)
