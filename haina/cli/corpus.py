"""Verbs that make a corpus: data build, data fetch, new."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from haina.apps.screen import Status
from haina.cli.app import app
from haina.flags import Verb, Verbs, with_flags
from haina.options.data import BuildOptions, FetchOptions
from haina.wording import say

corpora = typer.Typer(cls=Verbs, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(
    corpora,
    name="data",
    help=say("Make a corpus from texts and a recipe.", "按配方把文本制成语料。"),
)

RECIPE = typer.Argument(metavar="RECIPE", help=say("recipe.toml", "配方文件 recipe.toml"), show_default=False)
RECIPE_OR_OURS = typer.Argument(
    metavar="[RECIPE]",
    help=say("recipe.toml [default: haina-brook's sources]", "配方文件，默认为 haina-brook 的来源"),
    show_default=False,
)
PROJECT = typer.Argument(metavar="NAME", help=say("folder to make", "要新建的目录"), show_default=False)


@corpora.command(
    "build",
    cls=Verb,
    help=say(
        "Read, clean, filter and compare texts; the result is a corpus folder with its papers.",
        "读取、清洗、过滤、去重，得到附有完整说明的语料目录。",
    ),
)
@with_flags
def build_corpus(recipe: Annotated[Path, RECIPE], *, options: BuildOptions) -> None:
    require("datatrove", "zstandard", "ftfy", "opencc", "charset_normalizer")
    from haina.data.build import build

    with Status() as status:
        told = build(recipe, options, status.show)
    print(told)


@corpora.command(
    "fetch",
    cls=Verb,
    help=say(
        "Get the public repositories that a recipe names, at the commits it names; without one, "
        "make the text of haina-brook again.",
        "按配方所列的提交取得公开仓库；未给配方时，重建 haina-brook 的训练文本。",
    ),
)
@with_flags
def fetch_sources(recipe: Annotated[Path | None, RECIPE_OR_OURS] = None, *, options: FetchOptions) -> None:
    require("ftfy", "charset_normalizer", "zstandard", "opencc", "yaml")
    from haina.data.fetch import fetch

    with Status() as status:
        told = fetch(recipe, options, status.show)
    print(told)


@app.command(
    "new",
    cls=Verb,
    help=say(
        "Make a small project: text, recipe, and how to train on them.",
        "新建一个示例项目：文本、配方与训练步骤。",
    ),
)
def new_project(place: Annotated[Path, PROJECT]) -> None:
    from haina.data.new import new

    print(new(place))


def require(*modules: str, extra: str = "data") -> None:
    """ValueError names the extra if something is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                say(
                    f"this needs {module}: pip install 'haina[{extra}]' (in a clone: '.[{extra}]')",
                    f"此命令需要 {module}：pip install 'haina[{extra}]'（源码目录中用 '.[{extra}]'）",
                )
            )
