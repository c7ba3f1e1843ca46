"""Markup → the text that a reader of the page sees: HTML, Markdown, MediaWiki; pages of WARC files and wiki dumps.

HTML by trafilatura (Barbaresi, ACL 2021), wikitext by mwparserfromhell, WARC by FastWARC. It does not know which
pages are good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_MARKDOWN = (
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"^ {0,3}(?:```|~~~).*\n", re.MULTILINE), ""),  # a fence goes, what stands in it stays
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"^\[[^\]]+\]:.*$", re.MULTILINE), ""),
    (re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$", re.MULTILINE), r"\1"),
    (re.compile(r"^ {0,3}>[ \t]?", re.MULTILINE), ""),
    (re.compile(r"^ {0,3}(?:[-*_][ \t]*){3,}$", re.MULTILINE), ""),
    (re.compile(r"(\*{1,3}|(?<!\w)_{1,3})(?=\S)([^\n]*?\S)\1"), r"\2"),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>\n]*>"), ""),
)
_NO_TEXT = ("file", "image", "category", "文件", "檔案", "图像", "圖像", "分类", "分類")
_NO_TAGS = ("ref", "table", "gallery", "math", "timeline", "references", "nowiki")
_VARIANT = re.compile(r"-\{(?:[^|{}]*\|)?([^{}]*)\}-")  # of Chinese wikis: -{zh-hans:软件; zh-hant:軟體}-
_SIMPLIFIED = ("zh-hans", "zh-cn", "zh-sg", "zh")


def page_text(html: str) -> str:
    """What stands on a page of the web without menus and the like; "" if nothing does."""
    from trafilatura import extract

    if not html.strip():
        return ""
    return extract(html, favor_precision=True, include_comments=False, deduplicate=False) or ""


def plain_markdown(text: str) -> str:
    """Without front matter, pictures, addresses of links and signs of emphasis; code stays."""
    text = _FRONT.sub("", text.replace("\r\n", "\n"))
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    return text


def plain_wiki(markup: str) -> str:
    """Without templates, tables, notes, pictures and categories."""
    import mwparserfromhell

    code = mwparserfromhell.parse(_VARIANT.sub(_simplified, markup))
    for link in code.filter_wikilinks():
        if str(link.title).split(":")[0].strip().lower() in _NO_TEXT:
            _without(code, link)
    for tag in code.filter_tags(matches=lambda node: str(node.tag).lower() in _NO_TAGS):
        _without(code, tag)
    return str(code.strip_code())


def _without(code: object, node: object) -> None:
    try:
        code.remove(node)  # type: ignore[attr-defined]
    except ValueError:  # it went with what was around it
        return


def _simplified(found: re.Match[str]) -> str:
    forms = dict(part.split(":", 1) for part in found[1].split(";") if ":" in part)
    named = {key.strip(): value.strip() for key, value in forms.items()}
    return next((named[key] for key in _SIMPLIFIED if key in named), "" if named else found[1])


def wiki_pages(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """(title, text) of the articles of a dump; ("", "") where the XML breaks off. Redirects and talk are left out."""
    try:
        walk = ElementTree.iterparse(stream, events=("start", "end"))
        _, root = next(walk)
        for event, element in walk:
            if event == "end" and _name(element) == "page":
                yield from _page(element)
                root.clear()
    except (ElementTree.ParseError, StopIteration):
        yield "", ""


def _page(page: ElementTree.Element) -> Iterator[tuple[str, str]]:
    parts = {_name(part): part.text or "" for part in page.iter()}
    if parts.get("ns", "0") == "0" and "redirect" not in parts and parts.get("title"):
        yield parts["title"], plain_wiki(parts.get("text", ""))


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def warc_pages(file: Path, most_bytes: int) -> Iterator[tuple[str, str]]:
    """(address, text) of each page of HTML or plain text; ("", "") where the file breaks off."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    from haina.data.decode import Undecodable, encoding

    kinds = WarcRecordType.response | WarcRecordType.resource
    try:
        with file.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=kinds, auto_decode="all"):
                kind = record.http_content_type or record.headers.get("Content-Type") or ""
                if not kind.startswith(("text/html", "application/xhtml", "text/plain")):
                    continue
                wire = record.reader.read(most_bytes)
                try:
                    text = wire.decode(_charset(record.http_charset) or encoding(wire), "replace")
                except Undecodable:
                    text = ""
                address = record.headers.get("WARC-Target-URI") or record.record_id
                yield address, text if kind.startswith("text/plain") else page_text(text)
    except (OSError, ValueError):
        yield "", ""


def _charset(name: str | None) -> str | None:
    """The encoding that a server named, if there is one of this name."""
    import codecs

    try:
        return codecs.lookup(name).name if name else None
    except LookupError:
        return None
