"""Lines of files: every kind that is named, an even sample, and what cannot be read is named."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.data.sample import lines_of, sample


def test_every_kind_of_file_gives_its_lines(tmp_path: Path) -> None:
    rows = [{"text": "床前\n\n明月"}, {"messages": [{"role": "user", "content": "你好"}]}]
    jsonl = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "a.txt").write_bytes("\ufeff床前\r\n\n明月\n你好".encode())
    (tmp_path / "a.jsonl").write_bytes(jsonl)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.jsonl.zst").write_bytes(zstandard.compress(jsonl))
    for name in ("a.txt", "a.jsonl", "documents/a.jsonl.zst", "."):
        assert list(lines_of(tmp_path / name)) == ["床前", "明月", "你好"]


@pytest.mark.parametrize(
    ("name", "wire", "words"),
    [
        ("a.txt", "好的\n你好".encode("gb18030"), r"a\.txt:1: is not UTF-8"),
        ("a.txt", "你好\n".encode("utf-16"), r"a\.txt:1: is not UTF-8"),
        ("a.txt", b"fine\n\x7fELF\0\0", r"a\.txt:2: is not UTF-8"),
        ("a.jsonl", b'{"title": "x"}\n', r"a\.jsonl:1: has neither text nor messages"),
        ("a.jsonl", b'{"text": ', r"a\.jsonl:1: not a JSON object"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, name: str, wire: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(wire)
    with pytest.raises(ValueError, match=words):
        list(lines_of(tmp_path / name))


def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no corpus folder"):
        list(lines_of(tmp_path))


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.text("ab月", max_size=9), max_size=50), most=st.integers(0, 200), seed=st.integers(0, 5)
)
def test_a_sample_is_a_part_in_order_that_fits(lines: list[str], most: int, seed: int) -> None:
    kept = sample(lines, most, seed=seed)
    assert sum(len(line.encode()) for line in kept) <= most
    rest = iter(lines)
    assert all(line in rest for line in kept)  # in order
    assert kept == sample(iter(lines), most, seed=seed)
    if sum(len(line.encode()) for line in lines) <= most:
        assert kept == lines


def test_a_sample_is_even_over_the_text() -> None:
    lines = [f"{n:04}" for n in range(1000)]
    drawn = Counter(int(line) // 250 for seed in range(20) for line in sample(lines, 400, seed=seed))
    assert all(400 < count < 600 for count in drawn.values())
