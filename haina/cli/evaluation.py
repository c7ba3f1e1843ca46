"""Verbs that evaluate: evaluate brook, evaluate bits-per-byte."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haina.apps.screen import Status, plain
from haina.cli.app import EMBEDDED, FOLDER, FOLDER_OR_EMBEDDED, app, as_json, named
from haina.cli.corpus import require
from haina.flags import Verb, Verbs, with_flags
from haina.options.evaluation import BitsOptions, BrookEvaluation
from haina.options.models import ModelOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.evaluate.subject import Subject

AT_ONCE = 16  # answers in the making, for which the cache has room
STOPPED = 130  # exit status after Ctrl-C

evaluate = typer.Typer(cls=Verbs, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(evaluate, name="evaluate", help=say("Measure how good a model is.", "评测模型的质量。"))

TEXT = typer.Argument(
    metavar="FILE",
    help=say(
        "rows with text or messages: .jsonl or .jsonl.zst", "每行含 text 或 messages：.jsonl 或 .jsonl.zst"
    ),
    show_default=False,
)


@evaluate.command(
    "brook",
    cls=Verb,
    help=say(
        "The embedded model, or one like it: bits per byte, verse, pinyin, chat checks, speed.",
        "评测内置模型或同类模型：每字节比特数、诗词、拼音、对话检查与速度。",
    ),
)
@with_flags
def evaluate_brook(path: Annotated[Path, FOLDER_OR_EMBEDDED] = EMBEDDED, *, options: BrookEvaluation) -> None:
    require("zstandard", extra="eval")
    from haina.evaluate.asked import needs
    from haina.evaluate.brook import QUICK, Evaluation, Sizes
    from haina.evaluate.report import table, write

    data = Path(options.data or os.environ.get("HAINA_DATA") or "data")
    run = Path(options.run) if options.run else None
    needs(data)
    with Status() as status:
        subject = _subject(path, options, status)
        sizes = QUICK if options.quick else Sizes()
        evaluation = Evaluation(
            subject, data, run, sizes, options.seed, status.progress, whole=not options.quick
        )
        evaluation.measure()
    record = evaluation.record()
    if options.out:
        write(record, Path(options.out), run)
    print(as_json(record) if options.json else plain(table(record)))
    if not evaluation.finished:
        raise typer.Exit(STOPPED)


@evaluate.command(
    "bits-per-byte",
    cls=Verb,
    help=say(
        "How many bits a model needs for each byte of a text.", "模型编码文本时，每字节平均需要多少比特。"
    ),
)
@with_flags
def evaluate_bits(
    path: Annotated[Path, FOLDER], file: Annotated[Path, TEXT], *, options: BitsOptions
) -> None:
    require("zstandard", extra="eval")
    from haina.data.read import rows
    from haina.evaluate.bits import measure
    from haina.evaluate.report import bits_table

    if not file.is_file():
        raise ValueError(say(f"{file}: no such file", f"{file}：没有这个文件"))
    with Status() as status:
        subject = _subject(path, options, status)
        scoring = say("scoring", "计算")
        record = measure(subject, file, rows(file), lambda done, total: status.progress(scoring, done, total))
    print(as_json(record) if options.json else plain(bits_table(record)))


def _subject(path: Path, options: ModelOptions, status: Status) -> Subject:
    """The model, with room for as many conversations as are measured at once."""
    from haina.apps.model import load_model, opened
    from haina.evaluate.subject import Subject

    checkpoint = opened(named(path), status.progress)
    model = load_model(checkpoint, options, conversations=AT_ONCE, progress=status.progress)
    return Subject(checkpoint, model.engine, model.context)
