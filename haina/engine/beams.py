"""BeamSearch: the likeliest answers to a prompt under any constraint, a Job of as many lines as it is wide.

What makes beams comparable: each token counts the log-probability that the network gives it, over its whole
vocabulary, and the bias of the constraint. (Over what is allowed, beams of different pasts would be divided by
different sums.) So a token that must follow counts as if it had been chosen; it is fed along with the one before it
and takes no step of its own. And where a request has stop ids, an answer that may end pays for its end with one of
them, even where nothing else may follow. An app whose rule alone says where texts end gives no stop ids.

Log-probabilities need the whole head. When every beam of a step has few ids to choose from, only those rows are
computed, and raw logits stand for them: a network trained with z-loss keeps the difference, log Z, close to 0 (PaLM,
arXiv:2204.02311, section 5). For any other `Beams.exact` is needed. In one step all beams are measured alike.

Beams have different ids, and none is the beginning of another, since they are leaves of one tree: there is nothing
to merge. Equal keys of the constraint do not make two of them one: the network has read different texts.

Not known here: pages, other requests, the network.
Sources: texts that end are found if they are better than the last of `width` others, which go on, nearly as in
facebookresearch/fairseq sequence_generator.py; and all is over when no beam can overtake any more (Huang et al.,
arXiv:1809.00069), which is certain as far as a token brings at most 0 nats besides what `bound` promises.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
)
from haina.engine.generation import Head, masked
from haina.engine.line import Branches, Line
from haina.engine.pages import first_key
from haina.engine.request import Event, Finish, Request, Token
from haina.engine.sampling import log_sum_exp, not_a_number, nothing_to_choose


@dataclass(eq=False)
class Beam:
    """What is said after the prompt. The last `forced` of its ids must follow; their nats are 0 until they are read."""

    ids: list[int]
    nats: list[float]
    forced: int
    state: State | None
    allowed: Allowed
    finish: Finish | None
    ways: list[Way] = field(default_factory=list)  # once its last id is read


class Way(NamedTuple):
    """One token more for the beam of a line; the state behind it, and how much that is worth."""

    rank: float
    line: Line
    id: int
    nats: float
    state: State | None
    ends: bool


class BeamSearch:
    """Its answers come all at once: the `n` best found, best first, or fewer where there are no more.

    The nats of their tokens are those that counted, biases included; their sum is what an answer is ranked by.
    """

    def __init__(
        self,
        number: int,
        order: tuple[int, int],
        request: Request,
        *,
        stop_ids: np.ndarray,
        banned: np.ndarray,
        vocab_size: int,
        limit: int,
        head: Head,
        branches: Branches,
    ):
        """stop_ids, banned: int32, of the vocabulary. limit: the length, prompt included, at which an answer ends.

        ValueError: the constraint allows nothing at all.
        """
        assert request.beams
        self.number, self.order, self.request, self.beams = number, order, request, request.beams
        self.prompt_tokens, self.limit, self.done = len(request.ids), limit, False
        self.most_lines = request.beams.width
        self.head, self.branches = head, branches
        self.ends = np.setdiff1d(stop_ids, banned)
        self.says_V = np.ones(vocab_size, np.bool_)  # what may be said in a text: no stop id, nothing banned
        self.says_V[stop_ids] = self.says_V[banned] = False
        self.found: list[Beam] = []
        self.lines: list[Line] = []
        self.few = False  # whether raw logits of few ids are looked at, and no log-probabilities
        state = request.constraint.start() if request.constraint else None
        root = self._grown([], [], state)
        if root is None:
            raise ValueError(_stuck(state))
        if root.finish and not root.ids:
            raise ValueError(no_text())
        name = first_key(request.tenant, request.adapter)
        line = Line(list(request.ids), len(request.ids) - 1, name, adapter=request.adapter)
        self._put([line], [root])

    def most_pages(self, page_tokens: int) -> int:
        """The full pages of the prompt are shared."""
        shared = self.prompt_tokens // page_tokens
        return shared + self.beams.width * (-(-self.limit // page_tokens) - shared)

    def prepare(self) -> None:
        pass

    def failed(self, error: str) -> Sequence[Event]:
        self.done = True
        return [Token(self.number, -1, -np.inf, "error", error)]

    def take(self, line: Line, rows: np.ndarray) -> Sequence[Event]:
        """Note the nats of what had to follow, and the ways on. When all lines are read, all step together."""
        beam = self._beam[line]
        first = line.fed - len(rows) + 1 - self.prompt_tokens  # which of the beam's ids follows the first row
        for i, row in enumerate(rows, start=first):
            if i < len(beam.ids):
                (logit,) = self._logits(row, np.array(beam.ids[i : i + 1], np.int32))
                beam.nats[i] = float(logit) - self._log_z(row)
            elif not beam.finish:
                beam.ways = self._ways(line, row)
        if any(other.unfed for other in self.lines):
            return []
        self._step()
        return self._answers() if self.done else []

    # -- one step ---------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """The best beams go on, by one token and what must follow it; those that have ended are found."""
        self.found += [beam for beam in self._beam.values() if beam.finish]
        going = self._chosen()
        self.found = sorted(self.found, key=self._rank, reverse=True)[: self.request.n]
        going = [(line, beam) for line, beam in going if self._may_win(beam)]
        self.done = not going
        if not self.done:
            self._place(going)
        elif not self.found:
            best = next(iter(self._beam.values()))
            raise ValueError(_stuck(best.ways[0].state if best.ways else best.state))

    def _chosen(self) -> list[tuple[Line, Beam]]:
        """The beams that go on, each with the line it comes from. Of equal ones, the first line's and lowest id's."""
        ways = [way for beam in self._beam.values() for way in beam.ways]
        ways.sort(key=lambda way: way.rank, reverse=True)
        going: list[tuple[Line, Beam]] = []
        for way in ways:
            if len(going) == self.beams.width:
                break
            before = self._beam[way.line]
            beam = self._grown([*before.ids, way.id], [*before.nats, way.nats], way.state, ends=way.ends)
            if beam and (beam.forced or not beam.finish):
                going.append((way.line, beam))
            elif beam:
                self.found.append(beam)
        return going

    def _grown(
        self, ids: list[int], nats: list[float], state: State | None, *, ends: bool = False
    ) -> Beam | None:
        """A beam with what must follow these ids, or the reason why it has ended; None: a dead end."""
        if ends:
            return Beam(ids, nats, 0, state, All(), "stop")
        room = self.limit - self.prompt_tokens
        allowed = state.allowed() if state else All()
        while state and isinstance(allowed, Forced) and len(ids) < room:
            must = allowed.ids[: room - len(ids)]
            ids, state = [*ids, *must], _after(state, must)
            allowed = state.allowed()
        if state and nothing_follows(state):
            return None
        finish: Finish | None = "length" if len(ids) == room else None
        if state and is_over(state) and (finish or not len(self.ends)):
            finish = "stop"
        forced = len(ids) - len(nats)
        return Beam(ids, nats + [0.0] * forced, forced, state, allowed, finish)

    def _place(self, going: list[tuple[Line, Beam]]) -> None:
        """The first beam that comes from a line keeps it, the others fork it; lines without a beam are released."""
        kept = {line for line, _ in going}
        for line in self.lines:
            if line not in kept:
                self.branches.release(line)
        lines = []
        for line, _ in going:
            lines.append(line if line in kept else self.branches.fork(line))
            kept.discard(line)
        self._put(lines, [beam for _, beam in going])

    def _put(self, lines: list[Line], beams: list[Beam]) -> None:
        """A line for each beam. Logits are wanted from the one before the first id whose nats are not known."""
        choosing = [isinstance(beam.allowed, Sparse) for beam in beams if not beam.finish]
        if choosing:
            self.few = not self.beams.exact and all(choosing)
        for line, beam in zip(lines, beams, strict=True):
            line.ids[self.prompt_tokens :] = beam.ids
            line.wanted = len(line.ids) - 1 - beam.forced
            line.hidden = self.few
        self.lines, self._beam = lines, dict(zip(lines, beams, strict=True))

    # -- the ways on ------------------------------------------------------------------------------------------

    def _ways(self, line: Line, row: np.ndarray) -> list[Way]:
        """The best ways on: as many as may be kept, and the ends that are likelier than the last of them."""
        beam, ways = self._beam[line], list[Way]()
        ids, logits = self._offered(beam, row)
        log_z, total, most = self._log_z(row), sum(beam.nats), _promise(beam.state)
        kept: list[float] = []  # hopes of the best that go on, ascending
        for at in _best_first(logits, self.beams.width + len(self.ends)):
            id, nats = int(ids[at]), float(logits[at]) - log_z
            if len(kept) == self.beams.width and total + nats + most <= kept[0]:
                break
            ends = id in self.request.stop_ids
            state = beam.state if ends or beam.state is None else beam.state.step(id)
            hope = total + nats + (0.0 if ends else _promise(state))
            if hope == -math.inf or (state is None and beam.state):
                continue
            ways.append(Way(self._over(hope, len(beam.ids) + 1), line, id, nats, state, ends))
            if not ends:
                insort(kept, hope)
                del kept[: -self.beams.width]
        return ways

    def _offered(self, beam: Beam, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids, and the logit of each with the bias of the constraint; -inf where it may not come."""
        may_end = beam.state is None or beam.state.accepting()
        ends = self.ends if may_end else self.ends[:0]
        if isinstance(beam.allowed, Sparse):
            says = self.says_V[beam.allowed.ids]
            ids = np.concatenate([beam.allowed.ids[says], ends])
            logits = self._logits(row, ids)
            if beam.allowed.bias is not None:
                logits[: len(ids) - len(ends)] += beam.allowed.bias[says]
            return ids, logits
        logits = masked(row, beam.allowed) if isinstance(beam.allowed, Dense) else row
        logits = np.where(self.says_V, logits, np.float32(-np.inf))
        logits[ends] = row[ends]
        return np.arange(len(row)), logits

    def _logits(self, row: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Of these ids, after a token. row: what the network gave of it, logits (V), or its state (D) when `few`."""
        return _numbers(self.head(row[None], ids)[0]) if self.few else row[ids]

    def _log_z(self, row: np.ndarray) -> float:
        """What makes log-probabilities of the logits: log Z, or the 0 that it nearly is."""
        return 0.0 if self.few else log_sum_exp(_numbers(row))

    # -- the end ----------------------------------------------------------------------------------------------

    def _over(self, nats: float, length: int) -> float:
        """Nats by length ** length_penalty, as in transformers (Wu et al., arXiv:1609.08144, has constants, too)."""
        return nats / math.pow(length, self.beams.length_penalty)

    def _rank(self, beam: Beam) -> float:
        return self._over(sum(beam.nats), len(beam.ids))

    def _may_win(self, beam: Beam) -> bool:
        """Whether it may yet be better than the last of `n` found, however long it becomes."""
        if len(self.found) < self.request.n:
            return True
        bound = 0.0 if beam.finish or beam.state is None else beam.state.bound()
        lengths = (len(beam.ids), self.limit - self.prompt_tokens)
        best = max(self._over(sum(beam.nats) + bound, length) for length in lengths)
        return best > self._rank(self.found[-1])

    def _answers(self) -> list[Token]:
        return [
            Token(self.number, id, nats, beam.finish if i == len(beam.ids) else None, choice=choice)
            for choice, beam in enumerate(self.found)
            for i, (id, nats) in enumerate(zip(beam.ids, beam.nats, strict=True), start=1)
        ]


def _stuck(state: State | None) -> str:
    """What to tell when nothing may follow here, and nothing was found elsewhere."""
    if state:
        return dead_end(state)
    return nothing_to_choose()


def _after(state: State, ids: Sequence[int]) -> State:
    for id in ids:
        after = state.step(id)
        assert after, "a token must follow that the constraint does not allow"
        state = after
    return state


def _promise(state: State | None) -> float:
    """The nats that may still come at best; a bound without end knows nothing."""
    bound = state.bound() if state else 0.0
    return bound if bound < math.inf else 0.0


def _numbers(logits: np.ndarray) -> np.ndarray:
    """The logits. ValueError: they are none."""
    if not logits.max(initial=-np.inf) < np.inf:  # true of NaN, too
        raise ValueError(not_a_number())
    return logits


def _best_first(logits: np.ndarray, few: int) -> Iterator[int]:
    """Where possible ids are, likeliest first, of equal ones in their order; sorted only as far as asked for."""
    said = 0
    while said < len(logits):
        few = min(few, len(logits))
        top = np.flatnonzero(logits >= np.partition(logits, -few)[-few])
        top = top[np.argsort(-logits[top], kind="stable")]
        for at in top[said:].tolist():
            if logits[at] == -np.inf:
                return
            yield at
        said, few = len(top), 8 * few
