"""Admission: what can never be served is refused before anything runs, in one line with the figures."""

from __future__ import annotations

from collections.abc import Sequence

from haina.engine.pages import Pages
from haina.engine.request import Asked, Embed, Request, Score
from haina.model.config import ModelConfig
from haina.wording import say

MOST_LINES = 64  # of a step, and so of a request


def check(asked: Asked, config: ModelConfig) -> None:
    """ValueError: no such token, no token at all, a number out of range, or longer than the context."""
    if isinstance(asked, Embed):
        _check_ids(asked.ids, config)
    elif isinstance(asked, Score):
        _check_ids(asked.prompt, config, more=max(map(len, asked.answers), default=0))
        for answer in filter(None, asked.answers):
            _check_ids(answer, config)
    else:
        _check_ids(asked.ids, config, more=1)
        _check_ids([id for id, _ in asked.sampling.logit_bias] or [0], config)
        _check_counts(asked)


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
    size, context = config.vocab_size, config.max_position_embeddings
    if not ids:
        raise ValueError(
            say(
                "an empty prompt has nothing to continue; give one token or more",
                "提示为空，无从续写；请至少给出一个词元",
            )
        )
    wrong = next((i for i in ids if not 0 <= i < size), None)
    if wrong is not None:
        raise ValueError(
            say(
                f"token id {wrong} is not one of the model's {size}",
                f"词元编号 {wrong} 不在模型的 {size} 个之内",
            )
        )
    if len(ids) + more > context:
        en, zh = (f" and needs {more} more", f"，另需 {more} 个") if more else ("", "")
        raise ValueError(
            say(
                f"the text has {len(ids)} tokens{en}, and the model's context is {context}; shorten it",
                f"文本共 {len(ids)} 个词元{zh}，而模型的上下文只有 {context}；请缩短",
            )
        )


def _check_counts(asked: Request) -> None:
    best_of = asked.n if asked.best_of is None else asked.best_of
    width = asked.beams.width if asked.beams else asked.n
    if asked.max_new_tokens < 1:
        raise _out_of_range("max_new_tokens", asked.max_new_tokens, "1, 2, 3 …", "至少为 1")
    for name, value, least in (("n", asked.n, 1), ("best_of", best_of, asked.n), ("beams", width, asked.n)):
        if not least <= value <= MOST_LINES:
            raise _out_of_range(name, value, f"{least} … {MOST_LINES}", f"{least} 至 {MOST_LINES}")
    if asked.beams and asked.best_of is not None:
        raise ValueError(
            say(
                "best_of does not go with beams, which are all compared; leave one of them out",
                "best_of 不能与 beams 同用（集束本就全部比较）；请去掉其一",
            )
        )


def _out_of_range(name: str, value: int, en: str, zh: str) -> ValueError:
    return ValueError(
        say(f"{name} = {value} is out of range; use {en}", f"{name} = {value} 超出范围；可用：{zh}")
    )
