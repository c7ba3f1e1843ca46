"""Chinese prose: novels, Lu Xun, manuals, passages of encyclopaedias, laws, classical works.

It knows how each repository lays its files out; which rows are kept, pack.py says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from haina.data.rebuild.plain import markdown, untagged
from haina.data.rebuild.row import Keyed, sorted_files
from haina.text.normalize import simplified

# Of luoxuhai/chinese-novel; left out are erotica, short tales in classical language, and books after 1930.
NOVELS = frozenset(Path(__file__).with_name("novels.txt").read_text("utf-8").split())
PIECE_CHARS = 4000
_INDENT = re.compile("^[ \u3000]+")
_WRITTEN = re.compile("（本篇.*|^【注解】.*", re.DOTALL)


def novels(folder: Path) -> Iterator[Keyed]:
    """resources/KIND/BOOK/N.html: a chapter."""
    for book in sorted_files(folder, "resources/*/*", folders=True):
        if book.name in NOVELS:
            for file in sorted(book.glob("*.html"), key=lambda one: (len(one.name), one.name)):
                text = untagged(file.read_text("utf-8", "replace")).replace("\u3000", "")
                text = re.sub(r"\n+", "\n", simplified(text))
                yield book.name, {"text": text, "title": f"{book.name} {file.stem}"}


def luxun(folder: Path) -> Iterator[Keyed]:
    """data/raw/COLLECTION/WORK.md: a work, in pieces."""
    for file in sorted_files(folder, "data/raw/*/*.md"):
        lines = [
            line for line in file.read_text("utf-8", "replace").split("\n") if not line.startswith("```")
        ]
        collection = file.parent.name
        for number, text in enumerate(pieces(_paragraphs(lines))):
            yield f"{collection} {file.stem}", {"text": text, "title": f"{collection}·{file.stem} {number}"}


def _paragraphs(lines: list[str]) -> list[str]:
    """Lines that begin with a space begin a paragraph; others go on with the one before."""
    found: list[str] = []
    for line in lines:
        if not line.strip():
            found.append("")
        elif found and found[-1] and not _INDENT.match(line):
            found[-1] += line.strip()
        else:
            found.append(line.strip())
    return [paragraph for paragraph in found if paragraph]


def pieces(paragraphs: list[str]) -> Iterator[str]:
    """Of about PIECE_CHARS, whole paragraphs each."""
    held: list[str] = []
    for paragraph in paragraphs:
        held.append(paragraph)
        if sum(map(len, held)) > PIECE_CHARS:
            yield "\n\n".join(held)
            held = []
    if held:
        yield "\n\n".join(held)


def manuals(folder: Path) -> Iterator[Keyed]:
    """Markdown: a file is a document. Of d2l-zh, files named _origin are those before translation."""
    for file in sorted_files(folder, "**/*.md"):
        if not file.stem.endswith("_origin") and not file.stem.endswith("_en") and file.stem != "_index":
            title, text = markdown(file.read_text("utf-8", "replace"))
            name = file.relative_to(folder).as_posix()
            if is_chinese(text):
                yield name, {"text": text, "title": title or file.stem}


def is_chinese(text: str) -> bool:
    return len(re.findall("[\u4e00-\u9fff]", text)) > 0.2 * len(text)


def laws(folder: Path) -> Iterator[Keyed]:
    """KIND/**/TITLE(DATE).md; what stands before "INFO END" is about its making."""
    for file in sorted_files(folder, "**/*.md"):
        whole = file.read_text("utf-8", "replace")
        about, found, body = whole.partition("<!-- INFO END -->")
        if found and about:
            _, text = markdown(body)
            yield re.sub(r"\(.*", "", file.stem), {"text": text, "title": file.stem}


def passages(folder: Path) -> Iterator[Keyed]:
    """SQuAD's form: the passages alone, an article's title as key."""
    for file in sorted_files(folder, "**/*.json"):
        for article in json.loads(file.read_bytes())["data"]:
            title = simplified(article.get("title", ""))
            for paragraph in article["paragraphs"]:
                text = simplified(paragraph["context"].strip())
                yield title or text[:20], {"text": text, "title": title or str(paragraph.get("title", ""))}


def xquad(folder: Path, language: str) -> Iterator[Keyed]:
    """xquad.zh.json and xquad.en.json stand side by side; no title is taken from the other."""
    articles = json.loads((folder / f"xquad.{language}.json").read_bytes())["data"]
    for number, article in enumerate(articles):
        for paragraph in article["paragraphs"]:
            yield f"xquad {number}", {"text": paragraph["context"].strip(), "title": article.get("title", "")}


def classical(folder: Path) -> Iterator[Keyed]:
    """双语数据/WORK/…/CHAPTER/bitext.txt: 古文：… 现代文：… in turn; groups of up to eight pairs."""
    for file in sorted_files(folder, "双语数据/**/bitext.txt"):
        work = "·".join(file.relative_to(folder).parts[1:-1])
        blocks = re.findall(r"古文：(.*)\n现代文：(.*)", file.read_text("utf-8", "replace"))
        pairs = [[old.strip(), new.strip()] for old, new in blocks if old.strip() and new.strip()]
        for start in range(0, len(pairs), 8):
            if len(pairs[start : start + 8]) > 1:
                yield work, {"title": work, "pairs": pairs[start : start + 8]}
