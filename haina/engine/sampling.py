"""Logits → the next id: penalty, temperature, top-k, top-p, min-p, in the order and with the meaning of
Hugging Face's processors, under which published generation settings were chosen.

A request's draws come from its own generator, one uniform number a token, so they depend on its seed and
logits alone: the number falls on one of the remaining ids, which lie side by side in their own order, each as
wide as its weight. It does not know text, other requests or where logits come from.
Sources: huggingface/transformers generation/logits_process.py (v4.29 for Baichuan's settings, v5 for min-p).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from haina.wording import say

HF_TOP_K = 50  # what transformers takes when a generation_config.json that samples does not say


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy; top_k 0, top_p 1, min_p 0 and penalty 1 are off."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None  # None: a different answer each time

    def __post_init__(self) -> None:
        self._check("temperature", 0.0 <= self.temperature <= 100.0, "0 … 100", "0 至 100")
        self._check("top_k", type(self.top_k) is int and self.top_k >= 0, "0, 1, 2 …", "0、1、2 等整数")
        self._check("top_p", 0.0 < self.top_p <= 1.0, "above 0, up to 1", "大于 0，至多为 1")
        self._check("min_p", 0.0 <= self.min_p <= 1.0, "0 … 1", "0 至 1")
        self._check(
            "repetition_penalty",
            0.0 < self.repetition_penalty <= 100.0,
            "above 0, up to 100",
            "大于 0，至多为 100",
        )
        self._check("seed", self.seed is None or self.seed >= 0, "0, 1, 2 …", "0、1、2 等整数")

    def _check(self, field: str, ok: bool, en: str, zh: str) -> None:
        if not ok:
            value = getattr(self, field)
            raise ValueError(
                say(
                    f"{field} = {value} is out of range; use {en}",
                    f"{field} = {value} 超出范围；可用：{zh}",
                )
            )

    @classmethod
    def from_generation(
        cls, generation: Mapping[str, Any], *, file: str = "generation_config.json"
    ) -> Sampling:
        """The defaults a checkpoint's generation_config.json asks for; ValueError names the file and the field.

        Hugging Face's own defaults hold where it says nothing: greedy without do_sample, and with it top_k 50
        (transformers generation/configuration_utils.py, v4.29).
        """
        sample = generation.get("do_sample")
        if sample and "top_k" not in generation:
            generation = {**generation, "top_k": HF_TOP_K}
        values: dict[str, Any] = {}
        for field in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"):
            value = generation.get(field)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(
                    say(
                        f"{file}: {field} = {value!r} is not a number; correct it",
                        f"{file}：{field} = {value!r} 不是数；请改正",
                    )
                )
            values[field] = value
        if not sample:
            values["temperature"] = 0.0
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(say(f"{file}: {error}", f"{file}：{error}")) from None


class Sampler:
    """One request's choices: its settings, its generator, and the ids it has seen."""

    def __init__(self, sampling: Sampling, prompt: np.ndarray, banned: np.ndarray):
        """`prompt`: the ids the repetition penalty counts from the start. `banned`: ids never chosen."""
        self.sampling, self.banned = sampling, banned
        self.random = np.random.default_rng(sampling.seed)
        self.seen = np.unique(prompt)

    def choose(self, logits_V: np.ndarray) -> tuple[int, float]:
        """The next id and the nats the network itself gives it (before penalty, temperature and cuts)."""
        s = self.sampling
        top = logits_V.max()
        if not np.isfinite(top):
            raise ValueError(
                say(
                    "the network's output is not a number; the weights are damaged: download the model again",
                    "网络输出了非数值（NaN）；权重已损坏，请重新下载模型",
                )
            )
        scores_V = logits_V.astype(np.float32)
        scores_V[self.banned] = -np.inf
        if s.repetition_penalty != 1.0:
            seen = scores_V[self.seen]
            scores_V[self.seen] = np.where(seen > 0, seen / s.repetition_penalty, seen * s.repetition_penalty)
        id = int(scores_V.argmax()) if s.temperature == 0.0 else self._draw(scores_V)
        if id not in self.seen:
            self.seen = np.append(self.seen, id)
        return id, float(logits_V[id]) - log_sum_exp(logits_V)

    def _draw(self, scores_V: np.ndarray) -> int:
        """Weights of the ids, 1 for the likeliest and 0 for the tail; then the id under a uniform number."""
        s = self.sampling
        scores_V -= scores_V.max()
        with np.errstate(over="ignore"):  # close to 0 everything but the largest is -inf
            scores_V /= np.float32(max(s.temperature, 1e-30))
        weight_V = np.exp(scores_V, out=scores_V)
        if 0 < s.top_k < len(weight_V):  # ties with the last one stay, as in transformers
            weight_V *= weight_V >= np.partition(weight_V, -s.top_k)[-s.top_k]
        if s.top_p < 1.0:
            _cut(weight_V, s.top_p)
        if s.min_p > 0.0:
            weight_V *= weight_V >= s.min_p
        total_V = np.cumsum(weight_V.astype(np.float64))  # with dtype= it takes four times as long
        return int(np.searchsorted(total_V, self.random.random() * total_V[-1], side="right"))


def _cut(weight_V: np.ndarray, top_p: float) -> None:
    """Keep the fewest weights that reach the share `top_p`, of equal ones the first; the others become 0.

    They are not sorted: the upper half of a positive float32's bits is in the order of the numbers, so weights are
    gathered by it, and only those are sorted among which the share is reached.
    """
    group_V = weight_V.view(np.uint32) >> 16
    mass = np.bincount(group_V, weights=weight_V)[::-1]  # largest weights first
    reached = np.cumsum(mass)
    share = top_p * reached[-1]
    last = int(np.searchsorted(reached, share))
    edge = len(mass) - 1 - last
    ids = np.flatnonzero(group_V == edge)
    ids = ids[np.argsort(-weight_V[ids], kind="stable")]
    inside = reached[last] - mass[last] + np.cumsum(weight_V[ids].astype(np.float64))
    weight_V *= group_V >= edge
    weight_V[ids[np.searchsorted(inside, share) + 1 :]] = 0


def log_sum_exp(logits_V: np.ndarray) -> float:
    """log Σ exp(x), without overflow; float32 (V), summed in double."""
    top = logits_V.max()
    return float(top + np.log(np.exp(logits_V - top).sum(dtype=np.float64)))
