"""The index of the reverse dictionary: one SQLite file that holds words, senses and flat arrays.

Arrays are blobs that NumPy reads as they lie; definitions lie in compressed blocks and are read when they are shown.
It knows how things are kept; build.py fills it, rank.py asks it.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from haina.apps.words.postings import Postings
from haina.wording import say

FORMAT = 3
WORTH = 0.9  # an array that packing leaves larger is kept as it lies
BLOCK = 64  # senses whose texts are compressed together
POS_BITS = {"n": 1, "v": 2, "a": 4, "r": 8}  # of the array pos
STYLE_BITS = {"formal": 1, "informal": 2, "old": 4}  # of the array labels
READY = Path(__file__).with_name("ready.db")
TABLES = """
create table about (name text primary key, value text);
create table arrays (name text primary key, dtype text, shape text, packed integer, data blob);
create table texts (name text primary key, data blob);
create table blocks (id integer primary key, data blob);
"""


@dataclass(frozen=True)
class Meaning:
    """A sense as it is shown. `source` is a key of Index.sources, where its licence stands."""

    gloss: str
    source: str
    pos: str
    examples: tuple[str, ...]


class Index:
    """Opened to be asked; safe for several threads, since nothing is written. ValueError: the file is no index.

    words [W]: English ones first, `english` of them; links: for each word the senses it stands in.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise ValueError(say(f"{path}: no such index", f"{path}：没有这个索引文件"))
        self.path = path
        self._file = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            self.about = dict(self._file.execute("select name, value from about"))
            if self.about.get("format") != str(FORMAT):
                raise ValueError
        except (sqlite3.DatabaseError, ValueError):
            raise ValueError(
                say(
                    f"{path}: not an index of words of this version; build it with `haina words --build FOLDER`",
                    f"{path}：不是本版本的词索引；请用 haina words --build FOLDER 重新生成",
                )
            ) from None
        self.sources: dict[str, dict[str, str]] = json.loads(self.about["sources"])
        self.words = self._text("words").split("\n")
        self.english = int(self.about["english"])
        self.number = {word: at for at, word in enumerate(self.words)}

    def array(self, name: str) -> np.ndarray:
        row = self._file.execute(
            "select dtype, shape, packed, data from arrays where name = ?", (name,)
        ).fetchone()
        if row is None:
            raise KeyError(name)
        dtype, shape, packed, data = row
        values: np.ndarray = np.frombuffer(zlib.decompress(data) if packed else data, dtype)
        values = values.reshape(json.loads(shape))
        return values

    def _text(self, name: str) -> str:
        row = self._file.execute("select data from texts where name = ?", (name,)).fetchone()
        return zlib.decompress(row[0]).decode()

    @cached_property
    def postings(self) -> Postings:
        names = self._text("terms").split("\n")
        starts = np.concatenate([[0], np.cumsum(self.array("posting_counts"))])
        number = {term: at for at, term in enumerate(names)}
        return Postings(
            number,
            starts,
            np.cumsum(self.array("posting_steps"), dtype=np.int32),
            self.array("posting_gains"),
            float(self.about["most"]),
            self.array("idf"),
        )

    @cached_property
    def readings(self) -> list[str]:
        """Of each Chinese word: hai3 na4; "" where it is not known."""
        return self._text("readings").split("\n")

    @cached_property
    def forms(self) -> dict[str, str]:
        """forgot → forget."""
        return dict(line.split("\t") for line in self._text("forms").split("\n") if line)

    def meaning(self, sense: int) -> Meaning:
        (data,) = self._file.execute("select data from blocks where id = ?", (sense // BLOCK,)).fetchone()
        gloss, source, pos, examples = json.loads(zlib.decompress(data))[sense % BLOCK]
        return Meaning(gloss, source, pos, tuple(examples))


class Writer:
    """A new index, which appears under its name when it is whole."""

    def __init__(self, path: Path):
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._part.unlink(missing_ok=True)
        self._file = sqlite3.connect(self._part)
        self._file.executescript(TABLES)

    def about(self, **values: Any) -> None:
        self._file.executemany("insert into about values (?, ?)", [(k, str(v)) for k, v in values.items()])

    def array(self, name: str, values: np.ndarray) -> None:
        """Packed, if that makes it smaller."""
        data = values.tobytes()
        packed = zlib.compress(data, 6)
        worth = len(packed) < WORTH * len(data)
        row = (name, values.dtype.str, json.dumps(values.shape), worth, packed if worth else data)
        self._file.execute("insert into arrays values (?, ?, ?, ?, ?)", row)

    def text(self, name: str, lines: Iterable[str]) -> None:
        data = zlib.compress("\n".join(lines).encode(), 9)
        self._file.execute("insert into texts values (?, ?)", (name, data))

    def meanings(self, rows: Sequence[Meaning]) -> None:
        for at in range(0, len(rows), BLOCK):
            block = [[m.gloss, m.source, m.pos, list(m.examples)] for m in rows[at : at + BLOCK]]
            data = zlib.compress(json.dumps(block, ensure_ascii=False).encode(), 9)
            self._file.execute("insert into blocks values (?, ?)", (at // BLOCK, data))

    def close(self) -> None:
        self._file.commit()
        self._file.execute("vacuum")
        self._file.close()
        self._part.replace(self.path)
