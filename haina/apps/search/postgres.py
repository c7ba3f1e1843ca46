"""The index of search in PostgreSQL, for what outgrows one machine: the same terms, the same ranking as store.py.

Every occurrence of a term in a passage is a lexeme of its own, the second of 山水 being "山水 2": so a GIN index of
tsvectors without positions also knows how often a term occurs, and BM25 is what FTS5 makes of the same passages. All
is in the schema `haina_search` of the database. One writer at a time, by an advisory lock; a transaction for whole
documents. A NUL, which PostgreSQL takes in no text, becomes U+FFFD, so that offsets stay.

It knows how things are kept, and that nothing it says may hold a password; ingest.py fills it, rank.py asks it.
"""

from __future__ import annotations

import json
import os
import re
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from haina.apps.search.passages import passages
from haina.apps.search.postgres_near import PostgresVectors
from haina.apps.search.store import APPLICATION, PATIENCE_S, Document, Passage
from haina.apps.search.terms import FORMAT, cut
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.search.vectors import Vectors

CONNECT_S = 10
PORT = "5432"
SESSION = (  # the planner cannot know how rare a term is; every search goes through the index
    "set search_path to haina_search",
    "set enable_seqscan to off",
    "set jit to off",
)
SCHEMA = """
create schema if not exists haina_search;
create table about (name text primary key, value text not null);
create table totals (passages bigint not null, terms bigint not null);
insert into totals values (0, 0);
create table folders (path text not null, exclude using hash (path with =));
create table documents (
    id bigint generated always as identity primary key,
    path text not null, stamp text not null, problem text not null, exclude using hash (path with =));
create table passages (
    id bigint generated always as identity primary key,
    document bigint not null references documents on delete cascade,
    start int not null, size int not null, text text not null, terms tsvector not null)
    with (toast_tuple_target = 128);
create unique index passages_of on passages (document, start);
create index passages_terms on passages using gin (terms) with (gin_pending_list_limit = 16384);
"""
PUT = """
with made as (insert into documents (path, stamp, problem) values (%s, %s, %s) returning id)
insert into passages (document, start, text, size, terms)
select id, start, text, size, terms::tsvector
from made, unnest(%s::int[], %s::text[], %s::int[], %s::text[]) as each (start, text, size, terms)
"""
ADD_TOTALS = "update totals set passages = passages + %s, terms = terms + %s"
# For a term that is a beginning, ts_rank counts: without positions it is the number of lexemes that match, over 1.645.
# The sum is made as FTS5 makes it, term by term, so that what is equal there is equal here.
FIND = """
with recursive asked (term, begins, at) as (select * from unnest(%s::text[], %s::bool[]) with ordinality),
counted (at, term, n) as (
    select at, term, 1 from asked where not begins
    union all
    select at, term, n + 1 from counted
    where exists (select from passages where terms @@ quote_literal(term || ' ' || n + 1)::tsquery)
),
held (at, id, size, n) as (
    select at, id, size::float8, count(*)::float8 from counted
    join passages on terms @@ quote_literal(case n when 1 then term else term || ' ' || n end)::tsquery
    group by at, id, size
    union all
    select at, id, size, round(ts_rank('{1, 1, 1, 1}', terms, (quote_literal(term) || ':*')::tsquery) * 1.64493406685)
    from asked join passages on begins and terms @@ (quote_literal(term) || ':*')::tsquery
),
usual (size, passages) as (select terms::float8 / nullif(passages, 0), passages::float8 from totals),
weights (at, weight) as (
    select at, greatest(ln((min(passages) - count(*) + 0.5::float8) / (count(*) + 0.5::float8)), 1e-6::float8)
    from held, usual group by at
)
select id from held join weights using (at), usual
group by id
order by sum(
    weight * (n * 2.2::float8 / (n + 1.2::float8 * (0.25::float8 + 0.75::float8 * held.size / usual.size))) order by at
) desc, id
limit %s
"""


class Postgres:
    """An index in a database that is open; an Index of store.py. After the server was away it connects anew."""

    def __init__(self, address: str, *, new: bool = False):
        """address: postgresql://…, the password better in PGPASSWORD or ~/.pgpass; new: make it if there is none.

        ValueError: no connection, or there is no index.
        """
        self._address, self.where = address, shown(address)
        self._more = [0, 0]  # passages and terms that a transaction has added to the totals
        self._writing = False
        with self._told():
            self._opened = self._connect()
            there = self._one("select to_regclass('haina_search.passages') is not null")
        if not there and not new:
            raise ValueError(
                say(
                    f"{self.where}: no index yet; add a folder: haina search add FOLDER --index …",
                    f"{self.where}：还没有索引；请先添加目录：haina search add 目录 --index …",
                )
            )
        if not there:
            self._make()
        elif self.recall("terms") != FORMAT:
            self._again()

    def _connect(self) -> psycopg.Connection[Any]:
        opened = psycopg.connect(self._address, autocommit=True, connect_timeout=CONNECT_S)
        weakref.finalize(self, opened.close)  # psycopg wants it closed, not forgotten
        for statement in SESSION:
            opened.execute(statement)
        return opened

    def _make(self) -> None:
        with self.writing():
            if not self._one("select to_regclass('haina_search.passages') is not null"):
                self._do(SCHEMA)
                self.remember("terms", FORMAT)

    def _again(self) -> None:
        """All terms anew, after they have changed."""
        with self.writing():
            self._do("update totals set terms = 0")
            with self._opened.cursor("every") as rows:
                rows.execute("select id, text from passages")
                for id, text in rows:
                    size, terms = lexemes(text)
                    self._do("update passages set size = %s, terms = %s where id = %s", size, terms, id)
                    self._more[1] += size
            self.remember("terms", FORMAT)

    def close(self) -> None:
        self._opened.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all of it or nothing. ValueError: no room, no right, or another program does not let us."""
        self._alive()
        self._more, self._writing = [0, 0], True
        try:
            with self._told():
                with self._opened.transaction():
                    self._do(f"set local lock_timeout = '{PATIENCE_S}s'")
                    self._do("select pg_advisory_xact_lock(%s)", APPLICATION)
                    yield
                    if any(self._more):
                        self._do(ADD_TOTALS, *self._more)
                self._do("select gin_clean_pending_list('passages_terms')")
        finally:
            self._writing = False

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            reason = reason_of(error, self._address)
            raise ValueError(
                say(
                    f"{self.where}: {reason}; check the database, then run it again",
                    f"{self.where}：{reason}；请检查数据库后重试",
                )
            ) from None

    def _alive(self) -> None:
        """Connect anew, if the connection is lost; but not in the midst of a transaction, which is lost with it."""
        if self._opened.closed and not self._writing:
            with self._told():
                self._opened = self._connect()

    def _do(self, statement: str, *given: Any) -> psycopg.Cursor[Any]:
        return self._opened.execute(statement.encode(), given or None)

    def rows(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        """What a statement finds; asked once more if the connection turns out to be lost."""
        with self._told():
            try:
                return self._do(statement, *given).fetchall()
            except psycopg.OperationalError:
                if self._writing or not self._opened.closed:
                    raise
                self._alive()
                return self._do(statement, *given).fetchall()

    def run(self, statement: str, *given: Any) -> None:
        """A statement in a transaction of its own."""
        with self.writing():
            self._do(statement, *given)

    def _one(self, statement: str, *given: Any) -> Any:
        """The first value of the first row; None: there is no row."""
        rows = self.rows(statement, *given)
        return rows[0][0] if rows else None

    def remember(self, name: str, value: str | int) -> None:
        self._do(
            "insert into about values (%s, %s) on conflict (name) do update set value = excluded.value",
            name,
            json.dumps(value),
        )

    def recall(self, name: str) -> str | int | None:
        value = self._one("select value from about where name = %s", name)
        found: str | int | None = None if value is None else json.loads(value)
        return found

    # -- what is in it ----------------------------------------------------------------------------------------

    @property
    def folders(self) -> list[str]:
        return [path for (path,) in self.rows('select path from folders order by path collate "C"')]

    def add_folder(self, path: str) -> None:
        self._do("insert into folders values (%s) on conflict do nothing", path)

    def forget_folder(self, path: str) -> None:
        self._do("delete from folders where path = %s", path)

    def documents(self, under: str = "") -> list[Document]:
        """Those of a folder, and of those in it; all of them without one."""
        inside = under.rstrip(os.sep) + os.sep
        rows = self.rows(
            "select id, path, stamp, problem from documents where %s in ('', path) or starts_with(path, %s)"
            ' order by path collate "C"',
            under,
            inside,
        )
        return [Document(*row) for row in rows]

    def put(self, path: str, stamp: str, text: str, problem: str = "") -> None:
        """A document, in place of what it was. To be called while writing."""
        self.drop(path)
        pieces = list(passages(text.replace("\0", "\ufffd")))
        starts = list(accumulate(map(len, pieces), initial=0))[:-1]
        cuts = list(map(lexemes, pieces))
        sizes, terms = [size for size, _ in cuts], [each for _, each in cuts]
        self._do(PUT, path, stamp, problem, starts, pieces, sizes, terms)
        self._count(len(pieces), sum(sizes))

    def _count(self, passages: int, terms: int) -> None:
        self._more = [self._more[0] + passages, self._more[1] + terms]

    def drop(self, path: str) -> None:
        """A document and all that is of it. To be called while writing."""
        document = self._one("select id from documents where path = %s", path)
        if document is not None:
            rows = self.rows("delete from passages where document = %s returning size", document)
            self._do("delete from documents where id = %s", document)
            self._count(-len(rows), -sum(size for (size,) in rows))

    def text(self, document: str) -> str:
        """The text of a document, to which the offsets of its passages belong."""
        rows = self.rows(
            "select text from passages where document = (select id from documents where path = %s) order by start",
            document,
        )
        return "".join(text for (text,) in rows)

    def around(self, document: str, start: int, end: int) -> tuple[int, str, int] | None:
        """The passages that [start, end) of a document touches: where they begin, their text, the document's length.

        None: no such document, or nothing is in it.
        """
        inside = "from passages where document = (select id from documents where path = %s)"
        last = self.rows(f"select start, text {inside} order by start desc limit 1", document)
        if not last:
            return None
        rows = self.rows(
            f"select start, text {inside} and start < %s and start >= (select max(start) {inside} and start <= %s)"
            " order by start",
            *(document, end, document, start),
        )
        return rows[0][0], "".join(text for _, text in rows), last[0][0] + len(last[0][1])

    # -- what is asked ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many passages there are."""
        return int(self._one("select passages from totals"))

    def frequency(self, term: str) -> int:
        """How many passages hold a term."""
        return int(self._one("select count(*) from passages where terms @@ quote_literal(%s)::tsquery", term))

    def find(self, terms: Sequence[str], most: int) -> list[int]:
        """The passages that hold any of the terms, by BM25, best first. A character alone begins a term."""
        begins = [len(term) == 1 and not term.isascii() for term in terms]
        return [id for (id,) in self.rows(FIND, list(terms), begins, most)]

    def passages(self, ids: Iterable[int]) -> list[Passage]:
        """The passages of these numbers, in their order."""
        ids = list(ids)
        rows = self.rows(
            "select p.id, d.path, p.start, p.text from passages p join documents d on d.id = p.document"
            " where p.id = any(%s)",
            ids,
        )
        found = {row[0]: Passage(*row) for row in rows}
        return [found[id] for id in ids if id in found]

    def vectors(self) -> Vectors:
        return PostgresVectors(self)

    def sample(self, most: int) -> list[str]:
        """The texts of about so many passages from all over the index."""
        step = max(self.size // most, 1)
        rows = self.rows("select text from passages where id %% %s = 0 order by id limit %s", step, most)
        return [text for (text,) in rows]


def lexemes(text: str) -> tuple[int, str]:
    """How many terms a text has, and all of them as a tsvector is written, each occurrence by itself."""
    terms = cut(text)
    counts = Counter(terms).items()
    names = (f"{term} {n}" if n > 1 else term for term, most in counts for n in range(1, most + 1))
    return len(terms), " ".join(f"'{name}'" for name in names)


def shown(address: str) -> str:
    """An address as a person may see it. ValueError: it is none."""
    try:
        known = conninfo_to_dict(address)
        host = str(known.get("host", ""))
        if "@" in host:
            raise psycopg.ProgrammingError
    except psycopg.ProgrammingError:
        raise ValueError(
            say(
                "not an address of PostgreSQL; write postgresql://USER@HOST/DATABASE, and @ in a password as %40",
                "不是 PostgreSQL 地址；应为 postgresql://用户@主机/数据库，密码中的 @ 写作 %40",
            )
        ) from None
    user = f"{known['user']}@" if known.get("user") else ""
    port = f":{known['port']}" if str(known.get("port", PORT)) != PORT else ""
    return f"postgresql://{user}{host}{port}/{known.get('dbname', '')}"


def reason_of(error: psycopg.Error, address: str) -> str:
    """Why, in one line without the password; of a connection that failed, what stands behind the places tried."""
    text = str(error).strip().split("\n")[0]
    text = re.split(r"failed: (?:FATAL: *)?", text)[-1] or type(error).__name__
    password = conninfo_to_dict(address).get("password") or os.environ.get("PGPASSWORD")
    return text.replace(str(password), "***") if password else text
