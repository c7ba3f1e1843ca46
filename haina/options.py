"""The options of each verb: a frozen dataclass whose fields are the flags, saved as run.json beside the result.

It knows names, types and defaults, nothing of what the verbs do with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def flag(
    default: Any,
    en: str,
    zh: str,
    *,
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    short: str | None = None,
) -> Any:
    """A field that people can set: its help in both languages, the range of a number, a letter beside its name."""
    about = {"help": (en, zh), "metavar": metavar, "least": least, "most": most, "short": short}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class TrainOptions:
    """One training run. Rates are the peaks of the schedule (train/optim.py)."""

    steps: int = 600  # the schedule's length
    stop_after: int | None = None  # stop when this step of the run is reached; a later session goes on
    warm_up: int = 40  # steps
    rows: int = 16  # rows of one part of a batch
    accumulate: int = 1  # parts of a batch, each of the same weight
    length: int = 512  # tokens of a row
    matrix_lr: float = 1e-2  # Muon
    other_lr: float = 4e-3  # AdamW: embeddings, head, norms
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    log_every: int = 10
    valid_every: int = 100
    save_every_s: float = 120.0
    compile: bool = False  # slower to start; faster where a GPU or bf16 instructions do the work


@dataclass(frozen=True)
class BrookOptions:
    """Training the embedded model again."""

    data: str = flag(
        "data",
        "folder with poetry/ and chat/ (the model card tells where from)",
        "语料目录，内有 poetry/ 与 chat/（来源见模型卡）",
        metavar="FOLDER",
    )
    out: str = flag(
        "runs/brook",
        "folder of the run; an unfinished one goes on",
        "训练目录；未完成的训练会继续",
        metavar="FOLDER",
    )
    stop_after: int | None = flag(
        None,
        "stop when step N of the run is reached; a later call goes on",
        "训练进行到第 N 步时停止；再次运行则继续",
        metavar="N",
        least=1,
    )


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
class ChatOptions(ModelOptions):
    """A conversation. None: what the checkpoint's generation_config.json says."""

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
    stats: bool = flag(False, "report tokens per second on stderr", "在 stderr 报告速度")


@dataclass(frozen=True)
class RunOptions(ChatOptions):
    """One answer."""

    stop: list[str] = flag((), "end before this text; repeatable", "遇此文本即止，可多次给出", metavar="TEXT")  # noqa: RUF009
    raw: bool = flag(False, "continue the text itself, without chat format", "不用对话格式，直接续写文本")


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
class ListOptions:
    """What `haina ls` is asked for."""

    json: bool = flag(False, "as JSON", "以 JSON 输出")


@dataclass(frozen=True)
class RemoveOptions:
    """What `haina rm` may do without asking."""

    yes: bool = flag(False, "do not ask", "不再询问", short="-y")


@dataclass(frozen=True)
class ServeOptions(ModelOptions):
    """How models are served."""

    host: str = flag(
        "127.0.0.1",
        "address to listen on; one that others can reach needs --api-key-file [default: 127.0.0.1]",
        "监听地址；若他人可以访问，则必须给出 --api-key-file；默认 127.0.0.1",
        metavar="ADDRESS",
    )
    port: int = flag(
        8080,
        "port; 0: any that is free [default: 8080]",
        "端口；0 为任意空闲端口；默认 8080",
        metavar="N",
        least=0,
        most=65535,
    )
    api_key_file: str | None = flag(
        None,
        "only who has a key of this file may ask; a line each: NAME sha256:… limits",
        "只接受持有此文件中密钥的请求；每行一个：名称 sha256:… 限额",
        metavar="FILE",
    )
    new_key: str | None = flag(
        None,
        "make a key for NAME, show it once, write its hash into --api-key-file, and end",
        "为该名称生成密钥：仅显示一次，散列值写入 --api-key-file，随即退出",
        metavar="NAME",
    )
    allow_host: list[str] = flag(  # noqa: RUF009
        (),
        "a name by which browsers reach this server, as behind a proxy; repeatable",
        "浏览器访问本服务所用的域名（如经反向代理），可多次给出",
        metavar="NAME",
    )
    lenient: bool = flag(
        False,
        "drop unknown fields of requests instead of refusing them, and name them in x-haina-ignored",
        "忽略请求中的未知字段而不拒绝，并在 x-haina-ignored 中列出",
    )
    conversations: int | None = flag(
        None,
        "room for so many conversations of full length [default: what 1 GiB holds]",
        "缓存可容纳的完整对话数，默认为 1 GiB 所能容纳的数目",
        metavar="N",
        least=1,
        most=64,
    )
    queue: int = flag(
        128,
        "requests answered or waiting at once; more are told to come again: 429 [default: 128]",
        "同时处理与等候的请求数；超出者以 429 请其稍后再来；默认 128",
        metavar="N",
        least=1,
    )
    timeout: float = flag(
        1800,
        "longest that a request may take [default: 1800]",
        "单个请求的最长时间，默认 1800 秒",
        metavar="SECONDS",
        least=1,
    )
    idle: float = flag(
        0,
        "take a model out of memory when nobody has asked it for so long [default: never]",
        "模型闲置多久后移出内存，默认从不",
        metavar="MINUTES",
        least=0,
    )
    log: Literal["text", "json", "off"] = flag(
        "text", "a line on stderr for every request [default: text]", "每个请求在 stderr 记一行，默认 text"
    )
    check: bool = flag(
        False,
        "try the server that runs at --host and --port with the official clients, and end; key: $HAINA_API_KEY",
        "用各家官方客户端检验正在 --host 与 --port 上运行的服务，随即退出；密钥取自 $HAINA_API_KEY",
    )
    log_prompts: bool = flag(
        False, "log what was asked, too; never done otherwise", "日志中包含提问内容；不加此项则从不记录"
    )
