"""Tables → text: a paragraph for every row, "column: value" in each of its lines. CSV and SQLite."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path

from haina.apps.search.problem import Unreadable
from haina.wording import say

LONGEST_CELL = 1 << 20  # characters
SAMPLE = 1 << 14


def csv_text(text: str, most: int) -> str:
    """The rows by the names of the first line. Unreadable: no table, or more than `most` characters."""
    csv.field_size_limit(LONGEST_CELL)
    first = text[:SAMPLE].split("\n", 1)[0]
    comma = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=comma)
    try:
        names = next(rows, [])
        return _told((_row(names, row) for row in rows), most)
    except csv.Error:
        raise Unreadable(say("not a table", "不是表格")) from None


def sqlite_text(file: Path, most: int) -> str:
    """The rows of all tables. Nothing of the database is written or run. Unreadable: none, or damaged."""
    try:
        base = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            base.execute("pragma trusted_schema = off")
            base.text_factory = lambda data: data.decode("utf-8", "replace")
            return _told(_rows(base), most)
        finally:
            base.close()
    except sqlite3.Error:
        raise Unreadable(say("not an SQLite database, or damaged", "不是 SQLite 数据库，或已损坏")) from None


def _rows(base: sqlite3.Connection) -> Iterable[str]:
    tables = base.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite%'")
    for (table,) in tables.fetchall():
        quoted = '"' + table.replace('"', '""') + '"'
        rows = base.execute(f"select * from {quoted}")
        names = [column[0] for column in rows.description]
        for row in rows:
            yield _row(names, row)


def _row(names: list[str], cells: Iterable[object]) -> str:
    pairs = zip(chain(names, repeat("")), cells, strict=False)
    said = (
        (name, str(cell).strip()) for name, cell in pairs if cell is not None and not isinstance(cell, bytes)
    )
    return "\n".join(f"{name}: {cell}" if name else cell for name, cell in said if cell)


def _told(rows: Iterable[str], most: int) -> str:
    found, size = [], 0
    for row in rows:
        size += len(row) + 2
        if size > most:
            raise Unreadable(say(f"more than {most:,} characters of text", f"文本超过 {most:,} 字"))
        found.append(row)
    return "\n\n".join(filter(None, found))
