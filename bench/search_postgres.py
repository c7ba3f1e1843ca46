"""Search in PostgreSQL beside SQLite: whether the same passages come, and how fast.

    python -m bench.search_postgres --data FOLDER --index postgresql://… [--copies 8] [--every 40]

FOLDER as in search.py, its pool and the English paragraphs of XQuAD so many times over. The database should be one for
this alone: what is in its schema haina_search is thrown away. Times are CPU times, those of our process and of the
server's that works for it, which /proc tells: so the server has to run on this machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psycopg

from bench.report import Goal, Report, Section
from bench.search import MEASURED, POOL, TOP, filled, pool, questions
from haina.apps.search.postgres import Postgres
from haina.apps.search.rank import Ranked, Ranking
from haina.apps.search.store import Store

ADDED = 100


def server_seconds(index: Postgres) -> float:
    """CPU time of the server's process that works for this connection."""
    ((pid,),) = index.rows("select pg_backend_pid()")
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked(ranking: Ranking, texts: Sequence[str]) -> tuple[list[list[Ranked]], list[float]]:
    """What is found, and how many ms of our process each took."""
    found, times = [], []
    for text in texts:
        began = time.process_time()
        found.append(ranking.find(ranking.question(text), TOP))
        times.append((time.process_time() - began) * 1e3)
    return found, times


def added(index: Store | Postgres, texts: Sequence[str]) -> float:
    """ms of our process for one document."""
    began = time.process_time()
    for number, text in enumerate(texts):
        with index.writing():
            index.put(f"new/{number}", "", text)
    return (time.process_time() - began) * 1e3 / len(texts)


def section(data: Path, index: Postgres, folder: Path, copies: int, every: int) -> Section:
    texts = pool(data, (*POOL, "xquad.en"))
    many = [(f"{copy}/{name}", text) for copy in range(copies) for name, text in texts]
    names = (*MEASURED, "xquad.en", "xquad.zh")
    wanted = [each.question for name in names for each in questions(data, name, every)]
    rows, results = [], []
    engines: list[tuple[str, Store | Postgres, Callable[[], float]]] = [
        ("SQLite", Store(folder / "x.db", new=True), lambda: 0.0),
        ("PostgreSQL", index, lambda: server_seconds(index)),
    ]
    for name, each, more in engines:
        began, there = time.process_time(), more()
        filled(each, many)
        filling, there = time.process_time() - began + more() - there, more()
        found, times = asked(Ranking(each), wanted)
        asking = [*np.percentile(times, (50, 95)), (more() - there) * 1e3 / len(wanted)]
        there, adding = more(), added(each, [text for _, text in texts[:ADDED]])
        adding += (more() - there) * 1e3 / ADDED
        results.append(found)
        rows.append([name, str(each.size), f"{filling:.1f}", *(f"{ms:.1f}" for ms in (*asking, adding))])
    same = float(np.mean([one == other for one, other in zip(*results, strict=True)]))
    header = ["", "passages", "indexing s", "query p50 ms", "p95", "of the server, mean", "add one ms"]
    note = f"{len(wanted)} questions; of {same:.1%} the {TOP} best passages and their scores are the same."
    return Section("PostgreSQL", note, header, rows, [Goal("the same passages", same, 1.0)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--index", required=True)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--every", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks-search-postgres.md"))
    given = parser.parse_args()
    with psycopg.connect(given.index, autocommit=True) as base:
        base.execute("drop schema if exists haina_search cascade")
        version = str(base.execute("show server_version").fetchone())
    with tempfile.TemporaryDirectory() as folder:
        index = Postgres(given.index, new=True)
        part = section(given.data, index, Path(folder), given.copies, given.every)
    machine = [f"PostgreSQL {version.strip('()')}", f"one question of {given.every}"]
    Report("python -m bench.search_postgres", machine, [part]).write(given.out)


if __name__ == "__main__":
    main()
