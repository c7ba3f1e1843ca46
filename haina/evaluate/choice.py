"""Choosing among texts by what the network says of each: CCPM, the last word of a sentence, exams.

An item's choice is the one that is likeliest after the prompt, or that gains most over a prompt that says nothing
(as Brown et al., arXiv:2005.14165, section 2.4). Exams are asked without examples, in the words of their own scripts
(Baichuan-7B@6f3ef46 evaluation/, CMMLU@d6e7b71 src/); a network of this size is at chance on them.
It does not know tables nor what figures are good.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haina.data.read import rows
from haina.engine.request import Score
from haina.evaluate.subject import Progress, Subject

LETTERS = "ABCD"
CONTEXT_CHARACTERS = 240  # before the last word of a sentence
_LAST_ZH = re.compile(r"[^。！？\n]{16,}?([\u4e00-\u9fff]{2})[。！？]")
_LAST_EN = re.compile(r"[^.!?\n]{40,}?( [a-z]{4,})[.!?](?=\s|$)")


@dataclass(frozen=True)
class Item:
    """`empty`: a prompt that says nothing; "": the nats of the choices are compared as they are."""

    prompt: str
    choices: tuple[str, ...]
    right: int
    empty: str = ""


def correct(subject: Subject, items: Sequence[Item], progress: Progress) -> list[bool]:
    """Whether the network chooses right, for each item."""
    asked = [score for item in items for score in _scores(item, subject)]
    found = iter(list(zip(asked, subject.scores(asked), strict=True)))
    right = []
    for number, item in enumerate(items, 1):
        _, scores = next(found)
        nats = np.array(scores.nats)
        if item.empty:
            nats = nats - np.array(next(found)[1].nats)
        right.append(int(nats.argmax()) == item.right)
        progress(number, len(items))
    return right


def _scores(item: Item, subject: Subject) -> list[Score]:
    prompts = [item.prompt, item.empty] if item.empty else [item.prompt]
    return [_score(prompt, item.choices, subject) for prompt in prompts]


def _score(prompt: str, choices: Sequence[str], subject: Subject) -> Score:
    """The ids of each whole text, parted where the texts part from the prompt; cut from the left to fit."""
    whole = [subject.tokenizer.encode(prompt + choice) for choice in choices]
    alone = subject.tokenizer.encode(prompt)
    at = min(len(_shared(alone, ids)) for ids in whole)
    at = max(1, min(at, *(len(ids) - 1 for ids in whole)))
    room = subject.context - max(len(ids) - at for ids in whole)
    return Score(tuple(whole[0][max(0, at - room) : at]), tuple(tuple(ids[at:]) for ids in whole))


def _shared(one: Sequence[int], other: Sequence[int]) -> Sequence[int]:
    count = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if count is None else count]


def ccpm(data: Path, n: int, seed: int) -> list[Item]:
    """Which of four verse lines a modern sentence describes (THUNLP-AIPoet/CCPM@e7db1a0, its first 2,000 to train)."""
    found = _drawn(rows(data / "eval/ccpm_dev.jsonl.zst"), n, seed)
    return [
        Item(f"译文：{row['question']}\n原诗：", tuple(row["choices"]), row["answer"], "原诗：")
        for row in found
    ]


def by_overlap(items: Sequence[Item]) -> float:
    """Items that the choice with the most characters of the prompt solves; of equal ones each has its share."""
    hits = 0.0
    for item in items:
        counts = [len(set(choice) & set(item.prompt)) for choice in item.choices]
        best = [n for n, count in enumerate(counts) if count == max(counts)]
        hits += (item.right in best) / len(best)
    return hits


def last_words(texts: Iterable[str], language: str, n: int, seed: int) -> list[Item]:
    """The last two characters of Chinese sentences, or the last word of English ones, against three of other sentences.

    After LAMBADA (Paperno et al., arXiv:1606.06031), but from held-out text, with choices, and no one has
    checked that a reader can tell.
    """
    pattern = _LAST_ZH if language == "zh" else _LAST_EN
    ends = [(text[max(0, m.start(1) - CONTEXT_CHARACTERS) : m.start(1)], m[1])
            for text in texts for m in pattern.finditer(text)]  # fmt: skip
    chance = random.Random(f"last words {language} {seed}")
    words = sorted({word for _, word in ends})
    if len(words) < 4:
        return []
    items = []
    for context, word in chance.sample(ends, min(n, len(ends))):
        others = chance.sample([other for other in words if other != word], 3)
        choices = chance.sample([word, *others], 4)
        items.append(Item(context, tuple(choices), choices.index(word)))
    return items


def exam(data: Path, name: str, n: int, seed: int) -> list[Item]:
    """Questions of MMLU, CMMLU or C-Eval, without examples; rows whose answer is no letter (a header) are left out."""
    file, header, question, answer = EXAMS[name]
    found = (row for row in rows(data / file) if row["answer"] in tuple(LETTERS))
    items = []
    for row in _drawn(found, n, seed):
        options = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, row["choices"], strict=True))
        subject = row["subject"].replace("_", " ")
        prompt = f"{header.format(subject)}{question}{row['question']}\n{options}\n{answer.rstrip()}"
        space = " " if answer.endswith(" ") else ""
        items.append(Item(prompt, tuple(space + letter for letter in LETTERS), LETTERS.index(row["answer"])))
    return items


# file, header, what stands before the question, and before the answer (a space at its end belongs to the letter)
EXAMS = {
    "mmlu": (
        "eval/mmlu_test_a.jsonl.zst",
        "The following are multiple choice questions (with answers) about  {}.\n\n",
        "",
        "Answer: ",
    ),
    "cmmlu": (
        "eval/cmmlu_test_a.jsonl.zst",
        "以下是关于{}的单项选择题，请直接给出正确答案的选项。\n\n",
        "题目：",
        "答案是：",
    ),
    "ceval": (
        "eval/ceval_val_test_a.jsonl.zst",
        "以下是中国关于{}考试的单项选择题，请选出其中的正确答案。\n\n",
        "",
        "答案：",
    ),
}


def _drawn(found: Iterable[dict[str, Any]], n: int, seed: int) -> list[dict[str, Any]]:
    every = list(found)
    return random.Random(seed).sample(every, min(n, len(every)))
