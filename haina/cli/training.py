"""Verbs that make models: train brook, pretrain, ladder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from haina.apps.screen import interactive
from haina.cli.app import EMBEDDED, train
from haina.flags import Verb, with_flags
from haina.options.training import BrookOptions, LadderOptions, PretrainOptions
from haina.wording import say

TEXT = typer.Argument(
    metavar="FOLDER", help=say("token folder or corpus folder", "词元目录或语料目录"), show_default=False
)


@train.command(
    cls=Verb, help=say("Train haina-brook, the embedded model.", "训练内置模型“海纳·溪”（haina-brook）。")
)
@with_flags
def brook(*, options: BrookOptions) -> None:
    require("zstandard")
    with stoppable(options.out):
        from haina.evaluate.card import card
        from haina.train.brook import publish, run

        folder, model = Path(options.out), Path(options.out) / "model"
        tuned = run(options)
        if tuned is None:
            return
        licence = {"LICENSE": (EMBEDDED / "LICENSE").read_bytes()}
        files = card(tuned, folder) | licence
        shutil.rmtree(model, ignore_errors=True)  # of fewer tokens: what it was made of is in its branch
        publish(tuned, model, files=files)
    print(
        say(
            f"{model}: done; talk with it: haina chat {model}", f"{model}：完成；与它对话：haina chat {model}"
        )
    )


@train.command(
    cls=Verb,
    help=say(
        "Train a model from text: one dial, exact resume, a checkpoint folder at the end.",
        "从文本预训练模型：一个旋钮定规模，中断后精确续训，最终得到模型目录。",
    ),
)
@with_flags
def pretrain(text: Annotated[Path, TEXT], *, options: PretrainOptions) -> None:
    require(*(["ray"] if options.launch == "ray" else []))
    with stoppable(options.out):
        from haina.train.launch import here, on_ray

        begin = on_ray if options.launch == "ray" else here
        begin(text, options, available=memory_of, ask=confirm)


@train.command(
    cls=Verb,
    help=say(
        "Train five small sizes, fit the scaling law, predict the loss of the next.",
        "训练五个小规模模型，拟合缩放定律，预测下一规模的损失。",
    ),
)
@with_flags
def ladder(text: Annotated[Path, TEXT], *, options: LadderOptions) -> None:
    require()
    folder = Path(options.out)
    with stoppable(options.out):
        from haina.train.ladder import climb_all, told

        print(told(text, options), flush=True)
        confirm(options.yes or any(folder.glob("*/states")))
        predicted = climb_all(text, folder, options)
        if predicted is not None:
            print(predicted)


@contextmanager
def stoppable(out: str) -> Iterator[None]:
    """Say that something begins, which takes a while; and how things stand if Ctrl-C ends it before the loop."""
    if os.environ.get("RANK", "0") == "0":
        print(say("preparing …", "正在准备……"), flush=True)
    try:
        yield
    except KeyboardInterrupt:
        where = say(
            f"\nstopped; what {out} has is kept, and the same command goes on",
            f"\n已停止；{out} 中已有的内容都保留，再次运行同一命令即可继续",
        )
        print(where, file=sys.stderr)
        raise


def confirm(yes: bool) -> None:
    """Go on if a person says so at the terminal. ValueError: nobody was asked, or the answer was no."""
    if yes:
        return
    if not interactive(sys.stdin):
        raise ValueError(say("nobody here to ask; add --yes to begin", "没有终端可供确认；请加 --yes 开始"))
    if input(say("Begin? [y/N] ", "开始吗？[y/N] ")).strip().lower() not in ("y", "yes", "是"):
        raise ValueError(say("not begun; change an option and call again", "未开始；可调整选项后再次运行"))


def memory_of(device: Literal["cpu", "cuda", "mps"]) -> int | None:
    """Bytes that can be taken on a device."""
    from haina.engine.devices import free_bytes
    from haina.engine.memory import available_bytes

    return free_bytes(device) if device in ("cuda", "mps") else available_bytes()


def require(*more: str) -> None:
    """ValueError names the extra if a module is not installed that training needs."""
    for module in ("torch", "safetensors", "matplotlib", *more):
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                say(
                    f"training needs {module}: pip install 'haina[train]' (in a clone: '.[train]')",
                    f"训练需要 {module}：pip install 'haina[train]'（源码目录中用 '.[train]'）",
                )
            )
