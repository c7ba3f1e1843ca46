"""haina tokenizer train and report, as a person runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from haina.apps.compression import measure, table, told_apart
from haina.apps.vocabulary import train
from haina.options.data import VocabularyOptions
from haina.text.tokenizer import Tokenizer
from haina.text.vocabulary import FIXED, learn

VERSE = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\nbright moonlight before my bed\n"


def haina(*arguments: str, language: str = "en") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HAINA_LANG": language}
    command = [sys.executable, "-m", "haina", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=env, stdin=subprocess.DEVNULL)


def test_a_vocabulary_is_learnt_and_never_overwritten(tmp_path: Path) -> None:
    text, out = tmp_path / "verse.txt", tmp_path / "new.model"
    text.write_text(VERSE * 4, "utf-8")
    arguments = ["tokenizer", "train", str(text), "--out", str(out), "--pieces", str(FIXED + 60)]
    done = haina(*arguments, "--characters", str(text))
    assert (done.returncode, done.stderr) == (0, "")
    assert "17 characters have their own, ids 197 and 198" in done.stdout
    assert Tokenizer.open(out).character_mode == (197, 198)
    again = haina(*arguments, language="zh")
    assert again.returncode == 2 and "已存在" in again.stderr and again.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"v1": True, "v2": True}, "exclude each other"),
        ({"pieces": 8192, "characters": "common"}, "8,192 pieces are too few"),
        ({"pieces": 9000}, "too small for 9,000 pieces"),
        ({"characters": "nowhere.txt"}, "nowhere.txt: no such file"),
        ({"out": "nowhere/a.model"}, "nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, given: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("verse.txt").write_text(VERSE, "utf-8")
    with pytest.raises(ValueError, match=words):
        train([Path("verse.txt")], VocabularyOptions(**given), report=print)
    assert [file.name for file in tmp_path.iterdir()] == ["verse.txt"]


def test_vocabularies_and_texts_are_told_apart(tmp_path: Path) -> None:
    model, folder, text = tmp_path / "a.model", tmp_path / "b", tmp_path / "corpus"
    folder.mkdir()
    (folder / "tokenizer.model").touch()
    assert told_apart([text, model, folder]) == ([model, folder], [text])
    with pytest.raises(ValueError, match=r"haina tokenizer report tokenizer\.model corpus"):
        told_apart([model])


def test_the_report_counts_what_a_token_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = tmp_path / "small.model", tmp_path / "large"
    large.mkdir()
    small.write_bytes(learn([VERSE] * 4, pieces=FIXED + 40))
    (large / "tokenizer.model").write_bytes(learn([VERSE] * 4, pieces=FIXED + 80))
    text = tmp_path / "verse.txt"
    text.write_text(VERSE, "utf-8")
    record = json.loads(json.dumps(measure([small, large], [text])))
    for row, file in zip(record["measured"], (small, large / "tokenizer.model"), strict=True):
        tokens = len(Tokenizer.open(file).encode(VERSE))
        assert row["bytes_per_token"] == pytest.approx(len(VERSE.encode()) / tokens)
        assert row["characters_per_token"] == pytest.approx(len(VERSE) / tokens)
    first, second = (row["bytes_per_token"] for row in record["measured"])
    assert first < second
    shown = table(record)
    assert f"{first:.2f}" in shown and "arXiv:2309.10305" in shown and "0.498" in shown
    assert "tokenizer.model holds" in shown and "characters a token: good (with " in shown
    monkeypatch.setenv("HAINA_LANG", "zh")
    assert "字节/词元" in table(record)


def test_a_text_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.model").write_bytes(learn([VERSE] * 4, pieces=FIXED + 40))
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        measure([tmp_path / "a.model"], [tmp_path / "empty.txt"])
