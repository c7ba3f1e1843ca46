"""Files of dialogues, preferences and prompts → Messages: Alpaca, ShareGPT, OpenAI; JSON, JSON Lines, zstd.

Every row is looked at before anything is trained: a row that is not what it seems to be (a role missing, an empty
answer, a key that nobody here knows) is counted by reason, with the places of the first ones. It knows neither tokens
nor chat formats. A set is held in memory: a million dialogues take about two gigabytes.

The formats: tatsu-lab/stanford_alpaca `alpaca_data.json` (system, history: hiyouga/LLaMA-Factory `data/README.md`);
lm-sys/FastChat `data/dummy_conversation.json`; OpenAI's chat fine-tuning; preferences as in huggingface/trl
`docs/source/dataset_formats.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from haina.data.read import rows
from haina.text.messages import Message
from haina.wording import say

Row = Mapping[str, Any]
Dialogue = tuple[Message, ...]  # perhaps a system text, then user and assistant in turn
T = TypeVar("T")

ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
SHAREGPT_ROLES = ROLES | {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
# Keys that say where a row comes from, not what is to be learnt.
ABOUT = frozenset(
    """id idx index uuid source src dataset origin url lang language lic licence license category topic domain task
    type subject tags model date time timestamp created_at split score meta metadata""".split()
)
NAMED_PLACES = 3


@dataclass(frozen=True)
class Preference:
    """Of two answers to a dialogue that ends with the user, the better one and the other."""

    prompt: Dialogue
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Prompt:
    """What is asked, and the row that asks it: a reward may look for an `answer` or a `passage` there."""

    messages: Dialogue
    row: Row


@dataclass(frozen=True)
class Survey(Generic[T]):
    """What a file holds: the rows that are whole, and for each reason against others their numbers, from 1."""

    file: Path
    good: list[T]
    bad: dict[str, list[int]]

    def refuse_bad(self) -> None:
        """ValueError, one line: how many rows cannot be used, why, and where the first ones are."""
        if self.bad:
            count, total = sum(map(len, self.bad.values())), len(self.good)
            raise ValueError(
                say(
                    f"{self.file}: {count:,} of {total + count:,} rows cannot be used: {self.reasons()}; "
                    "mend them, or leave them out with --skip-bad",
                    f"{self.file}：{total + count:,} 行中有 {count:,} 行不可用：{self.reasons()}；"
                    "请修正，或用 --skip-bad 略过",
                )
            )

    def refuse_empty(self) -> None:
        """ValueError if there is nothing to learn from."""
        if not self.good:
            raise ValueError(
                say(
                    f"{self.file}: no row that can be used; give a file that has some",
                    f"{self.file}：没有可用的行；请换一个文件",
                )
            )

    def reasons(self) -> str:
        """Each reason with its rows, the commonest first."""
        told = []
        for reason, numbers in sorted(self.bad.items(), key=lambda item: -len(item[1])):
            first = ", ".join(f"{n:,}" for n in numbers[:NAMED_PLACES])
            more = ", …" if len(numbers) > NAMED_PLACES else ""
            told.append(say(f"{reason} (row {first}{more})", f"{reason}（第 {first}{more} 行）"))
        return say("; ", "；").join(told)


def survey(file: Path, form: Callable[[Row], T]) -> Survey[T]:
    """Every row of a file in its form. ValueError: it cannot be read, or a line is no JSON object."""
    good: list[T] = []
    bad: dict[str, list[int]] = {}
    for number, row in enumerate(read(file), 1):
        try:
            good.append(form(row))
        except ValueError as error:
            bad.setdefault(str(error), []).append(number)
    return Survey(file, good, bad)


def read(file: Path) -> Iterator[Row]:
    """The rows of a JSON file, which is one list, or of JSON Lines, perhaps compressed."""
    if file.suffix != ".json" or not file.is_file():
        yield from rows(file)
        return
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(
            say(
                f"{file}: not JSON ({error}); a file with an object on each line is named .jsonl",
                f"{file}：不是 JSON（{error}）；每行一个对象的文件应以 .jsonl 结尾",
            )
        ) from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ValueError(
            say(f"{file}: not a list of objects; make it one", f"{file}：内容不是对象的列表；请改正")
        )
    yield from found


def dialogue(row: Row, ignored: frozenset[str] = frozenset()) -> Dialogue:
    """A row as a dialogue that ends with an answer. ignored: keys that mean nothing. ValueError says what is amiss."""
    if "messages" in row:
        known, found = {"messages"}, messages(row["messages"], by_character=True)
    elif "conversations" in row:
        known, found = {"conversations", "system"}, sharegpt(row)
    elif "instruction" in row:
        known, found = {"instruction", "input", "output", "system", "history"}, alpaca(row)
    else:
        raise ValueError(
            say(
                "it has neither messages nor conversations nor instruction",
                "没有 messages、conversations 或 instruction",
            )
        )
    refuse_unknown(row, known | ignored)
    in_turn(found, last="assistant")
    return found


def preference(row: Row, ignored: frozenset[str] = frozenset()) -> Preference:
    """A row with `chosen` and `rejected`, and what was asked as `prompt`, a dialogue, or the beginning of both."""
    if "chosen" not in row or "rejected" not in row:
        raise ValueError(say("it has no chosen or no rejected", "没有 chosen 或 rejected"))
    known = {"chosen", "rejected"}
    if asked := next(
        (key for key in ("prompt", "messages", "conversations", "instruction") if key in row), None
    ):
        known |= {asked, "system"} | ({"input", "history"} if asked == "instruction" else set())
        prompt = question(row)
        chosen, rejected = (answer(row[key], key) for key in ("chosen", "rejected"))
    else:
        (*prompt_, good), (*other, bad) = (messages(row[key], key) for key in ("chosen", "rejected"))
        if prompt_ != other:
            raise ValueError(
                say("chosen and rejected answer different questions", "chosen 与 rejected 的问题不同")
            )
        prompt, chosen, rejected = tuple(prompt_), good.content, bad.content
    refuse_unknown(row, known | ignored)
    in_turn(prompt, last="user")
    if not chosen.strip() or not rejected.strip():
        raise ValueError(say("an answer is empty", "有回答为空"))
    if chosen == rejected:
        raise ValueError(say("chosen and rejected are the same", "chosen 与 rejected 相同"))
    return Preference(prompt, chosen, rejected)


def prompt(row: Row) -> Prompt:
    """A row that asks: `prompt` (text or messages), or a dialogue that ends with the user. Other keys are kept."""
    found = question(row)
    in_turn(found, last="user")
    return Prompt(found, row)


def question(row: Row) -> Dialogue:
    """What is asked, in any of the forms."""
    if "prompt" in row:
        asked = row["prompt"]
        system = (Message("system", text(row, "system")),) if row.get("system") else ()
        return (
            (*system, Message("user", text(row, "prompt")))
            if isinstance(asked, str)
            else messages(asked, "prompt")
        )
    if "messages" in row:
        return messages(row["messages"])
    if "conversations" in row:
        return sharegpt(row)
    if "instruction" in row:
        return alpaca({key: value for key, value in row.items() if key != "output"})
    raise ValueError(
        say(
            "it asks nothing: no prompt, messages, conversations or instruction",
            "没有提问：缺少 prompt、messages、conversations 或 instruction",
        )
    )


def messages(
    given: Any,
    key: str = "messages",
    *,
    roles: Mapping[str, str] = ROLES,
    names: tuple[str, str] = ("role", "content"),
    by_character: bool = False,
) -> Dialogue:
    """A list of objects with a role and a content. ValueError names the message that is none.

    by_character: whether a message may say so of itself (Message.by_character).
    """
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError(say(f"{key} is not a list of messages", f"{key} 不是消息列表"))
    found = []
    for number, message in enumerate(given, 1):
        where = say(f"message {number}", f"第 {number} 条消息")
        if not isinstance(message, dict):
            raise ValueError(say(f"{where} is no object", f"{where}不是对象"))
        for name in names:
            if not isinstance(message.get(name), str):
                raise ValueError(say(f"{where} has no {name}, as text", f"{where}缺少文本形式的 {name}"))
        refuse_unknown(message, {*names, "by_character"} if by_character else set(names))
        spelt = message.get("by_character", False) if by_character else False
        if not isinstance(spelt, bool):
            raise ValueError(
                say(
                    f"{where}: by_character is not true or false",
                    f"{where}的 by_character 应为 true 或 false",
                )
            )
        role, content = (message[name] for name in names)
        if role not in roles:
            raise ValueError(say(f"{where} has an unknown role {role!r}", f"{where}的角色 {role!r} 未知"))
        found.append(Message(roles[role], content, spelt))
    return tuple(found)


def sharegpt(row: Row) -> Dialogue:
    """`conversations`, a list of objects with `from` and `value`; a system text may stand beside it."""
    found = messages(row["conversations"], "conversations", roles=SHAREGPT_ROLES, names=("from", "value"))
    return (Message("system", text(row, "system")), *found) if row.get("system") else found


def alpaca(row: Row) -> Dialogue:
    """instruction, perhaps with an input, and output; rounds before it in `history`."""
    system = [Message("system", text(row, "system"))] if row.get("system") else []
    history = row.get("history") or []
    pairs = isinstance(history, list) and all(isinstance(p, list) and len(p) == 2 for p in history)
    if not pairs or not all(isinstance(said, str) for p in history for said in p):
        raise ValueError(say("history is not a list of pairs of texts", "history 不是文本对的列表"))
    before = [
        Message(role, said) for p in history for role, said in zip(("user", "assistant"), p, strict=True)
    ]
    asked = [text(row, "instruction"), text(row, "input") if row.get("input") else ""]
    user = Message("user", "\n".join(part for part in asked if part))
    last = [Message("assistant", text(row, "output"))] if "output" in row else []
    return (*system, *before, user, *last)


def answer(given: Any, key: str) -> str:
    """A text, or one message of the assistant."""
    if isinstance(given, str):
        return given
    given = given if isinstance(given, list) else [given]
    sharegpt = isinstance(given[0], dict) and "from" in given[0] if given else False
    names = ("from", "value") if sharegpt else ("role", "content")
    found = messages(given, key, roles=SHAREGPT_ROLES, names=names)
    if len(found) != 1 or found[0].role != "assistant":
        raise ValueError(say(f"{key} is not one answer", f"{key} 不是单独一条回答"))
    return found[0].content


def text(row: Row, key: str) -> str:
    if not isinstance(row.get(key), str):
        raise ValueError(say(f"{key} is missing or no text", f"{key} 缺失或不是文本"))
    return str(row[key])


def in_turn(found: Dialogue, *, last: str) -> None:
    """ValueError unless user and assistant speak in turn, after a system text if any, none of them nothing."""
    turns = found[1:] if found[0].role == "system" else found
    for number, message in enumerate(turns, len(found) - len(turns) + 1):
        expected = "assistant" if (number - len(found) + len(turns)) % 2 == 0 else "user"
        where = say(f"message {number}", f"第 {number} 条消息")
        if message.role != expected:
            raise ValueError(
                say(
                    f"{where} is {message.role}'s, not {expected}'s",
                    f"{where}应为 {expected}，实为 {message.role}",
                )
            )
        if not message.content.strip():
            raise ValueError(say(f"{where} ({expected}) is empty", f"{where}（{expected}）为空"))
    if not turns or turns[-1].role != last:
        raise ValueError(say(f"it does not end with {last}", f"没有以 {last} 结尾"))


def refuse_unknown(row: Row, known: set[str] | frozenset[str]) -> None:
    """ValueError names a key that may change what a row means."""
    if unknown := sorted(row.keys() - known - ABOUT):
        raise ValueError(
            say(
                f"unknown key {unknown[0]!r} (if it means nothing: --ignore {unknown[0]})",
                f"未知的键 {unknown[0]!r}（若无意义：--ignore {unknown[0]}）",
            )
        )
