"""What keys may mean: splits, abbreviations, fuzzy sounds, double pinyin, slips; each with its price."""

import pytest

from haina.apps.pinyin.keys import PAIRS, Reach, Spelling
from haina.text import pinyin

FULL = Spelling()


def meant(keys: str, spelling: Spelling = FULL, reach: Reach = "exact") -> dict[str, float]:
    """Syllables that all of the keys may mean, each with its nats; open ones left out."""
    edges = spelling.edges(keys, len(keys), reach)
    return {pinyin.syllables()[e.syllable]: e.nats for e in edges if e.start == 0 and not e.open}


def test_every_syllable_is_spelled_by_itself_for_nothing() -> None:
    assert all(meant(syllable)[syllable] == 0 for syllable in pinyin.syllables())


def test_a_split_is_found_from_every_key() -> None:
    starts = {
        (e.start, pinyin.syllables()[e.syllable]) for e in Spelling().edges("xian", 4, "exact") if not e.open
    }
    assert starts == {(0, "xian"), (2, "an")}
    assert {(e.start) for e in Spelling().edges("xi'an", 5, "exact") if not e.open} == {3}


def test_an_unfinished_syllable_ends_the_text_unless_abbreviations_are_looked_for() -> None:
    assert all(e.open for e in Spelling().edges("zh", 2, "exact"))
    assert {"zhong", "zhe"} < set(meant("zh", reach="short"))
    assert meant("zh", reach="short")["zhong"] < meant("zho", reach="short")["zhong"]


@pytest.mark.parametrize("pair", PAIRS)
def test_a_fuzzy_sound_costs_and_the_exact_one_does_not(pair: str) -> None:
    a, b = pair.split("/")
    keys, other = {"ang": ("zhang", "zhan"), "eng": ("zheng", "zhen"), "ing": ("xing", "xin")}.get(
        a, (f"{a}u", f"{b}u")
    )
    found = meant(other, Spelling(fuzzy=frozenset({pair})))
    assert found[other] == 0 < found[keys]
    assert keys not in meant(other)


@pytest.mark.parametrize(
    ("scheme", "keys", "syllables"),
    [
        ("xiaohe", "nihc", "ni hao"), ("xiaohe", "ulvs", "shuang zhong"), ("xiaohe", "lvahxm", "lv ang xian"),
        ("ziranma", "nihk", "ni hao"), ("ziranma", "udvs", "shuang zhong"), ("ziranma", "yyxm", "ying xian"),
        ("microsoft", "nihk", "ni hao"), ("microsoft", "y;ohly", "ying ang lv"),
    ],
)  # fmt: skip
def test_double_pinyin(scheme: str, keys: str, syllables: str) -> None:
    spelling = Spelling(scheme)  # type: ignore[arg-type]
    for at, syllable in enumerate(syllables.split()):
        assert meant(keys[2 * at : 2 * at + 2], spelling)[syllable] == 0


@pytest.mark.parametrize("scheme", ["xiaohe", "ziranma", "microsoft"])
def test_double_pinyin_types_every_syllable_in_two_keys(scheme: str) -> None:
    from haina.apps.pinyin.keys import _keys

    spelled = [list(_keys(syllable, scheme)) for syllable in pinyin.syllables()]  # type: ignore[arg-type]
    assert all(len(ways) == 1 and len(ways[0]) == 2 for ways in spelled)


@pytest.mark.parametrize("slip", ["zohng", "zhng", "zhoong", "xhong", "zhpng"])
def test_a_slip_is_understood_and_costs(slip: str) -> None:
    assert meant(slip, reach="slips")["zhong"] > 5
    assert "zhong" not in meant(slip)
