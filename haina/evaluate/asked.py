"""What the network is asked, and how an answer is judged by rules: verse by form, the language, typed keys.

Prompts are drawn with fixed seeds from the templates and held-out facts of haina/data/brook. It does not ask.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from haina.data.brook import knowledge, obey, unknown
from haina.data.brook.exchange import Exchange
from haina.data.brook.keys import ENTER
from haina.data.brook.prompts import in_language
from haina.data.brook.verse import NAMES
from haina.data.brook.verse_talk import BY_FORM, ENGLISH, ON_THEME, THEMES
from haina.data.read import rows
from haina.text.characters import HAN
from haina.wording import say

LINE_CHARACTERS = {"五绝": 5, "七绝": 7}
LINES = 4
SAMPLES = Path(__file__).with_name("samples.txt")


@dataclass(frozen=True)
class Verse:
    """A request for a quatrain of lines so many characters long."""

    prompt: str
    characters: int

    def fulfilled(self, answer: str) -> bool:
        """Whether it is four lines of that many characters, and nothing else."""
        lines = [line for line in re.split(r"[，。！？、；\s]+", answer.strip()) if line]
        return len(lines) == LINES and all(
            len(line) == self.characters and len(HAN.findall(line)) == self.characters for line in lines
        )


def verses(n: int, seed: int) -> list[Verse]:
    """As the talks ask for them: by form alone, or on a theme; half of five characters, half of seven."""
    found = []
    for number in range(n):
        chance = random.Random(f"verse {seed} {number}")
        form, theme = ("五绝", "七绝")[number % 2], chance.choice(list(THEMES))
        ask = chance.choice(BY_FORM if chance.random() < 0.3 else ON_THEME)
        prompt = ask.format(form=NAMES[form], english=ENGLISH[form], theme=theme, about=THEMES[theme])
        found.append(Verse(prompt, LINE_CHARACTERS[form]))
    return found


def questions(data: Path, n: int, seed: int) -> list[Exchange]:
    """Of facts held out of training, as many as there are up to n, whose own answers show the language asked for."""
    makers = (obey.language, obey.limits, knowledge.exchanges, knowledge.opposites, unknown.exchanges)
    every: Iterable[Exchange] = chain.from_iterable(maker(data) for maker in makers)
    held = [one for one in every if one.held_out and in_language(one.answer, one.language)]
    unique = sorted({one.asked: one for one in held}.values(), key=lambda one: one.asked)
    return random.Random(seed).sample(unique, min(n, len(unique)))


def typed(data: Path, n: int, seed: int) -> list[tuple[str, str]]:
    """(keys, what is meant): clauses of reviews, dialogues, wikis and news, held out, with the pinyin of pypinyin."""
    found: list[dict[str, Any]] = []
    for name in ("misc", "news"):
        every = list(rows(data / f"pinyin/test_{name}_valid.jsonl.zst"))
        found += random.Random(f"{name} {seed}").sample(every, min(n // 2, len(every)))
    return [(row["pinyin_plain"].replace(" ", "") + ENTER, row["hanzi"]) for row in found]


def alike(said: str, meant: str) -> float:
    """The share of characters that are right, in their place."""
    return sum(a == b for a, b in zip(said, meant, strict=False)) / max(len(said), len(meant))


def samples() -> list[str]:
    """Twenty prompts that nobody chose by their answers."""
    return SAMPLES.read_text("utf-8").splitlines()


def needs(data: Path) -> None:
    """ValueError if the folder of texts is not there: one line says what it is."""
    if not (data / "sources.json").is_file():
        raise ValueError(
            say(
                f"{data}: no data pack (no sources.json); give --data FOLDER or set HAINA_DATA to the folder that "
                "brook was trained from: text_zh/, text_en/, poetry/, dict/, pinyin/, chat/, eval/. "
                "The sources: haina/weights/CARD.md, haina data fetch",
                f"{data}：不是数据目录（没有 sources.json）；请用 --data 或 HAINA_DATA 指定训练海纳·溪所用的目录，"
                "内有 text_zh/、text_en/、poetry/、dict/、pinyin/、chat/、eval/。"
                "来源见 haina/weights/CARD.md 与 haina data fetch",
            )
        )
