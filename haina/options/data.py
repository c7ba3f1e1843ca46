"""Options of the verbs between text and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from haina.options.flag import flag

FETCHED = "fetched"  # beside the recipe: the repositories of sources that name one


@dataclass(frozen=True)
class VocabularyOptions:
    """Learning a vocabulary."""

    out: str = flag("tokenizer.model", "the file to write", "输出文件", metavar="FILE")
    pieces: int = flag(
        16384,
        "size of the vocabulary [default: 16384]",
        "词表大小，默认 16384",
        metavar="N",
        least=512,
        most=1 << 18,
    )
    v1: bool = flag(
        False, "Baichuan 1's form: NFKC and a dummy prefix", "Baichuan 1 的形式：NFKC 规范化，句首加空格"
    )
    v2: bool = flag(
        False,
        "Baichuan 2's form: the text as it is [default]",
        "Baichuan 2 的形式：文本保持原样，为默认值",
    )
    characters: str = flag(
        "",
        "character mode, with a piece for every Chinese character in these: "
        "common (the 8,105 of the standard table), text files; with commas between",
        "逐字模式：为其中每个汉字设独立词元；可用 common（通用规范汉字表 8105 字）或文本文件，以逗号分隔",
        metavar="common|FILE",
    )
    coverage: float = flag(
        0.9999,
        "share of the text whose characters have a piece of their own, the rest becomes bytes; for little text 0.99, "
        "or rare characters take the places of words [default: 0.9999]",
        "有独立词元的字符占全部文本的比例，其余退回字节；语料少时宜用 0.99，否则生僻字会挤占词语的位置；默认 0.9999",
        metavar="SHARE",
        least=0.9,
        most=1.0,
    )
    sample_mb: float = flag(
        50.0,
        "learn from so much of the text, drawn evenly [default: 50]",
        "从语料中均匀抽取这么多文本来训练，默认 50",
        metavar="MB",
        least=0.001,
        most=2000,
    )
    seed: int = flag(0, "of the sample", "抽样的随机种子", metavar="N", least=0)


@dataclass(frozen=True)
class CompressionOptions:
    """Comparing vocabularies."""

    json: bool = flag(False, "as JSON", "以 JSON 输出")


@dataclass(frozen=True)
class BuildOptions:
    """Making a corpus."""

    out: str = flag(
        "corpus", "the folder to make [default: corpus]", "输出目录，默认 corpus", metavar="FOLDER"
    )
    root: str = flag(
        "",
        "where the paths of the recipe begin [default: its folder]",
        "配方中路径的起点，默认为配方所在目录",
        metavar="FOLDER",
    )
    executor: Literal["local", "ray", "slurm"] = flag(
        "local", "where it runs [default: local]", "运行方式，默认 local"
    )
    workers: int = flag(
        0,
        "tasks at the same time [default: one per core]",
        "并行任务数，默认每核一个",
        metavar="N",
        least=0,
        most=4096,
    )
    slurm_partition: str = flag("", "partition of Slurm", "Slurm 分区", metavar="NAME")
    slurm_time: str = flag("24:00:00", "limit of a Slurm job", "Slurm 作业时限", metavar="TIME")


@dataclass(frozen=True)
class FetchOptions:
    """Fetching what a recipe's sources are made from."""

    out: str = flag(
        "",
        "where to put it [default: beside the recipe, or haina-data]",
        "存放位置，默认在配方旁边，未给配方时为 haina-data",
        metavar="FOLDER",
    )
