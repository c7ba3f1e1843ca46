"""Readings: what the tables say, and that every common character can be typed."""

import pytest

from haina.text import characters, pinyin


@pytest.mark.parametrize(
    ("marked", "spelled"),
    [("hǎo", "hao3"), ("lǜ", "lv4"), ("de", "de5"), ("Ē", "e1"), ("ńg", "en2"), ("你", "")],
)
def test_spelled(marked: str, spelled: str) -> None:
    assert pinyin.spelled(marked) == spelled


def test_every_common_character_has_a_reading() -> None:
    assert [c for c in characters.common() if c not in pinyin.readings()] == []


def test_read_knows_phrases() -> None:
    assert pinyin.read("银行行长") == ["yin2", "hang2", "hang2", "zhang3"]
    assert pinyin.read("重庆很重要") == ["chong2", "qing4", "hen3", "zhong4", "yao4"]
    assert pinyin.read("a") is None


def test_syllables_are_what_keys_spell() -> None:
    assert {"zhuang", "lv", "nve", "er", "o"} < set(pinyin.syllables())
    assert all(len(syllable) <= pinyin.LONGEST for syllable in pinyin.syllables())
    assert 400 < len(pinyin.syllables()) < 430
