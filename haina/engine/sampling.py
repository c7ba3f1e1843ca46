"""Sampling: the settings by which the next token is chosen, and what each of them means. sampler.py does it.

It does not know text, requests or where logits come from. From logits to weights, in this order; an operation sees
what the ones before it left, shares are of the weights that remain, and whatever is not set does nothing:

    logit_bias         logit + bias; -100 and below: never                     OpenAI API reference, logit_bias
    repetition_penalty prompt and answer: logit / r if positive, else × r      arXiv:1909.05858 as transformers has it
    frequency_penalty  answer: logit - f × times said                          OpenAI API reference, parameter details
    presence_penalty   answer: logit - p if said                               OpenAI API reference, parameter details
    dry_…              logit - multiplier × base^(n - allowed_length), where   oobabooga/text-generation-webui#5677,
                       the token would repeat what followed the last n tokens  ggml-org/llama.cpp#9702 (breakers, range)
    temperature        logit / t; 0: the largest, of equals the lowest id      transformers TemperatureLogitsWarper
    top_k              the k largest, and all that equal the k-th              transformers TopKLogitsWarper
    top_p              the fewest, largest first, whose share is p             arXiv:1904.09751; TopPLogitsWarper
    min_p              those of at least p × the largest weight                arXiv:2407.01082; MinPLogitsWarper
    typical_p          the fewest, those first whose surprise is closest to    arXiv:2202.00666; TypicalLogitsWarper
                       the expected one, whose share is p
    seed               a uniform number for each token of the answer falls on one of the ids: they lie side by side
                       in their own order, each as wide as its weight

The order is that of transformers (generation/utils.py, _get_logits_processor, v5), under which published
generation_config.json files were chosen; what it lacks stands where vLLM and llama.cpp have it, before temperature.
Ids that a request bans are biased by -∞. `top_logprobs` changes nothing, it asks what else was likely.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from haina.native import sample
from haina.native.library import MAX_TOP
from haina.wording import say

HF_TOP_K = 50  # what transformers takes when a generation_config.json that samples does not say
BAN = -100.0  # a bias so low means never

_RANGES: dict[str, tuple[float, float, bool]] = {  # from, to, and whether the first is one of them
    "temperature": (0, 100, True),
    "top_p": (0, 1, False),
    "min_p": (0, 1, True),
    "typical_p": (0, 1, False),
    "repetition_penalty": (0, 100, False),
    "frequency_penalty": (-2, 2, True),
    "presence_penalty": (-2, 2, True),
    "dry_multiplier": (0, 100, True),
    "dry_base": (1, 100, True),
}
_INT32 = (1 << 31) - 1
_COUNTS = {  # from, to
    "top_k": (0, _INT32),
    "dry_allowed_length": (1, _INT32),
    "dry_range_tokens": (0, _INT32),
    "top_logprobs": (0, MAX_TOP),
}
_HF_FIELDS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; see the table above. The defaults draw from what the network says, unchanged.

    ValueError names a field that is out of range. `dry_range_tokens`: of the text, as many of the last; 0 all.
    `dry_breaker_ids`: no repetition goes across them. DRY counts n up to 64 and takes 1,000 nats at most.
    `logit_bias`: pairs of an id and its bias. `top_logprobs`: how many of the likeliest ids are reported with each
    choice, up to 64. `seed` None: a different answer each time.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    typical_p: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_range_tokens: int = 0
    dry_breaker_ids: tuple[int, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        for field, (low, high, closed) in _RANGES.items():
            value = getattr(self, field)
            if not (_number(value) and low <= value <= high and (closed or value > low)):
                raise self._refusal(field, *_range(low, high, closed))
        for field, (least, most) in _COUNTS.items():
            if not _int32(getattr(self, field), least, most):
                raise self._refusal(
                    field, f"a whole number from {least} to {most}", f" {least} 至 {most} 的整数"
                )
        if not (self.seed is None or (type(self.seed) is int and self.seed >= 0)):
            raise self._refusal("seed", "a whole number, 0 or more", "不小于 0 的整数")
        ids = self.dry_breaker_ids
        if not (isinstance(ids, tuple) and all(map(_int32, ids))):
            raise self._refusal("dry_breaker_ids", "a tuple of token ids", "由词元编号组成的元组")
        if not _biases(self.logit_bias):
            raise self._refusal(
                "logit_bias",
                "a tuple of pairs (token id, bias up to 100), no id twice",
                "由（词元编号，不超过 100 的偏置）组成的元组，编号不得重复",
            )

    def _refusal(self, field: str, en: str, zh: str) -> ValueError:
        value = reprlib.repr(getattr(self, field))
        return ValueError(
            say(f"{field} = {value} is out of range; use {en}", f"{field} = {value} 超出范围；请用{zh}")
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
        values: dict[str, Any] = {"top_k": HF_TOP_K} if sample and "top_k" not in generation else {}
        values |= {field: value for field in _HF_FIELDS if (value := generation.get(field)) is not None}
        if not sample:
            values["temperature"] = 0.0
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(say(f"{file}: {error}", f"{file}：{error}")) from None


def log_sum_exp(logits_V: np.ndarray) -> float:
    """log Σ exp(x), float32 (V): what logits lack to be nats."""
    return sample.log_sum_exp(np.ascontiguousarray(logits_V, np.float32))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _int32(value: object, least: int = 0, most: int = _INT32) -> bool:
    return type(value) is int and least <= value <= most


def _biases(value: object) -> bool:
    if not isinstance(value, tuple):
        return False
    pairs = all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
    good = pairs and all(_int32(id) and _number(bias) and bias <= 100 for id, bias in value)
    return good and len(dict(value)) == len(value)


def _range(low: float, high: float, closed: bool) -> tuple[str, str]:
    if closed:
        return f"a number from {low} to {high}", f" {low} 至 {high} 的数"
    return f"a number above {low}, up to {high}", f"大于 {low}、至多为 {high} 的数"


def nothing_to_choose() -> str:
    """What to say where every id is banned, or impossible."""
    return say(
        "no token may be chosen here: all are banned or impossible; allow at least one",
        "此处没有可选的词元：全部被禁止或不可能出现；请至少允许一个",
    )


def not_a_number() -> str:
    """What to say of logits or states that are NaN or infinite."""
    return say(
        "the network's output is not a number; the weights may be damaged: download the model again",
        "网络输出了非数值（NaN）；权重可能已损坏，请重新下载模型",
    )
