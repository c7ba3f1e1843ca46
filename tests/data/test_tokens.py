"""Token folders: what goes in comes out, whatever the number of processes and interruptions; damage is named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.checkpoint.new_folder import alone
from haina.data.encode import Encoding, write
from haina.data.tokens import BY_CHARACTER, CHAT, Tokens
from haina.text.messages import BAICHUAN, IGNORED, Message, assemble_training
from haina.text.tokenizer import Tokenizer
from haina.text.vocabulary import FIXED, learn

VERSE = ["床前明月光，疑是地上霜。举头望明月，低头思故乡。", "bright moonlight before my bed"]
TALK = [
    {"role": "user", "content": "明月？"},
    {"role": "assistant", "content": "举头望明月。"},
    {"role": "user", "content": "bed"},
    {"role": "assistant", "content": "my bed"},
]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    file.write_bytes(learn(VERSE * 4, pieces=FIXED + 60, characters="床前明月光"))
    return str(file)


def corpus(count: int) -> list[dict[str, Any]]:
    texts = [
        {"text": f"{VERSE[n % 2]}{n}", "id": f"d{n}", "domain": "zhen"[n % 2 * 2 :][:2]} for n in range(count)
    ]
    return [*texts, {"messages": TALK, "domain": "chat", "weight": 2.5}]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_documents_come_back(vocabulary: str, tmp_path: Path) -> None:
    rows, tokenizer = corpus(20), Tokenizer.open(vocabulary)
    tokens = write(rows, tmp_path, Encoding(vocabulary, by_character=0.25), shard_tokens=100)
    assert len(tokens.documents) == 21 and len(list(tmp_path.glob("tokens-*.bin"))) > 3
    for number, row in enumerate(rows[:-1]):
        length = tokens.documents["length"][number]
        ids, targets = tokens.piece(number, 0, length)
        assert tokenizer.decode(ids) == row["text"] and ids[-1] == tokenizer.eos_id
        assert targets.tolist() == [*ids[1:], IGNORED]
        assert bool(tokens.documents["flags"][number] & BY_CHARACTER) == (197 in ids)
    assert tokens.domains["zh"]["bytes"] == sum(len(row["text"].encode()) for row in rows[:-1:2])
    assert tokens.total_tokens == tokens.documents["length"].sum()


def test_two_processes_do_not_write_one_folder(vocabulary: str, tmp_path: Path) -> None:
    with alone(tmp_path / ".lock", ""), pytest.raises(ValueError, match="another process encodes there"):
        write(corpus(3), tmp_path, Encoding(vocabulary))
    write(corpus(3), tmp_path, Encoding(vocabulary))
    assert not (tmp_path / ".lock").exists()


def test_a_quarter_is_in_character_mode(vocabulary: str, tmp_path: Path) -> None:
    rows = ({"text": "月光", "id": n} for n in range(800))
    tokens = write(rows, tmp_path, Encoding(vocabulary, by_character=0.25))
    assert 0.2 < (tokens.documents["flags"] == BY_CHARACTER).mean() < 0.3


@pytest.mark.parametrize("answers_only", [True, False])
def test_a_conversation_is_learnt_as_the_chat_format_says(
    vocabulary: str, tmp_path: Path, answers_only: bool
) -> None:
    tokens = write(corpus(3), tmp_path, Encoding(vocabulary, answers_only=answers_only))
    talk = [Message(m["role"], m["content"]) for m in TALK]
    ids, targets = assemble_training(talk, Tokenizer.open(vocabulary), BAICHUAN)
    found_ids, found_targets = tokens.piece(3, 0, tokens.documents["length"][3])
    assert found_ids.tolist() == ids and tokens.documents["flags"][3] == CHAT
    if not answers_only:
        targets = [BAICHUAN.eos_id if id == BAICHUAN.user_id else id for id in ids[1:]] + [IGNORED]
    assert found_targets.tolist() == targets


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_piece_is_a_part_of_its_document(whole: Tokens, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(whole.documents) - 1))
    length = int(whole.documents["length"][number])
    at = data.draw(st.integers(0, length - 1))
    size = data.draw(st.integers(1, length - at))
    parts, all_of_it = whole.piece(number, at, size), whole.piece(number, 0, length)
    assert all((part == column[at : at + size]).all() for part, column in zip(parts, all_of_it, strict=True))


@pytest.fixture(scope="module")
def whole(vocabulary: str, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return write(corpus(20), tmp_path_factory.mktemp("whole"), Encoding(vocabulary), shard_tokens=100)


def test_two_processes_write_the_same_bytes(vocabulary: str, tmp_path: Path) -> None:
    encoding = Encoding(vocabulary, by_character=0.5)
    for name, workers in (("one", 1), ("two", 2)):
        write(corpus(150), tmp_path / name, encoding, workers=workers, shard_tokens=500)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


class Stopped(Exception):
    pass


def interrupted(rows: Iterable[dict[str, Any]], after: int) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        if number == after:
            raise Stopped
        yield row


@pytest.mark.parametrize("after", [1, 30, 44, 50])
def test_an_interrupted_run_goes_on(vocabulary: str, tmp_path: Path, after: int) -> None:
    encoding = Encoding(vocabulary)
    write(corpus(50), tmp_path / "whole", encoding, shard_tokens=300)
    with pytest.raises(Stopped):
        write(interrupted(corpus(50), after), tmp_path / "cut", encoding, shard_tokens=300)
    with pytest.raises(ValueError, match="no whole token folder"):
        Tokens.open(tmp_path / "cut")
    begun = (tmp_path / "cut" / "begun.json").exists()
    assert begun == (after > 20)
    write(corpus(50), tmp_path / "cut", encoding, shard_tokens=300)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_run_with_other_settings_begins_anew(vocabulary: str, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        write(interrupted(corpus(50), 45), tmp_path / "cut", Encoding(vocabulary), shard_tokens=300)
    write(corpus(50), tmp_path / "cut", Encoding(vocabulary, bos=True), shard_tokens=300)
    write(corpus(50), tmp_path / "whole", Encoding(vocabulary, bos=True), shard_tokens=300)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": 1}, "document 2: has neither text nor messages"),
        ({"text": "月", "weight": -1}, "document 2: weight -1"),
        ({"text": "月\udc80"}, "document 2: the text is not valid UTF-8"),
        ({"messages": "hello"}, "document 2: messages is not a list"),
        ({"messages": [{"content": "hello"}]}, "document 2: message 1 has no role"),
        ({"messages": TALK[:1]}, "document 2: the conversation does not end with an answer"),
    ],
)
def test_a_bad_row_is_named(vocabulary: str, tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write([{"text": "月"}, row], tmp_path, Encoding(vocabulary))


def test_a_bad_row_is_named_by_another_process_too(vocabulary: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="document 101: message 1 has no role"):
        write([*corpus(99), {"messages": [{}]}, *corpus(99)], tmp_path, Encoding(vocabulary), workers=2)


def test_nothing_to_encode_is_refused(vocabulary: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no documents"):
        write([], tmp_path, Encoding(vocabulary))


def test_damage_is_named(vocabulary: str, tmp_path: Path) -> None:
    write(corpus(20), tmp_path, Encoding(vocabulary), shard_tokens=150)
    for name in ("tokens-00001.bin", "learnt-00000.bin", "documents.npy"):
        file = tmp_path / name
        good = file.read_bytes()
        file.write_bytes(good[:-1])
        with pytest.raises(ValueError, match=f"{name}: .* bytes instead of"):
            Tokens.open(tmp_path)
        file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ValueError, match=f"{name}: its contents have changed"):
            Tokens.open(tmp_path)
        file.write_bytes(good)
    (tmp_path / "tokens-00000.bin").unlink()
    with pytest.raises(ValueError, match=r"tokens-00000\.bin: 0 bytes"):
        Tokens.open(tmp_path)
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokens\.json: not written by this version"):
        Tokens.open(tmp_path)


def test_another_vocabulary_is_noticed(vocabulary: str, tmp_path: Path) -> None:
    write(corpus(3), tmp_path, Encoding(vocabulary))
    assert Tokens.open(tmp_path, tokenizer=Tokenizer.open(vocabulary))
    other = Tokenizer(learn(VERSE * 4, pieces=FIXED + 50))
    with pytest.raises(ValueError, match="another vocabulary"):
        Tokens.open(tmp_path, tokenizer=other)


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path, vocabulary: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text, **_: [70_000] * len(text))
    real = Tokenizer.__init__

    def large(self: Tokenizer, wire: bytes, **given: Any) -> None:
        real(self, wire, **given)
        self.size = 70_001

    monkeypatch.setattr(Tokenizer, "__init__", large)
    tokens = write([{"text": "abc"}], tmp_path, Encoding(vocabulary))
    assert tokens.piece(0, 0, 3)[0].tolist() == [70_000] * 3
    assert json.loads((tmp_path / "tokens.json").read_bytes())["dtype"] == "<u4"
    assert np.dtype("<u4").itemsize * 4 == (tmp_path / "tokens-00000.bin").stat().st_size
