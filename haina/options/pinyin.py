"""Options of the input method."""

from __future__ import annotations

from dataclasses import dataclass

from haina.options.flag import flag


@dataclass(frozen=True)
class PinyinOptions:
    """Keys in, words out."""

    context: str = flag("", "what stands before the cursor", "光标之前的文字", metavar="TEXT")
    top: int = flag(10, "so many candidates", "候选个数", metavar="N", least=1, most=100)
    scheme: str = flag(
        "full",
        "full, xiaohe, ziranma or microsoft",
        "full（全拼）、xiaohe（小鹤）、ziranma（自然码）或 microsoft（微软）",
    )
    fuzzy: str = flag(
        "",
        "sounds not told apart, commas between: zh/z,n/l,in/ing",
        "模糊音，以逗号分隔：zh/z,n/l,in/ing",
        metavar="PAIRS",
    )
    model: str | None = flag(
        None,
        "model that ranks [default: the embedded one; none: without]",
        "排序所用模型，默认为内置模型；none 为不用",
        metavar="PATH",
    )
    user: str | None = flag(None, "file of your own words", "个人词库文件", metavar="FILE")
    learn: str | None = flag(
        None, "add the words of a list to your own", "把词表加入个人词库", metavar="FILE"
    )
    export: str | None = flag(None, "write your own words to a list", "导出个人词库", metavar="FILE")
    json: bool = flag(False, "as JSON", "以 JSON 输出")
