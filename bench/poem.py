"""`python -m bench.poem DATA`: what verse was asked to reach, measured with the embedded model or another.

Forms are judged by haina/apps/poem/check.py, which shares no code with what writes them, and with --couyun by a public
checker. Completeness replays poems by people. The choice is CCPM's. Times are of one process on two threads; they mean
little on a shared machine.
"""

from __future__ import annotations

import argparse
import pickle
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path

from bench.machine import describe
from bench.poem_asked import honoured
from bench.poem_couyun import second_opinion
from bench.poem_match import Matcher
from bench.report import Goal, Report, Section
from bench.setup import EMBEDDED
from haina.apps.model import load_model, opened
from haina.apps.poem import check, tunes
from haina.apps.poem.anthology import Anthology
from haina.apps.poem.couplet import answers
from haina.apps.poem.explain import explain
from haina.apps.poem.form import KINDS_OF_SHI, SHI, Form, shi
from haina.apps.poem.law import Law
from haina.apps.poem.plan import Wish
from haina.apps.poem.write import Poem, Poet, lines_of, settled
from haina.data.read import rows
from haina.engine.engine import Engine
from haina.options.models import ModelOptions

FILE = Path("docs/benchmarks-poem.md")
Judge = Callable[[str], list[str]]
THEMES = "秋江 春夜 送别 怀古 梅花 边塞 登高 思乡 雨 月".split()
OFTEN = frozenset("the and for with from used also see old variant surname one something somebody".split())


def faults(form: str, number: int, text: str) -> list[str]:
    if form[:2] in SHI:
        length = SHI[form[:2]]
        return check.ancient(text, length) if form[2] == "古" else check.regulated(text, length)
    return check.tune(text, form, number)


def wishes(count: int) -> Iterator[Wish]:
    """Every pattern of 诗, then tunes drawn by chance, in turns."""
    chance = random.Random(1)
    every = [_regulated(length + name) for name in ("绝句", "律诗") for length in SHI]
    patterns = [(form.name, label) for form in every for label in form.labels]
    for number in range(count):
        if number % 2:
            tune = chance.choice([tune for tune in tunes.tunes() if len(tune.patterns[0]) < 140])
            yield Wish(tune.names[0], number=chance.randint(1, len(tune.patterns)))
        else:
            name, label = patterns[number // 2 % len(patterns)]
            yield Wish(name, pattern=label)


def _regulated(name: str) -> Form:
    form = shi(name, 0, "平水韵", twists=False, near=False)
    assert form
    return form


def written(poet: Poet, engine: Engine, count: int) -> list[tuple[Wish, Poem]]:
    """Poems by the model, eight for each wish."""
    chance, poems = random.Random(2), list[tuple[Wish, Poem]]()
    for wish in wishes(-(-count // 8)):
        theme, seed = chance.choice(THEMES), chance.randrange(1 << 30)
        poems += [(wish, poem) for poem in settled(engine, poet.write(wish, theme=theme, seed=seed))]
    return poems


def kept(poems: Sequence[tuple[Wish, Poem]]) -> Section:
    """Their form, and lines that somebody else wrote."""
    right = sum(not faults(wish.form, wish.number, poem.text) for wish, poem in poems) / len(poems)
    lines = sum(len(lines_of(poem.text)) for _, poem in poems)
    copied = sum(len(poem.copied) for _, poem in poems) / lines
    misread = sum(len(poem.misread) for _, poem in poems) / sum(poem.form.size for _, poem in poems)
    goals = [
        Goal("share of poems in their form", right, 1.0),
        Goal("share of lines that others wrote", copied, 0.02, most=True),
    ]
    note = f"{len(poems)} poems, {lines} lines. The filter of known lines takes 0.8 % of new ones for known."
    header = ["in their form", "lines known", "characters read against their sense"]
    return Section(
        "Poems by the model", note, header, [[f"{right:.2%}", f"{copied:.2%}", f"{misread:.2%}"]], goals
    )


def walked(poet: Poet, count: int) -> Section:
    """Poems drawn from the law alone in one go: each pattern of 诗, strict and loose, each form of each tune."""
    every = [*_all_shi(), *_all_tunes()]
    poems = dead = wrong = 0
    for form, judge in every:
        law = Law(form, alphabet=poet.voice.alphabet)
        for seed in range(-(-count // len(every))):
            text = _drawn(law, random.Random(seed))
            poems, dead = poems + 1, dead + (text is None)
            wrong += bool(text and judge(text))
    goals = [
        Goal("dead ends", dead, 0, most=True),
        Goal("faults in poems drawn from the law", wrong, 0, most=True),
    ]
    note = f"{len(every)} forms and patterns, each in turn, by characters drawn evenly from those offered."
    header = ["poems", "dead ends", "faults"]
    return Section(
        "Every pattern, every form of every tune", note, header, [[str(poems), str(dead), str(wrong)]], goals
    )


def _all_shi() -> Iterator[tuple[Form, Judge]]:
    for length, name, loose in product(SHI, KINDS_OF_SHI, (False, True)):
        form = shi(length + name, 0, "平水韵", twists=loose, near=loose)
        assert form
        judge: Judge = partial(check.ancient, length=SHI[length])
        if name[0] != "古":
            judge = partial(check.regulated, length=SHI[length], twists=loose, near=loose)
        for label in form.labels:
            yield form.only(label), judge


def _all_tunes() -> Iterator[tuple[Form, Judge]]:
    for tune in tunes.tunes():
        for number in range(1, len(tune.patterns) + 1):
            yield tune.form(number), partial(check.tune, name=tune.names[0], number=number)


def _drawn(law: Law, chance: random.Random) -> str | None:
    assert law.start
    verse, text = law.start, ""
    while not verse.complete():
        offered = _listed(frozenset(verse.chars()))
        after = verse.step(char := chance.choice(offered)) if offered else None
        if after is None:
            return None
        verse, text = after, text + char
    return text


@lru_cache(4096)
def _listed(chars: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(chars))


def complete(data: Path, every: int) -> Section:
    """Poems by people: those that the checker finds in a form are accepted by the law."""
    forms = {
        (SHI[length], lines): _regulated(length + name)
        for length, (name, lines) in product(SHI, (("绝句", 4), ("律诗", 8)))
    }
    conforming = accepted = count = 0
    for number, poem in enumerate(rows(data / "poetry" / "valid" / "poems.jsonl.zst")):
        lines = lines_of("".join(poem["lines"]))
        form = forms.get((len(lines[0]), len(lines))) if lines else None
        if number % every or form is None or form.size != len("".join(lines)):
            continue
        count += 1
        if not check.regulated("，".join(lines), len(lines[0])):
            conforming += 1
            accepted += explain(form, "".join(lines)) is not None
    goals = [Goal("conforming poems by people that are accepted", accepted / conforming, 1.0)]
    row = [str(count), f"{conforming / count:.1%}", f"{accepted / conforming:.2%}"]
    return Section(
        "Completeness", "近体 of the valid split.", ["poems", "conforming", "of these accepted"], [row], goals
    )


def choice(data: Path) -> Section:
    """CCPM: the line that a description means, of four."""
    meanings: dict[str, set[str]] = {}
    for entry in rows(data / "dict" / "train" / "cedict.jsonl.zst"):
        if len(entry["word"]) <= 2:
            text = re.sub(r"\(.*?\)|\[.*?\]", "", " ".join(entry["defs"]).lower())
            meanings.setdefault(entry["word"], set()).update(set(re.findall("[a-z]{3,}", text)) - OFTEN)
    matcher = Matcher((quotation.line for quotation in Anthology.shipped().quotations), meanings)
    asked = list(rows(data / "eval" / "ccpm_dev.jsonl.zst"))
    right = statistics.mean(matcher.best(one["question"], one["choices"]) == one["answer"] for one in asked)
    goals = [Goal("CCPM, right of four", right, 0.80)]
    note = (
        "The first 2,000 questions of CCPM, which serve here for development; its test is not looked at. By "
        "characters and meanings (CC-CEDICT); no model takes part, and nothing is learned from the questions."
    )
    return Section(
        "Choice of lines", note, ["questions", "right"], [[str(len(asked)), f"{right:.1%}"]], goals
    )


def answered(data: Path) -> Section:
    """Which of four lower lines answers an upper one of a 律诗."""
    couplets = []
    for poem in rows(data / "poetry" / "valid" / "poems.jsonl.zst"):
        lines = lines_of("".join(poem["lines"]))
        if len(lines) == 8 and set(map(len, lines)) in ({5}, {7}):
            couplets += [(lines[2], lines[3]), (lines[4], lines[5])]
    chance, right = random.Random(3), 0
    for upper, lower in couplets:
        others = [
            line for _, line in chance.sample(couplets, 60) if len(line) == len(lower) and line != lower
        ]
        right += answers(upper, lower) > max(answers(upper, line) for line in others[:3])
    note = "Middle couplets of 律诗 of the valid split; the other three lines are of other such couplets."
    return Section(
        "Parallel couplets",
        note,
        ["couplets", "right of four"],
        [[str(len(couplets)), f"{right / len(couplets):.1%}"]],
    )


def speed(poet: Poet, engine: Engine, rounds: int) -> Section:
    """Eight ranked quatrains on a theme."""
    took: dict[str, list[tuple[float, float]]] = {"五言绝句": [], "七言绝句": []}
    for number in range(rounds + 1):
        for name, times in took.items():
            wall, cpu = time.perf_counter(), time.process_time()
            settled(engine, poet.write(Wish(name), theme=THEMES[number % len(THEMES)], seed=number))
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
    found = {
        name: [statistics.median(column) for column in zip(*times[1:], strict=True)]
        for name, times in took.items()
    }
    goals = [Goal("seconds, eight ranked quatrains of five", found["五言绝句"][0], 1.0, most=True)]
    table = [[name, f"{wall:.2f}", f"{cpu:.2f}"] for name, (wall, cpu) in found.items()]
    return Section("Time", "", ["eight ranked", "seconds", "of CPU"], table, goals)


def _measured(file: Path, measure: Callable[[], Section]) -> Section:
    """Measured once: a run that was broken off goes on where it stood."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(measure()))
    section: Section = pickle.loads(file.read_bytes())
    return section


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--poems", type=int, default=1000)
    parser.add_argument("--walks", type=int, default=10_000, help="poems drawn from the law")
    parser.add_argument("--asked", type=int, default=300, help="acrostics, and as many wishes for keywords")
    parser.add_argument("--couyun", type=Path, help="a checkout of hulbji/couyun, for a second opinion")
    parser.add_argument("--every", type=int, default=1, help="of the poems by people")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--parts", type=Path, default=Path("runs/bench-poem"), help="where what is measured is kept"
    )
    parser.add_argument("--out", type=Path, default=FILE)
    said = parser.parse_args()
    model = load_model(opened(said.model), ModelOptions(threads=said.threads), conversations=8)
    poet = Poet(model)
    poems = cache(lambda: written(poet, model.engine, said.poems))
    parts = {
        "speed": lambda: speed(poet, model.engine, said.rounds),
        "form": lambda: kept(poems()),
        "couyun": lambda: second_opinion(said.couyun, [(p.form, wish.number, p.text) for wish, p in poems()]),
        "asked": lambda: honoured(Poet(model, drafts=2), model.engine, said.asked),
        "walked": lambda: walked(poet, said.walks),
        "complete": lambda: complete(said.data, said.every),
        "answered": lambda: answered(said.data),
        "choice": lambda: choice(said.data),
    }
    sections = [
        _measured(said.parts / f"{name}.pickle", measure)
        for name, measure in parts.items()
        if said.couyun or name != "couyun"
    ]
    Report(f"python -m bench.poem DATA --model {said.model.name}", describe(said.threads), sections).write(
        said.out
    )


if __name__ == "__main__":
    main()
