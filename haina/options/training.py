"""Options of the verbs that make models."""

from __future__ import annotations

from dataclasses import dataclass

from haina.options.flag import flag


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
