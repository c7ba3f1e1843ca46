"""What a person asks of a poem → a form and laws for it; what cannot be met is said, with the nearest thing that can.

A law gives characters their places: verse that is given, an acrostic, and words that must occur, which are tried in
one place after the other. It knows no model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from haina.apps.poem import tunes
from haina.apps.poem.form import KINDS_OF_SHI, SHI, Form, answering, shi
from haina.apps.poem.law import Law
from haina.text.characters import HAN
from haina.text.hanzi import book
from haina.wording import say

BLANKS = "□？?＊*_"  # for a character that is to be written
_GIVEN = re.compile(r"[\[【](.)[\]】]|[^\[\]【】]")
_NO_BRACKETS = str.maketrans("", "", "[]【】")
Scope = Literal["keep", "line", "couplet", "all"]
MARKS = re.compile(r"[，。、；：！,.;:!\s]+")  # without ？, which is a blank
CLOSING = "，。、；：！？,.;:!? "
LONGEST_COUPLET, MOST_KEYWORDS = 60, 8
_PLACES = (1, 2, 3, 4, 5, -1)  # where else an acrostic may stand
LAWS = 4  # with words in different places, so that there is something to choose from


@dataclass(frozen=True)
class Wish:
    """What is asked of a poem. given: verse in which □ is to be written, and [月] stays whatever else is changed.

    scope: of the given verse what may be written anew besides □: nothing ("keep"), the lines or the couplets with a □
    or [月] in them ("line", "couplet"), or all of it ("all").
    """

    form: str = "五言绝句"
    keywords: tuple[str, ...] = ()
    acrostic: str = ""
    at: int = 1
    given: str = ""
    scope: Scope = "keep"
    rhyme: str = ""
    book: str = ""
    pattern: str = ""
    number: int = 1
    lines: int = 0
    twists: bool = False
    near: bool = False


def form_of(wish: Wish) -> Form:
    """The form. ValueError: there is none of that name, or it has no such pattern."""
    form = shi(wish.form, wish.lines, wish.book or "平水韵", twists=wish.twists, near=wish.near)
    if form is None:
        tune = tunes.find(wish.form)
        if tune is None:
            raise _unknown(wish.form)
        form = tune.form(wish.number, wish.book or tunes.BOOK)
    return form.only(wish.pattern) if wish.pattern else form


def _unknown(name: str) -> ValueError:
    all_ = [length + kind for length in SHI for kind in KINDS_OF_SHI]
    near = tunes.like(name) or all_
    return ValueError(
        say(
            f"no form or tune {name[:20]!r}; near it: {', '.join(near)}",
            f"没有“{name[:20]}”这种诗体或词牌；相近的有：{'、'.join(near)}",
        )
    )


def laws(wish: Wish, alphabet: frozenset[str] | None, chance: random.Random) -> list[Law]:
    """At least one law that meets the wish, all of one form. ValueError: what cannot be met, and what could."""
    law = _law(wish, alphabet)
    if law.start is None:
        raise _unmet(wish, law)
    if not wish.keywords:
        return [law]
    found = []
    for _ in range(LAWS):
        placed = _placed(law, list(_words(wish)), chance)
        if placed is None:
            raise _no_place(wish, law, chance)
        found.append(placed)
    return found


def _law(wish: Wish, alphabet: frozenset[str] | None) -> Law:
    """The law of all but the keywords; it may be shut."""
    form = form_of(wish)
    given = {**_given(wish, form), **_acrostic(wish, form)}
    _agree(wish, form, given)
    rhymes = {"a": 1 << book(form.book).part(wish.rhyme)} if wish.rhyme else {}
    return Law(form, given, rhymes, alphabet)


def answer_law(first: str, alphabet: frozenset[str] | None) -> Law:
    """The law of a lower line to this upper one. ValueError: it holds other than Chinese, or is empty or too long."""
    clauses = [clause for clause in MARKS.split(first) if clause]
    text = "".join(clauses)
    for char in text:
        if not HAN.match(char):
            raise _not_han(char)
    if not 2 <= len(text) <= LONGEST_COUPLET:
        raise ValueError(
            say(
                f"the upper line has {len(text)} characters; give one of 2 … {LONGEST_COUPLET}",
                f"上联共 {len(text)} 字；应为 2 至 {LONGEST_COUPLET} 字",
            )
        )
    kinds = [frozenset(sound.kind for sound in book("平水韵").sounds.get(char, ())) for char in text]
    marks = tuple(mark for clause in clauses for mark in [""] * (len(clause) - 1) + ["，"])
    law = Law(answering(text, kinds, marks), alphabet=alphabet, barred=frozenset(text))
    assert law.start, "some character has each tone"
    return law


# -- what is given --------------------------------------------------------------------------------------------------


def _given(wish: Wish, form: Form) -> dict[int, str]:
    """The characters of the given verse that stay."""
    held = [bool(found[1]) for found in _GIVEN.finditer(MARKS.sub("", wish.given))]
    text = MARKS.sub("", wish.given).translate(_NO_BRACKETS)
    for char in text:
        if char not in BLANKS and not HAN.match(char):
            raise _not_han(char)
    if len(text) > form.size:
        raise ValueError(
            say(
                f"{len(text)} characters are given, and {form.name} has {form.size}; leave some out",
                f"给出了 {len(text)} 字，而{form.name}共 {form.size} 字；请删去一些",
            )
        )
    touched = {at for at, char in enumerate(text) if char in BLANKS or held[at]}
    free = {at for at in _around(touched, form, wish.scope) if at < len(text) and not held[at]}
    return {at: char for at, char in enumerate(text) if char not in BLANKS and at not in free}


def _around(touched: set[int], form: Form, scope: Scope) -> set[int]:
    """The places that may change when these do."""
    lines = form.lines
    if scope == "keep":
        return touched
    if scope == "all":
        return set(range(form.size))
    step = 2 if scope == "couplet" else 1
    groups = [[at for line in lines[n : n + step] for at in line] for n in range(0, len(lines), step)]
    return {at for group in groups if touched.intersection(group) for at in group}


def _acrostic(wish: Wish, form: Form) -> dict[int, str]:
    lines, found = form.lines, {}
    if len(wish.acrostic) > len(lines):
        raise ValueError(
            say(
                f"the acrostic has {len(wish.acrostic)} characters, and {form.name} has {len(lines)} lines; shorten it",
                f"藏头共 {len(wish.acrostic)} 字，而{form.name}只有 {len(lines)} 句；请缩短",
            )
        )
    for line, char in zip(lines, wish.acrostic, strict=False):
        if char in BLANKS:
            continue
        if not HAN.match(char):
            raise _not_han(char)
        if not 1 <= abs(wish.at) <= len(line):
            raise ValueError(
                say(
                    f"a line of {len(line)} characters has no place {wish.at}; use 1 … {len(line)}",
                    f"{len(line)} 字句没有第 {wish.at} 个位置；可用 1 至 {len(line)}",
                )
            )
        found[line[wish.at - 1 if wish.at > 0 else wish.at]] = char
    return found


def _agree(wish: Wish, form: Form, given: Mapping[int, str]) -> None:
    """ValueError: the acrostic and the verse that is given want one place for two characters."""
    verse = _given(wish, form)
    for at, char in given.items():
        if verse.get(at, char) != char:
            raise ValueError(
                say(
                    f"place {at + 1}: the given verse has {verse[at]}, the acrostic {char}; change one of them",
                    f"第 {at + 1} 字：已有诗句为“{verse[at]}”，藏头为“{char}”；请改其一",
                )
            )


def _not_han(char: str) -> ValueError:
    shown = char if char.isprintable() else f"U+{ord(char):04X}"
    return ValueError(
        say(
            f"{shown!r} is no Chinese character; verse is written with those alone, a theme may be in English",
            f"“{shown}”不是汉字；诗句只用汉字，英文请写在 --theme 里",
        )
    )


# -- words that must occur --------------------------------------------------------------------------------------------


def _words(wish: Wish) -> Iterator[str]:
    """The words, longest first. ValueError: one is not Chinese, too many, or longer than any line."""
    if len(wish.keywords) > MOST_KEYWORDS:
        raise ValueError(
            say(
                f"{len(wish.keywords)} keywords are too many; give up to {MOST_KEYWORDS}",
                f"关键词共 {len(wish.keywords)} 个，过多；至多 {MOST_KEYWORDS} 个",
            )
        )
    for word in wish.keywords:
        for char in word:
            if not HAN.match(char):
                raise _not_han(char)
    yield from sorted(dict.fromkeys(wish.keywords), key=len, reverse=True)


def _placed(law: Law, words: list[str], chance: random.Random) -> Law | None:
    """The law with each word somewhere; depth first."""
    if not words:
        return law
    word, *others = words
    if word in _spoken(law):
        return _placed(law, others, chance)
    places = [(line, at) for line in law.form.lines for at in range(len(line) - len(word) + 1)]
    chance.shuffle(places)
    places.sort(key=lambda place: _clumsy(len(place[0]), place[1], len(word)))
    for line, at in places:
        here = dict(zip(line[at : at + len(word)], word, strict=True))
        if any(law.given.get(i, char) != char for i, char in here.items()):
            continue
        more = replace(law, given={**law.given, **here})
        if more.start and (placed := _placed(more, others, chance)):
            return placed
    return None


def _spoken(law: Law) -> str:
    """The given characters, lines apart."""
    return "\n".join("".join(law.given.get(i, "\n") for i in line) for line in law.form.lines)


def _clumsy(length: int, at: int, size: int) -> int:
    """0: it begins or ends where the rhythm of a line pauses (2|3, 2|2|3), 1: elsewhere, 2: split by the pause."""
    pause = 2 if length <= 5 else 4 if length == 7 else 2
    if size > 1 and at < pause < at + size and at:
        return 2
    return 0 if at in (0, 2, pause, length - size) else 1


# -- what cannot be met ---------------------------------------------------------------------------------------


def _unmet(wish: Wish, law: Law) -> ValueError:
    """The first given character that shuts the law, and what would open it."""
    given: dict[int, str] = {}
    for at in sorted(law.given):
        given[at] = law.given[at]
        if replace(law, given=given).start is None:
            return _blamed(wish, law, at)
    return ValueError(
        say(
            f"{law.form.name} cannot rhyme on {wish.rhyme} here; leave --rhyme out, or choose another",
            f"{law.form.name}在此不能押“{wish.rhyme}”韵；请去掉 --rhyme 或换一个韵部",
        )
    )


def _blamed(wish: Wish, law: Law, at: int) -> ValueError:
    char = law.given[at]
    line = next(n for n, places in enumerate(law.form.lines, 1) if at in places)
    place = at - law.form.lines[line - 1].start + 1
    sounds = law.book.sounds.get(char, ())
    said = "、".join(f"{law.book.parts[s.part]}（{s.tone}）" for s in sounds) or say("no reading", "未收此字")
    cure = _cure(wish, law)
    return ValueError(
        say(
            f"line {line}, character {place}: {char} ({law.book.name}: {said}) breaks the tones or the rhyme of "
            f"{law.form.name} with what is given before; {cure}",
            f"第 {line} 句第 {place} 字“{char}”（{law.book.name}：{said}）与前面给定的内容一起，不合{law.form.name}的"
            f"平仄或用韵；{cure}",
        )
    )


def _cure(wish: Wish, law: Law) -> str:
    """What is nearest to the wish and can be met."""
    elsewhere = [replace(wish, at=at) for at in _PLACES] if wish.acrostic else []
    looser = [
        (replace(wish, rhyme=""), say("leave out --rhyme", "可去掉 --rhyme")),
        (replace(wish, pattern=""), say("leave out --pattern", "可去掉 --pattern")),
        (replace(wish, twists=True, near=True), say("add --twists --near", "可加 --twists --near")),
        *((other, say(f"use --at {other.at}", f"可用 --at {other.at}")) for other in elsewhere),
        *(
            (other, say(f"use --number {other.number}", f"可用 --number {other.number}"))
            for other in _others(wish)
        ),
        (replace(wish, book="中华新韵"), say("use --book 中华新韵", "可用 --book 中华新韵")),
        (
            replace(wish, form=_ancient(wish.form), pattern="", rhyme=""),
            say(f"use --form {_ancient(wish.form)}", f"可用 --form {_ancient(wish.form)}"),
        ),
    ]
    for other, words in looser:
        if other != wish and other.form and _met(other, law.alphabet):
            return words
    return say("change that character", "请换掉这个字")


def _met(wish: Wish, alphabet: frozenset[str] | None) -> bool:
    """Whether it can be met, its keywords left out."""
    try:
        return _law(wish, alphabet).start is not None
    except ValueError:
        return False


def _others(wish: Wish) -> list[Wish]:
    """The same to the other forms of its tune."""
    tune = tunes.find(wish.form)
    return [replace(wish, number=n) for n in range(1, len(tune.patterns) + 1)] if tune else []


def _ancient(form: str) -> str:
    """The form of as many lines without tones; "": there is none."""
    return {"绝句": form[:2] + "古绝", "律诗": ""}.get(form[2:], "") if form[:2] in SHI else ""


def _no_place(wish: Wish, law: Law, chance: random.Random) -> ValueError:
    words = list(_words(wish))
    alone = next((word for word in words if _placed(law, [word], chance) is None), None)
    if alone is None:
        shown = "、".join(words)
        return ValueError(
            say(
                f"no room for all of {shown} in {law.form.name}; leave one out, or choose a longer form",
                f"{law.form.name}容不下全部关键词（{shown}）；请去掉一个，或选更长的体裁",
            )
        )
    cure = _cure_word(wish, law, alone, chance)
    return ValueError(
        say(
            f"{alone} fits nowhere in {law.form.name}: its tones, rhyme or length; {cure}",
            f"“{alone}”在{law.form.name}中无处可放（平仄、用韵或字数不合）；{cure}",
        )
    )


def _cure_word(wish: Wish, law: Law, word: str, chance: random.Random) -> str:
    looser = [
        (replace(wish, twists=True), say("add --twists", "可加 --twists")),
        *(
            (replace(wish, form=form, pattern="", rhyme=""), say(f"use --form {form}", f"可用 --form {form}"))
            for form in (_ancient(wish.form), "七言古绝")
        ),
    ]
    for other, words in looser:
        if other == wish or not other.form or not _met(other, law.alphabet):
            continue
        if _placed(_law(other, law.alphabet), [word], chance):
            return words
    return say("choose another word", "请换一个词")
