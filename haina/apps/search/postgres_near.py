"""Vectors in PostgreSQL, by pgvector: a row goes with its passage; the nearest are found by a graph, HNSW.

It knows numbers; whose vectors they are, vectors.py knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from haina.apps.search.postgres import Postgres

TABLE = """
create extension if not exists vector;
create table if not exists vectors (
    passage bigint primary key references passages on delete cascade, vector vector({size}) not null);
"""
GRAPH = "create index if not exists vectors_near on vectors using hnsw (vector vector_cosine_ops);"
MOST = 2000  # numbers that a graph of pgvector takes; longer vectors are all compared


class PostgresVectors:
    """The Vectors of a Postgres. ValueError, by each: the database has no pgvector."""

    def __init__(self, index: Postgres):
        self._index = index

    def missing(self, after: int, most: int) -> list[tuple[int, str]]:
        rows = self._index.rows(
            "select id, text from passages where id > %s and not exists"
            " (select from vectors where passage = id) order by id limit %s",
            after,
            most,
        )
        return [(id, text) for id, text in rows]

    def keep(self, rows: Sequence[tuple[int, str, np.ndarray]]) -> None:
        ids, texts, vectors = zip(*rows, strict=True)
        self._index.run(
            "insert into vectors select id, vector from unnest(%s::bigint[], %s::text[], %s::vector[])"
            " as made (id, text, vector) join passages using (id, text) on conflict do nothing",
            list(ids),
            list(texts),
            list(map(_written, vectors)),
        )

    def clear(self, size: int) -> None:
        graph = GRAPH if size <= MOST else ""
        self._index.run(f"drop table if exists vectors;{TABLE.format(size=size)}{graph}")

    def near(self, vector: np.ndarray, most: int) -> list[int]:
        rows = self._index.rows(
            "select passage from vectors order by vector <=> %s::vector limit %s", _written(vector), most
        )
        return [passage for (passage,) in rows]


def _written(vector: np.ndarray) -> str:
    return "[" + ",".join(f"{x:.6g}" for x in vector.tolist()) + "]"
