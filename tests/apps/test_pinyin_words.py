"""The user's words: learnt, listed, never lost, and never where the exact keys mean something else."""

import sqlite3
from pathlib import Path

import pytest

from haina.apps.pinyin.learn import UserWords
from haina.apps.pinyin.method import InputMethod
from haina.apps.pinyin.prior import FILE

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="the prior is not built: python -m haina.apps.pinyin.build"
)

NAME = ("郝思稼", ("hao", "si", "jia"))


def best(method: InputMethod, keys: str) -> list[str]:
    return [candidate.text for candidate in method.candidates(keys, top=10)]


def test_what_is_learnt_comes_first_and_can_be_forgotten(tmp_path: Path) -> None:
    method = InputMethod.open(user=tmp_path / "words.sqlite")
    assert method.user
    assert NAME[0] not in best(method, "haosijia")
    method.user.learn([NAME] * 2)
    assert best(method, "haosijia")[0] == NAME[0]
    assert method.user.forget(NAME[0])
    assert NAME[0] not in best(method, "haosijia")


def test_what_was_learnt_by_fuzzy_keys_stays_out_of_exact_ones(tmp_path: Path) -> None:
    fuzzy = InputMethod.open(user=tmp_path / "words.sqlite", fuzzy="zh/z,sh/s")
    typing = fuzzy.compose()
    typing.type("sisi")
    chosen = next(c for c in typing.candidates(50) if c.text == "试试")
    for _ in range(20):
        typing.choose(chosen)
        assert typing.commit() == "试试"
        typing.type("sisi")
    exact = InputMethod.open(user=tmp_path / "words.sqlite")
    assert "试试" not in best(exact, "sisi")
    assert best(exact, "shishi")[0] == "试试"


def test_a_commit_teaches_a_phrase_put_together(tmp_path: Path) -> None:
    method = InputMethod.open(user=tmp_path / "words.sqlite")
    for _ in range(3):
        typing = method.compose()
        typing.type("haosijia")
        for char in NAME[0]:
            typing.choose(next(c for c in typing.words(400) if c.text == char))
        assert typing.commit() == NAME[0]
    assert best(method, "haosijia")[0] == NAME[0]


def test_a_list_goes_in_and_out(tmp_path: Path) -> None:
    words = UserWords(tmp_path / "words.sqlite")
    (tmp_path / "list.txt").write_text("海纳\n郝思稼\thao si jia\t7\nnot pinyin\n", "utf-8")
    assert words.load(tmp_path / "list.txt") == (2, 1)
    assert words.save(tmp_path / "out.txt") == 2
    assert (tmp_path / "out.txt").read_text("utf-8") == "郝思稼\thao si jia\t7\n海纳\thai na\t1\n"


def test_a_damaged_file_is_set_aside_and_its_copy_taken(tmp_path: Path) -> None:
    file = tmp_path / "words.sqlite"
    words = UserWords(file)
    words.learn([NAME])
    words.copy.unlink()
    words.close()
    UserWords(file).close()  # copies it
    file.write_bytes(b"no database" * 1000)
    again = UserWords(file)
    assert [text for text, *_ in again.all()] == [NAME[0]]
    assert "1 words restored" in again.recovered
    assert len(list(tmp_path.glob("*.damaged-*"))) >= 1


def test_a_damaged_copy_too_leaves_an_empty_file_that_works(tmp_path: Path) -> None:
    file = tmp_path / "words.sqlite"
    file.write_bytes(b"no database" * 1000)
    file.with_name("words.sqlite.bak").write_bytes(b"neither" * 1000)
    words = UserWords(file)
    assert words.all() == [] and "0 words restored" in words.recovered
    words.learn([NAME])
    assert len(words.all()) == 1


def test_a_crash_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    file = tmp_path / "words.sqlite"
    words = UserWords(file)
    words.learn([NAME])
    other = sqlite3.connect(file)  # while the first one is open and has not put its log back
    assert other.execute("SELECT text FROM words").fetchall() == [(NAME[0],)]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="choose another --user"):
        UserWords(tmp_path / "file" / "words.sqlite")
