"""Sampler: logits → the next id of one answer, by its settings (sampling.py says what they mean and where from).

Nothing of the vocabulary's size is sorted, and a large one is looked at a few times only. `choose` changes nothing:
a choice that is thrown away (a guess that was wrong, a beam that was cut) leaves no trace; `saw` says what became
part of the text. The i-th token's uniform number follows from the seed and i alone, so forks that see the same
logits choose the same. It does not know text, other requests or where logits come from.

n: ids to choose from. They are the whole vocabulary V, or the few that a constraint allows.
"""

from __future__ import annotations

import bisect
import copy
from array import array
from typing import NamedTuple

import numpy as np

from haina.engine.sampling import BAN, Sampling, log_sum_exp
from haina.wording import say

LONGEST = 64  # tokens: DRY does not tell longer repetitions apart
FOREVER_NATS = 1000.0  # no penalty of DRY is larger
FEW = 1024  # keys that are sorted
SAME_NATS = 1e-6  # keys that differ by less are not worth buckets
BUCKETS = 1024
ROWS = 64  # of the table in which the largest values are looked for
BLOCK = 256  # weights summed at once
LEAST = np.finfo(np.float32).min


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
        if not logits.max(initial=-np.inf) < np.inf:  # true of NaN, too
            raise ValueError(
                say(
                    "the network's output is not a number; the weights are damaged: download the model again",
                    "网络输出了非数值（NaN）；权重已损坏，请重新下载模型",
                )
            )
        scores = self._scores(logits, ids) if len(logits) else logits
        largest = scores.max(initial=-np.inf)
        if largest == -np.inf:
            raise ValueError(
                say(
                    "no token may be chosen here: all are banned or impossible; allow at least one",
                    "此处没有可选的词元：全部被禁止或不可能出现；请至少允许一个",
                )
            )
        at = int(scores.argmax()) if self.sampling.temperature == 0.0 else self._draw(scores - largest)
        total = log_sum_exp(logits)
        top = self._top(logits, ids, total) if self.sampling.top_logprobs else ()
        return Chosen(_id(at, ids), float(logits[at]) - total, top)

    def _scores(self, logits: np.ndarray, ids: np.ndarray | None) -> np.ndarray:
        """Logits after bias and penalties; the argument itself where there are none."""
        if not (len(self._biased) or self._penalises or self._text):
            return logits
        scores = logits.astype(np.float32)
        if len(self._biased):
            at, known = _places(self._biased, ids, len(logits))
            scores[at] += self._bias[known]
        if self._penalises:
            at, known = _places(np.asarray(self._seen), ids, len(logits))
            scores[at] = self._penalised(scores[at], np.asarray(self._times)[known])
        if self._text:
            repeating, nats = self._repeats()
            at, known = _places(repeating, ids, len(logits))
            scores[at] -= nats[known]
        return scores

    def _penalised(self, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The scores of ids seen in the prompt or said so many times."""
        s = self.sampling
        scores = np.where(scores > 0, scores / s.repetition_penalty, scores * s.repetition_penalty)
        return scores - (s.frequency_penalty * times + s.presence_penalty * (times > 0))

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
            return at, np.zeros(0, np.float32)
        if s.dry_breaker_ids:
            at = at[np.isin(text[at], s.dry_breaker_ids, invert=True)]
        ids, of = np.unique(text[at], return_inverse=True)
        longest = np.zeros(len(ids))
        np.maximum.at(longest, of, repeated[at])
        nats = s.dry_multiplier * s.dry_base ** (longest - s.dry_allowed_length)
        return ids, np.minimum(nats, FOREVER_NATS).astype(np.float32)

    def _draw(self, nats: np.ndarray) -> int:
        """Where the uniform number falls. `nats`: of each score, relative to the largest; float32, overwritten."""
        s = self.sampling
        with np.errstate(over="ignore"):  # close to temperature 0 everything but the largest becomes -inf
            nats /= np.float32(max(s.temperature, 1e-30))
        at = _largest(nats, s.top_k) if 0 < s.top_k < len(nats) else None
        if at is not None:
            nats = nats[at]
        weight = np.exp(nats)
        if s.top_p < 1.0:
            _cut_tail(nats, weight, s.top_p)
        if s.min_p > 0.0:
            weight *= weight >= s.min_p
        if s.typical_p < 1.0:
            _cut_untypical(nats, weight, s.typical_p)
        place = _under(weight, self._uniform[self._index])
        return place if at is None else int(at[place])

    def _top(self, logits: np.ndarray, ids: np.ndarray | None, total: float) -> tuple[tuple[int, float], ...]:
        at = _largest(logits, self.sampling.top_logprobs)
        at = at[np.argsort(-logits[at], kind="stable")][: self.sampling.top_logprobs]
        return tuple((_id(i, ids), float(logits[i]) - total) for i in at.tolist())


class _Uniform:
    """Numbers in [0, 1), the i-th a function of the seed and i alone. Forks share one, and what it has drawn."""

    def __init__(self, seed: int | None):
        self._random = np.random.default_rng(seed)
        self._drawn: list[float] = []

    def __getitem__(self, i: int) -> float:
        while i >= len(self._drawn):
            self._drawn += self._random.random(64).tolist()
        return self._drawn[i]


def _id(at: int, ids: np.ndarray | None) -> int:
    return at if ids is None else int(ids[at])


def _places(known: np.ndarray, ids: np.ndarray | None, n: int) -> tuple[np.ndarray, np.ndarray | slice]:
    """Where in a row the sorted ids `known` are that it has; and which of `known` these are."""
    if ids is None:
        if len(known) and known[-1] >= n:
            raise ValueError(
                say(
                    f"logit_bias names token id {known[-1]}, and the model has {n}; leave it out",
                    f"logit_bias 中的词元编号 {known[-1]} 不存在：模型只有 {n} 个词元；请去掉该项",
                )
            )
        return known, slice(None)
    at = np.searchsorted(ids, known)
    found = ids.take(at, mode="clip") == known
    return at[found], found


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` largest values are, and those that equal the last of them; in order of place, none of -inf.

    The largest of every column of a table bound the `count`-th from below: few values are compared with each other.
    """
    columns = len(values) // ROWS
    bound = LEAST
    if count <= columns:
        heads = values[: columns * ROWS].reshape(ROWS, columns).max(axis=0)
        bound = max(bound, np.partition(heads, -count)[-count])
    at = np.flatnonzero(values >= bound)
    if len(at) <= count:
        return at
    some = values[at]
    kept: np.ndarray = at[some >= np.partition(some, -count)[-count]]
    return kept


def _cut_tail(nats: np.ndarray, weight: np.ndarray, share: float) -> None:
    """Top-p. Looks at the heavier weights alone: if k are lighter than a k-th of what may go, they may go together.

    k is taken to be small, and where the others turn out not to have the share, the size of the vocabulary.
    """
    total = float(weight.sum(dtype=np.float64))
    for k in (FEW, len(weight) + 1):
        at = np.flatnonzero(weight >= (1 - share) * total / k)
        if weight[at].sum(dtype=np.float64) >= share * total:
            break
    _keep(weight, at[_fewest(-nats[at], weight[at], share * total)])


def _cut_untypical(nats: np.ndarray, weight: np.ndarray, share: float) -> None:
    """Typical-p. Surprise is -log of a weight's share; the log of the total is in it and in what is expected of it."""
    at = np.flatnonzero(weight)
    some, surprise = weight[at], -nats[at]
    total = float(some.sum(dtype=np.float64))
    expected = float((some * surprise).sum(dtype=np.float64)) / total
    _keep(weight, at[_fewest(np.abs(surprise - expected), some, share * total)])


def _keep(weight: np.ndarray, at: np.ndarray) -> None:
    """No weight but at these places."""
    kept = weight[at]
    weight.fill(0)
    weight[at] = kept


def _fewest(key: np.ndarray, weight: np.ndarray, missing: float) -> np.ndarray:
    """Which are the fewest smallest keys that together weigh `missing` (bool, n); of equal keys the first.

    Keys are weighed in buckets, and the bucket in which that is reached in smaller ones, until few are left to sort.
    """
    keys, weights = key, weight
    while len(keys) > FEW and (width := float(keys.max() - keys.min())) > SAME_NATS:
        bucket = ((keys - keys.min()) * (BUCKETS / width)).astype(np.intp)
        reached = np.bincount(bucket, weights=weights).cumsum()
        edge = min(int(reached.searchsorted(missing)), len(reached) - 1)
        missing -= reached[edge - 1] if edge else 0.0
        keys, weights = keys[bucket == edge], weights[bucket == edge]
    order = keys.argsort(kind="stable")
    ordered = keys[order]
    last = min(int(weights[order].cumsum(dtype=np.float64).searchsorted(missing)), len(keys) - 1)
    equal = last + 1 - int(ordered.searchsorted(ordered[last]))  # so many of the keys at the edge are needed
    kept: np.ndarray = key <= ordered[last]
    kept[np.flatnonzero(key == ordered[last])[equal:]] = False
    return kept


def _under(weight: np.ndarray, uniform: float) -> int:
    """The place at the share `uniform` of all weight, from the left: first the block of it, then in the block."""
    sums = np.add.reduceat(weight, np.arange(0, len(weight), BLOCK), dtype=np.float64).cumsum()
    share = uniform * sums[-1]
    block = int(sums.searchsorted(share, side="right"))
    inside = weight[block * BLOCK : (block + 1) * BLOCK].cumsum(dtype=np.float64)
    at = int(inside.searchsorted(share - sums[block - 1] if block else share, side="right"))
    if at == len(inside):  # the same weights, added in another order, differ in the last bit
        at = int(inside.searchsorted(inside[-1]))
    return block * BLOCK + at
