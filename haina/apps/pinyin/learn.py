"""The user's words: what they chose, how often, and how they say it; one SQLite file that belongs to them.

A word is kept under its own syllables, never under the keys that led to it: what was learnt through a fuzzy sound, an
abbreviation or a slip cannot come up where the exact keys mean something else. Write-ahead logging, a copy beside the
file once a day; a file that SQLite cannot read is set aside and the copy takes its place. Nothing leaves the machine.
It knows no keys and no network.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from haina.apps.pinyin.lexicon import LONGEST, trie
from haina.apps.pinyin.prior import Language
from haina.native.lattice import Trie
from haina.text import pinyin
from haina.wording import say

_SCHEMA = """CREATE TABLE IF NOT EXISTS words (
    text TEXT NOT NULL, reading TEXT NOT NULL, times INTEGER NOT NULL, last_s REAL NOT NULL,
    PRIMARY KEY (text, reading)) WITHOUT ROWID"""
_VERSION = 1
COPY_EVERY_S = 86_400.0
MOST_WORDS = 20_000  # the ones chosen most often come up; all are kept
FIRST, AGAIN, LEAST = 9.0, 2.2, 2.0  # nats of a word chosen once, less with each doubling, and no less than


class UserWords:
    """One file of words, from any thread."""

    def __init__(self, file: Path):
        """ValueError: the place cannot be written. `recovered` says what was done about a damaged file, or is ""."""
        self.file, self.recovered = file, ""
        self._lock = threading.Lock()  # of one transaction after the other
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise ValueError(
                say(
                    f"{file}: cannot be opened ({error}); choose another --user",
                    f"{file}：无法打开（{error}）；请用 --user 另选",
                )
            ) from None
        self._trie: Trie | None = None
        self._back_up()

    def learn(self, words: Iterable[tuple[str, Sequence[str]]], times: int = 1) -> None:
        """Words with their syllables, chosen once more. Those that no keys spell are left out."""
        rows = [
            (text, " ".join(reading), times, time.time())
            for text, reading in words
            if _typable(text, reading)
        ]
        with self._lock, self._db:
            self._db.executemany(
                "INSERT INTO words VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " times = times + excluded.times, last_s = excluded.last_s",
                rows,
            )
        self._trie = None

    def forget(self, text: str) -> bool:
        """Whether there was such a word."""
        with self._lock, self._db:
            gone = self._db.execute("DELETE FROM words WHERE text = ?", (text,)).rowcount
        self._trie = None
        return gone > 0

    def forget_all(self) -> int:
        """How many words there were."""
        with self._lock, self._db:
            gone = self._db.execute("DELETE FROM words").rowcount
        self._trie = None
        return gone

    def all(self) -> list[tuple[str, str, int]]:
        """Text, reading and times, the most chosen first."""
        return list(
            self._db.execute("SELECT text, reading, times FROM words ORDER BY times DESC, last_s DESC")
        )

    def load(self, file: Path) -> tuple[int, int]:
        """Take in a word list, a line each: a word, or a word, its reading and its count between tabs. Returns how
        many were taken, and how many lines no keys spell. ValueError: the file cannot be read."""
        taken, skipped = list[tuple[str, list[str], int]](), 0
        for line in _lines(file):
            text, _, rest = line.partition("\t")
            reading, _, count = rest.partition("\t")
            syllables = reading.split() or [part[:-1] for part in pinyin.read(text) or ()]
            if _typable(text, syllables):
                taken.append((text, syllables, int(count) if count.isdecimal() else 1))
            else:
                skipped += 1
        for times in {count for *_, count in taken}:
            self.learn(((text, way) for text, way, count in taken if count == times), times)
        return len(taken), skipped

    def save(self, file: Path) -> int:
        """Write all words as `load` reads them; returns how many."""
        rows = self.all()
        file.write_text("".join(f"{text}\t{reading}\t{times}\n" for text, reading, times in rows), "utf-8")
        return len(rows)

    def trie(self, language: Language) -> Trie | None:
        """The words as the lattice takes them; None: there are none."""
        if self._trie is None:
            rows = self.all()[:MOST_WORDS]
            if not rows:
                return None
            words = list(dict.fromkeys(text for text, *_ in rows))
            number = {text: i for i, text in enumerate(words)}
            known = np.array([-1 if (n := language.number(word)) is None else n for word in words], np.int64)
            ways = ((number[text], tuple(reading.split()), _nats(times)) for text, reading, times in rows)
            self._trie = trie(ways, words, known)
        return self._trie

    def close(self) -> None:
        self._db.close()

    # -- the file -----------------------------------------------------------------------------------------------

    @property
    def copy(self) -> Path:
        return self.file.with_name(self.file.name + ".bak")

    def _open(self) -> sqlite3.Connection:
        try:
            return _connected(self.file)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
        aside = self.file.with_name(f"{self.file.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        self.file.replace(aside)
        for rest in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                self.file.with_name(self.file.name + rest).replace(aside.with_name(aside.name + rest))
        if self.copy.exists():
            shutil.copyfile(self.copy, self.file)
        db = self._restored()
        count = db.execute("SELECT count(*) FROM words").fetchone()[0]
        self.recovered = say(
            f"{self.file} was damaged; {count} words restored from its copy, the damaged file is {aside.name}",
            f"{self.file} 已损坏；已从备份恢复 {count} 个词，损坏的文件保留为 {aside.name}",
        )
        return db

    def _restored(self) -> sqlite3.Connection:
        """What the copy holds; nothing, if it is damaged, too."""
        try:
            return _connected(self.file)
        except sqlite3.DatabaseError:
            self.file.unlink()
            return _connected(self.file)

    def _back_up(self) -> None:
        """A copy of a sound file, if the last one is older than a day; it appears whole or not at all."""
        if self.copy.exists() and time.time() - self.copy.stat().st_mtime < COPY_EVERY_S:
            return
        part = self.copy.with_name(self.copy.name + ".part")
        part.unlink(missing_ok=True)
        with closing(sqlite3.connect(part)) as target:
            self._db.backup(target)
        part.replace(self.copy)


def _connected(file: Path) -> sqlite3.Connection:
    """A file that is whole. sqlite3.DatabaseError: it is not."""
    db = sqlite3.connect(file, timeout=5, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        with db:
            db.execute(_SCHEMA)
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("SELECT text, reading, times, last_s FROM words LIMIT 1").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def spelled(texts: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Texts with their syllables, to be learnt. Left out is what has no reading, what is longer than a word, and single
    characters: often chosen, they would push themselves into every sentence."""
    read = ((text, pinyin.read(text)) for text in texts if 2 <= len(text) <= LONGEST)
    return [(text, [part[:-1] for part in reading]) for text, reading in read if reading]


def _typable(text: str, reading: Sequence[str]) -> bool:
    return 0 < len(text) == len(reading) <= 2 * LONGEST and all(part in _SYLLABLES for part in reading)


def _nats(times: int) -> float:
    return max(LEAST, FIRST - AGAIN * math.log2(times))


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise ValueError(
            say(f"{file}: is not UTF-8; convert it", f"{file}：不是 UTF-8；请转换编码")
        ) from None


_SYLLABLES = frozenset(pinyin.syllables())
