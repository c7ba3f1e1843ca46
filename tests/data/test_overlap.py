"""Evaluation sets are found where 13 words or characters in a row agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from haina.data.overlap import Evaluation

QUESTION = "下列关于光合作用的叙述，正确的是哪一项？植物在黑暗中也能进行光合作用。"
ENGLISH = "Which of the following statements about photosynthesis in green plants is correct, according to the text?"


@pytest.fixture(scope="module")
def known() -> Evaluation:
    return Evaluation.of({"exam": [QUESTION, "太短"], "mmlu": iter([ENGLISH])})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"网页正文。{QUESTION}更多内容", "exam"),
        ("下列，关于光合作用 的叙述——正确的是", "exam"),  # 13 characters of it, whatever stands between
        ("下列关于光合作用的叙述，正", None),  # 12
        (f"Quiz! {ENGLISH.upper()} Answer below.", "mmlu"),
        ("which of the following statements about photosynthesis in green plants is correct", None),  # 12 words
        ("which of the following statements about photosynthesis in green plants is correct, according", "mmlu"),
        (f"{ENGLISH} {QUESTION} {QUESTION}", "exam"),  # the one of which more is there
        ("太短", None),
        ("", None),
    ],
)  # fmt: skip
def test_found(known: Evaluation, text: str, expected: str | None) -> None:
    assert known.found(text) == expected


def test_kept_and_opened_it_finds_the_same(known: Evaluation, tmp_path: Path) -> None:
    known.save(tmp_path / "known.npz")
    again = Evaluation.open(tmp_path / "known.npz")
    assert again.found(QUESTION) == "exam"
    assert again.found("无关的一段文字，与任何评测集都没有重合之处。") is None


def test_nothing_is_found_of_no_sets() -> None:
    assert Evaluation.of({}).found(QUESTION) is None


def test_a_set_that_cannot_be_found_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation set empty: no text of 13 words"):
        Evaluation.of({"exam": [QUESTION], "empty": ["太短"]})
