"""Character mode: one id for a character, any text comes back, and streams show what decoding gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.text.stream import TextStream
from haina.text.tokenizer import CHARACTER_MODE, Tokenizer
from haina.text.vocabulary import FIXED, learn

VERSE = ["床前明月光，疑是地上霜。举头望明月，低头思故乡。", "bright moonlight before my bed"] * 4
OWN = "床前明月光疑是地上霜举头望低思故乡龘"
TEXTS = st.text(
    st.sampled_from(OWN + "，。\n\t▁ ab囧🙂<>") | st.characters(exclude_categories=["Cs"]), max_size=30
)


@pytest.fixture(scope="module", params=[False, True], ids=["v2", "v1"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(learn(VERSE, pieces=FIXED + 80, characters=OWN, v1=request.param))


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, by_character=True)
    assert ids[0] == 197 and tokenizer.control_ids.isdisjoint(ids[1:])
    assert tokenizer.decode([*ids, 198]) == text
    stream = TextStream(tokenizer)
    assert "".join(map(stream.push, ids)) + stream.close() == text


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_without_character_mode_any_text_comes_back_too(tokenizer: Tokenizer, text: str) -> None:
    if tokenizer.normalizer == "identity":
        assert tokenizer.decode(tokenizer.encode(text)) == text.replace("▁", " ")  # SentencePiece's own space


@settings(max_examples=100, deadline=None)
@given(text=st.text(OWN, max_size=30))
def test_a_character_with_a_piece_is_one_id(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, by_character=True)
    assert [tokenizer.piece(id) for id in ids[1:]] == list(text)


def test_a_newline_and_a_space_are_one_id_and_other_characters_bytes(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("光\n 囧", by_character=True)
    assert [tokenizer.piece(id) for id in ids] == [
        "<reserved_104>",
        "光",
        "\n",
        "▁",
        "<0xE5>",
        "<0x9B>",
        "<0xA7>",
    ]


def test_a_vocabulary_without_the_mode_says_so(tiny: Tokenizer) -> None:
    """It has <reserved_104> and <reserved_105>, as Baichuan's own."""
    assert tiny.character_mode is None and "<reserved_104>" in map(tiny.piece, range(tiny.size))
    with pytest.raises(ValueError, match="has no character mode"):
        tiny.encode("月光", by_character=True)


def test_a_declared_mode_without_its_marks_is_refused() -> None:
    wire = learn(VERSE, pieces=FIXED + 80, characters=OWN).replace(b"<reserved_105>", b"<reserved_x05>")
    with pytest.raises(ValueError, match=f"{CHARACTER_MODE[0]} without <reserved_104> and <reserved_105>"):
        Tokenizer(wire)
