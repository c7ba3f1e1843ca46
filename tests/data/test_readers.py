"""Readers: each format gives its documents; what cannot be read is a reason, whatever the bytes are."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from haina.data.document import Document
from haina.data.readers import Reading, Template, Unreadable, read

CHINESE = "今天的天气很好，我们在公园里散步，看到了许多花，也为大家拍了照片。\n" * 20
ENGLISH = "The harbour was quiet in the morning, and the boats had not yet come back. " * 6


def found(file: Path, reading: Reading = Reading()) -> tuple[list[str], list[str]]:  # noqa: B008
    """The texts, and the reasons with their places."""
    items = list(read(file, file.name, reading))
    texts = [item.text for item in items if isinstance(item, Document)]
    return texts, [f"{item.reason} {item.where}" for item in items if isinstance(item, Unreadable)]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", bytes),
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.bz2", bz2.compress),
        ("a.jsonl.xz", lzma.compress),
        ("a.jsonl.zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_lines_of_json_are_read_whatever_packs_them(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    (file := tmp_path / name).write_bytes(pack(b'{"text": "one", "id": 7}\n\n{"text": "two"}\n' * 2))
    assert found(file) == (["one", "two"] * 2, [])
    assert [item.id for item in read(file, "n", Reading()) if isinstance(item, Document)] == [
        "7",
        "n:2",
        "7",
        "n:4",
    ]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst"])
def test_a_packed_file_that_breaks_off_keeps_what_came_before(tmp_path: Path, suffix: str) -> None:
    wire = b"".join(b'{"text": "row %d"}\n' % number for number in range(40_000))
    pack = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": zstandard.ZstdCompressor().compress,
    }
    packed = pack[suffix](wire)
    (file := tmp_path / f"a.jsonl.{suffix}").write_bytes(packed[: len(packed) // 2])
    texts, reasons = found(file)
    assert reasons == [f"truncated a.jsonl.{suffix}"] and ("row 99" in texts or suffix == "bz2")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-32", "big5"])
def test_the_encoding_is_found(tmp_path: Path, encoding: str) -> None:
    text = CHINESE if encoding != "big5" else "今天的天氣很好，我們在公園裡散步，也為大家拍了照片。\n" * 20
    (file := tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert found(file) == ([text.removesuffix("\n")], [])


@pytest.mark.parametrize(
    ("wire", "reasons"),
    [
        (b"", []),
        (bytes(range(256)) * 9, ["binary a.jsonl"]),
        (b'{"text": "ok"}\n{"text": "' + b"x" * 50_000_000 + b'"}\n{"text": "ok"}', ["too_large a.jsonl:2"]),
        (b'{"text": "\xff"}\n' + b'{"text": "ok"}\n' * 20, ["encoding a.jsonl:1"]),
        (b"[[[[" * 100_000 + b'\n{"text": "ok"}', ["not_json a.jsonl:1"]),
        (b'{"text": 3}\n{"text": null}\n7\n', ["no_text a.jsonl:2", "not_json a.jsonl:3"]),
    ],
)  # fmt: skip
def test_bad_input_is_counted_and_no_crash(tmp_path: Path, wire: bytes, reasons: list[str]) -> None:
    (file := tmp_path / "a.jsonl").write_bytes(wire)
    texts, told = found(file)
    assert told == reasons and len(texts) == wire.count(b'"ok"') + wire.count(b"3}")


def test_a_long_text_becomes_pieces_that_end_with_a_paragraph(tmp_path: Path) -> None:
    (file := tmp_path / "a.txt").write_text("\n\n".join([CHINESE] * 300), "utf-8")
    texts, _ = found(file)
    assert len(texts) > 2 and max(map(len, texts)) < 110_000
    assert "".join(texts).count("公园") == 300 * 20


def test_templates_conditions_and_patterns(tmp_path: Path) -> None:
    rows = [
        {"title": "静夜思", "lines": ["床前明月光，", "疑是地上霜。"], "src": "a", "lic": "MIT"},
        {"src": "b"},
    ]
    (file := tmp_path / "a.json").write_text(json.dumps(rows), "utf-8")
    reading = Reading(text=Template("{title}\n{lines}"), where={"src": ["a"]}, licence=Template("{lic}"))
    (document,) = read(file, "a", reading)
    assert isinstance(document, Document)
    assert (document.text, document.licence) == ("静夜思\n床前明月光，\n疑是地上霜。", "MIT")
    (table := tmp_path / "a.txt").write_text("# comment\n中國 中国 [Zhong1 guo2] /China/\n", "utf-8")
    reading = Reading(
        "lines", Template("{word}: {defs}"), pattern=r"^\S+ (?P<word>\S+) \[.*\] /(?P<defs>.*)/"
    )
    assert found(table, reading) == (["中国: China"], ["not_matching a.txt:1"])
    with pytest.raises(ValueError, match="doubled"):
        Template("{text.__class__}")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]},
        {"messages": [{"message": "问"}, {"message": "答"}]},
        {"messages": ["问", "答"]},
    ],
)
def test_conversations(tmp_path: Path, row: dict[str, object]) -> None:
    (file := tmp_path / "a.jsonl").write_text(
        json.dumps(row) + '\n{"messages": [{"role": "user"}]}\n', "utf-8"
    )
    document, bad = read(file, "a", Reading(messages="messages"))
    assert isinstance(document, Document) and bad == Unreadable("no_text", "a:2")
    assert [one["role"] for one in document.meta["messages"]] == [
        "user",
        "assistant",
    ] and document.text == "问\n答"


def test_csv_yaml_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('题目,内容\n春,"花开\n了"\n', "utf-8")
    assert found(tmp_path / "a.csv", Reading(text=Template("{题目}：{内容}"))) == (["春：花开\n了"], [])
    (tmp_path / "a.yaml").write_text("1-n:\n  members: [able]\n  definition: [having skill]\n", "utf-8")
    assert found(tmp_path / "a.yaml", Reading(text=Template("{members}: {definition}"))) == (
        ["able: having skill"],
        [],
    )
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    assert found(tmp_path / "a.parquet") == (["one", "two"], [])
    assert found(tmp_path / "b.parquet") == ([], ["not_parquet b.parquet:1"])


def test_markdown(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "---\nt: 1\n---\n# 标题 #\n\n**粗** [链接](http://a) ![](p.png)\n```py\nx = 1\n```\n", "utf-8"
    )
    assert found(tmp_path / "a.md") == (["标题\n\n粗 链接 \nx = 1\n"], [])


def test_wiki_dumps(tmp_path: Path) -> None:
    def page(title: str, text: str, ns: int = 0, more: str = "") -> str:
        return (
            f"<page><title>{title}</title><ns>{ns}</ns>{more}<revision><text>{text}</text></revision></page>"
        )

    wiki = "'''海'''是[[水|咸水]]。{{模板|x}}[[File:a.jpg|thumb|图]]&lt;ref&gt;注&lt;/ref&gt;"
    wiki += "用-{zh-hans:软件; zh-hant:軟體}-。"
    pages = page("海", wiki) + page("海洋", "#", more='<redirect title="海" />') + page("讨论:海", "x", ns=1)
    wire = f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">{pages}</mediawiki>'.encode()
    (tmp_path / "a.xml.bz2").write_bytes(bz2.compress(wire))
    assert found(tmp_path / "a.xml.bz2") == (["海\n\n海是咸水。用软件。"], [])
    (tmp_path / "b.xml").write_bytes(wire[:-30])
    assert found(tmp_path / "b.xml")[1] == ["not_xml b.xml:2"]


def test_pages_of_the_web(tmp_path: Path) -> None:
    html = f"<html><head><title>t</title></head><body><nav>menu</nav><article><p>{ENGLISH}</p></article></body></html>"
    (tmp_path / "a.html").write_text(html)
    assert found(tmp_path / "a.html") == ([ENGLISH.strip()], [])
    records = [_record("text/html; charset=utf-8", html.encode()), _record("image/png", b"\x89PNG")]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(map(gzip.compress, records)))
    (document,) = read(tmp_path / "a.warc.gz", "a", Reading())
    assert isinstance(document, Document) and (document.id, document.text) == (
        "http://a.example/",
        ENGLISH.strip(),
    )


def _record(kind: str, body: bytes) -> bytes:
    """An answer of a server as WARC 1.1 keeps it."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    head = (
        "WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
    )
    return head.encode() + answer + b"\r\n\r\n"
