"""What may be asked of the engine (Request, Score, Embed) and what it answers (Token, Scores, Vector)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from haina.engine.constraint import Constraint
from haina.engine.sampling import Sampling
from haina.wording import say

Finish = Literal["stop", "length", "loop", "error"]


@dataclass(frozen=True)
class Beams:
    """A beam search: `width` texts side by side, ranked by nats over length ** `length_penalty`.

    `exact`: log-probabilities over the whole vocabulary, even where a constraint allows few tokens; without it, raw
    logits there, which are nearly the same for a network trained with z-loss only (beams.py). ValueError: the penalty.
    """

    width: int
    length_penalty: float = 0.0
    exact: bool = False

    def __post_init__(self) -> None:
        if not -10 <= self.length_penalty <= 10:
            value = self.length_penalty
            raise ValueError(
                say(
                    f"length_penalty = {value} is out of range; use -10 … 10",
                    f"length_penalty = {value} 超出范围；可用：-10 至 10",
                )
            )


@dataclass(frozen=True)
class Request:
    """Continue `ids`. Everything the engine knows about a user.

    `n`: so many answers, whose seeds follow from the one of `sampling`. `best_of`: so many are made, and the `n` with
    the highest mean log-probability given when all have ended. `beams`: the `n` likeliest that a beam search finds,
    fewer where the constraint has no more, all when it is over; nothing is sampled.
    `tenant`: keys and values are shared with requests of the same tenant alone. `priority`: a higher one goes first,
    and takes the pages of lower ones when there are too few. `adapter`: by its name in `Engine.add_adapter`; "": none.
    """

    ids: tuple[int, ...]
    max_new_tokens: int = 512
    sampling: Sampling = Sampling()
    stop_ids: frozenset[int] = frozenset()
    banned_ids: frozenset[int] = frozenset()  # never chosen: reserved pieces, rows without a piece
    constraint: Constraint | None = None
    n: int = 1
    best_of: int | None = None
    beams: Beams | None = None
    priority: int = 0
    tenant: str = ""
    adapter: str = ""
    stop_loops: bool = True  # end an answer that has come to repeat itself without end


@dataclass(frozen=True)
class Score:
    """Nats of each answer after a prompt; with `top_logprobs` those of every token, too, and so many likeliest ids."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    priority: int = 0
    tenant: str = ""
    top_logprobs: int | None = None
    adapter: str = ""


@dataclass(frozen=True)
class Embed:
    """One vector of a text: the mean of its states after the last norm, or the last token's; scaled to length 1."""

    ids: tuple[int, ...]
    pooling: Literal["mean", "last"] = "mean"
    priority: int = 0
    tenant: str = ""
    adapter: str = ""


@dataclass(frozen=True)
class Token:
    """One new id of answer `choice` of a request; `finish` says why it was the answer's last one.

    "error": there is no id (-1), the answer has ended, and `error` says why; other requests do not notice.
    `logprob_nats`: by the network, over all ids; under a constraint over those that it allows, so 0 for what had to
    follow; of a beam over all ids, its biases included.
    `top`: the likeliest ids here with their nats, as many as `Sampling.top_logprobs`.
    """

    request: int
    id: int
    logprob_nats: float
    finish: Finish | None = None
    error: str = ""
    choice: int = 0
    top: tuple[tuple[int, float], ...] = ()
    shared_tokens: int = 0  # of the prompt, found in the cache and not read


@dataclass(frozen=True)
class Scored:
    """One token of an answer: its nats, and the likeliest ids in its place with theirs, likeliest first."""

    nats: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Scores:
    """The nats of a Score's answers, and their tokens if they were asked for; or an error."""

    request: int
    nats: tuple[float, ...]
    error: str = ""
    tokens: tuple[tuple[Scored, ...], ...] = ()


@dataclass(frozen=True)
class Vector:
    """The vector of an Embed, float32 (D); or an error."""

    request: int
    vector_D: np.ndarray
    error: str = ""


Asked = Request | Score | Embed
Event = Token | Scores | Vector
