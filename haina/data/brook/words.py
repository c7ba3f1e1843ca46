"""Questions about words: in the other language, how to read, what they mean, other words for the same.

Only common words of CC-CEDICT and Open English WordNet, and only glosses short enough to be an answer. A word of
several readings, or of several senses in WordNet, is not asked about: its answer would depend on what was meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from haina.data.brook import sources
from haina.data.brook.dictionaries import marked, plain
from haina.data.brook.exchange import Exchange
from haina.data.brook.sources import Row

COMMON_ZH, COMMON_EN = 12_000, 8_000
COMMON_CHARACTERS = 1500  # the place in the list from which a single character is no word to answer with
LONGEST = 90  # characters of a definition
_GLOSS = re.compile(r"(?:to )?[a-z]+(?:[ '-][a-z]+){0,3}")
_NOT_A_GLOSS = (
    "variant",
    "see ",
    "surname",
    "classifier",
    "abbr",
    "old ",
    "used ",
    "same as",
    "also ",
    "particle",
)
_UNFIT = re.compile(
    "sex|genital|pubic|penis|copulat|slur|offensive|obscene|disparag|ethnic|faeces|feces|excre"
)
_HAN = re.compile("[\u4e00-\u9fff]{1,4}")


def chinese(data: Path) -> Iterator[Exchange]:
    """苹果 ↔ apple, and how it is read."""
    rank = {word: number for number, word in enumerate(sources.frequent(data, "zh")[:COMMON_ZH])}
    common_en = set(sources.frequent(data, "en")[:COMMON_EN])
    entries = [
        row for row in sources.cedict(data, "train") if row["word"] in rank and _HAN.fullmatch(row["word"])
    ]
    entries = [row for row in entries if not row["pinyin"][0].isupper()]
    readings = Counter(row["word"] for row in entries)
    of_gloss: dict[str, Row] = {}
    for row in entries:
        glosses = _glosses(row)
        if not glosses or readings[row["word"]] > 1:
            continue
        yield from _from_chinese(row, glosses)
        gloss = glosses[0].removeprefix("to ")
        best = of_gloss.get(gloss)
        usual = len(row["word"]) > 1 or rank[row["word"]] < COMMON_CHARACTERS
        if usual and gloss in common_en and (best is None or rank[row["word"]] < rank[best["word"]]):
            of_gloss[gloss] = row
    for gloss, row in of_gloss.items():
        yield from _to_chinese(gloss, row)


def _glosses(row: Row) -> list[str]:
    found = (plain(d).split(" (")[0].strip() for d in row["defs"])
    return [g for g in found if _GLOSS.fullmatch(g) and not g.startswith(_NOT_A_GLOSS)][:2]


def _from_chinese(row: Row, glosses: list[str]) -> Iterator[Exchange]:
    word, reading, fact = row["word"], marked(row["pinyin"]), row["word"]
    first, several = glosses[0], " 或 ".join(glosses)
    for asked in (
        f"“{word}”用英语怎么说？",
        f"{word}用英语怎么说",
        f"{word}的英文是什么？",
        f"{word}翻译成英文",
    ):
        yield Exchange("word zh", "zh", fact, asked, f"“{word}”的英语是 {first}。")
    yield Exchange(
        "word zh", "zh", fact, f"“{word}”是什么意思？", f"“{word}”读作 {reading}，英语是 {several}。"
    )
    for asked in (f"“{word}”怎么读？", f"{word}的拼音是什么？"):
        yield Exchange("reading", "zh", fact, asked, f"“{word}”读作 {reading}。")
    for asked in (
        f"What does {word} mean?",
        f"What does {word} mean in English?",
        f"Translate {word} into English.",
    ):
        meaning = " or ".join(glosses)
        yield Exchange("word zh", "en", fact, asked, f'{word} ({reading}) means "{meaning}".')


def _to_chinese(gloss: str, row: Row) -> Iterator[Exchange]:
    word, reading = row["word"], marked(row["pinyin"])
    for asked in (
        f"How do you say {gloss} in Chinese?",
        f'What is "{gloss}" in Chinese?',
        f"Chinese for {gloss}?",
    ):
        yield Exchange("word en", "en", word, asked, f'"{gloss}" in Chinese is {word} ({reading}).')
    for asked in (f"{gloss} 用中文怎么说？", f"{gloss} 是什么意思？", f"{gloss} 的中文是什么？"):
        yield Exchange("word en", "zh", word, asked, f"{gloss} 的中文是“{word}”。")


def english(data: Path) -> Iterator[Exchange]:
    """Definitions, the way back, and synonyms."""
    common = set(sources.frequent(data, "en")[:COMMON_EN])
    synsets = list(sources.wordnet(data, "train"))
    senses = Counter(word for row in synsets for word in row["words"])
    for row in synsets:
        known = [word for word in row["words"] if word in common and word.islower() and len(word) > 2]
        if not known or len(row["defs"][0]) > LONGEST or _UNFIT.search(row["defs"][0]):
            continue
        word, definition = known[0], row["defs"][0]
        if senses[word] == 1:
            yield from _defined(word, definition)
        if len(known) > 1 and senses[word] <= 2 and senses[known[1]] <= 4:
            for asked in (
                f"Give me a synonym for {word}.",
                f"What is another word for {word}?",
                f"Synonym of {word}?",
            ):
                answer = f'Another word for "{word}" is "{known[1]}".'
                yield Exchange("synonym", "en", word, asked, answer)


def _defined(word: str, definition: str) -> Iterator[Exchange]:
    for asked in (
        f"What does {word} mean?",
        f'What does "{word}" mean?',
        f"Define {word}.",
        f"What is the meaning of {word}?",
    ):
        yield Exchange("definition", "en", word, asked, f'"{word}" means: {definition}.')
    for asked in (f"Which word means: {definition}?", f"What is the word for “{definition}”?"):
        yield Exchange("which word", "en", word, asked, f'The word is "{word}".')
