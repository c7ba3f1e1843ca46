"""Every rule with a text that breaks it and no other before it; good texts break none."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest

from haina.data.filters import RULES, rules_of, why_dropped
from haina.data.read import rows
from haina.data.reasons import words

RANDOM = random.Random(7)
HANZI = [chr(code) for code in range(0x4E00, 0x9000)]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def zh(chars: int = 40) -> str:
    """A sentence of characters that hardly ever stand together twice."""
    return "我的" + "".join(RANDOM.choices(HANZI, k=chars)) + "是了。"


def en(words: int = 12, *, letters: int = 5) -> str:
    made = ["".join(RANDOM.choices(LETTERS, k=letters)) for _ in range(words)]
    return " ".join(["The", *made, "of", "and", "that"]) + "."


def many(sentence: object, count: int) -> str:
    return "".join(sentence() for _ in range(count))  # type: ignore[operator]


def lines(count: int, *, end: str = "", words: int = 12) -> str:
    return "\n".join(en(words)[:-1] + end for _ in range(count))


def often(phrase: str, chars: int) -> str:
    """One phrase again and again, so many other characters between."""
    return "是的" + "".join(f"，{phrase}{''.join(RANDOM.choices(HANZI, k=chars))}" for _ in range(40)) + "。"


GOOD_ZH = many(zh, 6) + "\n" + many(zh, 6)
GOOD_EN = lines(8, end=".")
BREAKS = {
    ("zh", "broken_text"): GOOD_ZH + "锟斤拷" * 10,
    ("zh", "too_short"): zh(20),
    ("zh", "too_long"): many(lambda: "的是" * 500, 161),
    ("zh", "bullets"): "\n".join(f"• {zh(20)}" for _ in range(20)),
    ("zh", "lines_trail_off"): "\n".join(zh(60)[:-1] + "……" for _ in range(5)),
    ("zh", "hashes"): "#".join(zh(3) for _ in range(30)),
    ("zh", "ellipses"): "……".join(zh(3) for _ in range(30)),
    ("zh", "word_length"): "的是" + " ".join(["supercalifragilistic"] * 60) + "。",
    ("zh", "few_letters"): many(zh, 2) + " ".join(str(n) for n in range(200)) + "。",
    ("zh", "stop_words"): many(lambda: "".join(RANDOM.choices(HANZI[5000:6000], k=30)) + "。", 4),
    ("zh", "lines_without_end"): "\n".join(zh(40)[:-1] for _ in range(12)),
    ("zh", "many_lines"): "\n".join(zh(2) for _ in range(20)),
    ("zh", "repeated_lines"): "\n".join([zh(90), zh(90), *["好的。"] * 2, *["是的。"] * 2]),
    ("zh", "repeated_line_chars"): "\n".join([*[zh(90)] * 2, *[zh(90) for _ in range(5)]]),
    ("zh", "top_2_gram"): often("天地人", 1),
    ("zh", "top_3_gram"): often("天地人和美", 12),
    ("zh", "top_4_gram"): often("天地人和美好", 24),
    ("en", "broken_text"): GOOD_EN + "\ufffd" * 20,
    ("en", "too_short"): en(10),
    ("en", "too_long"): "the of and " * 34_000,
    ("en", "bullets"): "\n".join(f"- {en()}" for _ in range(20)),
    ("en", "lines_trail_off"): lines(8, end="..."),
    ("en", "hashes"): "# ".join(en(3) for _ in range(30)),
    ("en", "ellipses"): "... ".join(en(3)[:-1] for _ in range(30)),
    ("en", "word_length"): " ".join(en(12, letters=14) for _ in range(20)),
    ("en", "few_letters"): GOOD_EN + " ".join(map(str, range(1000, 1100))),
    ("en", "stop_words"): " ".join("".join(RANDOM.choices(LETTERS, k=6)) for _ in range(60)) + ".",
    ("en", "lorem_ipsum"): GOOD_EN + " Lorem ipsum dolor sit amet.",
    ("en", "curly_bracket"): GOOD_EN + " function() { return; }",
    ("en", "few_sentences"): en(80),
    ("en", "lines_without_end"): en() + " " + en() + " " + en() + " " + en() + " " + en() + "\n" + lines(12),
    ("en", "short_lines"): "\n".join([lines(4, end="."), *(en(1)[:30] for _ in range(12))]),
    ("en", "many_lines"): "\n\n\n\n\n\n".join(en(8) for _ in range(10)),
    ("en", "repeated_lines"): "\n".join([*(en(20) for _ in range(5)), *["Yes, that is right."] * 4]),
    ("en", "repeated_line_chars"): "\n".join([*(en(20) for _ in range(8)), *["Yes, that is right, of course."] * 2]),
    ("en", "top_2_gram"): "\n".join(f"alpha beta {en(1)} alpha beta {en(2)}" for _ in range(12)),
}  # fmt: skip


@pytest.mark.parametrize(("language", "name"), BREAKS)
def test_what_a_rule_drops(language: str, name: str) -> None:
    assert why_dropped(BREAKS[language, name], language) == name


@pytest.mark.parametrize("size", [5, 6, 7, 8, 9, 10])
@pytest.mark.parametrize(("language", "text"), [("zh", GOOD_ZH), ("en", GOOD_EN)])
def test_repeated_ngrams(language: str, text: str, size: int) -> None:
    """A passage that stands twice within a line; the rules for other sizes are left out."""
    others = frozenset(f"repeated_{n}_grams" for n in range(5, 11) if n != size)
    half = text[: len(text) // 2].replace("\n", " ")
    twice = text + " " + half
    assert why_dropped(twice, language, rules_of(language, others, {})) == f"repeated_{size}_grams"
    assert why_dropped(text, language) is None


def test_every_rule_has_a_text() -> None:
    named = {(language, rule.name) for language in ("zh", "en") for rule in RULES[language]}
    ngrams = {key for key in named if "gram" in key[1]}
    assert named - ngrams <= set(BREAKS)


def test_a_rule_can_be_left_out() -> None:
    text = BREAKS["en", "curly_bracket"]
    assert why_dropped(text, "en", rules_of("en", {"curly_bracket"}, {})) is None


def test_a_rule_can_have_other_numbers() -> None:
    assert why_dropped(zh(20), "zh", rules_of("zh", (), {"too_short": 20})) is None
    assert why_dropped(GOOD_ZH, "zh", rules_of("zh", (), {"too_short": 2000})) == "too_short"
    brackets = BREAKS["en", "curly_bracket"]
    assert why_dropped(brackets, "en", rules_of("en", (), {"curly_bracket": 1})) is None
    long_words = BREAKS["en", "word_length"]
    assert why_dropped(long_words, "en", rules_of("en", (), {"word_length": [3, 15]})) != "word_length"


def test_other_languages_have_no_rules() -> None:
    assert why_dropped("", "other") is None
    assert why_dropped(zh(10), "mixed") == "too_short"


@pytest.mark.parametrize("text", ["", "\n\n", "\x00", "\ud800" * 100, "……", "12 34", " "])
def test_odd_texts_are_dropped(text: str) -> None:
    assert why_dropped(text, "zh") and why_dropped(text, "en")


def test_a_line_of_fifty_megabytes_takes_seconds() -> None:
    assert why_dropped("汉字" * 8_700_000, "zh") == "too_long"


@pytest.mark.parametrize(
    ("file", "language", "least"),
    [
        ("text_zh/train/news", "zh", 0.97),
        ("text_zh/train/articles", "zh", 0.97),
        ("text_en/train/textbooks", "en", 0.85),
    ],
)
def test_real_texts_are_kept(data: Path, file: str, language: str, least: float) -> None:
    texts = [row["text"] for row in islice(rows(data / f"{file}.jsonl.zst"), 150)]
    assert sum(why_dropped(text, language) is None for text in texts) >= least * len(texts)


def test_every_rule_is_told_in_words() -> None:
    for rule in {rule.name for rules in RULES.values() for rule in rules}:
        en, zh = words(rule)
        assert "_" not in en + zh
