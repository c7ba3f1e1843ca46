"""Options of the verbs that evaluate a model."""

from __future__ import annotations

from dataclasses import dataclass

from haina.options.flag import flag
from haina.options.models import ModelOptions


@dataclass(frozen=True)
class BrookEvaluation(ModelOptions):
    """What `haina evaluate brook` measures, and where it writes."""

    data: str = flag(
        "",
        "the data pack that brook was trained from [default: HAINA_DATA]",
        "训练海纳·溪所用的数据目录，默认取环境变量 HAINA_DATA",
        metavar="FOLDER",
    )
    run: str = flag(
        "",
        "folder of the run: its tokens/ train the n-grams whole, its curves and ladder go beside the report",
        "训练目录：用其中 tokens/ 的全部语料训练 n-gram，曲线与缩放图随报告一并给出",
        metavar="FOLDER",
    )
    out: str = flag(
        "",
        "write evaluation.json, evaluation.md (a section for the model card) and pictures here",
        "在此目录写出 evaluation.json、evaluation.md（模型卡的一节）与图片",
        metavar="FOLDER",
    )
    quick: bool = flag(
        False,
        "a small sample, without the n-grams and compressors: a minute or so",
        "只测小样本，不训练 n-gram、不做压缩对比，一分钟左右",
    )
    seed: int = flag(
        1, "of samples and answers [default: 1]", "抽样与回答的种子，默认 1", metavar="N", least=0
    )
    json: bool = flag(False, "as JSON", "以 JSON 输出")


@dataclass(frozen=True)
class BitsOptions(ModelOptions):
    """What `haina evaluate bits-per-byte` prints."""

    json: bool = flag(False, "as JSON", "以 JSON 输出")
