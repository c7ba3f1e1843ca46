"""Explanation: how a text obeys its form: pattern, tone and rhyme of each character. It writes nothing itself.

A form may read one text in several ways; the first that holds is told. Of a character with several sounds the one is
told that the form needs, or where it needs none, that of the word in which it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from haina.apps.poem.form import Form
from haina.apps.poem.graph import Node
from haina.apps.poem.law import Law, Way
from haina.apps.poem.sense import sense
from haina.text.characters import HAN
from haina.text.hanzi import EITHER, LEVEL, Book


@dataclass(frozen=True)
class Sign:
    """One character. wanted: "-", "|" or "+". level: whether it is; None, its book does not have it.

    rhyme: of a foot, the part's name; "": it is none. misread: the form needs another sound than the word around it.
    """

    char: str
    wanted: str
    level: bool | None
    rhyme: str
    mark: str
    misread: bool


@dataclass(frozen=True)
class Explanation:
    """label: of the pattern, 平起首句入韵. rhymes: each part that the poem rhymes on, in their order."""

    form: Form
    label: str
    lines: tuple[tuple[Sign, ...], ...]

    @property
    def rhymes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sign.rhyme for line in self.lines for sign in line if sign.rhyme))

    @property
    def misread(self) -> tuple[str, ...]:
        """The characters that the form wants read against their sense."""
        return tuple(sign.char for line in self.lines for sign in line if sign.misread)


def explain(form: Form, text: str) -> Explanation | None:
    """Why a text is in the form; None: it is not. Marks in the text do not count."""
    chars = "".join(HAN.findall(text))
    for label, law in _laws(form):
        path = _path(law, chars)
        if path is not None:
            parts = _parts(law, chars, path)
            return Explanation(
                form, label, tuple(_signs(law, chars, path, parts, line) for line in form.lines)
            )
    return None


@lru_cache(32)
def _laws(form: Form) -> tuple[tuple[str, Law], ...]:
    return tuple((label, Law(form.only(label))) for label in form.labels)


def _path(law: Law, chars: str) -> list[Node] | None:
    """The node of each character."""
    if law.start is None or len(chars) != law.form.size:
        return None
    paths: dict[Way | None, list[Node]] = {way: [] for way in law.start.ways}
    for at, char in enumerate(chars):
        ahead: dict[Way | None, list[Node]] = {}
        for way, path in paths.items():
            assert way, "the poem ended before its last character"
            for after in law.step(way, char, chars[:at]):
                ahead.setdefault(after, [*path, law.nodes[way.node]])
        paths = ahead
    return next(iter(paths.values()), None)


def _parts(law: Law, chars: str, path: list[Node]) -> dict[str, int]:
    """Of each letter the part (one of them, if there are several) on which it rhymes."""
    masks: dict[str, int] = {}
    for char, node in zip(chars, path, strict=True):
        if node.rhyme:
            masks[node.rhyme] = masks.get(node.rhyme, -1) & law.parts(char, node)
    return {letter: mask & -mask for letter, mask in masks.items()}


def _signs(law: Law, chars: str, path: list[Node], parts: dict[str, int], line: range) -> tuple[Sign, ...]:
    """Of one line."""
    text = chars[line.start : line.stop]
    return tuple(_sign(law, chars[i], path[i], parts, sense(text, n)) for n, i in enumerate(line))


def _sign(law: Law, char: str, node: Node, parts: dict[str, int], meant: str) -> Sign:
    """meant: the kind of tone that its word gives it, if any."""
    wanted, rhyme = next(iter(node.kinds)) if len(node.kinds) == 1 else EITHER, ""
    if node.rhyme:
        own = law.parts(char, node._replace(near=False))
        mask = own & parts[node.rhyme] or own
        rhyme = law.book.parts[(mask & -mask).bit_length() - 1]
    level = _level(law.book, char, meant if wanted == EITHER else wanted)
    misread = bool(meant) and wanted not in (EITHER, meant)
    return Sign(char, wanted, level, rhyme, law.form.marks[node.at].strip(), misread)


def _level(book: Book, char: str, kind: str) -> bool | None:
    """Whether it is level: of this kind, or else by its first sound."""
    sounds = book.sounds.get(char)
    return kind == LEVEL if kind else sounds[0].kind == LEVEL if sounds else None
