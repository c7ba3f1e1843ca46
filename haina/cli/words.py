"""The verb words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haina.apps.screen import Status, note, padded, plain
from haina.cli.app import app, as_json, named
from haina.flags import Verb, with_flags
from haina.options.words import WordsOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.words.desk import Result
    from haina.apps.words.rescore import Opinion

DESCRIPTION = typer.Argument(
    metavar="[TEXT]",
    help=say(
        "what the word means; nothing: lines of stdin, a line of JSON for each",
        "要找的词的意思；省略则逐行读标准输入，每行以一行 JSON 作答",
    ),
    show_default=False,
)
WIDTH = 16  # columns for a word


@app.command(
    cls=Verb,
    help=say(
        "Find the word for a description: Chinese or English, from either language.",
        "按描述找词：中英文皆可，也可跨语言。",
    ),
)
@with_flags
def words(text: Annotated[str | None, DESCRIPTION] = None, *, options: WordsOptions) -> None:
    from haina.apps.words.desk import build_own, described, open_dictionary

    if options.build:
        note(build_own(Path(options.build), options.index))
        if text is None:
            return
    dictionary, opinion = open_dictionary(options.index), _opinion(options)
    if text is not None:
        found = dictionary.search(text, options, opinion)
        print(as_json(described(found, options)) if options.json else "\n".join(map(_told, found)))
        return
    for raw in sys.stdin.buffer:
        line = raw.decode("utf-8", "replace").strip()
        found = dictionary.search(line, options, opinion) if any(map(str.isalnum, line)) else []
        print(json.dumps(described(found, options), ensure_ascii=False), flush=True)


def _opinion(options: WordsOptions) -> Opinion | None:
    """The model that has a say, if one is named."""
    if not options.model:
        return None
    from haina.apps.model import load_model, opened
    from haina.apps.words.rescore import AT_ONCE, Opinion
    from haina.options.models import ModelOptions

    with Status() as status:
        folder = opened(named(Path(options.model)), status.progress)
        model = load_model(folder, ModelOptions(), conversations=AT_ONCE, progress=status.progress)
    return Opinion(model.engine, model.tokenizer)


def _told(result: Result) -> str:
    licence = result.source.get("licence", "")
    source = f" [{result.source['name']}, {licence}]" if licence else ""
    group = f"{result.cluster}  " if result.cluster else ""
    return plain(f"{group}{padded(result.word, WIDTH)} {result.why}{source}")
