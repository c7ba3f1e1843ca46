"""Dialogues: three formats say the same, and whatever else a row may be is counted by reason before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from haina.data.dialogues import Preference, dialogue, preference, prompt, survey
from haina.text.messages import Message

TALK = (
    Message("system", "简短。"),
    Message("user", "hello"),
    Message("assistant", "hi"),
    Message("user", "海？"),
    Message("assistant", "纳百川。"),
)
OPENAI = {"messages": [{"role": m.role, "content": m.content} for m in TALK]}
SHAREGPT = {
    "system": "简短。",
    "conversations": [
        {"from": {"user": "human", "assistant": "gpt"}[m.role], "value": m.content} for m in TALK[1:]
    ],
}
ALPACA = {
    "instruction": "海？",
    "input": "",
    "output": "纳百川。",
    "system": "简短。",
    "history": [["hello", "hi"]],
}


@pytest.mark.parametrize("row", [OPENAI, SHAREGPT, ALPACA], ids=["openai", "sharegpt", "alpaca"])
def test_three_formats_say_the_same(row: dict[str, Any]) -> None:
    assert dialogue(row | {"id": 7, "source": "ours", "lic": "CC0"}) == TALK
    assert prompt({"answer": "5", **row}).messages == TALK[:-1] if row is ALPACA else True


def test_an_input_follows_its_instruction() -> None:
    found = dialogue({"instruction": "Translate.", "input": "海", "output": "sea"})
    assert found == (Message("user", "Translate.\n海"), Message("assistant", "sea"))


U, A = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "hello"}, "neither messages nor conversations nor instruction"),
        ({"messages": "hello"}, "messages is not a list of messages"),
        ({"messages": []}, "messages is not a list of messages"),
        ({"messages": [U, "hi"]}, "message 2 is no object"),
        ({"messages": [U, {"content": "hi"}]}, "message 2 has no role, as text"),
        ({"messages": [U, {"role": "assistant", "content": None}]}, "message 2 has no content, as text"),
        ({"messages": [U, {"role": "tool", "content": "hi"}]}, "message 2 has an unknown role 'tool'"),
        ({"messages": [U, A | {"weight": 0}]}, "unknown key 'weight'"),
        ({"messages": [U, U, A]}, "message 2 is user's, not assistant's"),
        ({"messages": [A, U, A]}, "message 1 is assistant's, not user's"),
        ({"messages": [U, A, {"role": "system", "content": "x"}]}, "message 3 is system's, not user's"),
        ({"messages": [{"role": "system", "content": "x"}]}, "does not end with assistant"),
        ({"messages": [U, A, U]}, "does not end with assistant"),
        ({"messages": [U, A | {"content": "\n"}]}, r"message 2 \(assistant\) is empty"),
        ({"messages": [U, A], "functions": []}, "unknown key 'functions' .*--ignore functions"),
        ({"conversations": [{"from": "human", "value": 3}]}, "message 1 has no value, as text"),
        ({"instruction": "hello", "output": 5}, "output is missing or no text"),
        ({"instruction": "hello", "output": "hi", "history": [["hello"]]}, "history is not a list of pairs"),
    ],
)
def test_a_row_that_is_no_dialogue_says_why(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dialogue(row)


def test_a_message_may_be_read_by_character() -> None:
    asked, said = dialogue({"messages": [U | {"by_character": False}, A | {"by_character": True}]})
    assert (asked.by_character, said.by_character) == (False, True)
    with pytest.raises(ValueError, match="message 2: by_character is not true or false"):
        dialogue({"messages": [U, A | {"by_character": 1}]})
    with pytest.raises(ValueError, match="unknown key 'by_character'"):
        prompt({"messages": [U | {"by_character": True}]})


def test_a_key_may_be_declared_to_mean_nothing() -> None:
    assert dialogue({"messages": [U, A], "functions": []}, frozenset({"functions"}))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hello", "chosen": "hi", "rejected": "no"},
        {"prompt": [U], "chosen": [A], "rejected": A | {"content": "no"}},
        {"messages": [U], "chosen": A, "rejected": A | {"content": "no"}},
        {
            "conversations": [{"from": "human", "value": "hello"}],
            "chosen": {"from": "gpt", "value": "hi"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        {"instruction": "hello", "input": "", "chosen": "hi", "rejected": "no"},
        {"chosen": [U, A], "rejected": [U, A | {"content": "no"}]},
    ],
)
def test_forms_of_a_preference(row: dict[str, Any]) -> None:
    assert preference(row) == Preference((Message("user", "hello"),), "hi", "no")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "hello", "chosen": "hi"}, "no chosen or no rejected"),
        ({"prompt": "hello", "chosen": "hi", "rejected": "hi"}, "chosen and rejected are the same"),
        ({"prompt": "hello", "chosen": "hi", "rejected": ""}, "an answer is empty"),
        ({"prompt": [U, A], "chosen": "hi", "rejected": "no"}, "does not end with user"),
        ({"prompt": "hello", "chosen": [U], "rejected": "no"}, "chosen is not one answer"),
        ({"prompt": "hello", "chosen": [], "rejected": "no"}, "chosen is not a list of messages"),
        ({"prompt": "hello", "chosen": 3, "rejected": "no"}, "message 1 is no object"),
        ({"chosen": [U, A], "rejected": [A, A]}, "answer different questions"),
        ({"prompt": "hello", "chosen": "hi", "rejected": "no", "margin": 2}, "unknown key 'margin'"),
    ],
)
def test_a_row_that_is_no_preference_says_why(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        preference(row)


def test_a_survey_counts_by_reason_in_both_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "talks.jsonl"
    rows = [{"messages": [U, A]}, *[{"messages": [U]}] * 4, {"instruction": "x", "output": ""}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = survey(file, dialogue)
    assert len(found.good) == 1
    with pytest.raises(ValueError) as refused:
        found.refuse_bad()
    assert str(refused.value) == (
        f"{file}: 5 of 6 rows cannot be used: it does not end with assistant (row 2, 3, 4, …); "
        "message 2 (assistant) is empty (row 6); mend them, or leave them out with --skip-bad"
    )
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match=r"6 行中有 5 行不可用：没有以 assistant 结尾（第 2, 3, 4, … 行）"):
        survey(file, dialogue).refuse_bad()


def test_json_is_one_list(tmp_path: Path) -> None:
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps([ALPACA, ALPACA], ensure_ascii=False), "utf-8")
    assert survey(file, dialogue).good == [TALK, TALK]
    file.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"alpaca.json: not JSON .*named .jsonl"):
        survey(file, dialogue)
    file.write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"alpaca.json: not a list of objects"):
        survey(file, dialogue)
    with pytest.raises(ValueError, match=r"none.json: no such file"):
        survey(tmp_path / "none.json", dialogue)


def test_the_sets_of_the_data_pack_are_read(data: Path) -> None:
    for name, form in (("sft_zh", dialogue), ("sft_en", dialogue), ("preference", preference)):
        found = survey(data / "chat" / "valid" / f"{name}.jsonl.zst", form)
        assert len(found.good) > 100 and sum(map(len, found.bad.values())) <= 2, found.reasons()
