"""Options of `haina search`."""

from __future__ import annotations

from dataclasses import dataclass

from haina.options.flag import flag


@dataclass(frozen=True)
class SearchOptions:
    """Where is searched, and what is shown."""

    top: int = flag(10, "passages [default: 10]", "段落数，默认 10", metavar="N", least=1, most=100)
    model: str = flag(
        "",
        "a model that chooses what is quoted [default: none, the sentences that fit best]",
        "由此模型选择引文；默认不用模型，取最贴合的句子",
        metavar="MODEL",
    )
    own_words: bool = flag(
        False,
        "with --model: words of its own between the quotes, for large models",
        "与 --model 同用：引文之间可有模型自己的话，适合大模型",
    )
    talk: bool = flag(
        False,
        "each line of stdin is a question that follows those before it; an empty line begins anew",
        "从标准输入逐行提问，后一问承接前问；空行另起话题",
    )
    index: str = flag("", "index file [default: your own]", "索引文件，默认为自己的索引", metavar="FILE")
    watch: bool = flag(False, "keep the index up to date until Ctrl-C", "持续更新索引，直到 Ctrl-C")
    json: bool = flag(False, "as JSON", "以 JSON 输出")
