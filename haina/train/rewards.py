"""Rewards by rule: plain functions (answer, row) → number, by name or from a module of the operator's.

row: the line of the prompts file, whatever keys it has. A reward that needs a key says so for every row before
anything is trained. It knows texts, neither tokens nor models.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from haina.data.language import language as language_of
from haina.wording import say

Row = Mapping[str, Any]
Reward = Callable[[str, Row], float]
FORMS = {"五绝": (4, 5), "七绝": (4, 7), "五律": (8, 5), "七律": (8, 7)}  # lines, characters of each
LENGTH = 200  # characters, where a row does not say `length`


def verse(answer: str, row: Row) -> float:
    """The share of the lines that a form asks for and that have its length; lines too many count against it.

    row["form"]: 五绝, 七绝, 五律 or 七律. Tones and rhymes are not looked at.
    """
    if row.get("form") not in FORMS:
        raise ValueError(
            say(f"verse needs a form: {', '.join(FORMS)}", f"verse 需要 form 字段：{'、'.join(FORMS)}")
        )
    count, length = FORMS[row["form"]]
    lines = [line for line in re.split(r"[，。！？；、\s]+", answer) if line]
    right = sum(re.fullmatch(rf"[\u3400-\u9fff]{{{length}}}", line) is not None for line in lines[:count])
    return right / max(count, len(lines))


def language(answer: str, row: Row) -> float:
    """How much of the answer is in row["language"], zh or en."""
    if row.get("language") not in ("zh", "en"):
        raise ValueError(say("language needs a language: zh or en", "language 需要 language 字段：zh 或 en"))
    found, share = language_of(answer)
    return share if found == row["language"] else 0.0


def contained(answer: str, row: Row) -> float:
    """1 if the answer is a part of row["passage"], else 0."""
    passage, said = _text(row, "passage", "contained"), answer.strip()
    return float(bool(said) and said in passage)


def json_(answer: str, row: Row) -> float:
    """1 if the answer is one JSON object or list, else 0."""
    try:
        return float(isinstance(json.loads(answer), (dict, list)))
    except (ValueError, RecursionError):
        return 0.0


def length(answer: str, row: Row) -> float:
    """1 up to row["length"] characters, 0 from twice as many, and for no answer at all."""
    most = row.get("length", LENGTH)
    if type(most) is not int or most < 1:
        raise ValueError(say("length must be a number of characters", "length 字段应为字数，且为正整数"))
    said = len(answer.strip())
    return min(1.0, max(0.0, 2 - said / most)) if said else 0.0


def arithmetic(answer: str, row: Row) -> float:
    """1 if the last number of the answer is row["answer"], else 0."""
    expected = str(row.get("answer", "")).replace(",", "")
    if not re.fullmatch(r"-?\d+(\.\d+)?", expected):
        raise ValueError(say("arithmetic needs an answer, a number", "arithmetic 需要 answer 字段，且为数字"))
    found = re.findall(r"-?\d+(?:\.\d+)?", answer.replace(",", ""))
    return float(bool(found) and math.isclose(float(found[-1]), float(expected)))


REWARDS: dict[str, Reward] = {
    "verse": verse,
    "language": language,
    "contained": contained,
    "json": json_,
    "length": length,
    "arithmetic": arithmetic,
}


def reward_by(names: str) -> Reward:
    """The sum of the rewards that are named, with + between. ValueError: there is none of such a name."""
    found = [REWARDS[name] if name in REWARDS else _own(name) for name in names.split("+")]
    return lambda answer, row: sum(reward(answer, row) for reward in found)


def _own(name: str) -> Reward:
    """module:function, where the module may lie in the current folder."""
    module, colon, function = name.partition(":")
    try:
        if not colon:
            raise AttributeError(name)
        sys.path.insert(0, str(Path.cwd()))
        found: Reward = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            say(
                f"--reward {name}: no such reward ({error}); there are {', '.join(REWARDS)}, or MODULE:FUNCTION",
                f"--reward {name}：没有这个奖励（{error}）；可用 {'、'.join(REWARDS)}，或 模块:函数",
            )
        ) from None
    finally:
        if colon:
            sys.path.remove(str(Path.cwd()))
    return found


def _text(row: Row, key: str, name: str) -> str:
    if not isinstance(row.get(key), str):
        raise ValueError(say(f"{name} needs a {key}, as text", f"{name} 需要文本形式的 {key} 字段"))
    return str(row[key])
