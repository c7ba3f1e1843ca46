"""Openly licensed dialogues, without those that would teach the model to be another one or to speak of sex.

It knows nothing of where they are from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from haina.data.brook.sources import Row

MOST_CHARACTERS = 3000  # a dialogue ends before the turn that would go beyond them
# Answers in which some other model speaks of itself.
_ANOTHER = re.compile(
    r"ChatGPT|OpenAI|\bGPT\b|GPT-\d|Anthropic|Claude|ShareGPT|文心|language model|AI assistant|\bas an AI\b"
    r"|(?:作为|是)(?:一个|一名|一款|个)?(?:AI|人工智能|语言模型|大型语言|机器人|智能助手|虚拟助手)|语言模型",
    re.IGNORECASE,
)
_SEX = re.compile(
    "手淫|自慰|黄片|性交|性行为|性生活|阴茎|阴道|强奸|乱伦|porn|masturbat|\\brape", re.IGNORECASE
)


def dialogues(found: Iterable[Row]) -> Iterator[Row]:
    """Rows with messages that alternate, begin with the user and end with an answer."""
    for row in found:
        turns = _beginning([{"role": m["role"], "content": m["content"].strip()} for m in row["messages"]])
        if turns and not any(_unfit(turn) for turn in turns):
            yield {**{name: row[name] for name in ("id", "source", "licence")}, "messages": turns}


def _beginning(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    size = 0
    for number, turn in enumerate(turns):
        size += len(turn["content"])
        if size > MOST_CHARACTERS or turn["role"] != ("user", "assistant")[number % 2] or not turn["content"]:
            return turns[: number - number % 2]
    return turns[: len(turns) - len(turns) % 2]


def _unfit(turn: dict[str, str]) -> bool:
    return bool(_SEX.search(turn["content"])) or bool(_ANOTHER.search(turn["content"]))
