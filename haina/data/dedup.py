"""Duplicates among documents, paragraphs and sentences, exact and near, as scores that sampling uses.

The idea is Baichuan's (arXiv:2309.10305, 2.1): what stands often is sampled seldom instead of being deleted line by
line. Of near-duplicate documents one is kept. In what is kept, a sentence or paragraph that stands c times counts 1/c
each time, so that every distinct one is drawn about once: a document's weight is the share of it that counts, and 0
where it is dropped. FineWeb-2's re-sampling by size of cluster is an option.

Near means MinHash with locality-sensitive hashing (Broder, 1997; Indyk and Motwani, 1998) over 5 characters, letters
and digits alone: two texts of Jaccard similarity s meet in a band of r hashes with probability s^r. Exact means equal
letters and digits. Keys are made per shard, by any number of workers, and lie on disk as .npy; bands are then sorted
one after another, in parts that fit in memory. No result depends on the number of shards, and none but which of
several equal texts is kept depends on their order. It knows texts as numbers; it does not know sources or files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haina.data.words import words
from haina.native.minhash import minhash, unite
from haina.text.normalize import sentence_ends


@dataclass(frozen=True)
class Level:
    """`bands` of `rows` hashes; half of all pairs are found at about similarity (ln 2 / bands)^(1/rows).

    Units of fewer than `least` characters are duplicates of nothing: "谢谢。" stands everywhere.
    """

    name: str
    bands: int
    rows: int
    least: int


DOCUMENTS = Level("documents", 14, 8, 1)  # FineWeb's: .8 is found with probability .92, .5 with .05
PARAGRAPHS = Level("paragraphs", 6, 6, 20)
SENTENCES = Level("sentences", 4, 5, 10)
LEVELS = (DOCUMENTS, PARAGRAPHS, SENTENCES)

# size of cluster from → weight; huggingface/fineweb-2@d0defb2, README
FINEWEB2 = {1: 1.0, 2: 2.0, 3: 3.0, 5: 5.0, 100: 8.0, 1000: 1.0}


_BATCH_CHARS = 1 << 20  # read together: a call for a document alone costs more than its work
_PARTS = ("keys", "chars", "document")
_BYTES_A_KEY = 40  # while a band is sorted


@dataclass(frozen=True)
class Units:
    """The units of one level in a shard: keys (1+bands, U) uint64; chars and document (U) int64, rising."""

    keys: np.ndarray
    chars: np.ndarray
    document: np.ndarray


@dataclass(frozen=True)
class Keys:
    """What one shard contributes: so many documents, in order, and their units at each level."""

    documents: int
    levels: Mapping[str, Units]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Keys:
        """Keys of the documents of a shard; about a million characters are held at a time."""
        pieces: dict[str, list[Units]] = {level.name: [_nothing(level)] for level in LEVELS}
        count = 0
        for batch in _batches(texts):
            for level, units in _units(batch, count):
                pieces[level.name].append(units)
            count += len(batch)
        return cls(count, {name: _joined(units) for name, units in pieces.items()})

    def save(self, folder: Path) -> None:
        """Three .npy files a level."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, units in self.levels.items():
            for part in _PARTS:
                np.save(folder / f"{name}-{part}.npy", getattr(units, part))

    @classmethod
    def open(cls, folder: Path) -> Keys:
        """Mapped, not read: a band is a row of the file."""

        def units(level: Level) -> Units:
            return Units(*(np.load(folder / f"{level.name}-{part}.npy", mmap_mode="r") for part in _PARTS))

        levels = {level.name: units(level) for level in LEVELS}
        return cls(len(levels[DOCUMENTS.name].chars), levels)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        if chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _units(texts: list[str], first: int) -> Iterator[tuple[Level, Units]]:
    """The units of documents number `first` and on; short ones are left out, but for documents."""
    joined = "\n".join(texts)
    found = words.__wrapped__(joined)  # not to be kept
    document_ends = np.cumsum([len(text) + 1 for text in texts])
    line_ends = [*(newline.end() for newline in re.finditer("\n", joined)), len(joined)]
    all_ends = (document_ends, np.array(line_ends), np.array(sentence_ends(joined)))
    for level, ends in zip(LEVELS, all_ends, strict=True):
        begins = np.concatenate([[0], ends])
        starts = np.searchsorted(found.at_C, begins).astype(np.int64)
        chars = np.diff(starts)
        document = np.searchsorted(document_ends, begins[:-1], side="right") + first
        keys = minhash(found.folded_C, starts, level.bands, level.rows)
        long = slice(None) if level is DOCUMENTS else chars >= level.least
        yield level, Units(keys[:, long], chars[long], document[long].astype(np.int64))


def _nothing(level: Level) -> Units:
    none = np.empty(0, np.int64)
    return Units(np.empty((1 + level.bands, 0), np.uint64), none, none)


def _joined(units: Sequence[Units]) -> Units:
    return Units(*(np.concatenate([getattr(one, part) for one in units], axis=-1) for part in _PARTS))


@dataclass(frozen=True)
class Scores:
    """Of the N documents of all shards, in order. A corpus keeps a document's row() beside its text.

    cluster_N: how many near-duplicates there are of it, itself among them; kept_N: whether it is the one that stays;
    exact_N: whether it goes because its letters are those of the one that stays. paragraphs_N, sentences_N: the share
    of its characters in units that stand again elsewhere or in itself, 0 if it goes. weight_N: how often to sample it.
    """

    cluster_N: np.ndarray
    kept_N: np.ndarray
    exact_N: np.ndarray
    paragraphs_N: np.ndarray
    sentences_N: np.ndarray
    weight_N: np.ndarray
    shards: tuple[int, ...]  # documents of each

    def rows(self, shard: int) -> range:
        """The numbers of a shard's documents."""
        start = sum(self.shards[:shard])
        return range(start, start + self.shards[shard])

    def row(self, number: int) -> dict[str, float | int | bool]:
        return {
            "cluster": int(self.cluster_N[number]),
            "kept": bool(self.kept_N[number]),
            "exact": bool(self.exact_N[number]),
            "paragraphs": round(float(self.paragraphs_N[number]), 4),
            "sentences": round(float(self.sentences_N[number]), 4),
            "weight": round(float(self.weight_N[number]), 4),
        }


def scores(
    shards: Sequence[Keys], *, resample: Mapping[int, float] | None = None, memory_bytes: int = 1 << 30
) -> Scores:
    """Compare all documents of all shards. resample: size of cluster from → what to multiply the weight by.

    memory_bytes bounds what is sorted at once; besides, 16 bytes per sentence are needed.
    """
    everything = np.ones(sum(shard.documents for shard in shards), bool)
    roots = _clusters(shards, DOCUMENTS, everything, memory_bytes)
    chars = _column(shards, DOCUMENTS, "chars")
    hashes = np.concatenate([_nothing(DOCUMENTS).keys[0], *_rows(shards, DOCUMENTS, 0)])
    sizes = np.bincount(roots, minlength=len(roots))[roots]
    # The longest; of equally long ones the lowest hash; of equal ones the first.
    order = np.lexsort((hashes, -chars, roots))
    best = order[np.concatenate([[True], np.diff(roots[order]) > 0])] if len(order) else order
    kept = np.zeros(len(roots), bool)
    kept[best] = True
    stays = np.empty(len(roots), np.int64)
    stays[roots[best]] = best
    paragraphs, spare = _repeated(shards, PARAGRAPHS, kept, chars, memory_bytes)
    sentences, spare_too = _repeated(shards, SENTENCES, kept, chars, memory_bytes)
    weight = 1 - np.maximum(spare, spare_too)
    if resample:
        steps = sorted(resample)
        step = np.searchsorted(steps, sizes, side="right") - 1
        weight *= np.array([resample[at] for at in steps])[step]
    return Scores(
        cluster_N=sizes,
        kept_N=kept,
        exact_N=~kept & (hashes == hashes[stays[roots]]),
        paragraphs_N=paragraphs,
        sentences_N=sentences,
        weight_N=np.where(kept, weight, 0),
        shards=tuple(shard.documents for shard in shards),
    )


def _repeated(
    shards: Sequence[Keys], level: Level, kept: np.ndarray, chars: np.ndarray, memory_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per document, as shares of its characters: those in units that stand c > 1 times, and c-1 of every c of them."""
    roots = _clusters(shards, level, kept, memory_bytes)
    times = np.bincount(roots, minlength=len(roots))[roots]
    unit_chars = _column(shards, level, "chars")
    owner = _owners(shards, level)

    def share(counted: np.ndarray) -> np.ndarray:
        shares: np.ndarray = np.bincount(owner, counted, minlength=len(chars)) / np.maximum(chars, 1) * kept
        return shares

    return share(unit_chars * (times > 1)), share(unit_chars * (1 - 1 / times))


def _clusters(shards: Sequence[Keys], level: Level, wanted: np.ndarray, memory_bytes: int) -> np.ndarray:
    """For each unit the smallest number of a unit that it is joined to; units of unwanted documents stay alone."""
    joins = wanted[_owners(shards, level)] & (_column(shards, level, "chars") >= level.least)
    parts = 1
    while parts * memory_bytes < np.count_nonzero(joins) * _BYTES_A_KEY:
        parts *= 2
    parent = np.arange(len(joins))
    for band in range(1 + level.bands):
        rows = _rows(shards, level, band)
        for part in range(parts):
            numbers, keys = _chosen(rows, joins, part, parts)
            order = np.argsort(keys, kind="stable")
            same = keys[order[1:]] == keys[order[:-1]]
            unite(numbers[order[:-1][same]], numbers[order[1:][same]], parent)
    while (parent != (higher := parent[parent])).any():
        parent = higher
    return parent


def _chosen(
    rows: Sequence[np.ndarray], joins: np.ndarray, part: int, parts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and keys of the units that join in, of those keys that end in `part`; parts is a power of two."""
    numbers, start = [], 0
    for row in rows:
        mine = (row & np.uint64(parts - 1)) == part
        numbers.append(np.flatnonzero(joins[start : start + len(row)] & mine) + start)
        start += len(row)
    starts = np.cumsum([0, *map(len, rows)])
    keys = [row[chosen - at] for row, chosen, at in zip(rows, numbers, starts, strict=False)]
    return np.concatenate([np.empty(0, np.int64), *numbers]), np.concatenate([np.empty(0, np.uint64), *keys])


def _rows(shards: Sequence[Keys], level: Level, band: int) -> list[np.ndarray]:
    return [shard.levels[level.name].keys[band] for shard in shards]


def _column(shards: Sequence[Keys], level: Level, part: str) -> np.ndarray:
    columns = [getattr(shard.levels[level.name], part) for shard in shards]
    return np.concatenate([np.empty(0, np.int64), *columns])


def _owners(shards: Sequence[Keys], level: Level) -> np.ndarray:
    """The number of each unit's document among all documents."""
    starts = np.cumsum([0, *(shard.documents for shard in shards)])
    owners = [shard.levels[level.name].document + at for shard, at in zip(shards, starts, strict=False)]
    return np.concatenate([np.empty(0, np.int64), *owners])
