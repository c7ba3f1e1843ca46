"""Poems and forms as text for a terminal: a heading, the lines, their tones under them, lines of poets beside.

Tones stand as 平 and 仄, feet as 韵: Chinese characters are as wide as those above them in every terminal, ○ and ●
are not. It knows how a poem looks, not how it came about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from haina.apps.poem.anthology import Anthology
from haina.apps.poem.explain import Explanation, Sign, explain
from haina.apps.poem.form import KINDS_OF_SHI, SHI, Form
from haina.apps.poem.tunes import BOOK, Tune, find, like, tunes
from haina.apps.poem.write import Poem, lines_of
from haina.apps.screen import padded
from haina.wording import say

SPACE = "　"
KINDS = {"-": "平", "|": "仄", "+": "中"}
FAINT, RED = "2", "31"
ALL = ("all", "全部")


@dataclass(frozen=True)
class Look:
    """How poems are shown. headed: with form, pattern and rhyme above. coloured: for a terminal that a person sees."""

    vertical: bool = False
    explains: bool = False
    references: bool = False
    headed: bool = False
    coloured: bool = False

    def faint(self, text: str) -> str:
        return self._painted(text, FAINT)

    def red(self, text: str) -> str:
        return self._painted(text, RED)

    def _painted(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured else text


def told(poem: Poem, look: Look, *, title: str = "") -> str:
    """A poem, and what is asked to be said of it."""
    why = explain(poem.form, poem.text)
    assert why, "a poem outside its form"
    shown = [look.faint(_heading(why, title))] if look.headed or look.explains else []
    if look.vertical:
        shown.append(columns(poem.text))
    elif not look.explains:
        shown.append(poem.text)
    if look.explains:
        shown += ["", *_explained(why, look)]
    if look.references:
        shown += ["", *_likes(poem, look)]
    if poem.copied:
        known = "、".join(poem.copied)
        shown.append(say(f"(others wrote, too: {known})", f"（与前人相同的句子：{known}）"))
    return "\n".join(shown)


def _heading(why: Explanation, title: str) -> str:
    about = f"《{title}》" if title else ""
    parts = [f"{why.form.name}{about}", why.label, f"{why.form.book} {'、'.join(why.rhymes)}".strip()]
    return " · ".join(parts)


def _explained(why: Explanation, look: Look) -> Iterator[str]:
    """Each line with its tones under it, and what it rhymes on."""
    for line in why.lines:
        yield "".join(look.red(sign.char) if sign.rhyme else sign.char for sign in line) + line[-1].mark
        yield look.faint("".join(map(_tone, line)) + (f"{SPACE}{line[-1].rhyme}" if line[-1].rhyme else ""))
    if why.misread:
        words = "、".join(why.misread)
        yield say(f"(read here against the word's sense: {words})", f"（按词义通常不读此声：{words}）")


def _tone(sign: Sign) -> str:
    if sign.rhyme:
        return "韵"
    return "？" if sign.level is None else "平" if sign.level else "仄"


def _likes(poem: Poem, look: Look) -> Iterator[str]:
    for line in lines_of(poem.text):
        yield line
        for each in Anthology.shipped().like(line):
            yield look.faint(f"{SPACE * 2}{each.line}{SPACE}{each.source}")


def columns(text: str) -> str:
    """Each line of the poem a column, the first on the right."""
    rows = lines_of(text)
    height = max(map(len, rows))
    padded_ = [row.ljust(height, SPACE) for row in rows]
    return "\n".join(SPACE.join(column[i] for column in reversed(padded_)) for i in range(height))


# -- forms ----------------------------------------------------------------------------------------------------------


def forms(name: str) -> str:
    """The patterns of the tune of this name, or the forms whose names hold it; "all": every one. ValueError: none."""
    if name in ALL:
        kinds = SPACE.join(length + kind for length in SHI for kind in KINDS_OF_SHI)
        return "\n".join([kinds, "", *map(_listed, tunes())])
    tune = find(name)
    if tune:
        return "\n".join([_listed(tune), *(_sheet(tune, n) for n in range(1, len(tune.patterns) + 1))])
    found = [tune for tune in tunes() if any(name in own for own in tune.names)]
    if not found:
        near = ", ".join(like(name)) or say("see --forms all", "见 --forms 全部")
        raise ValueError(
            say(f"no tune {name[:20]!r}; near it: {near}", f"没有词牌“{name[:20]}”；相近的有：{near}")
        )
    return "\n".join(map(_listed, found))


def _listed(tune: Tune) -> str:
    others = "、".join(tune.names[1:])
    size, count = tune.form(1).size, len(tune.patterns)
    about = say(
        f"{size} characters, {count} form{'s' * (count > 1)}",
        f"{size} 字，{count} 体",
    )
    return (padded(tune.names[0], 16) + padded(about, 28) + others).rstrip()


def _sheet(tune: Tune, number: int) -> str:
    form = tune.form(number, BOOK)
    return f"\n{form.labels[0]} · {form.size}\n{_pattern(form)}"


def _pattern(form: Form) -> str:
    """中平中仄平平韵，… of a form with one pattern."""
    ((slots,),) = form.patterns[0]
    written = zip(slots, form.marks, strict=True)
    return "".join(KINDS[slot.kind] + ("韵" if slot.rhyme else "") + mark for slot, mark in written)
