"""How a model says verse: a law lifted to the tokens of its vocabulary, and the texts around it as ids.

Verse is said one character a token, so the product of rule and vocabulary is the identity: a table from characters to
ids takes the place of the trie (haina/engine/rule.py), and a step costs a lookup. A vocabulary without character mode
says it so, too, with the characters that have a piece; through the trie a poem would take minutes. Verse chosen and
headings written are not known here.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from haina.apps.poem.law import Law, Verse
from haina.engine.constraint import Allowed, Constraint, Dense, Forced, Sparse, State, smallest
from haina.text.characters import HAN
from haina.text.tokenizer import Tokenizer


class Voice:
    """A vocabulary of `size` rows that says verse."""

    def __init__(self, tokenizer: Tokenizer, size: int):
        self.tokenizer, self.size = tokenizer, size
        self.by_character = tokenizer.character_mode is not None
        self.ids = tokenizer.characters
        self._allowed: dict[frozenset[str], Sparse | Dense] = {}

    @cached_property
    def alphabet(self) -> frozenset[str]:
        """The Han characters that have a token of their own: those to write verse with."""
        return frozenset(char for char in self.ids if HAN.match(char))

    def heading(self, text: str) -> tuple[int, ...]:
        """What verse is to follow."""
        return tuple(self.tokenizer.encode(text, by_character=self.by_character))

    def verse(self, text: str) -> tuple[int, ...]:
        """Verse that follows a heading."""
        if self.by_character:
            return tuple(self.tokenizer.encode(text, by_character=True)[1:])
        return tuple(id for char in text for id in self._single(char))

    def _single(self, char: str) -> list[int]:
        """A character by its own piece, or as the tokenizer writes it."""
        return [self.ids[char]] if char in self.ids else self.tokenizer.encode(char)

    def constraint(self, law: Law) -> Constraint:
        """The law over tokens. It must be open."""
        assert law.start, "a law that cannot be met"
        return _Said(self, law.start)

    def allowed(self, chars: frozenset[str]) -> Sparse | Dense:
        """The ids of characters; kept for the sets that come again."""
        if chars not in self._allowed:
            if len(self._allowed) > 4096:
                self._allowed.clear()
            ids = np.fromiter(map(self.ids.__getitem__, chars), np.int32, len(chars))
            self._allowed[chars] = smallest(ids, self.size)
        return self._allowed[chars]

    def forced(self, verse: Verse) -> tuple[tuple[int, ...], Verse]:
        """What follows with certainty: given characters and marks, in the ids the tokenizer gives them."""
        text = ""
        while not verse.complete() and len(chars := verse.chars()) == 1:
            (char,) = chars
            after = verse.step(char)
            assert after, "a character was offered that may not come"
            text, verse = text + char, after
        return self.verse(text), verse


@dataclass(frozen=True)
class _Said:
    """Verse as a Constraint, and each state of it. ids: those still to come before `verse` goes on."""

    voice: Voice
    verse: Verse
    ids: tuple[int, ...] = ()

    def start(self) -> State:
        return self._settled()

    def _settled(self) -> _Said:
        """With all that is certain ahead as ids."""
        if self.ids:
            return self
        ids, verse = self.voice.forced(self.verse)
        return _Said(self.voice, verse, ids)

    def allowed(self) -> Allowed:
        if self.ids:
            return Forced(self.ids)
        chars = self.verse.chars() if not self.verse.complete() else frozenset[str]()
        return self.voice.allowed(frozenset(chars))

    def step(self, token: int) -> State | None:
        if self.ids:
            return _Said(self.voice, self.verse, self.ids[1:])._settled() if token == self.ids[0] else None
        after = self.verse.step(self.voice.tokenizer.piece(token))
        return None if after is None else _Said(self.voice, after)._settled()

    def accepting(self) -> bool:
        return not self.ids and self.verse.complete()

    def key(self) -> Hashable:
        return self.verse, self.ids

    def bound(self) -> float:
        return 0.0

    def __str__(self) -> str:
        return str(self.verse)
