"""The program that verbs join, and what several of them share: to find, load and print.

Typer is imported and nothing heavy: a verb imports what it needs when it is called, so that --help and Tab are quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from haina.apps.screen import Status, note, report
from haina.flags import Verbs
from haina.options.talk import ChatOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.model import Model


EMBEDDED = Path(__file__).parents[1] / "weights"
ITS_NAMES = ("haina-brook", "海纳·溪")

app = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=say(
        "Talk with a language model on this machine. Without a command: with the embedded one.",
        "在本机与语言模型对话。不带命令即使用内置模型。",
    ),
    epilog=say(
        "Exit status: 0 done, 2 refused with one line on stderr, 130 Ctrl-C.",
        "退出状态：0 完成；2 出错，原因见 stderr；130 Ctrl-C。",
    ),
)

train = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,
    no_args_is_help=True,
    help=say(
        "Make a model: pre-train, tune, or the embedded one again.",
        "训练模型：预训练、微调，或重新训练内置模型。",
    ),
)
app.add_typer(train, name="train")

FOLDER = typer.Argument(metavar="PATH", help=say("model folder", "模型目录"), show_default=False)
FOLDER_OR_EMBEDDED = typer.Argument(
    metavar="[PATH]",
    help=say("model folder [default: the embedded model]", "模型目录，默认为内置模型"),
    show_default=False,
)


def as_json(record: object) -> str:
    return json.dumps(record, ensure_ascii=False, indent=2)


def load(path: Path, options: ChatOptions) -> Model:
    """The model, with a line that tells how far it is."""
    from haina.apps.model import adapted, open_model
    from haina.checkpoint.adapter import Adapter

    with Status() as status:
        model = open_model(named(path), options, progress=status.progress)
        adapter = Adapter.read(options.adapter) if options.adapter else None
    for text in model.checkpoint.notes:
        note(text)
    if adapter is None:
        return model
    for text in adapter.doubts(model.checkpoint):
        report(text)
    return adapted(model, "adapter", adapter)


def named(path: Path) -> Path:
    """The model that a person means: a folder, a name of the library, or the embedded one by its own.

    ValueError: an adapter, or the folder of a run, with the command that was meant.
    """
    from haina.checkpoint.adapter import is_adapter
    from haina.checkpoint.library import find

    found = find(path)
    if is_adapter(found):
        raise ValueError(
            say(
                f"{found}: this is an adapter, not a model; haina chat MODEL --adapter {found}, with the model that "
                "it was trained on",
                f"{found}：这是适配器，不是模型；请用 haina chat MODEL --adapter {found}，MODEL 为训练时所用的模型",
            )
        )
    inside = next((name for name in ("model", "adapter") if (found / name / "manifest.json").exists()), None)
    if inside and (found / "run.json").exists():
        made = found / inside
        raise ValueError(
            say(
                f"{found}: this is the folder of a run; did you mean {made}?",
                f"{found}：这是训练目录；是否想用 {made}？",
            )
        )
    return EMBEDDED if str(found) in ITS_NAMES and not found.exists() else found
