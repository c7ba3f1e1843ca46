"""The law of verse: no dead ends, never outside the form, and every poem that keeps it is accepted."""

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.apps.poem import check, tunes
from haina.apps.poem.explain import explain
from haina.apps.poem.form import SHI, Form, shi, slots, written
from haina.apps.poem.law import Law
from haina.text.characters import HAN

TOWER = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"
FORMS = [length + kind for length in SHI for kind in ("绝句", "律诗", "排律", "古绝", "古风")]


def regular(name: str, *, loose: bool = False) -> Form:
    form = shi(name, 0, "平水韵", twists=loose, near=loose)
    assert form
    return form


def drawn(law: Law, chance: random.Random) -> str:
    """A text that the law offers, character by character."""
    assert law.start
    verse, text = law.start, ""
    while not verse.complete():
        char = chance.choice(tuple(verse.chars()))
        after = verse.step(char)
        assert after, f"{char} was offered after {text}, and refused"
        verse, text = after, text + char
    return text


def accepts(law: Law, text: str) -> bool:
    verse = law.start
    for char in text:
        verse = verse and verse.step(char)
    return verse is not None and verse.complete()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(FORMS), st.booleans(), st.randoms(use_true_random=False))
def test_what_is_written_keeps_the_form(name: str, loose: bool, chance: random.Random) -> None:
    text = drawn(Law(regular(name, loose=loose)), chance)
    length = SHI[name[:2]]
    if name[2] == "古":
        assert check.ancient(text, length) == []
    else:
        assert check.regulated(text, length, twists=loose, near=loose) == []


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(tunes.tunes()), st.randoms(use_true_random=False))
def test_what_is_written_to_a_tune_keeps_it(tune: tunes.Tune, chance: random.Random) -> None:
    number = chance.randint(1, len(tune.patterns))
    assert check.tune(drawn(Law(tune.form(number)), chance), tune.names[0], number) == []


def test_every_form_of_every_tune_can_be_written() -> None:
    assert len(tunes.tunes()) == 817
    forms = [tune.form(n) for tune in tunes.tunes() for n in range(1, 1 + len(tune.patterns))]
    assert len(forms) == 2294
    assert all(Law(form).start for form in forms)


def poems(data: Path, every: int) -> Iterator[dict[str, Any]]:
    zstandard = pytest.importorskip("zstandard")
    with zstandard.open(data / "poetry" / "valid" / "poems.jsonl.zst", "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number % every == 0:
                yield json.loads(line)


def test_poems_are_accepted_exactly_if_they_keep_the_form(data: Path) -> None:
    """Of both kinds there are many. The checker is another implementation."""
    laws = {(name, loose): Law(regular(name, loose=loose)) for name in FORMS for loose in (False, True)}
    kept = {False: 0, True: 0}
    for poem in poems(data, 12):
        text = "".join(poem["lines"])
        name = {"五": "五言", "七": "七言"}.get(poem["form"][0], "") + {"绝": "绝句", "律": "律诗"}.get(
            poem["form"][1:], ""
        )
        for loose in (False, True):
            if name in FORMS and len(HAN.findall(text)) == laws[name, loose].form.size:
                own = not check.regulated(text, SHI[name[:2]], twists=loose, near=loose)
                assert own == _in(laws[name, loose], text), text
                kept[own] += 1
        tune = tunes.find(poem.get("tune", ""))
        for number in range(1, 1 + len(tune.patterns) if tune else 0):
            if tune and tune.form(number).size == len(HAN.findall(text)):
                own = not check.tune(text, tune.names[0], number)
                assert own == _in(Law(tune.form(number)), text), text
    assert min(kept.values()) > 50


def _in(law: Law, text: str) -> bool:
    """Whatever its marks are."""
    chars = HAN.findall(text)
    return accepts(law, "".join(map("".join, zip(chars, law.form.marks, strict=True))))


def test_small_alphabet_against_all_texts() -> None:
    """Exactly the texts of the form are accepted, exactly the characters that lead to one are offered."""
    pattern = "+a。-a，|b~2。+b。"
    form = Form("", "平水韵", tuple(m.strip() for m in written(pattern)), (((slots("+a-a|+a"),),),), ("",))
    chars = frozenset("东风中动凤空")
    law = Law(form, alphabet=chars)
    plain = {t for t in map("".join, product(sorted(chars), repeat=4)) if _rhymes(t)}
    marked = {"".join(map("".join, zip(text, form.marks, strict=True))) for text in plain}
    assert (
        marked
        and {
            m
            for t in map("".join, product(sorted(chars), repeat=4))
            if accepts(law, m := "".join(map("".join, zip(t, form.marks, strict=True))))
        }
        == marked
    )
    beginnings = {text[:at] for text in marked for at in range(len(text))}
    for beginning in beginnings:
        verse = law.start
        for char in beginning:
            verse = verse and verse.step(char)
        assert verse and {beginning + char for char in verse.chars()} == {
            text[: len(beginning) + 1] for text in marked if text.startswith(beginning)
        }


def _rhymes(text: str) -> bool:
    """Of "+a-a|+a": three feet of one part, all different, the second level; the third character oblique."""
    feet = [text[0], text[1], text[3]]
    tone = ("平" in check.tones(text[1], "平水韵"), "仄" in check.tones(text[2], "平水韵"))
    shared = set.intersection(
        check.parts(feet[0], "平水韵"), check.parts(feet[1], "平水韵", "平"), check.parts(feet[2], "平水韵")
    )
    return all(tone) and len(set(feet)) == 3 and bool(shared)


def test_explanation() -> None:
    why = explain(regular("五言绝句"), TOWER)
    assert why and (why.label, why.rhymes) == ("仄起首句不入韵", ("十一尤",))
    assert "".join("-" if s.level else "|" for s in why.lines[1]) == "--||-"
    assert explain(regular("五言绝句"), TOWER.replace("楼", "阁")) is None
    assert explain(regular("五言绝句"), TOWER[:5]) is None


def test_twists_and_neighbours() -> None:
    twisted = "移舟泊烟渚，日暮客愁新。\n野旷天低树，江清月近人。"  # 孟浩然: 特拗
    assert explain(regular("五言绝句"), twisted) is None
    assert explain(regular("五言绝句", loose=True), twisted)


def test_refrains() -> None:
    refrain = tunes.find("如梦令")
    assert refrain and tunes.find("调笑令") is tunes.find("古调笑")
    text = drawn(Law(refrain.form(1), given={23: "如"}), random.Random(3))
    sentences = text.split("\n")
    assert sentences[3] == sentences[4] and sentences[3][0] == "如"
    assert Law(refrain.form(1), given={5: "去", 11: "去"}).start is None  # a rhyme word twice
    assert Law(refrain.form(1), given={23: "如", 25: "无"}).start is None
