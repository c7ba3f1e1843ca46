"""Generation: one answer being written, a Job of one line; and Best, which holds several back until the best are known.

It joins what a request brings: its sampler, its constraint and its guesses. It does not know other answers, pages or
the network: it is given logits, or the state of the last token and a way to the few rows of the head that it needs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

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
    nothing_follows,
)
from haina.engine.line import Line
from haina.engine.loops import Loops
from haina.engine.pages import first_key
from haina.engine.request import Event, Finish, Request, Token
from haina.engine.sampler import Chosen, Sampler
from haina.engine.speculate import Drafter, common
from haina.wording import say

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
        line = Line(list(request.ids), len(request.ids) - 1, first_key(request.tenant))
        self.line, self.lines, self.done = line, [line], False
        self.prompt_tokens = len(request.ids)
        self.loops = Loops() if request.stop_loops else None
        self.stop_ids = stop_ids
        self.state: State | None = request.constraint.start() if request.constraint else None
        self.allowed: Allowed = All()
        self._said: list[Token] = []
        if self.state and is_over(self.state):
            raise ValueError(
                say("the constraint allows no text at all; loosen it", "约束不允许任何文本；请放宽约束")
            )
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
        chosen = self.sampler.choose(logits, ids)
        self._append(chosen)
        self._look()

    def _candidates(self, row: np.ndarray, hidden: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The logits that may be chosen from, with the bias of the constraint; and of which ids they are."""
        allowed = self.allowed
        if isinstance(allowed, Sparse):
            ids, bias = self._with_end(allowed)
            logits = self.head(row[None], ids)[0] if hidden else row[ids]
            return (logits if bias is None else logits + bias), ids
        if isinstance(allowed, Dense):
            return self._end_or_not(masked(row, allowed), row), None
        return (self._end_or_not(row.copy(), row) if self.state else row), None

    def _end_or_not(self, logits_V: np.ndarray, row_V: np.ndarray) -> np.ndarray:
        """The ids that end the text are as likely as they are where it may end, and impossible where not."""
        assert self.state
        ends = self.stop_ids
        logits_V[ends] = row_V[ends] if self.state.accepting() else -np.inf
        return logits_V

    def _with_end(self, allowed: Sparse) -> tuple[np.ndarray, np.ndarray | None]:
        """Its ids, and the ids that end the text where it may end."""
        assert self.state
        ids, bias = allowed.ids, allowed.bias
        ends = self.stop_ids[~np.isin(self.stop_ids, ids)] if self.state.accepting() else self.stop_ids[:0]
        if not len(ends):
            return ids, bias
        whole = np.concatenate([ids, ends])
        order = np.argsort(whole, kind="stable")
        if bias is not None:
            bias = np.concatenate([bias, np.zeros(len(ends), bias.dtype)])[order]
        return whole[order], bias

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
        self._said.append(
            Token(self.number, id, chosen.logprob_nats, finish, choice=self.choice, top=chosen.top)
        )

    def _stepped(self, id: int) -> State | None:
        if self.state is None:
            return None
        after = self.state.step(id)
        assert after is not None, "a token was chosen that the constraint does not allow"
        return after

    def _look(self) -> None:
        """What may come now; what must come is said at once."""
        while self.state and not self.done:
            if nothing_follows(self.state):
                raise ValueError(dead_end(self.state))
            self.allowed = self.state.allowed()
            if not isinstance(self.allowed, Forced):
                break
            for id in self.allowed.ids:
                if not self.done:
                    self._append(Chosen(id, 0.0, ()))
        self.line.wanted = len(self.line.ids) - 1
        self.line.hidden = isinstance(self.allowed, Sparse)


def masked(logits_V: np.ndarray, allowed: Dense) -> np.ndarray:
    """The logits with the bias of what is allowed, and -inf for what is not."""
    bits = np.unpackbits(allowed.mask.view(np.uint8), count=len(logits_V), bitorder="little")
    biased = logits_V if allowed.bias is None else logits_V + allowed.bias
    return np.where(bits.view(np.bool_), biased, np.float32(-np.inf))


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
        return [
            Token(t.request, t.id, t.logprob_nats, t.finish, t.error, choice, t.top)
            for choice, answer in enumerate(ranked)
            for t in answer
        ]


def _mean_nats(answer: list[Token]) -> float:
    return sum(token.logprob_nats for token in answer) / len(answer)
