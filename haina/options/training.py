"""Options of the verbs that make models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from haina.options.flag import flag

SizeName = Literal[
    "xs", "s", "m", "l", "xl", "50m", "100m", "300m", "800m", "1.5b", "3b", "7b", "13b"
]  # rows of train/plan.py


@dataclass(frozen=True)
class TrainOptions:
    """One training run. Rates are the peaks of the schedule (train/optim.py)."""

    steps: int = 600  # the schedule's length
    stop_after: int | None = None  # stop when this step of the run is reached; a later session goes on
    rows: int = 16  # rows of one part of a batch
    accumulate: int = 1  # parts of a batch, of all processes together
    length: int = 512  # tokens of a row
    optimiser: Literal["muon", "adamw"] = "muon"
    matrix_lr: float = 1e-2  # of the matrices inside the blocks
    other_lr: float = 4e-3  # AdamW: embeddings, head, norms
    momentum: float = 0.95  # Muon
    beta1: float = 0.9  # AdamW
    beta2: float = 0.95
    weight_decay: float = 0.1  # of the matrices inside the blocks
    schedule: Literal["wsd", "cosine", "constant"] = "wsd"
    warm_up: int = 40  # steps
    flat: float = 0.4  # wsd: the rate is at its peak until this share of the steps
    floor: float = 0.05  # the share of the peak at the end
    clip: float = 1.0  # largest norm of the gradient
    spike_sigma: float = 6.0  # skip a step whose loss or gradient lies so far above the last ones; 0: never
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast, the weights stay fp32
    recompute: Literal["none", "block"] = "none"  # block: activations are computed again in the backward pass
    log_every: int = 10
    valid_every: int = 100
    save_every: int = 100  # steps
    keep: int = 2  # states on the disk
    compile: bool = False  # slower to start; faster where a GPU or bf16 instructions do the work
    threads: int = 0  # of torch on a CPU; 0: as it comes
    patience: int = 0  # stop after so many validations without a better one, keep the best; 0: never


RUN_HELP = (
    "folder of the run; an unfinished one goes on",
    "训练目录；未完成的训练会继续",
)


@dataclass(frozen=True)
class LongRunOptions:
    """What every long run takes, whatever is learnt."""

    precision: Literal["auto", "fp32", "bf16"] = flag(
        "auto",
        "of the products; auto measures what this machine does faster",
        "矩阵乘法的精度；auto 实测本机何者更快",
    )
    recompute: Literal["none", "block"] = flag(
        "none",
        "block: keep no activations inside a block, compute them again: less memory, a third slower",
        "block：不保留层内激活值，反向时重算：省内存，约慢三分之一",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = flag("auto", "where to compute", "计算设备")
    threads: int | None = flag(
        None,
        "CPU threads; a run keeps its number, since sums depend on it [default: 1 or all, whichever is faster here]",
        "CPU 线程数；求和结果与之有关，续训时沿用；默认实测单线程与全部线程，取较快者",
        metavar="N",
        least=1,
        most=1024,
    )
    patience: int = flag(
        0,
        "stop after N validations without a better one, and keep the best weights [default: never, the last]",
        "连续 N 次验证没有改善就停止，并保留最好的权重；默认不停，用最后的权重",
        metavar="N",
        least=0,
    )
    keep: int = flag(
        2, "states kept on the disk [default: 2]", "磁盘上保留的状态数，默认 2", metavar="N", least=1
    )
    stop_after: int | None = flag(
        None,
        "stop when step N of the run is reached; a later call goes on",
        "训练进行到第 N 步时停止；再次运行则继续",
        metavar="N",
        least=1,
    )
    yes: bool = flag(False, "begin without asking", "不再询问，直接开始", short="-y")


@dataclass(frozen=True)
class BrookOptions:
    """Training the embedded model again, or on."""

    data: str = flag(
        "data",
        "folder of the text, as `haina data fetch` makes it",
        "语料目录，由 haina data fetch 生成",
        metavar="FOLDER",
    )
    out: str = flag("runs/brook", *RUN_HELP, metavar="FOLDER")
    tokens: float = flag(
        7e6,
        "tokens of the long part, at a flat rate; more of them later make a better model of the same run "
        "[default: 7e6]",
        "长训练（学习率恒定）的词元数；以后加大即可在同一训练上继续改进，默认 7e6",
        metavar="N",
    )
    threads: int | None = flag(
        None,
        "CPU threads, as of haina train pretrain",
        "CPU 线程数，同 haina train pretrain",
        metavar="N",
        least=1,
    )
    stop_after: int | None = flag(
        None,
        "stop when step N of the long part is reached; a later call goes on",
        "长训练进行到第 N 步时停止；再次运行则继续",
        metavar="N",
        least=1,
    )


@dataclass(frozen=True)
class PretrainOptions(LongRunOptions):
    """Pre-training. None: what the size says (train/plan.py)."""

    tokenizer: str | None = flag(
        None,
        "tokenizer.model with which the text was encoded; needed once, then RUN has it",
        "编码所用的 tokenizer.model；只需给一次，此后训练目录中已有",
        metavar="FILE",
    )
    from_: str | None = flag(
        None,
        "begin with the weights, optimiser and place in the text of another run, or of one state of it; what is not "
        "asked for is as there, but the rates fall from the first step on [RUN or RUN/states/N]",
        "从另一次训练（或其某个状态）的权重、优化器与语料位置开始；未指定的选项与其相同，但学习率从第一步起下降"
        "［RUN 或 RUN/states/N］",
        metavar="RUN",
    )
    mix: str = flag(
        "",
        "more token or corpus folders, with commas between; FOLDER=3: an epoch shows it three times",
        "再混入的词元目录或语料目录，以逗号分隔；目录=3 表示每遍历一次展示三遍",
        metavar="FOLDERS",
    )
    weights: str | None = flag(
        None,
        "how often an epoch shows a domain, with commas between: chat=3,law=0.5 [default: once]",
        "每遍历一次各领域展示的遍数，以逗号分隔：chat=3,law=0.5；默认一遍",
        metavar="DOMAIN=N",
    )
    size: SizeName | None = flag(  # noqa: RUF009
        None,
        "one dial: shape, rates, batch, tokens [default: m]",
        "一个旋钮：结构、学习率、批量、词元数，默认 m",
    )
    out: str = flag("runs/pretrain", *RUN_HELP, metavar="RUN")
    tokens: float | None = flag(
        None,
        "tokens to see, such as 88e6; of a run that goes on it may be changed while its rates are flat "
        "[default: the size's, at most 4 times the text; with --from: a tenth of what that run saw]",
        "训练词元数，如 88e6；学习率下降前，续训时可改；默认按规模，至多为语料的 4 遍；用 --from 时为原训练的十分之一",
        metavar="N",
        least=1,
    )
    length: int | None = flag(
        None,
        "tokens of a row [default: the size's]",
        "每行的词元数，默认按规模",
        metavar="TOKENS",
        least=16,
        most=65536,
    )
    rows: int | None = flag(
        None,
        "rows computed at once; the batch stays the same [default: what memory and the size suggest]",
        "一次计算的行数，不影响批量；默认按内存与规模",
        metavar="N",
        least=1,
    )
    batch: int | None = flag(
        None, "tokens of a step [default: the size's]", "每步的词元数，默认按规模", metavar="TOKENS", least=16
    )
    position: Literal["rope", "alibi"] | None = flag(
        None, "how positions are told [default: rope; 13b: alibi]", "位置编码，默认 rope；13b 为 alibi"
    )
    head: Literal["plain", "normed"] | None = flag(
        None,
        "normed: the NormHead of Baichuan 2 [default: plain]",
        "normed 为百川 2 的 NormHead，默认 plain",
    )
    optimiser: Literal["muon", "adamw"] | None = flag(
        None,
        "for the matrices of the blocks [default: muon; 7b, 13b: adamw]",
        "用于各层矩阵，默认 muon；7b、13b 为 adamw",
    )
    schedule: Literal["wsd", "cosine", "constant"] | None = flag(
        None,
        "wsd: flat, then linear to 5 %; constant: flat to the end, for --from to go on from "
        "[default: wsd; 7b, 13b: cosine]",
        "wsd：先平后线性降至 5%；constant：始终不降，供 --from 接续；默认 wsd；7b、13b 为 cosine",
    )
    flat: float | None = flag(
        None,
        "wsd: share of the steps before the rates fall [default: 0.4; with --from: 0]",
        "wsd：学习率下降之前所占步数的比例，默认 0.4；用 --from 时为 0",
        metavar="SHARE",
        least=0,
        most=1,
    )
    matrix_lr: float | None = flag(
        None,
        "peak rate of the matrices [default: the size's]",
        "各层矩阵的最高学习率，默认按规模",
        metavar="LR",
        least=0,
    )
    other_lr: float | None = flag(
        None,
        "peak rate of embeddings, head and norms [default: the size's]",
        "词嵌入、输出层与归一化的最高学习率，默认按规模",
        metavar="LR",
        least=0,
    )
    momentum: float | None = flag(
        None, "of Muon [default: 0.95]", "Muon 的动量，默认 0.95", metavar="M", least=0, most=0.999
    )
    beta1: float | None = flag(
        None, "of AdamW [default: 0.9]", "AdamW 的 β₁，默认 0.9", metavar="B", least=0, most=0.9999
    )
    beta2: float | None = flag(
        None, "of AdamW [default: 0.95]", "AdamW 的 β₂，默认 0.95", metavar="B", least=0, most=0.9999
    )
    weight_decay: float | None = flag(
        None,
        "cautious, of the matrices [default: 0.1]",
        "谨慎权重衰减，仅用于矩阵，默认 0.1",
        metavar="W",
        least=0,
    )
    warm_up: int | None = flag(
        None,
        "steps [default: 40; 7b, 13b: 2000; with --from: 0]",
        "预热步数，默认 40；7b、13b 为 2000；用 --from 时为 0",
        metavar="N",
        least=0,
    )
    clip: float | None = flag(
        None,
        "largest norm of a gradient [default: 1; 7b, 13b: 0.5]",
        "梯度范数上限，默认 1；7b、13b 为 0.5",
        metavar="C",
        least=0.001,
    )
    z_loss: Literal["logsumexp", "max", "off"] | None = flag(
        None,
        "keeps logits small: 1e-4·logsumexp² as PaLM, or 2e-4·max² as Baichuan 2 [default: logsumexp]",
        "约束 logits 大小：PaLM 的 1e-4·logsumexp²，或百川 2 的 2e-4·max²；默认 logsumexp",
    )
    compile: Literal["auto", "on", "off"] = flag(
        "auto", "torch.compile; auto: with bf16", "torch.compile；auto 为随 bf16 启用"
    )
    replicas: int = flag(
        1,
        "under torchrun: groups of processes that hold all weights each; inside one they are split [default: 1]",
        "用 torchrun 时的副本数：每组进程各持全部权重，组内切分，默认 1",
        metavar="N",
        least=1,
    )
    launch: Literal["here", "ray"] = flag(
        "here",
        "ray: in --workers of Ray Train, on the cluster of RAY_ADDRESS or on this machine [default: here]",
        "ray：在 Ray Train 的 --workers 个进程中，集群由 RAY_ADDRESS 指定，否则在本机；默认 here",
    )
    workers: int = flag(
        1,
        "with --launch ray: processes [default: 1]",
        "用 --launch ray 时的进程数，默认 1",
        metavar="N",
        least=1,
    )
    deepspeed: str | None = flag(
        None,
        "a ds_config.json whose rates, batch, precision and ZeRO stage are taken where no flag says otherwise",
        "DeepSpeed 的 ds_config.json；未用选项指定的学习率、批量、精度与 ZeRO 阶段从中读取",
        metavar="FILE",
    )
    tensor_parallel: int = flag(
        1,
        "under torchrun: processes that share the heads and the MLP of every block [default: 1]",
        "用 torchrun 时分担每层注意力头与 MLP 的进程数，默认 1",
        metavar="N",
        least=1,
    )
    seed: int | None = flag(
        None,
        "of the weights and of the order of the rows [default: 0]",
        "权重与样本顺序的随机种子，默认 0",
        metavar="N",
        least=0,
    )
    log_every: int = flag(
        10, "steps between lines of the log [default: 10]", "每几步记录一次，默认 10", metavar="N", least=1
    )
    valid_every: int | None = flag(
        None,
        "steps between validations and samples [default: 100, or a tenth of them all]",
        "每几步验证并生成样例，默认 100，步数少时为其十分之一",
        metavar="N",
        least=1,
    )
    save_every: int | None = flag(
        None,
        "steps between states on the disk [default: about five minutes]",
        "每几步保存一次状态，默认约五分钟",
        metavar="N",
        least=1,
    )


@dataclass(frozen=True)
class LadderOptions:
    """Small runs of growing size, and the loss that the next will reach."""

    tokenizer: str | None = flag(
        None,
        "tokenizer.model with which the text was encoded; needed once, then RUN has it",
        "编码所用的 tokenizer.model；只需给一次，此后训练目录中已有",
        metavar="FILE",
    )
    out: str = flag("runs/ladder", *RUN_HELP, metavar="RUN")
    length: int = flag(
        256, "tokens of a row [default: 256]", "每行的词元数，默认 256", metavar="TOKENS", least=16, most=4096
    )
    tokens_per_weight: float = flag(
        20.0,
        "tokens for each weight of the matrix products [default: 20]",
        "矩阵中每个权重对应的词元数，默认 20",
        metavar="N",
        least=0.01,
    )
    rungs: int = flag(
        5,
        "how many sizes, the smallest first; each is about three times the work of the one before [default: 5]",
        "训练几个规模，从最小的起；每级计算量约为前一级的三倍；默认 5",
        metavar="N",
        least=4,
        most=7,
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = flag("auto", "where to compute", "计算设备")
    yes: bool = flag(False, "begin without asking", "不再询问，直接开始", short="-y")
