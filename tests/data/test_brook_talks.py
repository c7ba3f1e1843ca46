"""What haina-brook says: every kind, true to its facts, nothing of the checks, nothing held out."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from haina.data.brook import knowledge, obey, reading, rewriting, talks, unknown, verse_talk, words
from haina.data.brook.exchange import Exchange, lines
from haina.data.brook.prompts import checks, in_language


@pytest.fixture(scope="module")
def own(data: Path) -> list[Exchange]:
    """The exchanges that need no dictionary and no verse."""
    makers = (
        talks.small_talk,
        knowledge.opposites,
        knowledge.sums,
        unknown.exchanges,
        obey.language,
        obey.limits,
    )
    return [exchange for maker in makers for exchange in maker(data)]


def test_answers_are_in_the_language_they_say(own: list[Exchange]) -> None:
    wrong = [
        e
        for e in own
        if re.search("[A-Za-z\u4e00-\u9fff]", e.answer) and not in_language(e.answer, e.language)
    ]
    mixed = {e.answer for e in wrong}  # tongue twisters and names aside, none
    assert len(mixed) <= 3, mixed


def test_sums_are_right(data: Path) -> None:
    for exchange in knowledge.sums(data):
        if found := re.fullmatch(r"What is (\d+) ([+×-]) (\d+)\?", exchange.asked):
            a, sign, b = found.groups()
            assert exchange.answer.endswith(f"= {eval(f'{a}{sign}{b}'.replace('×', '*'))}.")
    assert [knowledge.number_zh(n) for n in (0, 10, 12, 20, 47, 100)] == [
        "零",
        "十",
        "十二",
        "二十",
        "四十七",
        "一百",
    ]
    assert [knowledge.number_en(n) for n in (0, 13, 40, 99)] == ["zero", "thirteen", "forty", "ninety-nine"]


def test_asked_who_it_is_it_never_names_another_model(own: list[Exchange]) -> None:
    said = [e for e in own if e.kind == "identity"]
    assert any("海纳·溪" in e.answer for e in said) and any("haina-brook" in e.answer for e in said)
    assert not [
        e for e in said if re.search("(我是|I am|I'm)[^，。,.]*(GPT|Claude|百川|文心|通义)", e.answer)
    ]


def test_no_check_is_asked_in_training_nor_a_held_out_fact(own: list[Exchange]) -> None:
    prompts = {check.prompt for check in checks()}
    assert len(prompts) == 30
    assert not prompts & {e.asked for e in own if e.kind in ("greeting", "identity", "language", "limits")}
    facts = {True: set(), False: set()}
    for exchange in own:
        facts[exchange.held_out].add((exchange.kind, exchange.fact))
    assert facts[True] and not facts[True] & facts[False]
    share = len(facts[True]) / (len(facts[True]) + len(facts[False]))
    assert 0.01 < share < 0.03


def test_checks_tell_good_answers_from_bad() -> None:
    by_prompt = {check.prompt: check for check in checks()}
    verse = by_prompt["请写一首关于秋天的五言绝句。"]
    assert verse.passed("白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。")
    assert not verse.passed("白日依山尽，黄河入海。\n欲穷千里目，更上一层楼。")
    capital = by_prompt["Can you tell me the capital of Japan?"]
    assert capital.passed("The capital of Japan is Tokyo.")
    assert not capital.passed("日本的首都是东京 Tokyo。")
    assert not capital.passed("")


def test_countries_are_whole() -> None:
    found = knowledge.countries()
    assert len({c.en for c in found}) == len({c.zh for c in found}) == len(found) > 110
    assert all(c.continent in knowledge.CONTINENTS and c.capital and c.capital_zh for c in found)


def test_small_talk_has_wordings_and_answers() -> None:
    rows = [json.loads(line) for line in lines("smalltalk.jsonl")]
    languages = Counter(row["lang"] for row in rows)
    assert min(languages.values()) > 120
    assert all(row["user"] and row["assistant"] and row["kind"] in talks.MOST for row in rows)
    asked = Counter((row["lang"], asked) for row in rows for asked in row["user"])
    assert not [wording for wording, times in asked.items() if times > 1]


def test_the_size_is_filled_in_both_languages() -> None:
    row = {
        "messages": [
            {"role": "assistant", "content": text} for text in ("约{parameters}个", "{parameters} of them")
        ]
    }
    assert [m["content"] for m in talks.filled(row, 17_000_000)["messages"]] == [
        "约1700万个",
        "17 million of them",
    ]


def test_scripts_are_changed_only_where_one_form_is_possible() -> None:
    change = rewriting.Traditional({"头发": "頭髮", "出发": "出發", "了": "了"})
    assert change("出发了！") == "出發了！"
    assert change("发了") is None


def test_an_acrostic_is_asked_for_only_where_the_poem_has_it() -> None:
    poem = {
        "id": "1", "title": "题", "author": "", "dynasty": "唐", "form": "五绝",
        "lines": ["春眠不觉晓，", "夏日草木长。", "秋风吹不尽，", "冬雪满千山。"],
    }  # fmt: skip
    (exchange,) = verse_talk._acrostics(poem, {"春夏秋冬"}, random.Random(0))
    assert "春夏秋冬" in exchange.asked and exchange.by_character
    assert "".join(line[0] for line in re.split("[，\n]", exchange.answer)) == "春夏秋冬"


def test_talks_come_with_every_field(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "MAKERS", [knowledge.sums, unknown.exchanges, obey.limits, verse])
    rows = list(talks.talks(data, "train"))
    kinds = Counter(kind for row in rows for kind in row["kinds"])
    assert {"greeting", "identity", "sum", "unknown", "limits", "theme"} <= set(kinds)
    assert all(times <= 2 * talks.MOST[kind] for kind, times in kinds.items())
    for row in rows:
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"] * len(row["kinds"])
        assert all(m["content"] for m in row["messages"])
        assert "greeting" not in row["kinds"][row["kinds"].count("greeting") :]
    assert any(m.get("by_character") for row in rows for m in row["messages"])
    assert rows[:50] == list(talks.talks(data, "train"))[:50]


def verse(_data: Path) -> Iterator[Exchange]:
    yield Exchange("theme", "zh", "", "写一首咏月的五言绝句", "床前看月光，疑是地上霜。", by_character=True)


def test_answers_about_a_passage_stand_in_it(data: Path) -> None:
    found = list(islice(reading.exchanges(data), 300))
    assert {"summary", "passage", "title", "not said"} <= {e.kind for e in found}
    for exchange in found:
        if exchange.kind != "not said":
            assert exchange.answer.rstrip("年。").lower() in exchange.asked.lower()


def test_words_are_told_in_both_languages(data: Path) -> None:
    found = {e.asked: e.answer for e in words.chinese(data)}
    assert found["“苹果”用英语怎么说？"] == "“苹果”的英语是 apple。"
    assert found["How do you say water in Chinese?"] == '"water" in Chinese is 水 (shuǐ).'
