"""Options of the verbs that go on teaching a model: train sft, dpo, grpo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from haina.options.flag import flag
from haina.options.training import RUN_HELP, LongRunOptions


@dataclass(frozen=True)
class TuneOptions(LongRunOptions):
    """What every way of tuning takes. None: chosen by the model and the data (train/tune.py)."""

    out: str = flag("runs/tune", *RUN_HELP, metavar="RUN")
    lora: bool = flag(
        False,
        "train small matrices beside the weights (LoRA); the result is an adapter",
        "只训练权重旁的小矩阵（LoRA），结果为适配器",
    )
    qlora: bool = flag(
        False,
        "LoRA over weights kept in 4 bits: a fraction of the memory",
        "在 4 位权重上做 LoRA，内存占用大减",
    )
    rank: int = flag(
        8, "of LoRA's matrices [default: 8]", "LoRA 的秩，默认 8", metavar="R", least=1, most=256
    )
    alpha: float = flag(
        16.0,
        "LoRA's matrices count alpha / rank times [default: 16]",
        "LoRA 的缩放为 alpha / 秩，默认 16",
        metavar="A",
        least=0.001,
    )
    targets: str = flag(
        "W_pack,o_proj,gate_proj,up_proj,down_proj",
        "matrices that LoRA goes beside, with commas between: W_pack (q, k and v as one), q_proj, k_proj, v_proj, "
        "o_proj, gate_proj, up_proj, down_proj [default: all]",
        "LoRA 所在的矩阵，以逗号分隔：W_pack（q、k、v 合一）、q_proj、k_proj、v_proj、o_proj、gate_proj、up_proj、"
        "down_proj；默认全部",
        metavar="NAMES",
    )
    lr: float | None = flag(
        None,
        "peak rate [default: that of a 7B, higher for narrower models; with LoRA ten times that of a 7B]",
        "最高学习率，默认以 7B 为准，模型越窄越高；LoRA 为 7B 的十倍",
        metavar="LR",
        least=0,
    )
    weight_decay: float = flag(
        0.0,
        "cautious, of the matrices [default: 0]",
        "谨慎权重衰减，仅用于矩阵，默认 0",
        metavar="W",
        least=0,
    )
    warm_up: int | None = flag(
        None, "steps [default: 3 % of them]", "预热步数，默认总步数的 3%", metavar="N", least=0
    )
    clip: float = flag(
        1.0, "largest norm of a gradient [default: 1]", "梯度范数上限，默认 1", metavar="C", least=0.001
    )
    ignore: str = flag(
        "",
        "keys of a row that mean nothing for training, with commas between",
        "行中与训练无关的键，以逗号分隔",
        metavar="KEYS",
    )
    skip_bad: bool = flag(
        False, "leave out rows that cannot be used, and count them", "略过不可用的行，并报告数量"
    )
    valid: float = flag(
        0.01,
        "share of the data that is held out [default: 0.01; at least one row unless 0]",
        "留作验证的比例，默认 0.01；不为 0 时至少一行",
        metavar="SHARE",
        least=0,
        most=0.5,
    )
    seed: int = flag(
        0,
        "of the order of the rows, and of chance [default: 0]",
        "样本顺序等的随机种子，默认 0",
        metavar="N",
        least=0,
    )
    log_every: int = flag(
        1, "steps between lines of the log [default: 1]", "每几步记录一次，默认 1", metavar="N", least=1
    )
    valid_every: int | None = flag(
        None,
        "steps between validations and samples [default: 50, or a tenth of them all]",
        "每几步验证并生成样例，默认 50，步数少时为其十分之一",
        metavar="N",
        least=1,
    )
    save_every: int = flag(
        50,
        "steps between states on the disk [default: 50]",
        "每几步保存一次状态，默认 50",
        metavar="N",
        least=1,
    )


@dataclass(frozen=True)
class SftOptions(TuneOptions):
    """Learning answers."""

    out: str = flag("runs/sft", *RUN_HELP, metavar="RUN")
    epochs: float = flag(
        3.0, "times that the data is shown [default: 3]", "数据遍历的遍数，默认 3", metavar="N", least=0.001
    )
    batch: int | None = flag(
        None,
        "tokens of a step [default: up to 32,768, less for little data]",
        "每步的词元数，默认至多 32,768，数据少时更小",
        metavar="TOKENS",
        least=16,
    )
    rows: int | None = flag(
        None,
        "rows computed at once; the batch stays the same",
        "一次计算的行数，不影响批量",
        metavar="N",
        least=1,
    )
    length: int | None = flag(
        None,
        "tokens of a row, into which dialogues are packed; longer ones are cut [default: the model's, at most 2048]",
        "每行的词元数，对话装入行内，过长则截断；默认同模型上下文，至多 2048",
        metavar="TOKENS",
        least=16,
        most=65536,
    )
    z_loss: Literal["logsumexp", "max", "off"] = flag(
        "off",
        "keeps logits small, as in pre-training [default: off]",
        "约束 logits 大小，同预训练，默认 off",
    )


@dataclass(frozen=True)
class DpoOptions(TuneOptions):
    """Learning which of two answers is better."""

    out: str = flag("runs/dpo", *RUN_HELP, metavar="RUN")
    epochs: float = flag(
        1.0, "times that the data is shown [default: 1]", "数据遍历的遍数，默认 1", metavar="N", least=0.001
    )
    batch: int = flag(
        32, "pairs of a step [default: 32]", "每步的偏好对数，默认 32", metavar="PAIRS", least=1
    )
    rows: int = flag(
        4, "pairs computed at once [default: 4]", "一次计算的偏好对数，默认 4", metavar="N", least=1
    )
    length: int | None = flag(
        None,
        "tokens of a question with its answer; longer pairs are left out [default: the model's, at most 2048]",
        "提问与回答的词元数上限，过长的偏好对会略去；默认同模型上下文，至多 2048",
        metavar="TOKENS",
        least=16,
        most=65536,
    )
    beta: float = flag(
        0.1,
        "how closely the model stays to what it was [default: 0.1]",
        "与原模型保持接近的程度，默认 0.1",
        metavar="B",
        least=1e-6,
    )
    label_smoothing: float = flag(
        0.0,
        "share of the pairs that may be the wrong way round [default: 0]",
        "偏好标注可能颠倒的比例，默认 0",
        metavar="SHARE",
        least=0,
        most=0.499,
    )
    by_length: bool = flag(
        False,
        "nats per token of an answer instead of their sum, so that length is no advantage",
        "按每词元的平均值而非总和比较，使长度不占优势",
    )
    sft: float = flag(
        0.0,
        "weight of the loss of ordinary tuning on the better answers [default: 0]",
        "较优回答上普通微调损失的权重，默认 0",
        metavar="W",
        least=0,
    )


@dataclass(frozen=True)
class GrpoOptions(TuneOptions):
    """Learning from rewards."""

    out: str = flag("runs/grpo", *RUN_HELP, metavar="RUN")
    reward: str = flag(
        "",
        "what is rewarded, with + between: verse, language, contained, json, length, arithmetic, or MODULE:FUNCTION",
        "奖励规则，以 + 相连：verse、language、contained、json、length、arithmetic，或 模块:函数",
        metavar="NAME",
    )
    steps: int = flag(200, "steps [default: 200]", "步数，默认 200", metavar="N", least=1)
    prompts: int = flag(8, "questions of a step [default: 8]", "每步的提问数，默认 8", metavar="N", least=1)
    generations: int = flag(
        8, "answers to each question [default: 8]", "每个提问的回答数，默认 8", metavar="N", least=2
    )
    rows: int | None = flag(
        None,
        "questions computed at once [default: all of a step]",
        "一次计算的提问数，默认每步全部",
        metavar="N",
        least=1,
    )
    max_new_tokens: int = flag(
        128, "of an answer [default: 128]", "回答的词元数上限，默认 128", metavar="N", least=1
    )
    temperature: float = flag(
        1.0, "of the answers [default: 1]", "生成回答的温度，默认 1", metavar="T", least=0.01, most=5
    )
    reuse: int = flag(
        1,
        "steps for which answers are used [default: 1]",
        "同一批回答使用的步数，默认 1",
        metavar="N",
        least=1,
    )
    beta: float = flag(
        0.0,
        "weight of the distance from the model as it was [default: 0]",
        "与原模型距离的权重，默认 0",
        metavar="B",
        least=0,
    )
    clip_low: float = flag(
        0.2,
        "a token's likelihood may fall by this share in one go [default: 0.2]",
        "词元似然一次下降的比例上限，默认 0.2",
        metavar="E",
        least=0,
        most=1,
    )
    clip_high: float = flag(
        0.28,
        "and rise by this [default: 0.28]",
        "词元似然一次上升的比例上限，默认 0.28",
        metavar="E",
        least=0,
    )
