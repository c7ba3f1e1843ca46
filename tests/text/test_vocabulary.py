"""Learning a vocabulary: Baichuan's control block, characters of their own, and refusals with the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from haina.text.characters import asked_for, common
from haina.text.tokenizer import Tokenizer
from haina.text.vocabulary import FIXED, learn

VERSE = ["床前明月光，疑是地上霜。举头望明月，低头思故乡。"] * 4
MIXED = [*VERSE, "The quick brown fox jumps over the lazy dog, 42 times.", "    return ［全角］"]


def test_roles_stand_where_baichuan_has_them() -> None:
    tokenizer = Tokenizer(learn(MIXED, pieces=FIXED + 90))
    assert tokenizer.size == FIXED + 90
    assert [tokenizer.piece(id) for id in (93, 195, 196)] == [
        "<reserved_0>",
        "<reserved_102>",
        "<reserved_103>",
    ]
    assert tokenizer.control_ids == {*range(199)} and tokenizer.character_mode is None
    assert [tokenizer.piece(id) for id in tokenizer.encode("42")] == ["4", "2"]


def test_every_character_that_is_asked_for_has_its_own_piece() -> None:
    """Also where the text holds nothing but some of them, and much of it."""
    rare = "㑇㭎龘𬬭"
    tokenizer = Tokenizer(learn(VERSE * 500, pieces=FIXED + 45, characters="床前明月" + rare))
    assert all(tokenizer.encode(char)[-1] == tokenizer.characters[char] for char in rare)
    assert tokenizer.character_mode == (197, 198)
    assert [tokenizer.piece(id) for id in (197, 198)] == ["<reserved_104>", "<reserved_105>"]


def test_rare_characters_become_bytes() -> None:
    lines = [*VERSE * 20, "囧"]
    whole, most = (Tokenizer(learn(lines, pieces=FIXED + 40, coverage=share)) for share in (1.0, 0.99))
    assert "囧" in whole.characters and "囧" not in most.characters
    assert most.decode(most.encode("囧")) == "囧"


def test_the_form_of_baichuan_1_folds_and_that_of_baichuan_2_does_not() -> None:
    v1, v2 = (Tokenizer(learn(MIXED, pieces=FIXED + 90, v1=v1)) for v1 in (True, False))
    assert (v1.normalizer, v1.add_dummy_prefix) == ("nmt_nfkc", True)
    assert (v2.normalizer, v2.add_dummy_prefix) == ("identity", False)
    assert v1.decode(v1.encode("［全］")) == "[全]" and v2.decode(v2.encode("［全］")) == "［全］"


@pytest.mark.parametrize(
    ("lines", "pieces", "characters", "words"),
    [
        ([], 600, "", "no text"),
        (["", "\n"], 600, "", "no text"),
        (["a b"], 2000, "", r"too small for 2,000 pieces: it holds 4\d\d"),
        (
            VERSE,
            5000,
            common(),
            r"5,000 pieces are too few: .* 8,1\d\d characters \(8,105 of them asked for\)",
        ),
    ],
)
def test_a_size_that_cannot_be_is_refused(lines: list[str], pieces: int, characters: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        learn(lines, pieces=pieces, characters=characters)


def test_a_character_that_normalisation_takes_away_is_named() -> None:
    with pytest.raises(ValueError, match="\uf900"):  # NFKC makes it 豈
        learn(["床前明月光"] * 9, pieces=FIXED + 10, v1=True, characters="床前明月光\uf900豈")


def test_long_lines_and_odd_characters_are_no_obstacle() -> None:
    line = "明月光\0▁" * 40_000
    assert Tokenizer(learn([line, *VERSE], pieces=FIXED + 25)).encode("明月光")


def test_characters_come_from_the_table_and_from_files(tmp_path: Path) -> None:
    rhymes = tmp_path / "rhymes.json"
    rhymes.write_text('{"一东": ["東", "𢈉"]}', "utf-8")
    assert len(common()) == len(set(common())) == 8105
    assert set(asked_for(f"common,{rhymes}")) == {*common(), "東", "𢈉"}
    rhymes.write_text("no Chinese at all")
    with pytest.raises(ValueError, match="no Chinese characters"):
        asked_for(str(rhymes))
