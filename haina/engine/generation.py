"""Generation: one answer being written, a Job of one line; and Best, which holds several back until the best are known.

It joins what a request brings: its sampler, its constraint and its guesses. It does not know other answers, pages or
the network: it is given logits, or the state of the last token and a way to the few rows of the head that it needs.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from haina.engine.constraint import (
    All,
    Allowed,
    Dense,
    Forced,
    Sparse,
    State,
    dead_end,
    is_over,
    no_text,
    nothing_follows,
    shorten,
    spread,
)
from haina.engine.line import Line
from haina.engine.loops import Loops
from haina.engine.pages import first_key
from haina.engine.request import Event, Finish, Request, Token
from haina.engine.sampler import Chosen, Sampler
from haina.engine.speculate import Drafter, common

Head = Callable[[np.ndarray, np.ndarray], np.ndarray]  # states (M, D), ids (n) → logits (M, n)


class Generation:
    """Answer `choice` of request `number`.

    stop_ids: int32, those of the vocabulary that end it. limit: the length, prompt included, at which it ends.
    """

    def __init__(
        self,
        number: int,
        choice: int,
        order: tuple[int, int],
        request: Request,
        *,
        sampler: Sampler,
        stop_ids: np.ndarray,
        limit: int,
        head: Head,
        drafter: Drafter | None = None,
    ):
        """ValueError: its constraint allows nothing at all."""
        self.number, self.choice, self.order, self.request = number, choice, order, request
        self.sampler, self.limit, self.head, self.drafter = sampler, limit, head, drafter
        root = first_key(request.tenant, request.adapter)
        line = Line(list(request.ids), len(request.ids) - 1, root, adapter=request.adapter)
        self.line, self.lines, self.done = line, [line], False
        self.prompt_tokens, self.most_lines = len(request.ids), 1
        self.loops = Loops() if request.stop_loops else None
        self.stop_ids, self.barred = stop_ids, request.stop_ids | request.banned_ids
        self.state: State | None = request.constraint.start() if request.constraint else None
        self.allowed: Allowed = All()
        self._said: list[Token] = []
        if self.state and is_over(self.state):
            raise ValueError(no_text())
        self._look()

    def most_pages(self, page_tokens: int) -> int:
        return -(-self.limit // page_tokens)

    def prepare(self) -> None:
        """Guesses are made when one token is left to feed: the others are fed with it."""
        room = self.limit - len(self.line.ids) - 1
        if self.drafter and self.line.unfed == 1 and room > 0 and not isinstance(self.allowed, Sparse):
            guesses = self.drafter.guess(self.line.ids, room, self._ahead)
            self.line.ids += guesses
            self.line.drafts = len(guesses)

    def _ahead(self, line: Line) -> Generation:
        """A copy that writes on another line, from logits of a draft model, and leaves no trace here."""
        other = copy.copy(self)
        other.sampler, other.line, other.lines = self.sampler.fork(), line, [line]
        other.loops, other._said = None, []
        return other

    def take(self, line: Line, rows: np.ndarray) -> Sequence[Event]:
        """Choose the next id; and as long as it is the guess that was fed, the one after it from the next logits."""
        guesses, hidden = line.ids[line.sure :], line.hidden
        line.drop_drafts()
        right = 0
        while right < len(rows) and not self.done:
            length = len(line.ids)
            self.choose(rows[right], hidden=hidden)
            new = line.ids[length:]
            same = common(new, guesses[right:])
            line.fed += same
            right += same
            if same < len(new):
                break
        said, self._said = self._said, []
        return said

    def failed(self, error: str) -> Sequence[Event]:
        self.done = True
        return [*self._said, Token(self.number, -1, -np.inf, "error", error, self.choice)]

    # -- one token --------------------------------------------------------------------------------------------

    def choose(self, row: np.ndarray, *, hidden: bool = False) -> None:
        """Say what comes next. row: its logits (V), or the state (D) of the last token."""
        logits, ids = self._candidates(row, hidden)
        try:
            chosen = self.sampler.choose(logits, ids)
        except ValueError as error:
            raise ValueError(f"{error} ({shorten(str(self.state))})" if self.state else str(error)) from None
        self._append(chosen)
        self._look()

    def _candidates(self, row: np.ndarray, hidden: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The logits that may be chosen from, with the bias of the constraint; and of which ids they are."""
        allowed = self.allowed
        if isinstance(allowed, Sparse):
            logits = self.head(row[None], allowed.ids)[0] if hidden else row[allowed.ids]
            return (logits if allowed.bias is None else logits + allowed.bias), allowed.ids
        if self.state is None:
            return row, None
        logits_V = masked(row, allowed) if isinstance(allowed, Dense) else row.copy()
        logits_V[self.stop_ids] = row[self.stop_ids] if self.state.accepting() else -np.inf
        return logits_V, None

    def _append(self, chosen: Chosen) -> None:
        """The id is part of the text. Sets `done`, and why."""
        id = chosen.id
        self.line.ids.append(id)
        self.sampler.saw(id)
        finish: Finish | None = None
        if id in self.request.stop_ids:
            finish = "stop"
        else:
            self.state = self._stepped(id)
            if self.state and is_over(self.state):
                finish = "stop"
            elif len(self.line.ids) >= self.limit:
                finish = "length"
            elif self.loops and self.loops.saw(id):
                finish = "loop"
        self.done = finish is not None
        nats, shared = chosen.logprob_nats, self.line.found
        self._said.append(Token(self.number, id, nats, finish, "", self.choice, chosen.top, shared))

    def _stepped(self, id: int) -> State | None:
        if self.state is None:
            return None
        after = self.state.step(id)
        assert after is not None, "a token was chosen that the constraint does not allow"
        return after

    def _look(self) -> None:
        """What may come now; what must come is said at once."""
        while self.state and not self.done:
            self.allowed = self._offered(self.state)
            if not isinstance(self.allowed, Forced):
                break
            for id in self.allowed.ids:
                if not self.done:
                    self._append(Chosen(id, 0.0, ()))
        self.line.wanted = len(self.line.ids) - 1
        self.line.hidden = isinstance(self.allowed, Sparse)

    def _offered(self, state: State) -> Allowed:
        """What may come, the end included. An id that ends texts is never part of one. ValueError: nothing may."""
        allowed = state.allowed()
        if isinstance(allowed, Forced):
            must = tuple(itertools.takewhile(lambda id: id not in self.barred, allowed.ids))
            if must:
                return Forced(must)
            allowed = allowed.ways
        if isinstance(allowed, Sparse):
            allowed = with_ends(allowed, tuple(self.stop_ids.tolist()), state.accepting())
        if nothing_follows(state) or (isinstance(allowed, Sparse) and not len(allowed.ids)):
            raise ValueError(dead_end(state))
        return allowed


@lru_cache(maxsize=4096)
def with_ends(allowed: Sparse, ends: tuple[int, ...], may_end: bool) -> Sparse:
    """The ids without those that end a text; or with all of these, where it may end."""
    keep = ~np.isin(allowed.ids, ends)
    ids, bias = allowed.ids[keep], None if allowed.bias is None else allowed.bias[keep]
    if may_end:
        at = np.searchsorted(ids, ends)
        ids = np.insert(ids, at, ends)
        bias = None if bias is None else np.insert(bias, at, 0.0)
    return Sparse(ids, bias)


def masked(logits_V: np.ndarray, allowed: Dense) -> np.ndarray:
    """The logits with the bias of what is allowed, and -inf for what is not."""
    size = len(logits_V)
    biased = logits_V if allowed.bias is None else logits_V + allowed.bias[:size]
    masked_V: np.ndarray = np.minimum(biased, spread(allowed.mask, np.inf, -np.inf)[:size])
    return masked_V


class Best:
    """The tokens of `of` answers, held back until all have ended; then the `n` whose mean nats are highest."""

    def __init__(self, n: int, of: int):
        self.n, self.of = n, of
        self.answers: dict[int, list[Token]] = {}
        self.ended = 0

    def take(self, token: Event) -> list[Token]:
        assert isinstance(token, Token)
        self.answers.setdefault(token.choice, []).append(token)
        self.ended += token.finish is not None
        if self.ended < self.of:
            return []
        ranked = sorted(self.answers.values(), key=_mean_nats, reverse=True)[: self.n]
        return [replace(t, choice=choice) for choice, answer in enumerate(ranked) for t in answer]


def _mean_nats(answer: list[Token]) -> float:
    return sum(token.logprob_nats for token in answer) / len(answer)
