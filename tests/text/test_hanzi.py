"""Tones and rhymes: what the three books say of well-known characters."""

import pytest

from haina.text.characters import HAN
from haina.text.hanzi import FILES, Sound, book


def test_parts_of_the_books() -> None:
    assert [len(book(name).parts) for name in FILES] == [106, 19, 14]
    levels = {
        sound.part for sounds in book("平水韵").sounds.values() for sound in sounds if sound.tone == "平"
    }
    assert len(levels) == 30
    assert all(HAN.fullmatch(char) for name in FILES for char in book(name).sounds)


def test_sounds() -> None:
    old, tunes, modern = map(book, FILES)
    assert old.rhymes("东", "-") == {old.part("一东")} and "东" not in old.kinds["|"]
    assert old.sounds["讲"] == (Sound(old.part("上声三讲"), "上"),)  # the part that one source lacks
    assert "看" in old.kinds["-"] & old.kinds["|"]
    assert "白" in old.kinds["|"] & modern.kinds["-"]  # the entering tone is gone today
    assert tunes.rhymes("月", "|") == {tunes.part("第十八部")}


def test_members_are_the_characters_that_rhyme() -> None:
    own = book("词林正韵")
    for part in range(len(own.parts)):
        for kind in "-|+":
            assert own.members(part, kind) == {c for c in own.sounds if part in own.rhymes(c, kind)}


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="no rhyme book '广韵'; choose one of 平水韵"):
        book("广韵")
    with pytest.raises(ValueError, match="平水韵 has no one rhyme '冬瓜'; choose one of: 一东"):
        book("平水韵").part("冬瓜")
