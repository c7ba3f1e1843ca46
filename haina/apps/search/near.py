"""Vectors in the file of an index, and a graph of them beside it (usearch; HNSW, Malkov and Yashunin 2018).

The table `vectors` is what counts: a row goes with its passage, in the same transaction, and its number is used only
once. The graph, FILE.usearch, is made of it: rows it lacks are added, rows that are gone are passed over, and a graph
that is damaged, missing or mostly gone is made anew. It knows numbers; whose vectors they are, vectors.py knows.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from usearch.index import Index as Graph

TABLE = """
create table if not exists vectors (
    id integer primary key autoincrement, passage integer not null unique, vector blob not null);
create trigger if not exists vectors_go after delete on passages begin
    delete from vectors where passage = old.id;
end;
"""
PATIENCE_S = 30
BATCH = 10_000
STALE = 2  # times as many in the graph as there are


class FileVectors:
    """The Vectors of a Store's file; by a connection of its own, so that it may work while others do."""

    def __init__(self, file: Path):
        self._name, self._beside = file, file.with_name(file.name + ".usearch")
        self._graph: Graph | None = None
        self._file = sqlite3.connect(file, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
        self._file.execute("pragma synchronous = normal")
        if not self._file.execute("select 1 from sqlite_master where name = 'vectors_go'").fetchone():
            self._file.executescript(TABLE)

    def missing(self, after: int, most: int) -> list[tuple[int, str]]:
        return self._file.execute(
            "select id, text from passages p where id > ? and not exists"
            " (select 1 from vectors where passage = p.id) order by id limit ?",
            (after, most),
        ).fetchall()

    def keep(self, rows: Sequence[tuple[int, str, np.ndarray]]) -> None:
        self._file.execute("begin immediate")
        with self._file:
            self._file.executemany(
                "insert or replace into vectors (passage, vector) select id, ? from passages where id = ? and text = ?",
                [(vector.astype(np.float16).tobytes(), id, text) for id, text, vector in rows],
            )

    def clear(self, size: int) -> None:
        self._file.execute("delete from vectors")
        self._beside.unlink(missing_ok=True)
        self._graph = None

    def near(self, vector: np.ndarray, most: int) -> list[int]:
        if not (have := self._file.execute("select count(*) from vectors").fetchone()[0]):
            return []
        self._graph = self._whole(self._graph or self._read(len(vector)), have)
        found = self._graph.search(vector, min(STALE * most, len(self._graph))).keys
        rows = (
            self._file.execute("select passage from vectors where id = ?", (int(key),)).fetchone()
            for key in found
        )
        return [row[0] for row in rows if row][:most]

    def _read(self, size: int) -> Graph:
        """The graph beside the file, or a new one."""
        try:
            graph = Graph.restore(self._beside) if self._beside.exists() else None
        except (RuntimeError, ValueError):  # damaged
            graph = None
        return graph if graph is not None and graph.ndim == size else _new(size)

    def _whole(self, graph: Graph, have: int) -> Graph:
        """The graph with all rows in it, written down if some were missing."""
        graph = _new(graph.ndim) if len(graph) > STALE * have else graph
        last, before = int(np.max(graph.keys)) if len(graph) else 0, len(graph)
        rows = self._file.execute("select id, vector from vectors where id > ? order by id", (last,))
        while batch := rows.fetchmany(BATCH):
            vectors = np.frombuffer(b"".join(vector for _, vector in batch), np.float16)
            graph.add(np.array([id for id, _ in batch]), vectors.reshape(len(batch), -1).astype(np.float32))
        if len(graph) > before:
            part = self._beside.with_name(f"{self._beside.name}.{os.getpid()}")
            graph.save(part)
            os.replace(part, self._beside)
        return graph


def _new(size: int) -> Graph:
    return Graph(ndim=size, metric="cos", dtype="f16")
