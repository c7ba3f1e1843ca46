"""docx and EPUB → text: zip archives with XML in them.

A part is unpacked in memory and no farther than MOST_BYTES in all, whatever the archive says of itself; entities are
not followed, so that neither bombs nor files from elsewhere come in. It knows where the two formats keep their text
(ECMA-376 part 1, 17.3; EPUB 3.3, 5 and 6).
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from lxml import etree

from haina.apps.search.pages import html_text
from haina.apps.search.problem import Unreadable
from haina.wording import say

MOST_BYTES = 64 << 20  # of the parts of a file, unpacked
WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)  # as zipfile raises them


class _Archive:
    """The parts of an archive, until MOST_BYTES have been unpacked."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive, self._left = archive, MOST_BYTES

    def read(self, name: str) -> bytes:
        """A part. Unreadable: it is missing, or too much."""
        try:
            with self._archive.open(name) as stream:
                data = stream.read(self._left + 1)
        except KeyError:
            raise Unreadable(say(f"has no {name}", f"缺少 {name}")) from None
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable(
                say(f"unpacks to more than {MOST_BYTES >> 20} MB", f"解压后超过 {MOST_BYTES >> 20} MB")
            )
        return data

    def xml(self, name: str) -> etree._Element:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        try:
            return etree.fromstring(self.read(name), parser)
        except etree.XMLSyntaxError:
            raise Unreadable(say(f"{name} is broken", f"{name} 已损坏")) from None


def _opened(file: Path, read: Callable[[_Archive], str]) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            return read(_Archive(archive))
    except _DAMAGED:
        raise Unreadable(say("a broken or locked archive", "压缩包已损坏或已加密")) from None


def docx_text(file: Path) -> str:
    """The paragraphs, those of tables among them."""
    return _opened(file, lambda parts: "\n\n".join(filter(None, map(_said, _paragraphs(parts)))))


def _paragraphs(parts: _Archive) -> list[etree._Element]:
    return list(parts.xml("word/document.xml").iter(f"{WORD}p"))


def _said(paragraph: etree._Element) -> str:
    marks = {f"{WORD}tab": "\t", f"{WORD}br": "\n", f"{WORD}cr": "\n"}
    found = (e.text or "" if e.tag == f"{WORD}t" else marks.get(str(e.tag), "") for e in paragraph.iter())
    return "".join(found).strip()


def epub_text(file: Path) -> str:
    """The chapters in the order of the spine."""
    return _opened(file, _chapters)


def _chapters(parts: _Archive) -> str:
    container = parts.xml("META-INF/container.xml")
    book = next((e.get("full-path") for e in container.iter("{*}rootfile")), None)
    if not book:
        raise Unreadable(say("names no book inside", "没有指明书的内容"))
    package = parts.xml(book)
    places = {item.get("id"): item.get("href") for item in package.iter("{*}item")}
    order = [places.get(item.get("idref")) for item in package.iter("{*}itemref")]
    folder = posixpath.dirname(book)
    names = (posixpath.normpath(posixpath.join(folder, unquote(place))) for place in order if place)
    return "\n\n".join(filter(None, (html_text(parts.read(name)) for name in dict.fromkeys(names))))
