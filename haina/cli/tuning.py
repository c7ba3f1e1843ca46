"""Verbs that go on teaching a model: train sft, dpo, grpo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haina.cli.app import named, train
from haina.cli.training import confirm, memory_of, require, stoppable
from haina.flags import Verb, with_flags
from haina.options.tuning import DpoOptions, GrpoOptions, SftOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.train.tune import Tuning

MODEL = typer.Argument(metavar="MODEL", help=say("model folder", "模型目录"), show_default=False)
DIALOGUES = typer.Argument(
    metavar="DATA",
    help=say(
        "dialogues as .json, .jsonl, .jsonl.zst: messages, ShareGPT's conversations, or Alpaca's instruction",
        "对话文件 .json、.jsonl、.jsonl.zst：messages、ShareGPT 的 conversations 或 Alpaca 的 instruction",
    ),
    show_default=False,
)

PAIRS = typer.Argument(
    metavar="DATA",
    help=say(
        "preferences as .json, .jsonl, .jsonl.zst: prompt, chosen, rejected",
        "偏好文件 .json、.jsonl、.jsonl.zst：prompt、chosen、rejected",
    ),
    show_default=False,
)

QUESTIONS = typer.Argument(
    metavar="PROMPTS",
    help=say(
        "questions as .json, .jsonl, .jsonl.zst: prompt, and what the reward looks for",
        "提问文件 .json、.jsonl、.jsonl.zst：prompt，以及奖励规则所需的字段",
    ),
    show_default=False,
)


@train.command(
    cls=Verb,
    help=say("Teach a model to answer, from dialogues.", "用对话数据教模型回答（监督微调）。"),
)
@with_flags
def sft(model: Annotated[Path, MODEL], data: Annotated[Path, DIALOGUES], *, options: SftOptions) -> None:
    require("zstandard")
    with stoppable(options.out):
        from haina.train.sft import prepare

        finish(prepare(named(model), data, options, available=memory_of))


@train.command(
    cls=Verb,
    help=say(
        "Teach a model which answers are better, from pairs of them.",
        "用成对的回答教模型分辨优劣（直接偏好优化）。",
    ),
)
@with_flags
def dpo(model: Annotated[Path, MODEL], data: Annotated[Path, PAIRS], *, options: DpoOptions) -> None:
    require("zstandard")
    with stoppable(options.out):
        from haina.train.dpo import prepare

        finish(prepare(named(model), data, options, available=memory_of))


@train.command(
    cls=Verb,
    help=say(
        "Teach a model by rewarding its own answers.",
        "按规则奖励模型自己的回答（强化学习）。",
    ),
)
@with_flags
def grpo(model: Annotated[Path, MODEL], data: Annotated[Path, QUESTIONS], *, options: GrpoOptions) -> None:
    require("zstandard")
    with stoppable(options.out):
        from haina.train.grpo import prepare

        finish(prepare(named(model), data, options, available=memory_of))


def finish(job: Tuning) -> None:
    """Say what will happen, ask, train, and say what came of it."""
    from haina.train.tune import run

    print("\n".join(job.told), flush=True)
    confirm(job.asked.yes or (job.folder / "states").exists())
    made = run(job)
    if made is not None:
        command = f"haina chat {made}"
        if job.lora is not None:
            command = f"haina chat {job.base.checkpoint.folder} --adapter {made}"
        print(say(f"{made}: done; talk with it: {command}", f"{made}：完成；与它对话：{command}"))
