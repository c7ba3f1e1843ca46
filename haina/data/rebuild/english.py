"""English prose: classic books, OpenStax, the World Factbook, medical questions, manuals, speeches.

It knows how each repository lays its files out; which rows are kept, pack.py says.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from haina.data.rebuild.plain import markdown, restructured, tidy, untagged
from haina.data.rebuild.row import Keyed, sorted_files

WINDOW_CHARS, PIECE_CHARS = 75_000, 12_000  # of a book; of its pieces
_BOOK = re.compile(r"\A#\s*Title:\s*(.*)\n+##\s*Author:\s*(.*)\n+##\s*Year:\s*(\d{4}).*\n", re.MULTILINE)
BY_YEAR = 1928  # later ones may be in copyright
_PEP_TITLE = re.compile(r"^Title:\s*(.+(?:\n[ \t]+.+)*)", re.MULTILINE)
CC_BY = "creativecommons.org/licenses/by/4.0"
_NO_PROSE = (
    "figure",
    "table",
    "exercise",
    "equation",
    "math",
    "media",
    "footnote",
    "metadata",
    "code",
    "glossary",
)
_OWN_LINE = ("para", "title", "item", "section", "list", "note", "example")


def books(folder: Path) -> Iterator[Keyed]:
    """AUTHOR/TITLE.md: from the middle of a book a window, in pieces of whole paragraphs."""
    for file in sorted_files(folder, "*/*.md"):
        whole = file.read_text("utf-8", "replace").replace("\r\n", "\n")
        head = _BOOK.match(whole)
        if not head or int(head[3]) > BY_YEAR:
            continue
        start = max(head.end(), (len(whole) - WINDOW_CHARS) // 2)
        start = max(start, whole.find("\n\n", start))
        _, text = markdown(whole[start : start + WINDOW_CHARS])
        name = f"{head[1].strip()} ({head[2].strip()}, {head[3]})"
        for number, piece in enumerate(pieces(text, PIECE_CHARS)):
            yield name, {"text": piece, "title": f"{name} #{number}"}


def pieces(text: str, size: int) -> Iterator[str]:
    """Whole paragraphs, about so many characters."""
    held: list[str] = []
    for paragraph in text.split("\n\n"):
        held.append(paragraph)
        if sum(map(len, held)) > size:
            yield "\n\n".join(held)
            held = []
    if held:
        yield "\n\n".join(held)


def openstax(folder: Path) -> Iterator[Keyed]:
    """modules/M/index.cnxml of the collections under CC BY 4.0: the title and paragraphs of a section."""
    for collection in sorted_files(folder, "collections/*.xml"):
        root = ElementTree.parse(collection).getroot()
        licences = [one.get("url", "") for one in root.iter() if one.tag.endswith("}license")]
        if not any(CC_BY in url for url in licences):
            continue
        for module in (one.get("document", "") for one in root.iter() if one.tag.endswith("}module")):
            file = folder / "modules" / module / "index.cnxml"
            if module.isalnum() and file.is_file():
                title, text = _section(ElementTree.parse(file).getroot())
                yield module, {"text": text, "title": title, "lic": "CC BY 4.0"}


def _section(document: ElementTree.Element) -> tuple[str, str]:
    parts = {_name(part): part for part in document}
    text = "".join(_prose(parts["content"])) if "content" in parts else ""
    title = "".join(parts["title"].itertext()) if "title" in parts else ""
    return title.strip(), tidy(re.sub(r"\n[ \t]+", "\n", re.sub(r"[ \t]+", " ", text)))


def _prose(element: ElementTree.Element) -> Iterator[str]:
    """The text in an element, without what is no prose, each paragraph on its line."""
    if _name(element) in _NO_PROSE or "references" in (element.get("class") or ""):
        return
    yield re.sub(r"\s+", " ", element.text or "")
    for child in element:
        yield from _prose(child)
        yield re.sub(r"\s+", " ", child.tail or "")
    if _name(element) in _OWN_LINE:
        yield "\n"


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def factbook(folder: Path) -> Iterator[Keyed]:
    """REGION/COUNTRY.json: "Kenya - Geography", a line a field."""
    for file in sorted_files(folder, "*/*.json"):
        about = json.loads(file.read_bytes())
        names = about.get("Government", {}).get("Country name", {})
        short = names.get("conventional short form", {}).get("text", "")
        if not short or short == "none":
            continue
        for section, fields in about.items():
            lines = [line for name, field in fields.items() for line in _lines(name, field)]
            text = "\n".join([f"{short}: {section}", *lines])
            yield short, {"text": text, "title": f"{short} - {section}"}


def _lines(name: str, field: Any) -> Iterator[str]:
    if isinstance(field, dict) and "text" in field:
        said = untagged(str(field["text"])).replace("\n", " ")
        if said:
            yield said if said.startswith(f"{name.strip()}:") else f"{name.strip()}: {said}"
    elif isinstance(field, dict):
        for inner, value in field.items():
            yield from _lines(inner, value)


def medquad(folder: Path) -> Iterator[Keyed]:
    """SET/N.xml: the questions about one thing with their answers. Three sets have no answers."""
    for file in sorted_files(folder, "*/*.xml"):
        root = ElementTree.parse(file).getroot()
        said = [
            f"{pair.findtext('Question', '').strip()}\n{_answer(pair)}"
            for pair in root.iter("QAPair")
            if _answer(pair)
        ]
        if said:
            yield file.stem, {"text": "\n\n".join(said), "title": root.findtext("Focus", "").strip()}


def _answer(pair: ElementTree.Element) -> str:
    lines = (re.sub(r"\s+", " ", line).strip() for line in pair.findtext("Answer", "").split("\n"))
    return "\n".join(line for line in lines if line)


def manuals(folder: Path) -> Iterator[Keyed]:
    """Markdown: a file is a document."""
    for file in sorted_files(folder, "**/*.md"):
        title, text = markdown(file.read_text("utf-8", "replace"))
        yield file.relative_to(folder).as_posix(), {"text": text, "title": title or file.stem}


def peps(folder: Path) -> Iterator[Keyed]:
    """peps/pep-N.rst."""
    for file in sorted_files(folder, "peps/pep-*.rst"):
        whole = file.read_text("utf-8", "replace")
        title = _PEP_TITLE.search(whole)
        text = restructured(whole)
        yield file.stem, {"text": text, "title": " ".join(title[1].split()) if title else file.stem}


def speeches(folder: Path) -> Iterator[Keyed]:
    """packages/corpora/*.zip of NLTK: a text file is a speech, in pieces of 30,000 characters."""
    for file in sorted_files(folder, "packages/corpora/*.zip"):
        with zipfile.ZipFile(file) as packed:
            for name in sorted(one for one in packed.namelist() if re.fullmatch(r"\w+/\d{4}-.*\.txt", one)):
                text = packed.read(name).decode("utf-8", "replace")
                text = tidy(re.sub(r"[ \t]+", " ", text.replace("\r", "")))
                stem = name.rpartition("/")[2]
                for number, piece in enumerate(pieces(text, 30_000)):
                    yield stem, {"text": piece, "title": f"{stem}#{number}"}
