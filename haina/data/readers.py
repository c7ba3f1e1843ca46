"""A file → documents, and what in it could not be read, with the reason: never a crash, never without bounds.

Formats: text, lines, jsonl, json, yaml, csv, parquet, html, markdown, wiki (dumps of MediaWiki), warc; all but
parquet also packed as .gz, .bz2, .xz, .zst. A file is not believed its name: binaries are found by their bytes,
encodings by haina/data/decode.py. It does not know which documents are good.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, TextIO

from haina.data.decode import Undecodable, as_text, opened, text_of
from haina.data.document import Document
from haina.data.markup import page_text, plain_markdown, warc_pages, wiki_pages
from haina.wording import say

MOST_CHARS = 16 << 20  # of a line, a page, a row
MOST_NAMES = 100  # characters of the names of a row's fields, as they are told
PIECE_CHARS = 50_000  # a plain text file becomes documents of about this size, cut where a paragraph ends
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that did not fit the encoding
PACKED = (".gz", ".zst", ".bz2", ".xz", ".lzma")
_FORMATS = {
    ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv",
    ".yaml": "yaml", ".yml": "yaml", ".parquet": "parquet", ".html": "html", ".htm": "html", ".xhtml": "html",
    ".md": "markdown", ".markdown": "markdown", ".xml": "wiki", ".warc": "warc",
}  # fmt: skip


@dataclass(frozen=True)
class Unreadable:
    """What no document could be made of: the reason by name, and where."""

    reason: str
    where: str


class Template:
    """Text with {field}s of a row, as a person writes it. ValueError: it is not one."""

    def __init__(self, wire: str):
        self.wire = wire
        try:
            self.parts = [(literal, name) for literal, name, form, _ in Formatter().parse(wire) if not form]
            whole = len(self.parts) == len(list(Formatter().parse(wire)))
        except ValueError:
            whole = False
        if not whole or any(name is not None and not name.isidentifier() for _, name in self.parts):
            raise ValueError(
                say(
                    f"{wire!r}: fields stand as {{name}}, and a brace itself is doubled; correct it",
                    f"{wire!r}：字段写作 {{名称}}，花括号本身须写两遍；请改正",
                )
            )

    def fill(self, row: Mapping[str, Any], join: str) -> str | None:
        """The text, the parts of lists joined; None if the row lacks a field."""
        found = []
        for literal, name in self.parts:
            value = row.get(name, "") if name else ""
            if value is None or isinstance(value, dict) or (name and name not in row):
                return None
            found += [literal, _flat(value, join)]
        return "".join(found)


def fields_of(wire: str) -> list[str]:
    """The fields that a template names."""
    return [name for _, name in Template(wire).parts if name]


def _flat(value: Any, join: str) -> str:
    return join.join(_flat(one, join) for one in value) if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class Reading:
    """How the files of a source are read; fields as in a recipe.

    messages: the field of a conversation; turns: or what user and assistant say in turn; pattern: what lines are taken
    apart by, its groups becoming fields.
    """

    format: str = "auto"
    text: Template = field(default_factory=lambda: Template("{text}"))
    join: str = "\n"
    messages: str = ""
    turns: tuple[Template, ...] = ()
    pattern: str = ""
    id: str = "id"
    licence: Template = field(default_factory=lambda: Template(""))
    domain: Template = field(default_factory=lambda: Template(""))
    where: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> set[str]:
        """What a row must have."""
        if self.messages:
            return {self.messages}
        return {name for one in self.turns or (self.text,) for _, name in one.parts if name}


ROLES = ("user", "assistant")
Row = Mapping[str, Any]
Found = Iterator[Row | Unreadable]


def format_of(file: Path) -> str | None:
    """The format that a name tells."""
    name = Path(file.name.lower())
    while name.suffix in PACKED:
        name = name.with_suffix("")
    return _FORMATS.get(name.suffix)


def read(file: Path, name: str, reading: Reading, source: str = "") -> Iterator[Document | Unreadable]:
    """Documents of a file in their order. name: how ids and reports call the file."""
    kind = format_of(file) or "text" if reading.format == "auto" else reading.format
    try:
        for number, row in enumerate(FORMATS[kind](file), 1):
            where = f"{name}:{number}"
            if reading.pattern and not isinstance(row, Unreadable):
                row = _parted(row, reading.pattern)
            if isinstance(row, Unreadable):
                yield Unreadable(row.reason, f"{name}:{row.where}" if row.where else where)
            elif _asked(row, reading.where):
                yield _document(row, where, reading, source, kind)
    except Undecodable as why:
        yield Unreadable(str(why), name)


def _asked(row: Row, where: Mapping[str, Any]) -> bool:
    return all(
        row.get(key) in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in where.items()
    )


def _parted(row: Row, pattern: str) -> Row | Unreadable:
    found = re.search(pattern, row["text"]) if isinstance(row.get("text"), str) else None
    return found.groupdict() if found else Unreadable("not_matching", "")


def _document(row: Row, where: str, reading: Reading, source: str, kind: str) -> Document | Unreadable:
    meta: dict[str, Any] = {"domain": reading.domain.fill(row, reading.join) or ""}
    if reading.messages or reading.turns:
        said = (
            row.get(reading.messages)
            if reading.messages
            else [t.fill(row, reading.join) for t in reading.turns]
        )
        meta["messages"] = messages = _messages(said)
        text = "\n".join(message["content"] for message in messages)
    else:
        text = reading.text.fill(row, reading.join) or ""
    if not text.strip() and (asked := reading.fields()) and not asked <= row.keys():
        return Unreadable("no_field", f"{where}: {_names(row)}")
    if not text.strip():
        return Unreadable("no_text", where)
    if len(text) > MOST_CHARS:
        return Unreadable("too_large", where)
    given = row.get(reading.id)
    licence = reading.licence.fill(row, reading.join) or ""
    return Document(text, str(given) if isinstance(given, (str, int)) else where, source, licence, meta=meta)


def _names(row: Row) -> str:
    """The fields of a row; strangers named them."""
    names = ", ".join(name for name in map(str, list(row)[:9]) if name.isprintable())
    return names[:MOST_NAMES]


def _messages(given: Any) -> list[dict[str, str]]:
    """The messages, if they are a conversation with an answer; none otherwise. Without roles, two speak in turn."""
    found = []
    for number, one in enumerate(given if isinstance(given, list) else []):
        one = {"content": one} if isinstance(one, str) else one
        if not isinstance(one, dict):
            return []
        role, content = one.get("role", ROLES[number % 2]), one.get("content", one.get("message"))
        if not isinstance(role, str) or not isinstance(content, str) or not content.strip():
            return []
        found.append({"role": role, "content": content.strip("\n")})
    return found if any(one["role"] == "assistant" for one in found) else []


def _line(file: TextIO) -> Iterator[str | Unreadable]:
    """Lines without their ends; one that is too long is read over in pieces."""
    number = 0
    while line := file.readline(MOST_CHARS):
        number += 1
        if len(line) == MOST_CHARS and not line.endswith("\n"):
            while (rest := file.readline(MOST_CHARS)) and not rest.endswith("\n"):
                pass
            yield Unreadable("too_large", str(number))
        elif _ESCAPED.search(line):
            yield Unreadable("encoding", str(number))
        else:
            yield line.rstrip("\n")


def _lines(file: Path) -> Found:
    with as_text(file) as opened_file:
        for line in _line(opened_file):
            if isinstance(line, Unreadable):
                yield line
            elif line.strip():
                yield {"text": line}


def _text(file: Path) -> Found:
    with as_text(file) as opened_file:
        yield from _pieces(_line(opened_file))


def _pieces(lines: Iterator[str | Unreadable]) -> Found:
    """Of about PIECE_CHARS, ending at an empty line, or at any once they are twice as long."""
    held: list[str] = []
    size = 0
    for line in lines:
        if isinstance(line, Unreadable):
            yield line
            continue
        held.append(line)
        size += len(line) + 1
        if size > PIECE_CHARS and (not line.strip() or size > 2 * PIECE_CHARS):
            yield {"text": "\n".join(held)}
            held, size = [], 0
    if "".join(held).strip():
        yield {"text": "\n".join(held)}


def _markdown(file: Path) -> Found:
    yield from _pieces(iter(plain_markdown(text_of(file, MOST_CHARS)).split("\n")))


def _jsonl(file: Path) -> Found:
    with as_text(file) as opened_file:
        for line in _line(opened_file):
            if isinstance(line, Unreadable):
                yield line
            elif line.strip():
                yield _object(line)


def _object(line: str) -> Row | Unreadable:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else Unreadable("not_json", "")


def _json(file: Path) -> Found:
    """An object, or a list of objects, which may be grouped in lists."""
    try:
        content = json.loads(text_of(file, MOST_CHARS * 16))
    except (ValueError, RecursionError):
        yield Unreadable("not_json", "")
        return
    yield from _objects(content)


def _objects(content: Any) -> Found:
    if isinstance(content, list):
        for one in content:
            yield from _objects(one)
    else:
        yield content if isinstance(content, dict) else Unreadable("not_json", "")


def _yaml(file: Path) -> Found:
    """As JSON; of objects by name, the name is their id."""
    import yaml

    try:
        content = yaml.load(text_of(file, MOST_CHARS), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):
        yield Unreadable("not_yaml", "")
        return
    if isinstance(content, dict) and all(isinstance(one, dict) for one in content.values()):
        content = [{"id": str(name), **one} for name, one in content.items()]
    yield from _objects(content)


def _csv(file: Path) -> Found:
    """Rows by the names of the first line."""
    csv.field_size_limit(MOST_CHARS)
    with as_text(file) as opened_file:
        rows = csv.DictReader(opened_file)
        while True:
            try:
                row = next(rows, None)
            except csv.Error:
                yield Unreadable("not_csv", str(rows.line_num))
                continue
            if row is None:
                return
            yield row


def _parquet(file: Path) -> Found:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened_file:
            for batch in opened_file.iter_batches(64):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError):
        yield Unreadable("not_parquet", "")


def _html(file: Path) -> Found:
    yield {"text": page_text(text_of(file, MOST_CHARS))}


def _wiki(file: Path) -> Found:
    with opened(file) as stream:
        for title, text in wiki_pages(stream):
            yield {"text": text and f"{title}\n\n{text}", "id": title} if title else Unreadable("not_xml", "")


def _warc(file: Path) -> Found:
    for url, text in warc_pages(file, MOST_CHARS):
        yield {"text": text, "id": url} if url else Unreadable("not_warc", "")


FORMATS: Mapping[str, Callable[[Path], Found]] = {
    "text": _text,
    "lines": _lines,
    "jsonl": _jsonl,
    "json": _json,
    "yaml": _yaml,
    "csv": _csv,
    "parquet": _parquet,
    "html": _html,
    "markdown": _markdown,
    "wiki": _wiki,
    "warc": _warc,
}
