"""Verbs that make models: train."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from haina.cli.app import EMBEDDED, app
from haina.flags import Verb, with_flags
from haina.options.training import BrookOptions
from haina.wording import say

RECIPE = typer.Argument(help=say("what to train", "训练方案"), show_default=False)


@app.command(
    cls=Verb, help=say("Train haina-brook, the embedded model.", "训练内置模型“海纳·溪”（haina-brook）。")
)
@with_flags
def train(recipe: Annotated[str, RECIPE] = "brook", *, options: BrookOptions) -> None:
    if recipe != "brook":
        raise ValueError(
            say(f"no recipe {recipe}; there is: brook", f"没有 {recipe} 这个训练方案；可用：brook")
        )
    for module in ("torch", "safetensors", "zstandard", "matplotlib"):
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                say(
                    f"training needs {module}: pip install 'haina[train]' (in a clone: '.[train]')",
                    f"训练需要 {module}：pip install 'haina[train]'（源码目录中用 '.[train]'）",
                )
            )
    from tempfile import TemporaryDirectory

    from haina.checkpoint.checkpoint import Checkpoint
    from haina.evaluate.card import card
    from haina.train.brook import publish, run

    folder, model = Path(options.out), Path(options.out) / "model"
    decoder = run(Path(options.data), folder, stop_after=options.stop_after)
    if decoder is None:
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as draft:  # the card needs the answers of the model
        publish(decoder, folder, Path(draft) / "model")
        files = card(Checkpoint.open(Path(draft) / "model"), folder)
    files["LICENSE"] = (EMBEDDED / "LICENSE").read_bytes()
    publish(decoder, folder, model, files=files)
    print(
        say(
            f"{model}: done; talk with it: haina chat {model}", f"{model}：完成；与它对话：haina chat {model}"
        )
    )
