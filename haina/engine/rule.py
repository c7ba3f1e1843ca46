"""Rule: a law over characters, and how it becomes one over tokens.

An app says what may come character by character; `Vocabulary.lift` walks the rule and a trie of the vocabulary's
pieces side by side and keeps the ids found for a rule, for every request that comes to an equal one. The trie is
flat, depth first, each node with the place behind its subtree (guidance-ai/llguidance@c75b0d9 docs/toktrie.md).

The text of a piece is what it adds to a text that has begun: "▁the" is " the". Pieces that are no text are never
offered: control pieces, and bytes, but for the ASCII character that has no other piece ("\\n" in LLaMA's).

Where only one text can follow, it is Forced in the tokenizer's own cut. Other cuts of the same characters are
accepted (`step` asks for characters only) but not offered: the model has hardly seen them, and beams would fill up
with copies of one text. Of that cut the end is left open where a longer piece might reach over it (llguidance's
docs/fast_forward.md). Where the text is not certain, every cut is offered.

A character after which nothing can follow is a trap. So an id is offered only when the text can go on behind it to
an end: searched through AHEAD rules, believed beyond; a rule that sees farther says `bound() == -inf`.

Not known here: logits, requests, and what the rules are about.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice

import numpy as np

from haina.engine.constraint import Allowed, Constraint, Dense, Forced, Sparse, State, smallest, total
from haina.text.tokenizer import SPACE, Tokenizer

STATES = 2048  # rules whose ids are kept for a vocabulary: 8 KB each with 64,000 pieces, 32 KB at worst
KNOWN = 1 << 16  # rules of which it is remembered whether they lead to an end, and as many steps between them
AHEAD = 2  # rules looked at behind an id before it is offered
AHEAD_OF_ALL = 256  # the same before the first id of an answer
LONGEST_CERTAIN = 64  # characters forced at once
BREAK = "\n"  # nothing is merged across it, so what follows is cut as in the middle of a text


class Rule(ABC):
    """What an app writes: a frozen dataclass, since equal rules must have equal futures, and be quick to hash."""

    @abstractmethod
    def step(self, char: str) -> Rule | None: ...  # None: this character is not allowed here

    @abstractmethod
    def complete(self) -> bool: ...  # may the text end here?

    def chars(self) -> Iterable[str] | None:
        """Characters among which all are that may follow, if they are few; None: look at the whole alphabet."""
        return None

    def bound(self) -> float:
        """Optimistic nats still to come; -inf: no end can be reached from here."""
        return 0.0


# -- rules made of rules ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text(Rule):
    """One text, from its character `at` on."""

    text: str
    at: int = 0

    def step(self, char: str) -> Rule | None:
        return Text(self.text, self.at + 1) if self.text.startswith(char, self.at) else None

    def complete(self) -> bool:
        return self.at == len(self.text)

    def chars(self) -> Iterable[str]:
        return self.text[self.at : self.at + 1]


@dataclass(frozen=True)
class Both(Rule):
    """A text that obeys two rules."""

    a: Rule
    b: Rule

    def step(self, char: str) -> Rule | None:
        a = self.a.step(char)
        b = None if a is None else self.b.step(char)
        return None if a is None or b is None else Both(a, b)

    def complete(self) -> bool:
        return self.a.complete() and self.b.complete()

    def chars(self) -> Iterable[str] | None:
        few = self.a.chars()
        return self.b.chars() if few is None else few

    def bound(self) -> float:
        return total([self.a.bound(), self.b.bound()])


@dataclass(frozen=True)
class Either(Rule):
    """A text that obeys one of them."""

    rules: frozenset[Rule]

    def step(self, char: str) -> Rule | None:
        return _either(rule.step(char) for rule in self.rules)

    def complete(self) -> bool:
        return any(rule.complete() for rule in self.rules)

    def chars(self) -> Iterable[str] | None:
        few = [rule.chars() for rule in self.rules]
        return None if None in few else chain.from_iterable(chars or () for chars in few)

    def bound(self) -> float:
        return max((rule.bound() for rule in self.rules), default=-math.inf)


def _either(rules: Iterable[Rule | None]) -> Rule | None:
    """Those that are left, flat, so that equal ways are found equal however they came about."""
    parts = (rule.rules if isinstance(rule, Either) else {rule} for rule in rules if rule is not None)
    left = frozenset(chain.from_iterable(parts))
    return next(iter(left)) if len(left) == 1 else Either(left) if left else None


@dataclass(frozen=True)
class Then(Rule):
    """A text that obeys the first rule, and behind it one that obeys the second."""

    first: Rule
    second: Rule

    def step(self, char: str) -> Rule | None:
        after = self.first.step(char)
        stays = self if after is self.first else None if after is None else Then(after, self.second)
        return _either([stays, self.second.step(char)]) if self.first.complete() else stays

    def complete(self) -> bool:
        return self.first.complete() and self.second.complete()

    def chars(self) -> Iterable[str] | None:
        few, more = self.first.chars(), self.second.chars() if self.first.complete() else ()
        return None if few is None or more is None else chain(few, more)

    def bound(self) -> float:
        return total([self.first.bound(), self.second.bound()])


@dataclass(frozen=True)
class Not(Rule):
    """Any text that does not obey the rule; where none can any more, it is None: `Not(None)` is any text at all."""

    rule: Rule | None

    def step(self, char: str) -> Rule | None:
        after = None if self.rule is None else self.rule.step(char)
        return self if after is self.rule else Not(after)

    def complete(self) -> bool:
        return self.rule is None or not self.rule.complete()


@dataclass(frozen=True)
class Until(Rule):
    """Any text up to where it first ends as `stop` says; that end is part of it. `open` are the begun ones."""

    stop: Rule
    open: frozenset[Rule] = frozenset()
    done: bool = False

    def step(self, char: str) -> Rule | None:
        if self.done:
            return None
        ways = (rule.step(char) for rule in (self.stop, *self.open))
        open = frozenset(after for after in ways if after is not None)
        return self if open == self.open else Until(self.stop, open, any(rule.complete() for rule in open))

    def complete(self) -> bool:
        return self.done

    def chars(self) -> Iterable[str] | None:
        return () if self.done else None


# -- the pieces of a vocabulary -----------------------------------------------------------------------------------


class Vocabulary:
    """The pieces of a tokenizer that are text, and what has been found out about rules over them.

    The latter serves whoever asks next, so timing tells that somebody has come to an equal rule; tenants who must not
    learn that of each other need a Vocabulary each.
    """

    def __init__(self, tokenizer: Tokenizer, size: int | None = None, *, ahead: int = AHEAD):
        """`size` is the V of the model, which may have more rows than there are pieces."""
        self.tokenizer, self.size, self.ahead = tokenizer, size or tokenizer.size, ahead
        self.texts = _texts(tokenizer)
        self._ids_of: dict[str, tuple[int, ...]] = {}
        for id, text in enumerate(self.texts):
            if text:
                self._ids_of[text] = (*self._ids_of.get(text, ()), id)
        self._sorted = sorted(self._ids_of)
        self.longest = max(map(len, self._sorted), default=0)
        self._char: list[str] = []  # of each node of the trie, depth first
        self._depth: list[int] = []  # characters from the root, this one included
        self._behind: list[int] = []  # the node behind its subtree
        self._ids: list[tuple[int, ...]] = []  # of the pieces that end here
        self._plant()
        self._roots = {self._char[at]: at for at in range(len(self._char)) if self._depth[at] == 1}
        self._leads_on: dict[Rule, bool] = {}
        self._witness = ""  # a character that led on the last time
        self.allowed = lru_cache(STATES)(self._allowed)  # what may follow where a rule holds
        self.step = lru_cache(KNOWN)(self._step)  # the same rule again, and quick to hash

    def _plant(self) -> None:
        shared, trail = "", list[int]()  # the text before, and its nodes
        for text in self._sorted:
            while not text.startswith(shared):
                shared = shared[:-1]
                self._behind[trail.pop()] = len(self._char)
            for char in text[len(shared) :]:
                trail.append(len(self._char))
                self._char.append(char)
                self._depth.append(len(trail))
                self._behind.append(0)
                self._ids.append(())
            self._ids[trail[-1]] = self._ids_of[text]
            shared = text
        for node in trail:
            self._behind[node] = len(self._char)

    def lift(self, rule: Rule) -> Constraint:
        """The rule as a constraint on tokens."""
        return _Lifted(self, rule)

    def _step(self, rule: Rule, id: int) -> Rule | None:
        """The rule behind the text of an id; None where it does not let it pass. Any cut will do, and a trap, too."""
        text = self.texts[id] if 0 <= id < len(self.texts) else ""
        after: Rule | None = rule if text else None
        for char in text:
            after = None if after is None else after.step(char)
        return after

    def walk(self, rule: Rule, chars: Iterable[str] | None) -> Iterator[tuple[tuple[int, ...], Rule]]:
        """The ids of each piece that begins with one of the characters and obeys the rule, and the rule behind it."""
        char, depth, behind, ids = self._char, self._depth, self._behind, self._ids
        path = [rule] * (self.longest + 1)  # the rule after so many characters
        roots = [0] if chars is None else [self._roots[c] for c in dict.fromkeys(chars) if c in self._roots]
        for at in roots:
            end = len(char) if chars is None else behind[at]
            while at < end:
                after = path[depth[at] - 1].step(char[at])
                if after is None:
                    at = behind[at]
                    continue
                path[depth[at]] = after
                if ids[at]:
                    yield ids[at], after
                at += 1

    def _allowed(self, rule: Rule) -> Allowed:
        found: list[int] = []
        before: Rule | None = None
        leads_on = False
        for ids, after in self.walk(rule, rule.chars()):
            if after is not before:
                before, leads_on = after, self.leads_on(after)
            if leads_on:
                found += ids
        ways = smallest(np.array(found, np.int32), self.size)
        forced = () if rule.complete() else self._forced(rule, ways)
        return Forced(forced, ways) if forced else ways

    def _forced(self, rule: Rule, ways: Sparse | Dense) -> tuple[int, ...]:
        if isinstance(ways, Sparse) and len(ways.ids) == 1:
            return (int(ways.ids[0]),)
        text, end = _certain(rule)
        certain = next((at for at in range(len(text)) if self._reached_over(text[at:], end)), len(text))
        forced: tuple[int, ...] = ()
        for id in self.cut(text):
            certain -= len(self.texts[id])
            after = self.step(rule, id)
            if certain < 0 or after is None or not self.leads_on(after):
                break
            forced, rule = (*forced, id), after
        return forced

    def _reached_over(self, tail: str, end: Rule) -> bool:
        """Whether a piece begins with `tail` and goes on as the rule behind it lets it."""
        if len(tail) >= self.longest:
            return False
        first = bisect_left(self._sorted, tail)
        last = bisect_left(self._sorted, tail + "\U0010ffff", first)
        longer = {text[len(tail)] for text in islice(self._sorted, first, last) if len(text) > len(tail)}
        return any(end.step(char) is not None for char in longer)

    def cut(self, text: str) -> list[int]:
        """The ids the tokenizer gives a text that goes on with another; [] where it would write it otherwise."""
        before = len(self.tokenizer.encode(BREAK))
        ids = self.tokenizer.encode(BREAK + text)[before:]
        return ids if b"".join(map(self.tokenizer.piece_bytes, ids)) == text.encode() else []

    def leads_on(self, rule: Rule, ahead: int = 0) -> bool:
        """Whether an end can be reached from here, as far as can be seen by looking at so many rules."""
        if rule.complete():
            return True
        if rule not in self._leads_on:
            if len(self._leads_on) >= KNOWN:
                self._leads_on.clear()
            self._search(rule, ahead or self.ahead)
        return self._leads_on[rule]

    def _search(self, rule: Rule, ahead: int) -> None:
        """Depth first. An end, or too long a search: the way to it leads on. None: nothing that was seen does."""
        seen, trail = {rule}, [rule] if rule.bound() > -math.inf else []
        walks = [self._likely(rule) for rule in trail]
        while trail:
            after = next((after for after in walks[-1] if after not in seen), None)
            if after is None:
                trail.pop()
                walks.pop()
            elif after.complete() or self._leads_on.get(after) or len(seen) >= ahead:
                break
            elif after.bound() > -math.inf and after not in self._leads_on:
                seen.add(after)
                trail.append(after)
                walks.append(self._likely(after))
        self._leads_on.update(dict.fromkeys(trail or seen, bool(trail)))

    def _likely(self, rule: Rule) -> Iterator[Rule]:
        """The rules behind each id, first those of the character that led on the last time."""
        for ids, after in chain(self.walk(rule, self._witness), self.walk(rule, rule.chars())):
            self._witness = self.texts[ids[0]][:1]
            yield after


def _texts(tokenizer: Tokenizer) -> list[str]:
    """What each id adds to a text that has begun; "" for what is no text."""
    texts = [tokenizer.piece(id).replace(SPACE, " ") for id in range(tokenizer.size)]
    added = [tokenizer.piece_bytes(id) for id in range(tokenizer.size)]
    texts = [text if part == text.encode() else "" for text, part in zip(texts, added, strict=True)]
    spelled = set(texts)
    for id, part in enumerate(added):
        if not texts[id] and len(part) == 1 and part.isascii() and part.decode() not in spelled:
            texts[id] = part.decode()
    return texts


def _certain(rule: Rule) -> tuple[str, Rule]:
    """The characters that follow with certainty, and the rule behind them; only rules with `chars` tell."""
    text = ""
    while len(text) < LONGEST_CERTAIN and not rule.complete():
        ways = {char: after for char in rule.chars() or () if (after := rule.step(char)) is not None}
        if len(ways) != 1:
            break
        ((char, rule),) = ways.items()
        text += char
    return text, rule


@dataclass(frozen=True)
class _Lifted:
    vocabulary: Vocabulary
    rule: Rule

    def start(self) -> State:
        self.vocabulary.leads_on(self.rule, AHEAD_OF_ALL)
        return _State(self.vocabulary, self.rule)


@dataclass(frozen=True, slots=True)
class _State:
    vocabulary: Vocabulary
    rule: Rule

    def allowed(self) -> Allowed:
        return self.vocabulary.allowed(self.rule)

    def step(self, token: int) -> State | None:
        after = self.vocabulary.step(self.rule, token)
        return None if after is None else _State(self.vocabulary, after)

    def accepting(self) -> bool:
        return self.rule.complete()

    def key(self) -> Hashable:
        return self.rule

    def bound(self) -> float:
        return self.rule.bound() if self.vocabulary.leads_on(self.rule) else -math.inf

    def __str__(self) -> str:
        return repr(self.rule)
