"""The steps of building a corpus, each a function that datatrove's executors call with the number of a task.

Judge reads the files of one part and writes what stays with the keys of its texts; Decide compares all parts; Write
leaves the duplicates out. A task depends on its part alone and writes a file whole or not at all, so that neither the
number of workers nor an interruption shows in the result. It does not know executors nor recipes' spelling.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from haina.data.clean import clean
from haina.data.dedup import FINEWEB2, Keys, Scores, scores
from haina.data.document import Document
from haina.data.filters import RULES, Rule, why_dropped
from haina.data.language import language
from haina.data.overlap import Evaluation
from haina.data.private import redact
from haina.data.quality import Scorer
from haina.data.readers import Unreadable, read
from haina.data.recipe import Recipe, Source
from haina.data.tally import Tally

ZSTD_LEVEL, BRIEFLY = 6, 1  # of what is kept, and of what only the next stage reads
_wire = json.JSONEncoder(ensure_ascii=False).encode
EVALUATION, QUALITY = "evaluation.npz", "quality.npz"


@dataclass(frozen=True)
class Part:
    """Files of one source that a task reads, and what they are called."""

    source: Source
    files: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class Judge:
    """Stage 1, a task per part: read, clean, tell the language, filter, redact, look for evaluation sets, score."""

    recipe: Recipe
    parts: tuple[Part, ...]
    work: Path

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        part, folder = self.parts[rank], self.work / "read"
        folder.mkdir(exist_ok=True)
        keys = self.work / "keys" / f"{rank:05}"
        tally, ids = Tally(part.source.name), bytearray()

        def texts() -> Iterator[str]:
            rows = (self._row(document) for document in self._kept(part, tally))
            for row in written(folder / f"{rank:05}.jsonl.zst", rows, BRIEFLY):
                ids.extend(hashlib.blake2b(row["id"].encode("utf-8", "replace"), digest_size=8).digest())
                yield text_of(row)

        Keys.of(texts()).save(keys)
        np.save(keys / "ids.npy", np.frombuffer(bytes(ids), "<u8"))
        tally.files = [_described(file, name) for file, name in part.files]
        tally.save(folder / f"{rank:05}.json")

    def _kept(self, part: Part, tally: Tally) -> Iterator[Document]:
        for file, name in part.files:
            for document in read(file, name, part.source.reading(), part.source.name):
                if isinstance(document, Unreadable):
                    tally.drop(document.reason, document.where)
                    continue
                tally.read.add(document.text)
                document, reason = self.judge(document, part.source, tally)
                if reason is None:
                    yield document
                else:
                    tally.drop(reason, redact(document.text[:1000])[0])

    def judge(self, given: Document, source: Source, tally: Tally) -> tuple[Document, str | None]:
        """The document as it would be kept, and the reason why it is not."""
        document = self._each_text(given, lambda text: clean(text, script=self.recipe.script))  # type: ignore[arg-type]
        tally.changed["clean"] += document.text != given.text
        found, confidence = (source.language, 1.0) if source.language else language(document.text)
        reason = self._unwanted(document, source, found, confidence)
        if reason is None and self.recipe.redact:
            before = document.text
            document = self._each_text(document, lambda text: _redacted(text, tally))
            tally.changed["redact"] += document.text != before
        if reason is None and self.recipe.evaluation and (name := self._evaluation.found(document.text)):
            reason = f"evaluation: {name}"
        meta = dict(document.meta)
        if reason is None and self._scorer:
            meta["quality"] = round(self._scorer.score(document.text), 4)
            reason = "quality" if meta["quality"] < self.recipe.quality.least else None
        return _changed(document, document.text, meta, found), reason

    def _unwanted(self, document: Document, source: Source, found: str, confidence: float) -> str | None:
        if not (self.recipe.allow_unlicensed or self.recipe.allows(document.licence)):
            return "licence"
        if not document.text.strip():
            return "no_text"
        if found not in self.recipe.languages or confidence < self.recipe.language_confidence:
            return "language"
        return why_dropped(document.text, found, self._rules.get((source.name, found), ()))

    @cached_property
    def _rules(self) -> dict[tuple[str, str], tuple[Rule, ...]]:
        return {(one.name, of): self.recipe.rules(one, of) for one in self.recipe.source for of in RULES}

    def _each_text(self, document: Document, change: Any) -> Document:
        """With its text changed, of a conversation every message by itself."""
        if "messages" not in document.meta:
            return _changed(document, change(document.text), document.meta)
        messages = [{**one, "content": change(one["content"])} for one in document.meta["messages"]]
        text = "\n".join(one["content"] for one in messages)
        return _changed(document, text, {**document.meta, "messages": messages})

    def _row(self, document: Document) -> dict[str, Any]:
        body = (
            {"messages": document.meta["messages"]}
            if "messages" in document.meta
            else {"text": document.text}
        )
        row = {
            **body,
            "id": document.id,
            "source": document.source,
            "licence": document.licence,
            "language": document.language,
            "domain": document.meta["domain"] or document.source,
        }
        return row | ({"quality": document.meta["quality"]} if "quality" in document.meta else {})

    @cached_property
    def _evaluation(self) -> Evaluation:
        return Evaluation.open(self.work / EVALUATION)

    @cached_property
    def _scorer(self) -> Scorer | None:
        return Scorer.open(self.work / QUALITY) if self.recipe.quality.good else None


def _changed(document: Document, text: str, meta: Any, found: str = "") -> Document:
    return Document(text, document.id, document.source, document.licence, found, meta)


def _redacted(text: str, tally: Tally) -> str:
    text, found = redact(text)
    tally.redacted.update(found)
    return text


def _described(file: Path, name: str) -> dict[str, Any]:
    return {"path": name, "bytes": file.stat().st_size, "sha256": sha256(file)}


@dataclass(frozen=True)
class Decide:
    """Stage 2, one task: the scores of all documents, and which ids stood before."""

    recipe: Recipe
    parts: tuple[Part, ...]
    work: Path

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        folders = [self.work / "keys" / f"{number:05}" for number in range(len(self.parts))]
        found = scores(
            [Keys.open(one) for one in folders], resample=FINEWEB2 if self.recipe.resample else None
        )
        folder = self.work / "scores"
        folder.mkdir(exist_ok=True)
        for one in fields(Scores):
            np.save(folder / f"{one.name}.npy", np.array(getattr(found, one.name)))
        kept = found.kept_N | (not self.recipe.drop_duplicates)
        sources = np.repeat([_number(part, self.parts) for part in self.parts], found.shards)
        ids = np.concatenate([np.load(one / "ids.npy") for one in folders])
        np.save(folder / "times.npy", _times(ids, sources, kept))


def _number(part: Part, parts: tuple[Part, ...]) -> int:
    return list(dict.fromkeys(one.source.name for one in parts)).index(part.source.name)


def _times(ids: np.ndarray, sources: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """For each kept document how many kept ones of its source before it have its id."""
    times = np.zeros(len(ids), np.int64)
    order = np.flatnonzero(kept)[np.lexsort((ids[kept], sources[kept]))]
    first = np.ones(len(order), bool)
    first[1:] = (ids[order[1:]] != ids[order[:-1]]) | (sources[order[1:]] != sources[order[:-1]])
    place = np.arange(len(order))
    times[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return times


@dataclass(frozen=True)
class Write:
    """Stage 3, a task per part: its documents but for the duplicates, with their scores and weights."""

    recipe: Recipe
    parts: tuple[Part, ...]
    work: Path

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        source = self.parts[rank].source
        found, times = (
            _scores(self.work / "scores"),
            np.load(self.work / "scores" / "times.npy", mmap_mode="r"),
        )
        tally, folder = Tally(source.name), self.work / "corpus" / "documents"
        folder.mkdir(parents=True, exist_ok=True)
        (self.work / "written").mkdir(exist_ok=True)
        file = folder / f"{rank:05}.jsonl.zst"
        given = zip(found.rows(rank), read_rows(self.work / "read" / file.name), strict=True)
        scored = (self._scored(row, found.row(at), int(times[at]), source, tally) for at, row in given)
        for row in written(file, (row for row in scored if row is not None)):
            tally.keep(row, text_of(row))
        if tally.kept.documents:
            tally.files = [_described(file, f"documents/{file.name}") | {"documents": tally.kept.documents}]
        else:
            file.unlink()
        tally.save(self.work / "written" / f"{rank:05}.json")

    def _scored(
        self, row: dict[str, Any], score: dict[str, Any], before: int, source: Source, tally: Tally
    ) -> dict[str, Any] | None:
        """The row with its scores, or None for a duplicate. before: how many have its id already."""
        if self.recipe.drop_duplicates and not score["kept"]:
            tally.drop("exact_duplicate" if score["exact"] else "near_duplicate", text_of(row))
            return None
        if before:
            row["id"] = f"{row['id']}~{before + 1}"
            tally.changed["id"] += 1
        weight = score["weight"] if self.recipe.weigh and score["kept"] else 1.0
        kept = {name: score[name] for name in ("cluster", "paragraphs", "sentences")}
        if "quality" in row:
            kept["quality"] = row.pop("quality")
        return {**row, "weight": round(weight * source.weight, 4), "scores": kept}


def _scores(folder: Path) -> Scores:
    arrays = {one.name: np.load(folder / f"{one.name}.npy", mmap_mode="r") for one in fields(Scores)}
    return Scores(**{**arrays, "shards": tuple(arrays["shards"].tolist())})


def text_of(row: dict[str, Any]) -> str:
    """The text of a row, of a conversation all that was said."""
    return row["text"] if "text" in row else "\n".join(one["content"] for one in row["messages"])


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as raw:
        for line in io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw)):
            yield json.loads(line)


def written(file: Path, rows: Iterable[dict[str, Any]], level: int = ZSTD_LEVEL) -> Iterator[dict[str, Any]]:
    """Hands the rows on as it writes them, one a line; the file is there when all have been taken."""
    part = file.with_name(f"{file.name}.part")
    packer = zstandard.ZstdCompressor(level, write_checksum=True)
    with part.open("wb") as raw, packer.stream_writer(raw, closefd=False) as stream:
        for row in rows:
            stream.write(_wire(row).encode("utf-8", "replace") + b"\n")
            yield row
    os.replace(part, file)


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as raw:
        while piece := raw.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
