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
    index: str = flag(
        "",
        "index file, or postgresql://USER@HOST/DATABASE [default: your own file]",
        "索引文件，或 postgresql://用户@主机/数据库；默认为自己的索引文件",
        metavar="INDEX",
    )
    watch: bool = flag(False, "keep the index up to date until Ctrl-C", "持续更新索引，直到 Ctrl-C")
    vectors: bool = flag(
        False,
        "passages that are near by meaning too; first `haina search vectors [--model MODEL]`, with a model large "
        "enough to tell: the embedded one's make it worse",
        "也取意思相近的段落；须先运行 haina search vectors [--model 模型]，模型要足够大：内置模型的向量反而降低准确率",
    )
    web: str = flag(
        "",
        "ask the web instead of files, through this search engine: https://HOST/search of SearXNG, or a URL with {q} "
        "whose answer is JSON, and behind # the names that lead to the pages [default: nothing goes out]",
        "不查文件，改用此搜索引擎查网页：SearXNG 的 https://主机/search，或带 {q}、返回 JSON 的网址，"
        "# 后写通向网页地址的字段；默认不访问网络",
        metavar="URL",
    )
    web_private: bool = flag(
        False,
        "with --web: pages of an intranet too, on private addresses and other ports",
        "与 --web 同用：也读取内网（私有地址、其他端口）的网页",
    )
    json: bool = flag(False, "as JSON", "以 JSON 输出")
