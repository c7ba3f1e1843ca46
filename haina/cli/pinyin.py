"""The verb pinyin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from haina.apps.screen import interactive, report
from haina.cli.app import EMBEDDED, app, named
from haina.flags import Verb, with_flags
from haina.options.pinyin import PinyinOptions
from haina.wording import say

KEYS = typer.Argument(
    metavar="[KEYS]",
    help=say("what was typed; nothing: lines of stdin", "按键；省略则逐行读标准输入"),
    show_default=False,
)


@app.command(
    cls=Verb,
    help=say(
        "Words for typed pinyin: nihaoshijie, nhsj; lines of stdin are answered in JSON.",
        "拼音转汉字：nihaoshijie、nhsj；逐行读标准输入时以 JSON 作答。",
    ),
)
@with_flags
def pinyin(keys: Annotated[str | None, KEYS] = None, *, options: PinyinOptions) -> None:
    from haina.apps.pinyin.answer import answer, answer_line, lists, opened

    method = opened(options, named(Path(options.model)) if options.model else EMBEDDED)
    for line in lists(method, options):
        report(line)
    if keys is None and (options.learn or options.export) and interactive(sys.stdin):
        return
    if keys is not None:
        found = answer(method, keys, options)
        print(json.dumps(found, ensure_ascii=False) if options.json else shown(found))
        return
    for line in sys.stdin:
        print(json.dumps(answer_line(method, line.rstrip("\r\n"), options), ensure_ascii=False), flush=True)


def shown(found: dict[str, list[dict[str, object]]]) -> str:
    return "\n".join(str(candidate["text"]) for candidate in found["candidates"])
