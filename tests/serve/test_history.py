"""The page's conversations: a tree that keeps every version, one file, and each owner apart."""

import sqlite3
import stat
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haina.serve.history import Conversation, History, Missing, Said, as_markdown, place


@pytest.fixture
def history(tmp_path: Path):
    history = History(tmp_path / "new" / "conversations.sqlite")
    yield history
    history.close()


def test_where_nothing_can_be_written_it_is_held_in_memory(tmp_path: Path):
    (tmp_path / "file").touch()
    history = History(tmp_path / "file" / "conversations.sqlite")
    assert "HAINA_HOME" in history.begin() == history.unsaved
    made = history.create("", "春")
    assert history.all("") == [made] and history.delete_all("") == 1
    history.close()


def test_a_conversation_comes_back_as_it_was_said(history: History):
    made = history.create("", "春", {"system": "作诗", "temperature": 0.5})
    asked = history.append("", made.id, parent=None, role="user", content="以《春》为题 🌱\n写诗")
    history.append(
        "", made.id, parent=asked.number, role="assistant", content="春眠不觉晓", about={"new_tokens": 5}
    )
    file = history.file
    history.close()
    again = History(file).get("", made.id)
    assert [(m.role, m.content, m.parent) for m in again.messages] == [
        ("user", "以《春》为题 🌱\n写诗", None),
        ("assistant", "春眠不觉晓", 1),
    ]
    assert again.messages[1].about == {"new_tokens": 5}
    assert (again.title, again.settings, again.leaf) == ("春", {"system": "作诗", "temperature": 0.5}, 2)


def test_to_say_it_differently_keeps_what_was_said(history: History):
    id = history.create("").id
    for parent, role, content in (
        (None, "user", "one"),
        (1, "assistant", "two"),
        (None, "user", "uno"),
        (3, "assistant", "due"),
    ):
        history.append("", id, parent=parent, role=role, content=content)
    assert [m.content for m in history.get("", id).branch()] == ["uno", "due"]
    history.change("", id, leaf=2)
    kept = history.get("", id)
    assert [m.content for m in kept.branch()] == ["one", "two"]
    assert len(kept.messages) == 4


def test_the_last_changed_comes_first(history: History):
    first, second = history.create("", "1").id, history.create("", "2").id
    history.append("", first, parent=None, role="user", content="x")
    assert [one.id for one in history.all("")] == [first, second]
    history.change("", second, title="two")  # to rename is not to say something
    assert [one.title for one in history.all("")] == ["1", "two"]


def test_nobody_reaches_the_conversations_of_another(history: History):
    mine = history.create("me", "secret").id
    assert history.all("you") == []
    for reach in (
        lambda: history.get("you", mine),
        lambda: history.append("you", mine, parent=None, role="user", content="x"),
        lambda: history.change("you", mine, title="x"),
        lambda: history.delete("you", mine),
    ):
        with pytest.raises(Missing):
            reach()
    assert history.delete_all("you") == 0
    assert history.get("me", mine).title == "secret"


def test_a_parent_or_leaf_must_be_there(history: History):
    id, other = history.create("").id, history.create("").id
    history.append("", other, parent=None, role="user", content="x")
    with pytest.raises(Missing, match="message 1"):
        history.append("", id, parent=1, role="user", content="x")
    with pytest.raises(Missing, match="message 7"):
        history.change("", other, leaf=7)
    assert history.get("", id).messages == []


def test_what_is_deleted_is_in_no_file_any_more(history: History):
    keep, gone = history.create("", "stays").id, history.create("").id
    history.append("", keep, parent=None, role="user", content="kept-words")
    said = history.append("", gone, parent=None, role="user", content="burnt-words " * 500)
    history.append("", gone, parent=said.number, role="assistant", content="burnt-words too")
    history.delete("", gone)
    bytes_there = b"".join(path.read_bytes() for path in history.file.parent.iterdir())
    assert b"kept-words" in bytes_there
    assert b"burnt-words" not in bytes_there
    with pytest.raises(Missing):
        history.get("", gone)
    assert history.delete_all("") == 1


def test_threads_and_a_second_server_share_the_file(history: History):
    id = history.create("").id
    second = History(history.file)

    def say(to: History, name: str) -> None:
        for n in range(20):
            to.append("", id, parent=None, role="user", content=f"{name}{n}")

    threads = [
        threading.Thread(target=say, args=(to, f"{i}-")) for i, to in enumerate((history, history, second))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = second.get("", id).messages
    second.close()
    assert [m.number for m in said] == list(range(1, 61))
    assert len({m.content for m in said}) == 60


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_the_file_is_for_its_owner_alone(history: History):
    history.create("")
    for path in history.file.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_none_or_too_new_is_refused_by_name(tmp_path: Path):
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"not a database, " * 100)
    with pytest.raises(ValueError, match=r"damaged\.sqlite.*HAINA_HOME"):
        History(damaged).all("")
    newer = tmp_path / "newer.sqlite"
    db = sqlite3.connect(newer)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ValueError, match="a newer haina"):
        History(newer).all("")


def test_it_lies_in_the_home_of_haina(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HAINA_HOME", str(tmp_path))
    assert place() == tmp_path / "conversations.sqlite"


def test_markdown_has_the_branch_in_view():
    said = [
        Said(1, None, "user", "你好", {}, 0),
        Said(2, 1, "assistant", "您好！", {}, 0),
        Said(3, 1, "assistant", "嗨", {}, 0),
    ]
    text = as_markdown(Conversation("0" * 16, "问候", {"system": "客气\n些"}, 3, 0, 0, said))
    assert text == "# 问候\n\n> 客气\n> 些\n\n**Q**\n\n你好\n\n**A**\n\n嗨\n"


@given(parents=st.lists(st.integers(0, 9), max_size=9))
def test_every_branch_is_the_way_from_its_leaf_to_the_beginning(parents: list[int]):
    said = [Said(n, p if 0 < p < n else None, "user", "", {}, 0) for n, p in enumerate(parents, start=1)]
    for leaf in range(1, len(said) + 1):
        branch = Conversation("", "", {}, leaf, 0, 0, said).branch()
        assert branch[-1].number == leaf
        assert branch[0].parent is None
        assert all(after.parent == before.number for before, after in pairwise(branch))
