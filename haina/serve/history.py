"""History: the conversations of the page, in one SQLite file that people can copy, export and delete.

A conversation is a tree. Every message names the one it follows; to ask again, or to edit, is to add a sibling, so
nothing that was said is ever lost by saying it differently. The leaf is the end of the branch that was looked at
last. Each owner sees conversations of their own only. It knows no HTTP, no model and no page.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from haina.checkpoint.library import models
from haina.wording import say

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, settings TEXT NOT NULL,
    leaf INTEGER, created_s REAL NOT NULL, changed_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS conversations_of ON conversations (owner, changed_s);
CREATE TABLE IF NOT EXISTS messages (
    conversation TEXT NOT NULL REFERENCES conversations ON DELETE CASCADE, number INTEGER NOT NULL,
    parent INTEGER, role TEXT NOT NULL, content TEXT NOT NULL, about TEXT NOT NULL, created_s REAL NOT NULL,
    PRIMARY KEY (conversation, number),
    FOREIGN KEY (conversation, parent) REFERENCES messages) WITHOUT ROWID;
"""
_VERSION = 1  # of the schema, in the file's user_version


class Missing(LookupError):
    """There is no such conversation or message, or it is somebody else's."""


@dataclass(frozen=True)
class Said:
    """One message. `parent`: the number of the one it follows, None for a first one. `about`: how it was made."""

    number: int
    parent: int | None
    role: str
    content: str
    about: dict[str, Any]
    created_s: float


@dataclass(frozen=True)
class Conversation:
    """`settings`: system text and sampling, as the page has them. `leaf`: where its reader is."""

    id: str
    title: str
    settings: dict[str, Any]
    leaf: int | None
    created_s: float
    changed_s: float
    messages: list[Said] = field(default_factory=list)

    def branch(self) -> list[Said]:
        """From the first message to the leaf."""
        by_number = {said.number: said for said in self.messages}
        line: list[Said] = []
        at = self.leaf
        while at is not None:
            line.append(by_number[at])
            at = by_number[at].parent
        return line[::-1]


def place() -> Path:
    """Where the page's conversations lie: beside the library's models, in $HAINA_HOME."""
    return models().parent / "conversations.sqlite"


class History:
    """The file, from any thread; it is made when it is first needed.

    Every method raises ValueError when the file cannot be used, or a newer haina wrote it.
    """

    def __init__(self, file: Path):
        self.file = file
        self.unsaved = ""  # why nothing outlives the process
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def begin(self) -> str:
        """Open the file now, or, if it cannot be used, hold everything in memory; `unsaved`, which says why."""
        try:
            self.all("")
        except ValueError as error:
            self.unsaved = str(error)
            self._db = _ready(":memory:")
        return self.unsaved

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """All of it, or nothing."""
        with self._lock, self._told():
            db = self._db = self._db or _open(self.file)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise ValueError(
                say(
                    f"{self.file}: conversations cannot be kept there ({error}); "
                    "move the file away or set HAINA_HOME",
                    f"{self.file}：无法在此保存对话（{error}）；请移走该文件或设置 HAINA_HOME",
                )
            ) from error

    def all(self, owner: str) -> list[Conversation]:
        """Without their messages, the last changed first."""
        with self._change() as db:
            rows = db.execute("SELECT * FROM conversations WHERE owner = ? ORDER BY changed_s DESC", (owner,))
            return [_conversation(row) for row in rows]

    def get(self, owner: str, id: str) -> Conversation:
        """With all its messages. Raises Missing."""
        with self._change() as db:
            row = _mine(db, owner, id)
            said = db.execute("SELECT * FROM messages WHERE conversation = ? ORDER BY number", (id,))
            return _conversation(row, [_said(one) for one in said])

    def create(self, owner: str, title: str = "", settings: dict[str, Any] | None = None) -> Conversation:
        now = time.time()
        made = Conversation(secrets.token_hex(8), title, settings or {}, None, now, now)
        with self._change() as db:
            db.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?, NULL, ?, ?)",
                (made.id, owner, title, _json(made.settings), now, now),
            )
        return made

    def append(
        self,
        owner: str,
        id: str,
        *,
        parent: int | None,
        role: str,
        content: str,
        about: dict[str, Any] | None = None,
    ) -> Said:
        """Say something after `parent`, beside what was said there before; it becomes the leaf. Raises Missing."""
        now = time.time()
        with self._change() as db:
            _mine(db, owner, id)
            _there(db, id, parent)
            count = db.execute("SELECT max(number) FROM messages WHERE conversation = ?", (id,)).fetchone()[0]
            said = Said((count or 0) + 1, parent, role, content, about or {}, now)
            db.execute(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, said.number, parent, role, content, _json(said.about), now),
            )
            db.execute(
                "UPDATE conversations SET leaf = ?, changed_s = ? WHERE id = ?", (said.number, now, id)
            )
        return said

    def change(
        self,
        owner: str,
        id: str,
        *,
        title: str | None = None,
        settings: dict[str, Any] | None = None,
        leaf: int | None = None,
    ) -> None:
        """Rename it, keep its settings, or go to another branch; None leaves a thing as it is. Raises Missing."""
        with self._change() as db:
            _mine(db, owner, id)
            _there(db, id, leaf)
            db.execute(
                "UPDATE conversations SET title = coalesce(?, title), settings = coalesce(?, settings), "
                "leaf = coalesce(?, leaf) WHERE id = ?",
                (title, None if settings is None else _json(settings), leaf, id),
            )

    def delete(self, owner: str, id: str) -> None:
        """With all its messages, overwritten in the file. Raises Missing."""
        with self._change() as db:
            _mine(db, owner, id)
            db.execute("DELETE FROM conversations WHERE id = ?", (id,))
        self._empty_log()

    def delete_all(self, owner: str) -> int:
        """How many there were."""
        with self._change() as db:
            count = db.execute("DELETE FROM conversations WHERE owner = ?", (owner,)).rowcount
        self._empty_log()
        return count

    def _empty_log(self) -> None:
        """What was deleted stands in the write-ahead log, too."""
        with self._lock, self._told():
            assert self._db is not None
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def as_json(conversation: Conversation) -> dict[str, Any]:
    """All branches, for a machine."""
    return asdict(conversation)


def as_markdown(conversation: Conversation) -> str:
    """The branch at its leaf, for a reader."""
    names = {"user": say("Q", "问"), "assistant": say("A", "答"), "system": say("System", "系统")}
    parts = [f"# {conversation.title}"]
    if system := conversation.settings.get("system"):
        parts.append(f"> {system}".replace("\n", "\n> "))
    parts += [f"**{names[said.role]}**\n\n{said.content}" for said in conversation.branch()]
    return "\n\n".join(parts) + "\n"


def _open(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # what people write is for their eyes
    return _ready(file)


def _ready(file: Path | str) -> sqlite3.Connection:
    """A connection to a file that is there, with the tables in it."""
    db = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=10)
    try:
        db.row_factory = sqlite3.Row
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise sqlite3.DatabaseError(say("a newer haina wrote it", "由更新版本的 haina 写成"))
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _mine(db: sqlite3.Connection, owner: str, id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM conversations WHERE id = ? AND owner = ?", (id, owner)
    ).fetchone()
    if row is None:
        raise Missing(say(f"there is no conversation {id}", f"没有对话 {id}"))
    return row


def _there(db: sqlite3.Connection, id: str, number: int | None) -> None:
    found = db.execute("SELECT 1 FROM messages WHERE conversation = ? AND number = ?", (id, number))
    if number is not None and found.fetchone() is None:
        raise Missing(
            say(f"conversation {id} has no message {number}", f"对话 {id} 中没有第 {number} 条消息")
        )


def _conversation(row: sqlite3.Row, messages: list[Said] | None = None) -> Conversation:
    return Conversation(
        row["id"],
        row["title"],
        json.loads(row["settings"]),
        row["leaf"],
        row["created_s"],
        row["changed_s"],
        messages or [],
    )


def _said(row: sqlite3.Row) -> Said:
    return Said(
        row["number"],
        row["parent"],
        row["role"],
        row["content"],
        json.loads(row["about"]),
        row["created_s"],
    )


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
