"""Whether what is asked of a poem is honoured: acrostics and keywords drawn by chance, many of which no poem can meet.

What is accepted must stand in every poem; what is refused must be refused in one line, and where that line names
options that would help, they must.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.report import Goal, Section
from haina.apps.poem import tunes
from haina.apps.poem.anthology import Anthology
from haina.apps.poem.plan import Wish, laws
from haina.apps.poem.write import Poet, lines_of, settled
from haina.engine.engine import Engine
from haina.text import hanzi

FORMS = (
    "五言绝句",
    "七言绝句",
    "五言律诗",
    "七言律诗",
    "浣溪沙",
    "菩萨蛮",
    "西江月",
    "如梦令",
    "鹧鸪天",
    "卜算子",
)
COMMON = 3500  # characters that acrostics are drawn from
Wishes = Callable[[random.Random], Wish]


def acrostic(chance: random.Random) -> Wish:
    """One to four common characters, at one place of the first lines."""
    return Wish(
        chance.choice(FORMS),
        acrostic="".join(chance.sample(_common(), chance.randint(1, 4))),
        at=chance.choice([1, 1, 1, 2, 3, -1]),
    )


def keywords(chance: random.Random) -> Wish:
    """One to three words of two characters, as poets have them at the beginnings and ends of lines."""
    lines = chance.choices(Anthology.shipped().quotations, k=chance.randint(1, 3))
    words = tuple(chance.choice([quotation.line[:2], quotation.line[-2:]]) for quotation in lines)
    return Wish(chance.choice(FORMS), keywords=words)


def _common() -> str:
    file = Path(hanzi.__file__).with_name("common_characters.txt")
    return "".join(file.read_text("utf-8").split())[:COMMON]


def kept(wish: Wish, text: str) -> bool:
    lines = lines_of(text)
    at = wish.at - 1 if wish.at > 0 else wish.at
    said = "".join(line[at] for line, _ in zip(lines, wish.acrostic, strict=False))
    return said == wish.acrostic and all(any(word in line for line in lines) for word in wish.keywords)


def honoured(poet: Poet, engine: Engine, count: int) -> Section:
    rows, goals = [], []
    for name, drawn in (("acrostics", acrostic), ("keywords", keywords)):
        row, goal = _honoured(poet, engine, name, drawn, count)
        rows.append(row)
        goals += goal
    note = "Drawn by chance; a cure is an option that the refusal names, tried on the same wish."
    header = ["", "met", "poems", "honoured", "refused", "with a cure", "cures that work"]
    return Section("What is asked of a poem", note, header, rows, goals)


def _honoured(
    poet: Poet, engine: Engine, name: str, drawn: Wishes, count: int
) -> tuple[list[str], list[Goal]]:
    chance, poems, right = random.Random(7), 0, 0
    met = refused = cured = cures = 0
    while met < count:
        wish = drawn(chance)
        try:
            writing = poet.write(wish, seed=chance.randrange(1 << 30))
            texts = [poem.text for poem in settled(engine, writing)]
        except ValueError as error:
            assert "\n" not in str(error)
            other = cure(wish, str(error))
            refused, cures = refused + 1, cures + (other is not None)
            cured += other is not None and _can_be_met(poet, other)
            continue
        met, poems, right = met + 1, poems + len(texts), right + sum(kept(wish, text) for text in texts)
    shown = [name, str(met), str(poems), f"{right / poems:.2%}", str(refused), str(cures), str(cured)]
    goals = [Goal(f"share of poems that honour their {name}", right / poems, 1.0)]
    return shown, goals + ([Goal(f"share of cures that work, {name}", cured / cures, 1.0)] if cures else [])


def cure(wish: Wish, told: str) -> Wish | None:
    """The wish with the options that a refusal names; None: it names none."""
    changes = dict(_options(told))
    return replace(wish, **changes) if changes else None


def _options(told: str) -> Iterator[tuple[str, Any]]:
    empty = Wish()
    for name, value in re.findall(r"--(\w+)(?: (\d+|[一-鿿]+))?", told):
        if isinstance(getattr(empty, name), bool):
            yield name, True
        elif value:
            yield name, value if isinstance(getattr(empty, name), str) else int(value)
        else:  # leave it out
            yield name, getattr(empty, name)


def _can_be_met(poet: Poet, wish: Wish) -> bool:
    try:
        return bool(laws(wish, poet.voice.alphabet, random.Random(1)))
    except ValueError:
        return False


assert all(tunes.find(name) or name[:2] in ("五言", "七言") for name in FORMS)
