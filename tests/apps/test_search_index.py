"""The index: what is read, how it follows a folder, and that nothing breaks it."""

import os
import sqlite3
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.apps.search.extract import READERS, plain_text, text_of
from haina.apps.search.ingest import add, refresh, remove
from haina.apps.search.passages import LONGEST, passages
from haina.apps.search.problem import Unreadable
from haina.apps.search.store import Store
from haina.apps.search.terms import cut, pairs

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="in/book.opf"/></rootfiles></container>'
)
BOOK = (
    '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="one%20two.xhtml"/></manifest>'
    '<spine><itemref idref="a"/></spine></package>'
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "search.db", new=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


def whole(store: Store) -> bool:
    """Whether every passage is found by its terms, and nothing else is."""
    store._file.execute("insert into words (words) values ('integrity-check')")
    rows = store._file.execute("select id, text from passages").fetchall()
    expected: dict[str, int] = {}
    for _, text in rows:
        for term in set(cut(text)):
            expected[term] = expected.get(term, 0) + 1
    return dict(store._file.execute("select term, doc from temp.vocabulary")) == expected


def test_terms_are_folded_and_pinned() -> None:
    """They are what indexes hold: when this changes, FORMAT does."""
    text = "ＡＢＣ café cafe\u0301 ﬁnd 漢字資料庫 3½ 東\0西 running dogs 🍎 مرحبا"
    known = "abc cafe cafe find 汉字 字资 资料 料库 库 3 1 2 东 西 run dog 🍎 مرحبا"
    assert " ".join(cut(text)) == known
    assert pairs("漢字 庙 Dogs") == ["汉字", "庙", "dog"]


@given(st.text(alphabet="字甲 ab.。\n\f#", max_size=3000))
@settings(max_examples=100, deadline=None)
def test_passages_are_the_text(text: str) -> None:
    parts = list(passages(text))
    assert "".join(parts) == (text if text.strip() else "")
    assert all(part.strip() for part in parts[:-1])


def test_a_long_paragraph_is_divided_where_sentences_end() -> None:
    parts = list(passages("这是一句话，它有十几个字。" * 200))
    assert len(parts) > 3 and all(part.endswith("。") and len(part) <= LONGEST for part in parts)


def test_formats(folder: Path) -> None:
    (folder / "a.html").write_text(
        "<title>t</title><p>One\ntwo<br>three<script>x()</script></p><td>c</td><p hidden>no</p>"
        '<i style="color: red; DISPLAY:none"><b>no</b></i><i style="font-size:0px">no</i>'
        '<i style="opacity:0.5; font-size: 0.9em">d</i>',
        "utf-8",
    )
    (folder / "b.csv").write_text("name,price\napple,3\n", "utf-8")
    (folder / "c.txt").write_bytes("国家图书馆位于北京市海淀区。".encode("gb18030"))
    with zipfile.ZipFile(folder / "d.docx", "w") as made:
        made.writestr("word/document.xml", f'<d xmlns:w="{WORD}"><w:p><w:t>汉</w:t><w:t>字</w:t></w:p></d>')
    with zipfile.ZipFile(folder / "e.epub", "w") as made:
        made.writestr("META-INF/container.xml", CONTAINER)
        made.writestr("in/book.opf", BOOK)
        made.writestr("in/one two.xhtml", "<html><body><h1>第一章</h1><p>山。</p></body></html>")
    base = sqlite3.connect(folder / "f.db")
    base.execute("create table metals (name, number)")
    base.execute("insert into metals values ('mercury', 80)")
    base.commit()
    texts = [text_of(file) for file in sorted(folder.iterdir())]
    assert texts == [
        "One two\n\nthree\n\nc d",
        "name: apple\nprice: 3",
        "国家图书馆位于北京市海淀区。",
        "汉字",
        "第一章\n\n山。",
        "name: mercury\nnumber: 80",
    ]


def test_pdf(folder: Path) -> None:
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    fonts = DictionaryObject({NameObject(k): NameObject(v) for k, v in font.items()})
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F"): fonts})}
    )
    stream = DecodedStreamObject()
    stream.set_data(b"BT /F 12 Tf 20 200 Td (Herons wade.) Tj ET")
    page[NameObject("/Contents")] = writer._add_object(stream)
    writer.add_blank_page(300, 300)
    writer.write(folder / "a.pdf")
    assert text_of(folder / "a.pdf") == "Herons wade.\f"
    (folder / "b.pdf").write_bytes((folder / "a.pdf").read_bytes()[:200])
    with pytest.raises(Unreadable, match="broken PDF"):
        text_of(folder / "b.pdf")


def test_bombs_and_broken_archives(folder: Path) -> None:
    with zipfile.ZipFile(folder / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("word/document.xml", bytes(65 << 20))
    with zipfile.ZipFile(folder / "laughs.docx", "w") as made:
        entities = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
        made.writestr("word/document.xml", f'<!DOCTYPE d [<!ENTITY a0 "ha">{entities}]><d>&a9;</d>')
    with zipfile.ZipFile(folder / "empty.epub", "w") as made:
        made.writestr("mimetype", "application/epub+zip")
    (folder / "no.docx").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(Unreadable, match="64 MB"):
        text_of(folder / "bomb.docx")
    for name in ("laughs.docx", "empty.epub", "no.docx"):
        with pytest.raises(Unreadable):
            text_of(folder / name)


def test_the_index_follows_the_folder(store: Store, folder: Path) -> None:
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"文件 {name} 里有苹果。", "utf-8")
    (folder / ".hidden.txt").write_text("看不见", "utf-8")
    os.symlink(folder, folder / "loop")
    os.symlink("round.txt", folder / "round.txt")
    first = add(store, folder)
    assert (first.read, first.removed, first.problems) == (3, 0, [])
    (folder / "a.txt").write_text("现在是香蕉了。", "utf-8")
    (folder / "b.txt").unlink()
    second = refresh(store)
    assert (second.read, second.removed, second.same) == (1, 1, 1)
    assert [p.document[-5:] for p in store.passages(store.find(["苹果"], 9))] == ["c.txt"]
    assert store.text(str(folder / "a.txt")) == "现在是香蕉了。"
    assert whole(store)
    assert remove(store, folder) == 2 and store.size == 0 and not store.folders and whole(store)


def test_a_file_that_changes_while_it_is_read_is_read_again(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(file: Path) -> str:
        text = plain_text(file)
        if "终" not in text:
            file.write_text(text + "终。", "utf-8")
        return text

    def vanishing(file: Path) -> str:
        file.unlink()
        return plain_text(file)

    (folder / "a.txt").write_text("苹果。", "utf-8")
    (folder / "b.md").write_text("香蕉。", "utf-8")
    monkeypatch.setitem(READERS, ".txt", changing)
    monkeypatch.setitem(READERS, ".md", vanishing)
    assert add(store, folder).problems[0][0] == str(folder / "b.md")
    assert refresh(store).read == 1 and refresh(store).read == 0
    assert [document.path[-5:] for document in store.documents()] == ["a.txt"]
    assert store.text(str(folder / "a.txt")) == "苹果。终。" and whole(store)


def test_a_folder_that_is_missing_is_kept(store: Store, folder: Path) -> None:
    (folder / "a.txt").write_text("苹果。", "utf-8")
    add(store, folder)
    folder.rename(folder.with_name("away"))
    assert refresh(store).problems[0][0] == str(folder) and store.size == 1


def test_a_problem_is_told_until_the_file_changes(store: Store, folder: Path) -> None:
    (folder / "a.docx").write_bytes(b"nothing")
    assert add(store, folder).problems and add(store, folder).problems
    assert add(store, folder).read == 0
    (folder / "a.docx").unlink()
    assert not add(store, folder).problems


def test_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="haina search add"):
        Store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a database, and long enough to see that" * 9)
    sqlite3.connect(tmp_path / "other.db").execute("create table mine (x)")
    for name in ("text.db", "other.db"):
        with pytest.raises(ValueError, match="not an index"):
            Store(tmp_path / name, new=True)


def test_terms_of_another_format_are_made_again(store: Store, folder: Path) -> None:
    (folder / "a.txt").write_text("苹果。", "utf-8")
    add(store, folder)
    store._file.execute("insert into words (words) values ('delete-all')")
    with store.writing():
        store.remember("terms", 0)
    again = Store(store.path)
    assert again.find(["苹果"], 1) == [1] and whole(again)
