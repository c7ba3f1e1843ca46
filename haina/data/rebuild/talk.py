"""Dialogues: messages of user and assistant in turn. It knows each repository's fields; brook/chat.py what is fit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haina.data.rebuild.row import Keyed, Row, sorted_files

ROLES = ("user", "assistant")
_SUM = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator


def kdconv(folder: Path) -> Iterator[Keyed]:
    """data/DOMAIN/train.json: two speak in turn."""
    for file in sorted_files(folder, "data/*/train.json"):
        for number, talk in enumerate(json.loads(file.read_bytes())):
            yield f"{file.parent.name} {number}", in_turn(one["message"] for one in talk["messages"])


def smile(folder: Path) -> Iterator[Keyed]:
    """data/N.json: client and counselor, of whom either may speak twice."""
    for file in sorted_files(folder, "data/*.json"):
        yield file.stem, in_turn(_joined(json.loads(file.read_bytes()), "client"))


def _joined(turns: list[dict[str, Any]], first: str) -> Iterator[str]:
    """What each says until the other speaks; from the first turn of `first` on."""
    held: list[str] = []
    speaker = ""
    for turn in turns:
        if not speaker and turn["role"] != first:
            continue
        if speaker and turn["role"] != speaker:
            yield "\n".join(held)
            held = []
        speaker = turn["role"]
        held.append(turn["content"])
    if held:
        yield "\n".join(held)


def sharegpt(folder: Path) -> Iterator[Keyed]:
    """JSON Lines of ShareGPT: conversations of from and value."""
    for file in sorted_files(folder, "data/sft/*_format.jsonl"):
        for number, line in enumerate(file.read_text("utf-8").splitlines()):
            said = json.loads(line)["conversations"]
            if [one["from"] for one in said[:2]] == ["human", "gpt"]:
                yield f"{file.stem} {number}", in_turn(one["value"] for one in said)


def instructions(folder: Path) -> Iterator[Keyed]:
    """A question in instruction, input, query or question; its answer in output, response, answer or std_answer."""
    for file in sorted_files(folder, "**/*.json*"):
        for number, row in enumerate(_objects(file)):
            asked = "\n".join(filter(None, (row.get(name, "") for name in ("instruction", "input"))))
            asked = asked or row.get("query") or row.get("question") or ""
            answer = next(
                (row[name] for name in ("output", "response", "answer", "std_answer") if row.get(name)), ""
            )
            if asked and isinstance(answer, str) and answer and "history" not in row:
                yield f"{file.stem} {number} {asked[:40]}", in_turn([asked, _SUM.sub("", answer)])


def gsm8k(folder: Path) -> Iterator[Keyed]:
    """As instructions; the last line "#### 9" says so in words."""
    for name, row in instructions(folder):
        answer = row["messages"][1]
        answer["content"] = re.sub(r"\n#### *(.+)\Z", r"\nThe answer is \1", answer["content"])
        yield name, row


def _objects(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON or JSON Lines, in lists of lists or not."""
    text = file.read_text("utf-8")
    try:
        waiting = [json.loads(text)]
    except ValueError:
        waiting = [json.loads(line) for line in text.splitlines() if line.strip()][::-1]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one[::-1]
        elif isinstance(one, dict):
            yield one


def in_turn(said: Any) -> Row:
    """Messages of the two who speak in turn; the last is an answer."""
    content = [str(one).strip() for one in said]
    content = content[: len(content) - len(content) % 2]
    return {"messages": [{"role": ROLES[n % 2], "content": one} for n, one in enumerate(content)]}
