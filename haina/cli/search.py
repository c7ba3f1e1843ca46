"""The verb search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haina.apps.screen import Status, plain, report
from haina.cli.app import app, as_json, named
from haina.cli.corpus import require
from haina.flags import Verb, with_flags
from haina.options.search import SearchOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.search.answer import Answer
    from haina.apps.search.ingest import Change

WORDS = typer.Argument(
    metavar="[TEXT]...",
    help=say(
        "a question; or: add FOLDER, remove FOLDER; nothing: what is in the index",
        "问题；或 add 目录、remove 目录；省略则列出索引内容",
    ),
    show_default=False,
)
SHOWN = 3  # passages beside an answer on the screen


@app.command(
    cls=Verb,
    help=say(
        "Ask your own files, in Chinese or English; answers quote them.",
        "向自己的文件提问，中英文皆可；回答逐字引用原文。",
    ),
)
@with_flags
def search(words: Annotated[list[str] | None, WORDS] = None, *, options: SearchOptions) -> None:
    given = words or []
    if given[:1] == ["add"]:
        _add(given[1:], options)
    elif given[:1] == ["remove"] and len(given) > 1:
        from haina.apps.search.desk import remove_folders

        gone = remove_folders(given[1:], options.index)
        print(
            as_json({"removed": gone})
            if options.json
            else say(f"{gone} documents removed", f"移除 {gone} 篇文档")
        )
    elif given:
        _ask(" ".join(given), options)
    elif options.watch:
        _watch(options)
    else:
        _list(options)


def _ask(question: str, options: SearchOptions) -> None:
    from haina.apps.search.desk import Search, described

    answer = Search(options.index).ask(question, options)
    if options.model and answer.found:
        answer = _written(question, answer, options)
    print(as_json(described(answer)) if options.json else _told(answer))


def _written(question: str, answer: Answer, options: SearchOptions) -> Answer:
    """The answer by a model, whose text a person sees as it comes."""
    from haina.apps.model import open_model
    from haina.apps.search.write import Writer, written
    from haina.options.models import ModelOptions

    with Status() as status:
        model = open_model(named(Path(options.model)), ModelOptions(), progress=status.progress)
        reply = Writer(model).reply(question, answer.passages, own_words=options.own_words)
        for _ in reply:
            status.show(plain(reply.text))
    return written(reply.text, answer)


def _add(folders: list[str], options: SearchOptions) -> None:
    require("charset_normalizer", "lxml", "pypdf", "zstandard", extra="search")
    from haina.apps.search.desk import add_folders

    with Status() as status:
        changes = add_folders(folders, options.index, status.progress)
    if options.json:
        print(as_json([vars(change) for change in changes]))
    else:
        for change in changes:
            _changed(change)
    if options.watch:
        _watch(options)


def _watch(options: SearchOptions) -> None:
    require("charset_normalizer", "lxml", "pypdf", "zstandard", extra="search")
    from haina.apps.search.desk import watch_folders

    watch_folders(options.index, _changed)


def _changed(change: Change) -> None:
    print(
        say(
            f"{change.read} read, {change.same} unchanged, {change.removed} removed",
            f"读取 {change.read}，未变 {change.same}，移除 {change.removed}",
        ),
        flush=True,
    )
    for file, problem in change.problems:
        report(say(f"{file}: {problem}", f"{file}：{problem}"))


def _list(options: SearchOptions) -> None:
    from haina.apps.search.desk import contents

    found = contents(options.index)
    if options.json:
        print(as_json(found))
        return
    print(plain("\n".join(found["folders"])))
    print(
        say(
            f"{found['documents']} documents, {found['passages']} passages in {found['index']}",
            f"{found['index']} 中有 {found['documents']} 篇文档、{found['passages']} 段",
        )
    )
    for each in found["problems"]:
        report(say(f"{each['document']}: {each['problem']}", f"{each['document']}：{each['problem']}"))


def _told(answer: Answer) -> str:
    """The answer, its sources, and the passages where one may read on."""
    lines = [answer.answer or say("Not found in the indexed documents.", "已索引的文档中没有找到。"), ""]
    lines += [f"[{at}] {c.document}:{c.start}-{c.end}" for at, c in enumerate(answer.citations, start=1)]
    if not answer.found and answer.passages:
        lines.append(say("Nearest passages:", "最接近的段落："))
        for ranked in answer.passages[:SHOWN]:
            lines += [f"  {ranked.passage.document}", f"    {' '.join(ranked.passage.text.split())[:200]}"]
    return plain("\n".join(lines).strip())
