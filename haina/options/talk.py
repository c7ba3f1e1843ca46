"""Options of a conversation and of one answer."""

from __future__ import annotations

from dataclasses import dataclass

from haina.options.flag import flag
from haina.options.models import ModelOptions


@dataclass(frozen=True)
class ChatOptions(ModelOptions):
    """A conversation. None: what the checkpoint's generation_config.json says."""

    adapter: str | None = flag(
        None,
        "answer through this adapter (LoRA) of the model",
        "通过该模型的这个适配器（LoRA）回答",
        metavar="ADAPTER",
    )
    system: str | None = flag(None, "system prompt", "系统提示", metavar="TEXT")
    temperature: float | None = flag(
        None, "0: always the likeliest token", "温度；0 为总取最可能的词元", metavar="T"
    )
    top_k: int | None = flag(
        None, "draw from the K likeliest; 0: all", "只在最可能的 K 个中抽取；0 不限", metavar="K"
    )
    top_p: float | None = flag(
        None, "draw from the likeliest that make up P", "只在累计概率达 P 的词元中抽取", metavar="P"
    )
    min_p: float | None = flag(
        None, "drop what is below P times the likeliest", "舍去低于最大概率 P 倍的词元", metavar="P"
    )
    repetition_penalty: float | None = flag(None, "above 1: repeat less", "大于 1 可减少重复", metavar="R")
    max_new_tokens: int | None = flag(None, "longest answer", "回答的最大词元数", metavar="N", least=1)
    seed: int | None = flag(
        None, "the same seed gives the same answer", "种子相同则回答相同", metavar="N", least=0
    )
    search: str | None = flag(
        None,
        "look in this index of `haina search` first, and show the sources",
        "先在此索引（haina search 所建）中检索，并列出出处",
        metavar="FILE",
    )
    stats: bool = flag(False, "report tokens per second on stderr", "在 stderr 报告速度")


@dataclass(frozen=True)
class RunOptions(ChatOptions):
    """One answer."""

    stop: list[str] = flag((), "end before this text; repeatable", "遇此文本即止，可多次给出", metavar="TEXT")  # noqa: RUF009
    raw: bool = flag(False, "continue the text itself, without chat format", "不用对话格式，直接续写文本")
