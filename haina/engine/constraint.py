"""Constraint: what a request may say next, as the engine sees it: immutable states over token ids.

A state answers `allowed` with the smallest form that says it: All, Forced (so many tokens follow with certainty and
need no sampling), Sparse (few ids: only their rows of the head are computed) or Dense (a bit for each id, the
layout of llguidance and xgrammar). `step` gives another state and leaves this one as it was, so a draft, a beam or a
retry keeps a reference and nothing is ever rolled back. Permissions may carry a bias in nats; biases add up.

Not known here: characters (engine/rule.py), grammars (engine/grammar.py), logits, requests. The end of the text is no
id of a set: `accepting` says whether it may come, and the engine offers the request's stop ids then.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from haina.wording import say

SPARSE_SHARE = 20  # up to 1/20 of a vocabulary is Sparse: more rows of a packed head cost as much as all
LONGEST_SHOWN = 160  # characters of a state in an error


@dataclass(frozen=True)
class All:
    """Every id."""


@dataclass(frozen=True, eq=False)
class Sparse:
    """These ids alone: sorted int32 (n); `bias` float32 (n) in nats, or None."""

    ids: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Dense:
    """The ids whose bit is set: uint32 (ceil(V / 32) words), id i is bit i % 32 of word i // 32.

    `bias`: float32 (32 * words) in nats, a number for each bit, or None; those of bits that are not set mean nothing.
    """

    mask: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Forced:
    """These ids follow, one after the other; the text may end before none of them.

    Where the same characters could be cut into tokens otherwise, `others` has every id that may come first: for a
    constraint that is met with this one and refuses the first.
    """

    ids: tuple[int, ...]
    others: Sparse | Dense | None = None

    @property
    def ways(self) -> Sparse | Dense:
        """The ids one of which comes first."""
        return self.others or Sparse(np.array(self.ids[:1], np.int32))


Allowed = All | Forced | Sparse | Dense


class State(Protocol):
    """A point in a constraint: a small immutable value. Its str() is one line for people.

    `allowed` and `step` raise ValueError, one line, when a grammar gets out of hand; only that request ends.
    """

    def allowed(self) -> Allowed: ...  # without the end of the text
    def step(self, token: int, /) -> State | None: ...  # None: not allowed
    def accepting(self) -> bool: ...  # may the end come now?
    def key(self) -> Hashable: ...  # equal keys have equal futures
    def bound(self) -> float: ...  # optimistic nats still to come; -inf: a dead end


class Constraint(Protocol):
    """What holds for a whole answer; compiled once, shared by requests."""

    def start(self) -> State: ...


def nothing_follows(state: State) -> bool:
    """Whether a state is a dead end: no token may come, and the end may not either."""
    return not state.accepting() and is_empty(state.allowed())


def is_over(state: State) -> bool:
    """Whether nothing but the end may come."""
    return state.accepting() and is_empty(state.allowed())


def no_text() -> str:
    """What to tell of a constraint that is over before anything was said."""
    return say("the constraint allows no text at all; loosen it", "约束不允许任何文本；请放宽约束")


def dead_end(state: State) -> str:
    """What to tell a person about a dead end: one line that shows the state."""
    shown = shorten(str(state))
    return say(
        f"the constraint has come to a dead end: at {shown} nothing may follow and the text may not end; loosen it",
        f"约束走入死路：在 {shown} 处，既没有可接的内容，也不允许结束；请放宽约束",
    )


def shorten(text: str) -> str:
    """One line of at most LONGEST_SHOWN characters: the beginning and the end."""
    line = " ".join(text.split())
    half = LONGEST_SHOWN // 2
    return line if len(line) <= LONGEST_SHOWN else f"{line[: half - 1]}…{line[-half:]}"


def total(bounds: Iterable[float]) -> float:
    """The sum, in which a dead end outweighs any hope."""
    every = list(bounds)
    return -math.inf if -math.inf in every else sum(every)


# -- sets of ids ------------------------------------------------------------------------------------------------


def mask_of(ids: np.ndarray, size: int) -> np.ndarray:
    """Sorted or unsorted ids below `size` → uint32 (ceil(size / 32))."""
    bits = np.zeros(-(-size // 32) * 32, np.bool_)
    bits[ids] = True
    return np.packbits(bits, bitorder="little").view(np.uint32)


def bits_of(mask: np.ndarray) -> np.ndarray:
    """uint32 (words) → bool (32 * words)."""
    return np.unpackbits(mask.view(np.uint8), bitorder="little").view(np.bool_)


def ids_of(mask: np.ndarray) -> np.ndarray:
    """uint32 words → the ids whose bit is set, sorted int32."""
    return np.flatnonzero(bits_of(mask)).astype(np.int32)


def spread(mask: np.ndarray, inside: float, outside: float) -> np.ndarray:
    """uint32 (words) → float32 (32 * words): a number where the bit is set, another where not.

    By the byte, from a table: np.where over so many bits takes seven times as long, for it guesses at each of them.
    """
    table = np.where(_BITS, np.float32(inside), np.float32(outside))
    numbers: np.ndarray = table.take(mask.view(np.uint8), axis=0)
    return numbers.ravel()


_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")  # of each byte


def smallest(ids: np.ndarray, size: int) -> Sparse | Dense:
    """Ids of a vocabulary of `size`, in the form that costs less."""
    few = len(ids) <= size // SPARSE_SHARE
    return Sparse(_shared(np.sort(ids).astype(np.int32))) if few else Dense(_shared(mask_of(ids, size)))


@lru_cache(maxsize=8)
def everything(size: int) -> np.ndarray:
    """The mask of all ids below `size`."""
    return _shared(mask_of(np.arange(size), size))


def _shared(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def is_empty(allowed: Allowed) -> bool:
    """Whether no id may come."""
    if isinstance(allowed, Dense):
        return not allowed.mask.any()
    return not isinstance(allowed, All) and len(allowed.ids) == 0


def ways_of(allowed: Allowed) -> All | Sparse | Dense:
    """The ids one of which comes first."""
    return allowed.ways if isinstance(allowed, Forced) else allowed


def meet(a: All | Sparse | Dense, b: All | Sparse | Dense) -> All | Sparse | Dense:
    """What both allow, with the sum of the biases; a short list is filtered as it is and never becomes a mask."""
    if isinstance(a, All) or isinstance(b, All):
        return b if isinstance(a, All) else a
    if isinstance(a, Sparse):
        return _filter(a, b)
    return _filter(b, a) if isinstance(b, Sparse) else Dense(a.mask & b.mask, _sum(a.bias, b.bias))


def _sum(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return b if a is None else a if b is None else np.asarray(a + b, np.float32)


def _filter(few: Sparse, by: Sparse | Dense) -> Sparse:
    ids = few.ids
    if isinstance(by, Sparse):
        at = np.searchsorted(by.ids, ids)
        keep = np.append(by.ids, -1)[at] == ids
    else:
        at = ids
        keep = (by.mask[ids >> 5] >> (ids & 31).astype(np.uint32) & 1).astype(np.bool_)
    other = None if by.bias is None else by.bias[at[keep]]
    return Sparse(ids[keep], _sum(None if few.bias is None else few.bias[keep], other))


def join(a: All | Sparse | Dense, b: All | Sparse | Dense) -> All | Sparse | Dense:
    """What one of them allows; where both do, the larger bias holds.

    All beside a Sparse is All, without its bias: neither says how many ids there are.
    """
    if is_empty(a) or is_empty(b):
        return b if is_empty(a) else a
    if isinstance(a, All) or isinstance(b, All):
        other = b if isinstance(a, All) else a
        if not isinstance(other, Dense) or other.bias is None:
            return All()
        a, b = other, Dense(~np.zeros_like(other.mask))
    if isinstance(a, Sparse) and isinstance(b, Sparse):
        return _join_lists(a, b)
    size = 32 * max(len(part.mask) for part in (a, b) if isinstance(part, Dense))
    a, b = dense(a, size), dense(b, size)
    biased = a.bias is not None or b.bias is not None
    return Dense(a.mask | b.mask, np.maximum(_levels(a), _levels(b)) if biased else None)


def _join_lists(a: Sparse, b: Sparse) -> Sparse:
    ids = np.union1d(a.ids, b.ids)
    if a.bias is None and b.bias is None:
        return Sparse(ids)
    bias = np.full(len(ids), -np.inf, np.float32)
    for part in (a, b):
        at = np.searchsorted(ids, part.ids)
        bias[at] = np.maximum(bias[at], 0.0 if part.bias is None else part.bias)
    return Sparse(ids, bias)


def _levels(part: Dense) -> np.ndarray:
    """The bias, and -inf for what is not allowed."""
    levels = spread(part.mask, 0.0, -np.inf)
    if part.bias is not None:
        levels += part.bias
    return levels


def dense(part: Sparse | Dense, size: int) -> Dense:
    """The same as a mask over ids below `size`."""
    if isinstance(part, Dense):
        return part
    mask = mask_of(part.ids, size)
    if part.bias is None:
        return Dense(mask)
    bias = np.zeros(32 * len(mask), np.float32)
    bias[part.ids] = part.bias
    return Dense(mask, bias)
