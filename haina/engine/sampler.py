"""Sampler: logits → the next id of one answer, by its settings (sampling.py says what they mean and where from).

One native call makes a choice (native/sample.cpp). What is here is what a choice depends on beside logits: the settings
as C reads them, the tokens seen, and the uniform numbers. `choose` changes nothing: a choice that is thrown away (a
guess that was wrong, a beam that was cut) leaves no trace; `saw` says what became part of the text. The i-th token's
uniform number follows from the seed and i alone, so forks that see the same logits choose the same. It does not know
text, other requests or where logits come from.

n: ids to choose from. They are the whole vocabulary V, or the few that a constraint allows.
"""

from __future__ import annotations

import bisect
import copy
from array import array
from typing import NamedTuple

import numpy as np

from haina.engine.sampling import BAN, Sampling, not_a_number, nothing_to_choose
from haina.native.checks import check_status, pointer
from haina.native.library import CRule, Status
from haina.native.sample import choose, history
from haina.wording import say

LONGEST = 64  # tokens: DRY does not tell longer repetitions apart
FOREVER_NATS = 1000.0  # no penalty of DRY is larger
NO_IDS, NO_NATS = np.zeros(0, np.int32), np.zeros(0, np.float32)


class Chosen(NamedTuple):
    """An id, the nats the network itself gives it (before bias, penalties and cuts), and the likeliest ids with theirs.

    `top`: (id, nats), likeliest first, as many as `Sampling.top_logprobs` and as are possible at all.
    """

    id: int
    logprob_nats: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """The choices of one answer: its settings, its uniform numbers, and the tokens it has seen."""

    def __init__(self, sampling: Sampling, prompt: np.ndarray, banned: np.ndarray):
        """`prompt`: the ids that penalties for repetition count from the start. `banned`: ids never chosen."""
        s = self.sampling = sampling
        biases = {**dict(s.logit_bias), **dict.fromkeys(banned.tolist(), BAN)}
        self._biased = np.array(sorted(biases), np.int32)
        self._bias = np.array(
            [-np.inf if biases[id] <= BAN else biases[id] for id in sorted(biases)], np.float32
        )
        self._rule = _rule(s, self._biased, self._bias)
        self._penalises = (s.repetition_penalty, s.frequency_penalty, s.presence_penalty) != (1, 0, 0)
        self._seen = array("i", np.unique(prompt).tolist() if self._penalises else [])  # sorted
        self._times = array("i", [0] * len(self._seen))  # said in the answer
        self._text = array("i", prompt.tolist() if s.dry_multiplier else [])
        self._uniform = _Uniform(s.seed)
        self._index = 0  # of the next token in the answer

    def fork(self) -> Sampler:
        """A copy that goes its own way, with the same uniform numbers."""
        other = copy.copy(self)
        other._seen, other._times, other._text = self._seen[:], self._times[:], self._text[:]
        return other

    def saw(self, id: int) -> None:
        """The token is part of the text now, chosen or forced."""
        self._index += 1
        if self.sampling.dry_multiplier:
            self._text.append(id)
        if self._penalises:
            at = bisect.bisect_left(self._seen, id)
            if at == len(self._seen) or self._seen[at] != id:
                self._seen.insert(at, id)
                self._times.insert(at, 0)
            self._times[at] += 1

    def choose(self, logits: np.ndarray, ids: np.ndarray | None = None) -> Chosen:
        """The next id. logits: float32 (V), or (n) of the sorted int32 `ids` alone; -inf is never chosen.

        Nats are over the ids given. ValueError: a logit is not a number; nothing may be chosen; a bias on no id.
        """
        row = np.ascontiguousarray(logits, np.float32)
        few = None if ids is None else np.ascontiguousarray(ids, np.int32)
        repeating, nats = self._repeats() if self._text else (NO_IDS, NO_NATS)
        past = history(self._seen, self._times, repeating, nats)
        uniform = self._uniform[self._index] if self.sampling.temperature else 0.0
        status, chosen = choose(self._rule, past, row, few, uniform)
        if status != Status.OK:
            self._refuse(status, len(row))
        count = chosen.tops
        top = tuple(zip(chosen.top_ids[:count], chosen.top_nats[:count], strict=True)) if count else ()
        return Chosen(chosen.id, chosen.nats, top)

    def _refuse(self, status: Status, n: int) -> None:
        if status == Status.NOT_A_NUMBER:
            raise ValueError(not_a_number())
        if status == Status.NO_CHOICE:
            raise ValueError(nothing_to_choose())
        if status == Status.BAD_IDS and (id := max(self._biased, default=-1)) >= n:
            raise ValueError(
                say(
                    f"logit_bias names token id {id}, and the model has {n}; leave it out",
                    f"logit_bias 中的词元编号 {id} 不存在：模型只有 {n} 个词元；请去掉该项",
                )
            )
        check_status(status)

    def _repeats(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids, sorted, that would go on repeating an earlier passage, and the nats that DRY takes from each.

        All places where a passage like the last one may have ended are followed backwards at once.
        """
        s = self.sampling
        text = np.asarray(self._text)[-s.dry_range_tokens :]
        repeated = np.zeros(len(text), np.int32)  # how many tokens before this one are like the last ones
        places = np.arange(1, len(text))
        for length in range(1, min(LONGEST, len(text) - 1) + 1):
            places = places[places >= length]
            places = places[text[places - length] == text[-length]]
            if not len(places) or int(text[-length]) in s.dry_breaker_ids:
                break
            repeated[places] = length
            if s.dry_multiplier * s.dry_base ** (length - s.dry_allowed_length) > FOREVER_NATS:
                break
        at = np.flatnonzero(repeated >= s.dry_allowed_length)
        if not len(at):
            return NO_IDS, NO_NATS
        if s.dry_breaker_ids:
            at = at[np.isin(text[at], s.dry_breaker_ids, invert=True)]
        ids, of = np.unique(text[at], return_inverse=True)
        longest = np.zeros(len(ids))
        np.maximum.at(longest, of, repeated[at])
        nats = s.dry_multiplier * s.dry_base ** (longest - s.dry_allowed_length)
        return ids, np.minimum(nats, FOREVER_NATS).astype(np.float32)


class _Uniform:
    """Numbers in [0, 1), the i-th a function of the seed and i alone. Forks share one, and what it has drawn."""

    def __init__(self, seed: int | None):
        self._random = np.random.default_rng(seed)
        self._drawn: list[float] = []

    def __getitem__(self, i: int) -> float:
        while i >= len(self._drawn):
            self._drawn += self._random.random(64).tolist()
        return self._drawn[i]


def _rule(s: Sampling, biased: np.ndarray, bias: np.ndarray) -> CRule:
    """The settings as C reads them. The arrays must outlive it."""
    return CRule(
        temperature=s.temperature,
        top_p=s.top_p,
        min_p=s.min_p,
        typical_p=s.typical_p,
        frequency=s.frequency_penalty,
        presence=s.presence_penalty,
        repetition=s.repetition_penalty,
        top_k=s.top_k,
        top=s.top_logprobs,
        biased=pointer(biased),
        bias=pointer(bias),
        biases=len(biased),
    )
