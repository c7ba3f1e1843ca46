"""Tones and rhymes of characters, as three rhyme books have them: 平水韵, 词林正韵, 中华新韵.

A book gives each character one sound or several: a rhyme part and a tone. 平水韵, of 106 parts, is the book of
regulated verse; 词林正韵, of 19, the one of 词; 中华新韵, of 14, follows today's pronunciation. Verse asks for two
kinds of tone: level (平; today's first and second) and oblique (仄; the rest). A character with several sounds is
of every kind that one of them is. Which of them a text means, this module does not know.

The tables lie in `rhymes/`, made by `python -m haina.apps.poem.build`; where they are from says the README there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from haina.wording import say

BookName = Literal["平水韵", "词林正韵", "中华新韵"]
FILES: dict[str, str] = {"平水韵": "pingshui.txt", "词林正韵": "cilin.txt", "中华新韵": "xinyun.txt"}
UNUSUAL = "pingshui_unused.txt"  # parts of 平水韵, and characters that poems do not rhyme on them
LEVEL, OBLIQUE, EITHER = "-", "|", "+"  # the kinds of tone, as patterns of verse are written with them
OLD = ("平水韵", "词林正韵")
SHARE = 0.08  # of the characters of a part of 平水韵: then a part of 词林正韵 goes with it
LEVEL_TONES = frozenset("平阴阳")


@dataclass(frozen=True)
class Sound:
    """A part of a rhyme book, by its number, and the tone: one of 平上去入, 阴阳上去, or 仄 for 上 or 去."""

    part: int
    tone: str

    @property
    def kind(self) -> str:
        return LEVEL if self.tone in LEVEL_TONES else OBLIQUE


@dataclass(frozen=True, eq=False)
class Book:
    """A rhyme book: the names of its parts, and the sounds of each character."""

    name: str
    parts: tuple[str, ...]
    sounds: dict[str, tuple[Sound, ...]]

    @cached_property
    def kinds(self) -> dict[str, frozenset[str]]:
        """The characters of each kind of tone: "-", "|", and "+" for all."""
        of = {LEVEL: set[str](), OBLIQUE: set[str]()}
        for char, sounds in self.sounds.items():
            for sound in sounds:
                of[sound.kind].add(char)
        return {kind: frozenset(chars) for kind, chars in of.items()} | {EITHER: frozenset(self.sounds)}

    @cached_property
    def usual(self) -> Book:
        """The sounds alone that a reader expects: 花 is never oblique, nor does 听 rhyme with 文.

        The old books list readings of rare variants under the common character. A tone is dropped where the other old
        book has the other one alone, or today's; but the entering tone (入) is gone from today's, and stays. A rhyme
        of 平水韵 is dropped where poems do not use it (UNUSUAL), one of 词林正韵 where 平水韵 has none to go with it.
        """
        if self.name not in OLD:
            return self
        odd = {LEVEL: self._odd(LEVEL, OBLIQUE), OBLIQUE: self._odd(OBLIQUE, LEVEL)}
        unused = self._unused() if self.name == "平水韵" else self._unsupported()
        kept = {
            char: tuple(s for s in sounds if char not in odd[s.kind] and (char, s.part, s.kind) not in unused)
            for char, sounds in self.sounds.items()
        }
        return Book(self.name, self.parts, kept)

    def _unused(self) -> set[tuple[str, int, str]]:
        rows = (line.split() for line in _lines(UNUSUAL))
        return {(char, self.parts.index(part), LEVEL) for part, chars in rows for char in chars}

    def _unsupported(self) -> set[tuple[str, int, str]]:
        """The sounds in parts where those of 平水韵 do not lie, by what most of their characters do."""
        old, together = book("平水韵"), dict[tuple[int, str], Counter[int]]()
        for char, sounds in old.sounds.items():
            for sound in sounds:
                mine = self.rhymes(char, sound.kind)
                together.setdefault((sound.part, sound.kind), Counter()).update(mine)
        lie = {
            key: {part for part, count in parts.items() if count > SHARE * sum(parts.values())}
            for key, parts in together.items()
        }
        return {
            (char, sound.part, sound.kind)
            for char, sounds in self.sounds.items()
            for sound in sounds
            if char in old.sounds
            and not any(sound.part in lie[part, sound.kind] for part in old.rhymes(char, sound.kind))
        }

    def _odd(self, kind: str, other: str) -> frozenset[str]:
        """The characters of both kinds that readers take for the other one alone."""
        old, today = book(next(name for name in OLD if name != self.name)), book("中华新韵")
        both = self.kinds[LEVEL] & self.kinds[OBLIQUE]
        entering = {char for char in both for sound in self.sounds[char] if sound.tone == "入"}
        odd = both & (old.kinds[other] - old.kinds[kind])
        modern = both & (today.kinds[other] - today.kinds[kind])
        return odd | (modern - entering if kind == OBLIQUE else modern)

    def rhymes(self, char: str, kind: str) -> frozenset[int]:
        """The parts it belongs to by its sounds of the kind."""
        sounds = self.sounds.get(char, ())
        return frozenset(sound.part for sound in sounds if kind in (EITHER, sound.kind))

    @cached_property
    def _members(self) -> dict[tuple[int, str], frozenset[str]]:
        of: dict[tuple[int, str], set[str]] = {}
        for char, sounds in self.sounds.items():
            for sound in sounds:
                of.setdefault((sound.part, sound.kind), set()).add(char)
                of.setdefault((sound.part, EITHER), set()).add(char)
        return {key: frozenset(chars) for key, chars in of.items()}

    def members(self, part: int, kind: str) -> frozenset[str]:
        """The characters of a part that have a sound of the kind in it."""
        return self._members.get((part, kind), frozenset())

    def part(self, name: str) -> int:
        """The number of a part by its name, or by the name's end (东 for 一东). ValueError: which there are."""
        found = [i for i, part in enumerate(self.parts) if part == name]
        found = found or [i for i, part in enumerate(self.parts) if part.endswith(name) and name]
        if len(found) != 1:
            near = found or sorted(self.rhymes(name, EITHER))  # of a character: those that it is in
            some = "、".join((self.parts[i] for i in near) if near else self.parts[:30])
            raise ValueError(
                say(
                    f"{self.name} has no one rhyme {name!r}; choose one of: {some}",
                    f"{self.name}中没有唯一的韵部“{name}”；可选：{some}",
                )
            )
        return found[0]


@cache
def book(name: str) -> Book:
    """A rhyme book by its name. ValueError: which there are."""
    if name not in FILES:
        raise ValueError(
            say(
                f"no rhyme book {name!r}; choose one of {', '.join(FILES)}",
                f"没有韵书“{name}”；可选：{'、'.join(FILES)}",
            )
        )
    parts: dict[str, int] = {}
    sounds: dict[str, tuple[Sound, ...]] = {}
    for line in _lines(FILES[name]):
        part, tone, chars = line.split("\t")
        sound = Sound(parts.setdefault(part, len(parts)), tone)
        for char in chars:
            sounds[char] = (*sounds.get(char, ()), sound)
    return Book(name, tuple(parts), sounds)


def _lines(name: str) -> list[str]:
    return Path(__file__).with_name("rhymes").joinpath(name).read_text("utf-8").splitlines()
