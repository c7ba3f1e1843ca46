"""What haina-brook says: short talks in Chinese and English, mixed from exchanges of every kind.

The table says how many exchanges of each kind and language one pass shows, so that no template drowns the others.
Some stand alone, others follow one another in a talk. Facts whose hash says so are kept for validation. An
assistant's message with "by_character": True is to be encoded in character mode. `{parameters}` stands where
the size of the model belongs; `filled` puts it in. It does not know how talks become tokens.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from haina.data.brook import knowledge, obey, reading, rewriting, unknown, verse_talk, words
from haina.data.brook.exchange import Exchange, lines
from haina.data.brook.sources import Part, Row
from haina.text.characters import HAN

# kind: the most exchanges of it in each language
MOST = {
    "greeting": 900, "farewell": 300, "thanks": 300, "apology": 150, "praise": 200, "blame": 250, "howareyou": 350,
    "feeling": 700, "encourage": 450, "festival": 350, "live": 450, "joke": 400, "hobby": 500, "opinion": 400,
    "chat": 900, "identity": 2000,
    "country": 1100, "fact": 900, "calendar": 250, "factbook": 500, "opposite": 450, "sum": 1500,
    "word zh": 1300, "word en": 1300, "reading": 500, "definition": 1500, "which word": 500, "synonym": 700,
    "script": 900, "punctuation": 500, "repeat": 500, "case": 700, "order": 900, "extract": 500, "polite": 100,
    "summary": 900, "title": 400, "passage": 1100, "not said": 600,
    "famous": 3000, "continue": 1500, "theme": 1800, "title verse": 900, "form": 1200, "acrostic": 1200, "tune": 500,
    "unknown": 1500, "language": 700, "limits": 900, "list": 350,
}  # fmt: skip
MAKERS: list[Callable[[Path], Iterator[Exchange]]] = [
    knowledge.exchanges, knowledge.opposites, knowledge.sums, words.chinese, words.english,
    rewriting.exchanges, reading.exchanges, verse_talk.exchanges, unknown.exchanges, obey.language, obey.limits,
]  # fmt: skip
TURNS = (1, 2, 3, 4)
OFTEN = (55, 25, 13, 7)  # how many talks of a hundred have so many exchanges
PLACES = {"greeting": 0, "farewell": 2}  # of kinds in a talk; all others between them
OTHER_LANGUAGE = 0.12  # of the exchanges that follow another
LICENCE = "Apache-2.0 (templates); facts and texts as their sources"


def talks(data: Path, part: Part) -> Iterator[Row]:
    """Dialogues: messages, id, domain, source, licence, weight. ValueError: a file of the pack is missing."""
    chance = random.Random(f"talks {part}")
    left: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in chosen(data, part):
        left[exchange.language].append(exchange)
    for exchanges in left.values():
        chance.shuffle(exchanges)
    for number in range(sum(map(len, left.values()))):
        sizes = [len(left["zh"]), len(left["en"])]
        if not any(sizes):
            return
        language, other = chance.choices([("zh", "en"), ("en", "zh")], sizes)[0]
        turns = [left[language].pop()]
        for _ in range(chance.choices(TURNS, OFTEN)[0] - 1):
            follows = left[other if chance.random() < OTHER_LANGUAGE else language]
            turns += [follows.pop()] if follows else []
        turns.sort(key=lambda turn: PLACES.get(turn.kind, 1))
        yield _row(turns, f"talk:{part}:{number}")


def chosen(data: Path, part: Part) -> list[Exchange]:
    """The exchanges of one part, no more of each kind than the table says, none that a check asks."""
    asked = {json.loads(line)["prompt"] for line in lines("prompts.jsonl")}
    kinds: dict[tuple[str, str], list[Exchange]] = defaultdict(list)
    for maker in (small_talk, *MAKERS):
        for exchange in maker(data):
            if exchange.held_out == (part == "valid") and exchange.asked not in asked:
                kinds[exchange.kind, exchange.language].append(exchange)
    return [exchange for (kind, _), found in kinds.items() for exchange in _some(found, kind, part)]


def _some(found: list[Exchange], kind: str, part: Part) -> list[Exchange]:
    """As many as the table says: some left out, or small talk shown again in other words."""
    most = MOST[kind] if part == "train" else max(8, MOST[kind] // 50)
    chance = random.Random(kind)
    if len(found) >= most:
        return chance.sample(found, most)
    return (
        found + chance.choices(found, k=most - len(found))
        if found[0].fact == "" and part == "train"
        else found
    )


def small_talk(_data: Path) -> Iterator[Exchange]:
    """Greetings, feelings, jokes, and what it is, as smalltalk.jsonl words them."""
    chance = random.Random("small talk")
    for line in lines("smalltalk.jsonl"):
        row = json.loads(line)
        for number, asked in enumerate(row["user"]):
            for _ in range(8):
                fact = asked if number > 2 else ""  # the first wordings are never held out
                said = _as_typed(asked, chance)
                yield Exchange(row["kind"], row["lang"], fact, said, chance.choice(row["assistant"]))


def _as_typed(asked: str, chance: random.Random) -> str:
    """As people type it: with or without the mark at its end, in English also without capitals."""
    way = chance.random()
    if way < 0.5:
        return asked
    bare = re.sub("[。！？.!?]$", "", asked)
    if HAN.search(asked):
        return bare + chance.choice(["", "", "。", "！", "？" if asked.endswith("？") else "~"])
    return (bare.lower() if chance.random() < 0.5 else bare) + chance.choice(
        ["", "", "?" if asked[-1] == "?" else "."]
    )


def _row(turns: list[Exchange], name: str) -> Row:
    messages: list[Row] = []
    for turn in turns:
        mode = {"by_character": True} if turn.by_character else {}
        messages += [
            {"role": "user", "content": turn.asked},
            {"role": "assistant", "content": turn.answer, **mode},
        ]
    about = {"source": "talks", "licence": LICENCE, "weight": 1.0, "kinds": [turn.kind for turn in turns]}
    return {"id": name, "domain": f"talk {turns[0].language}", "messages": messages, **about}


def filled(row: Row, parameters: int) -> Row:
    """The row with the size of the model: about 17 million, 约 1700 万."""

    def put(text: str) -> str:
        size = f"{parameters / 1e4:.0f}万" if HAN.search(text) else f"{parameters / 1e6:.0f} million"
        return text.replace("{parameters}", size)

    return {**row, "messages": [{**m, "content": put(m["content"])} for m in row["messages"]]}
