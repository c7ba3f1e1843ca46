"""The index of search: one SQLite file with documents, their passages, and an FTS5 table over our own terms.

A document's passages laid end to end are its text. The FTS5 table is contentless: terms come from terms.py, joined
by spaces, and its tokenizer `ascii` takes every other character as it is. A term is taken out by naming it again, so
an index remembers the FORMAT of its terms and is made again from the passages when that has changed. Write-ahead
logging and one transaction for whole documents: whatever is killed, a document is in the index once or not at all.

It knows how things are kept; ingest.py fills it, rank.py asks it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from haina.apps.search.passages import passages
from haina.apps.search.terms import FORMAT, joined
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.search.vectors import Vectors

APPLICATION = 0x68616973  # "hais", in the head of the file
PATIENCE_S = 30  # for another program that writes
CACHE_KB = 65536
PAGE_BYTES = 16384
HASH_BYTES = 64 << 20  # of terms held before FTS5 writes a segment
SCHEMA = """
create table about (name text primary key, value) without rowid;
create table folders (path text primary key) without rowid;
create table documents (
    id integer primary key, path text not null unique, stamp text not null, problem text not null);
create table passages (
    id integer primary key, document integer not null, start integer not null, text text not null);
create index passages_of on passages (document, start);
create virtual table words using fts5 (terms, content='', tokenize='ascii');
"""


@dataclass(frozen=True)
class Document:
    """A file in the index. stamp: size and time, by which a change is seen; problem: why nothing of it is found."""

    id: int
    path: str
    stamp: str
    problem: str


@dataclass(frozen=True)
class Passage:
    """A piece of a document: text is the document's text from `start`, in characters."""

    id: int
    document: str
    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Index(Protocol):
    """An index, wherever it is kept: what Store says of each holds for every one."""

    where: str  # file or address, as a person may see it

    def close(self) -> None: ...

    def writing(self) -> AbstractContextManager[None]: ...

    def remember(self, name: str, value: str | int) -> None: ...

    def recall(self, name: str) -> str | int | bytes | None: ...

    @property
    def folders(self) -> list[str]: ...

    def add_folder(self, path: str) -> None: ...

    def forget_folder(self, path: str) -> None: ...

    def documents(self, under: str = "") -> list[Document]: ...

    def put(self, path: str, stamp: str, text: str, problem: str = "") -> None: ...

    def drop(self, path: str) -> None: ...

    def text(self, document: str) -> str: ...

    def around(self, document: str, start: int, end: int) -> tuple[int, str, int] | None: ...

    @property
    def size(self) -> int: ...

    def frequency(self, term: str) -> int: ...

    def find(self, terms: Sequence[str], most: int) -> list[int]: ...

    def passages(self, ids: Iterable[int]) -> list[Passage]: ...

    def sample(self, most: int) -> list[str]: ...

    def vectors(self) -> Vectors: ...


class Store:
    """An index that is open. One thread at a time; any number of programs, of which one writes."""

    def __init__(self, path: Path, *, new: bool = False):
        """new: make it if there is none. ValueError: there is none, or the file is no index."""
        if not new and not path.is_file():
            raise ValueError(
                say(
                    f"{path}: no index yet; add a folder: haina search add FOLDER",
                    f"{path}：还没有索引；请先添加目录：haina search add 目录",
                )
            )
        self.path, self.where = path, str(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
        with self._told():
            self._begin()

    def _begin(self) -> None:
        (found,) = self._file.execute("pragma application_id").fetchone()
        tables = self._file.execute("select count(*) from sqlite_master").fetchone()[0]
        if found != APPLICATION and tables:
            raise sqlite3.DatabaseError
        self._file.execute(f"pragma page_size = {PAGE_BYTES}")  # of a new file
        self._file.execute("pragma journal_mode = wal")
        self._file.execute("pragma synchronous = normal")
        self._file.execute(f"pragma cache_size = -{CACHE_KB}")
        with self.writing():
            if not self._file.execute("select count(*) from sqlite_master").fetchone()[0]:
                for statement in SCHEMA.strip().split(";\n"):
                    self._file.execute(statement)
                self._file.execute(f"pragma application_id = {APPLICATION}")
                self._file.execute("insert into words (words, rank) values ('hashsize', ?)", (HASH_BYTES,))
                self.remember("terms", FORMAT)
        if self.recall("terms") != FORMAT:
            self._again()
        self._file.execute("create virtual table temp.vocabulary using fts5vocab (main, words, row)")

    def _again(self) -> None:
        """All terms anew, after they have changed."""
        with self.writing():
            self._file.execute("insert into words (words) values ('delete-all')")
            for id, text in self._file.execute("select id, text from passages"):
                self._insert_terms(id, text)
            self.remember("terms", FORMAT)

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all of it or nothing. ValueError: the disk is full, or another program does not let us."""
        with self._told():
            self._file.execute("begin immediate")
            try:
                yield
                self._file.execute("commit")
            except BaseException:
                if self._file.in_transaction:  # a full disk may have rolled back by itself
                    self._file.execute("rollback")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ValueError(
                say(
                    f"{self.path}: {error}; make room or wait for the other program, then run it again",
                    f"{self.path}：{error}；请腾出空间或等另一程序结束后重试",
                )
            ) from None
        except sqlite3.DatabaseError:
            raise ValueError(
                say(
                    f"{self.path}: not an index of search, or damaged; delete it and add the folders again",
                    f"{self.path}：不是搜索索引，或已损坏；请删除后重新添加目录",
                )
            ) from None

    def remember(self, name: str, value: str | int | bytes) -> None:
        self._file.execute("insert or replace into about values (?, ?)", (name, value))

    def recall(self, name: str) -> str | int | bytes | None:
        row = self._file.execute("select value from about where name = ?", (name,)).fetchone()
        return row[0] if row else None

    # -- what is in it ----------------------------------------------------------------------------------------

    @property
    def folders(self) -> list[str]:
        return [path for (path,) in self._file.execute("select path from folders order by path")]

    def add_folder(self, path: str) -> None:
        self._file.execute("insert or ignore into folders values (?)", (path,))

    def forget_folder(self, path: str) -> None:
        self._file.execute("delete from folders where path = ?", (path,))

    def documents(self, under: str = "") -> list[Document]:
        """Those of a folder, and of those in it; all of them without one."""
        inside = under.rstrip(os.sep) + os.sep
        rows = self._file.execute(
            "select id, path, stamp, problem from documents where ?1 = '' or path = ?1"
            " or substr(path, 1, length(?2)) = ?2 order by path",
            (under, inside),
        )
        return [Document(*row) for row in rows]

    def put(self, path: str, stamp: str, text: str, problem: str = "") -> None:
        """A document, in place of what it was. To be called while writing."""
        self.drop(path)
        row = (path, stamp, problem)
        document = self._file.execute(
            "insert into documents (path, stamp, problem) values (?, ?, ?)", row
        ).lastrowid
        start = 0
        for piece in passages(text):
            made = self._file.execute(
                "insert into passages (document, start, text) values (?, ?, ?)", (document, start, piece)
            )
            self._insert_terms(made.lastrowid, piece)
            start += len(piece)

    def _insert_terms(self, id: int | None, text: str) -> None:
        self._file.execute("insert into words (rowid, terms) values (?, ?)", (id, joined(text)))

    def drop(self, path: str) -> None:
        """A document and all that is of it. To be called while writing."""
        row = self._file.execute("select id from documents where path = ?", (path,)).fetchone()
        if row is None:
            return
        for id, text in self._file.execute(
            "select id, text from passages where document = ?", row
        ).fetchall():
            gone = (id, joined(text))
            self._file.execute("insert into words (words, rowid, terms) values ('delete', ?, ?)", gone)
        self._file.execute("delete from passages where document = ?", row)
        self._file.execute("delete from documents where id = ?", row)

    def text(self, document: str) -> str:
        """The text of a document, to which the offsets of its passages belong."""
        rows = self._file.execute(
            "select text from passages where document = (select id from documents where path = ?) order by start",
            (document,),
        )
        return "".join(text for (text,) in rows)

    def around(self, document: str, start: int, end: int) -> tuple[int, str, int] | None:
        """The passages that [start, end) of a document touches: where they begin, their text, the document's length.

        None: no such document, or nothing is in it.
        """
        inside = "from passages where document = (select id from documents where path = ?1)"
        last = self._file.execute(
            f"select start, text {inside} order by start desc limit 1", (document,)
        ).fetchone()
        if last is None:
            return None
        rows = self._file.execute(
            f"select start, text {inside} and start < ?3 and start >="
            f" (select max(start) {inside} and start <= ?2) order by start",
            (document, start, end),
        ).fetchall()
        return rows[0][0], "".join(text for _, text in rows), last[0] + len(last[1])

    # -- what is asked ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many passages there are."""
        return int(self._file.execute("select count(*) from passages").fetchone()[0])

    def frequency(self, term: str) -> int:
        """How many passages hold a term."""
        row = self._file.execute("select doc from temp.vocabulary where term = ?", (term,)).fetchone()
        return row[0] if row else 0

    def find(self, terms: Sequence[str], most: int) -> list[int]:
        """The passages that hold any of the terms, by BM25, best first. A character alone begins a term."""
        if not terms:
            return []
        asked = " OR ".join(
            f'"{term}"*' if len(term) == 1 and not term.isascii() else f'"{term}"' for term in terms
        )
        rows = self._file.execute(
            "select rowid from words where words match ? order by rank limit ?", (asked, most)
        )
        return [id for (id,) in rows]

    def passages(self, ids: Iterable[int]) -> list[Passage]:
        """The passages of these numbers, in their order."""
        asked = (
            "select p.id, d.path, p.start, p.text from passages p join documents d on d.id = p.document"
            " where p.id = ?"
        )
        rows = (self._file.execute(asked, (id,)).fetchone() for id in ids)
        return [Passage(*row) for row in rows if row]

    def sample(self, most: int) -> list[str]:
        """The texts of about so many passages from all over the index."""
        step = max(self.size // most, 1)
        rows = self._file.execute("select text from passages where id % ? = 0 limit ?", (step, most))
        return [text for (text,) in rows]

    def vectors(self) -> Vectors:
        """Where vectors of the passages are kept. ValueError: usearch is not installed."""
        try:
            from haina.apps.search.near import FileVectors
        except ImportError:
            raise ValueError(
                say(
                    "vectors need usearch: pip install 'haina[vectors]'",
                    "向量需要 usearch：pip install 'haina[vectors]'",
                )
            ) from None
        return FileVectors(self.path)
