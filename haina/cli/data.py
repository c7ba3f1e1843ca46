"""Verbs between text and training: tokenizer train, tokenizer report."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from haina.apps.screen import Status
from haina.cli.app import app, as_json
from haina.flags import Verb, Verbs, with_flags
from haina.options.data import CompressionOptions, VocabularyOptions
from haina.wording import say

tokenizer = typer.Typer(cls=Verbs, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(
    tokenizer,
    name="tokenizer",
    help=say("Learn a vocabulary, or compare vocabularies.", "训练词表，或比较词表。"),
)

TEXTS = typer.Argument(
    metavar="FILES...",
    help=say(
        "text: .txt, .jsonl, .jsonl.zst, or corpus folders", "语料：.txt、.jsonl、.jsonl.zst 或语料目录"
    ),
    show_default=False,
)
VOCABULARIES_AND_TEXTS = typer.Argument(
    metavar="MODEL... FILES...",
    help=say(
        "tokenizer.model files or model folders; then the text to measure with, as for tokenizer train",
        "tokenizer.model 文件或模型目录；其后为用来测量的文本，同 tokenizer train",
    ),
    show_default=False,
)
TEXT = typer.Option(
    "--text",
    metavar="FILE",
    help=say("the same, by name; may be repeated", "同上，以选项给出，可重复"),
    show_default=False,
)


@tokenizer.command("train", cls=Verb, help=say("Learn a vocabulary from text.", "从语料训练词表。"))
@with_flags
def train_vocabulary(files: Annotated[list[Path], TEXTS], *, options: VocabularyOptions) -> None:
    if importlib.util.find_spec("zstandard") is None:
        raise ValueError(
            say(
                "reading text needs zstandard: pip install 'haina[data]' (in a clone: '.[data]')",
                "读取语料需要 zstandard：pip install 'haina[data]'（源码目录中用 '.[data]'）",
            )
        )
    from haina.apps.vocabulary import train

    with Status() as status:
        print(train(files, options, report=status.show))


@tokenizer.command(
    "report",
    cls=Verb,
    help=say("How much text a token holds, on files of your own.", "比较各词表每个词元能容纳多少文本。"),
)
@with_flags
def report_compression(
    paths: Annotated[list[Path], VOCABULARIES_AND_TEXTS],
    texts: Annotated[list[Path], TEXT] = [],  # noqa: B006
    *,
    options: CompressionOptions,
) -> None:
    from haina.apps.compression import measure, table, told_apart

    record = measure(*told_apart([*paths, *texts]))
    print(as_json(record) if options.json else table(record))
