"""Options of every verb that loads a model, and of those that bring, show, measure and convert one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from haina.options.flag import flag


@dataclass(frozen=True)
class ModelOptions:
    """How a checkpoint is loaded."""

    bits: Literal[16, 8, 4] = flag(16, "precision of the weights", "权重精度")
    context: int | None = flag(
        None,
        "room for prompt and answer [default: the model's, up to 4096]",
        "上下文词元数，默认随模型，至多 4096",
        metavar="TOKENS",
        least=16,
    )
    cache: Literal[16, 8] = flag(
        16,
        "precision of the context's keys and values; 8 halves their memory",
        "上下文键值的精度；8 可省一半内存",
    )
    device: Literal["auto", "cpu", "cuda", "mps", "torch"] = flag(
        "auto",
        "where to compute: cpu is native code, torch is torch on the CPU [default: a GPU that holds the model, or cpu]",
        "计算设备；cpu 为本机代码，torch 为在 CPU 上使用 torch，默认用放得下模型的 GPU，否则用 cpu",
    )
    threads: int | None = flag(
        None,
        "CPU threads [default: all cores]",
        "CPU 线程数，默认用全部核心",
        metavar="N",
        least=1,
        most=1024,
    )
    draft: str | None = flag(
        None,
        "a small model of the same family that guesses ahead: the same answers, sooner",
        "由同系列的小模型预先猜测后文：回答不变，速度更快",
        metavar="MODEL",
    )
    no_speculation: bool = flag(
        False,
        "do not guess ahead, not even from the text itself (to compare)",
        "不预先猜测后文，也不借助上文（用于对比）",
    )
    force: bool = flag(False, "load even when memory seems too small", "内存可能不足时仍然载入")


@dataclass(frozen=True)
class BenchOptions(ModelOptions):
    """What `haina bench` measures."""

    prompt: int | None = flag(
        None,
        "tokens of each question [default: 256, or half of the context]",
        "每个问题的词元数，默认 256，至多上下文的一半",
        metavar="TOKENS",
        least=1,
    )
    tokens: int = flag(
        32, "tokens of each answer [default: 32]", "每个回答的词元数，默认 32", metavar="N", least=1
    )
    conversations: int = flag(
        4,
        "how many at once, beside one alone [default: 4]",
        "除单个对话外，另测同时进行几个，默认 4",
        metavar="N",
        least=2,
        most=64,
    )
    json: bool = flag(False, "as JSON", "以 JSON 输出")


@dataclass(frozen=True)
class ConvertOptions:
    """What `haina convert` makes of a model."""

    to: Literal["w4", "w8", "bf16"] = flag(
        "w4", "4 or 8 bits a weight, or bfloat16", "每个权重 4 位、8 位，或 bfloat16"
    )
    calibrate: list[str] = flag(  # noqa: RUF009
        (),
        "round w4 to suit this text (UTF-8, repeatable): closer to the source; a 13B takes 5 GB and hours",
        "按此文本优化 w4 的舍入（UTF-8，可多次给出）：更接近原模型；13B 约需 5 GB 内存和数小时",
        metavar="FILE",
    )
    threads: int | None = flag(
        None,
        "CPU threads [default: all cores]",
        "CPU 线程数，默认用全部核心",
        metavar="N",
        least=1,
        most=1024,
    )


@dataclass(frozen=True)
class ExportOptions:
    """What `haina export` writes."""

    to: Literal["safetensors", "gguf", "baichuan"] = flag(
        "safetensors",
        "a LLaMA folder (transformers, vLLM), a file for llama.cpp, or Baichuan's own form",
        "LLaMA 格式目录（transformers、vLLM）、llama.cpp 文件或百川原格式",
    )
    dtype: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] | None = flag(
        None,
        "type of the weights; q8_0 and q4_0 are GGUF's [default: the model's own, f16 if it is packed]",
        "权重的类型；q8_0、q4_0 仅用于 GGUF；默认与原模型相同，量化模型为 f16",
    )


@dataclass(frozen=True)
class ShowOptions:
    """What `haina show` is asked for."""

    context: int | None = flag(
        None,
        "tokens to count memory for [default: the model's]",
        "按多少词元估算内存，默认随模型",
        metavar="TOKENS",
        least=1,
    )
    json: bool = flag(False, "as JSON", "以 JSON 输出")


FROM_HELP = ("the hub that has it", "模型所在的站点")


@dataclass(frozen=True)
class FitOptions:
    """What `haina fit` is asked for."""

    context: int | None = flag(
        None,
        "tokens of context [default: the model's, up to 4096]",
        "上下文词元数，默认随模型，至多 4096",
        metavar="TOKENS",
        least=1,
    )
    from_: Literal["huggingface", "modelscope"] = flag("huggingface", *FROM_HELP)
    json: bool = flag(False, "as JSON", "以 JSON 输出")


@dataclass(frozen=True)
class PullOptions:
    """What `haina pull` is to bring, and from where."""

    to: Literal["w4", "w8", "bf16"] | None = flag(
        None, "keep it in this precision, as NAME-w4", "转换为此精度保存，名为 NAME-w4"
    )
    keep: bool = flag(False, "with --to: keep the original, too", "与 --to 合用：同时保留原件")
    from_: Literal["huggingface", "modelscope"] = flag("huggingface", *FROM_HELP)
    revision: str | None = flag(None, "branch, tag or commit", "分支、标签或提交", metavar="REV")


@dataclass(frozen=True)
class MergeOptions:
    """How a model with an adapter in it is written."""

    dtype: Literal["f32", "f16", "bf16"] | None = flag(
        None,
        "of the weights [default: as they are; packed ones become f16]",
        "权重类型，默认不变；量化的权重转为 f16",
    )


@dataclass(frozen=True)
class ListOptions:
    """What `haina ls` is asked for."""

    json: bool = flag(False, "as JSON", "以 JSON 输出")


@dataclass(frozen=True)
class RemoveOptions:
    """What `haina rm` may do without asking."""

    yes: bool = flag(False, "do not ask", "不再询问", short="-y")
