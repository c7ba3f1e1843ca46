"""A file → its text, in which passages have their offsets; or Unreadable with the reason.

Text and Markdown stay as they are; of the others it is what a person would read (pages.py, packed.py, rows.py). A PDF
is read by a process of its own (pdf.py), which may take so much memory and time and no more: whatever a broken one
does, it does there. It does not know what a text is for.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from haina.apps.search.packed import docx_text, epub_text
from haina.apps.search.pages import html_text
from haina.apps.search.problem import Unreadable
from haina.apps.search.rows import csv_text, sqlite_text
from haina.data.decode import SAMPLE_BYTES, Undecodable, encoding
from haina.wording import say

MOST_BYTES = 256 << 20  # of a file
MOST_CHARS = 32 << 20  # of a text
PDF_SECONDS = 120


def text_of(file: Path) -> str:
    """The text of a file whose name ends as one of READERS. Unreadable, OSError."""
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise Unreadable(say(f"larger than {MOST_BYTES >> 20} MB", f"超过 {MOST_BYTES >> 20} MB"))
    text = READERS[file.suffix.lower()](file) if size else ""
    if len(text) > MOST_CHARS:
        raise Unreadable(say(f"more than {MOST_CHARS:,} characters of text", f"文本超过 {MOST_CHARS:,} 字"))
    return text.encode("utf-8", "replace").decode()  # without lone surrogates, which no database takes


def plain_text(file: Path) -> str:
    data = file.read_bytes()
    try:
        return data.decode(encoding(data[:SAMPLE_BYTES]), "replace")
    except Undecodable:
        raise Unreadable(say("not text", "不是文本")) from None


def _html(file: Path) -> str:
    return html_text(plain_text(file).encode())


def _csv(file: Path) -> str:
    return csv_text(plain_text(file), MOST_CHARS)


def _sqlite(file: Path) -> str:
    return sqlite_text(file, MOST_CHARS)


def pdf_text(file: Path) -> str:
    """The pages, a form feed between them."""
    command = [sys.executable, "-m", "haina.apps.search.pdf", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PDF_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Unreadable(say("reading it takes too long", "读取耗时过长")) from None
    if done.returncode == 3:
        raise Unreadable(done.stderr.decode("utf-8", "replace").strip())
    if done.returncode:
        raise Unreadable(say("a broken PDF", "PDF 已损坏"))
    return done.stdout.decode("utf-8", "replace")


READERS: Mapping[str, Callable[[Path], str]] = {
    **dict.fromkeys((".txt", ".text", ".md", ".markdown", ".rst", ".org", ".log"), plain_text),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _html),
    **dict.fromkeys((".csv", ".tsv"), _csv),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), _sqlite),
    ".pdf": pdf_text,
    ".docx": docx_text,
    ".epub": epub_text,
}
