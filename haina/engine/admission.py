"""Admission: what can never be served is refused before anything runs, in one line with the figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from haina.engine.pages import Pages
from haina.engine.request import Asked, Embed, Request, Score
from haina.engine.sampling import Sampling
from haina.model.config import ModelConfig
from haina.wording import say

MOST_LINES = 64  # of a step, and so of a request


def check(asked: Asked, config: ModelConfig) -> None:
    """ValueError: no such token, no token at all, a number out of range, or longer than the context."""
    if type(asked.priority) is not int:
        raise _out_of_range("priority", asked.priority, -math.inf, math.inf)
    if isinstance(asked, Embed):
        _check_ids(asked.ids, config)
    elif isinstance(asked, Score):
        _check_ids(asked.prompt, config, more=max(map(len, asked.answers), default=0))
        for answer in filter(None, asked.answers):
            _check_ids(answer, config)
    else:
        _check_ids(asked.ids, config, more=1)
        _check_range([id for id, _ in asked.sampling.logit_bias], config)
        _check_counts(asked)


def check_adapter(name: str, known: Iterable[str]) -> None:
    """ValueError: a request names an adapter that was never added."""
    if name and name not in (names := list(known)):
        there = ", ".join(names) or say("none", "无")
        raise ValueError(
            say(f"no adapter {name!r}; there is: {there}", f"没有适配器 {name!r}；可用：{there}"),
        )


def check_room(needed: int, pages: Pages) -> None:
    """ValueError: a request needs more pages than there are."""
    size = pages.page_tokens
    if needed > pages.count:
        raise ValueError(
            say(
                f"the request needs {needed * size} tokens of cache and there are {pages.count * size}; "
                "ask for fewer new tokens or a larger cache",
                f"该请求需要 {needed * size} 个词元的缓存，而总共只有 {pages.count * size} 个；"
                "请减少生成长度或增大缓存",
            )
        )


def _check_ids(ids: Sequence[int], config: ModelConfig, *, more: int = 0) -> None:
    context = config.max_position_embeddings
    if not ids:
        raise ValueError(
            say(
                "an empty prompt has nothing to continue; give one token or more",
                "提示为空，无从续写；请至少给出一个词元",
            )
        )
    _check_range(ids, config)
    if len(ids) + more > context:
        en, zh = (f" and needs {more} more", f"，另需 {more} 个") if more else ("", "")
        raise ValueError(
            say(
                f"the text has {len(ids)} tokens{en}, and the model's context is {context}; shorten it",
                f"文本共 {len(ids)} 个词元{zh}，而模型的上下文只有 {context}；请缩短",
            )
        )


def _check_range(ids: Sequence[int], config: ModelConfig) -> None:
    size = config.vocab_size
    wrong = next((i for i in ids if not isinstance(i, int | np.integer) or not 0 <= i < size), None)
    if wrong is not None:
        raise ValueError(
            say(
                f"token id {wrong} is not one of the model's {size}",
                f"词元编号 {wrong} 不在模型的 {size} 个之内",
            )
        )


def _check_counts(asked: Request) -> None:
    best_of = asked.n if asked.best_of is None else asked.best_of
    width = asked.beams.width if asked.beams else asked.n
    for name, value, least, most in (
        ("max_new_tokens", asked.max_new_tokens, 1, math.inf),
        ("n", asked.n, 1, MOST_LINES),
        ("best_of", best_of, asked.n, MOST_LINES),
        ("beams", width, asked.n, MOST_LINES),
    ):
        if type(value) is not int or not least <= value <= most:
            raise _out_of_range(name, value, least, most)
    if asked.beams and replace(asked.sampling, seed=None) != Sampling():
        raise ValueError(
            say(
                "beams are ranked by the network's own probabilities; leave out the sampling settings",
                "集束按网络本身的概率排序；请去掉采样设置",
            )
        )
    if asked.beams and asked.best_of is not None:
        raise ValueError(
            say(
                "best_of does not go with beams, which are all compared; leave one of them out",
                "best_of 不能与 beams 同用（集束本就全部比较）；请去掉其一",
            )
        )


def _out_of_range(name: str, value: object, least: float, most: float) -> ValueError:
    if most < math.inf:
        en, zh = f"use a whole number from {least} to {most}", f"应为 {least} 至 {most} 的整数"
    elif least > -math.inf:
        en, zh = f"use a whole number from {least} on", f"应为不小于 {least} 的整数"
    else:
        en, zh = "use a whole number", "应为整数"
    return ValueError(say(f"{name} = {value}: {en}", f"{name} = {value}：{zh}"))
