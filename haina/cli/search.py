"""The verb search."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haina.apps.screen import Status, interactive, plain, report, tell
from haina.cli.app import EMBEDDED, app, as_json, named
from haina.cli.corpus import require
from haina.flags import Verb, with_flags
from haina.options.search import SearchOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.model import Model
    from haina.apps.search.answer import Answer
    from haina.apps.search.desk import Search
    from haina.apps.search.ingest import Change
    from haina.apps.search.web import Web
    from haina.apps.search.write import Writer

WORDS = typer.Argument(
    metavar="TEXT",
    help=say(
        "a question; or: add FOLDER, remove FOLDER, vectors (make those that are missing), mcp (a server of tools on "
        "stdin and stdout); nothing: what is in the index",
        "问题；或 add 目录、remove 目录、vectors（补算缺少的向量）、mcp（在标准输入输出上提供工具）；"
        "省略则列出索引内容",
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
    elif given == ["vectors"]:
        _fill(options)
    elif given == ["mcp"]:
        require("mcp", extra="mcp")
        from haina.apps.search.mcp import serve

        serve(options.index, _web(options) if options.web else None)
    elif given or options.talk:
        _ask([" ".join(given)] if given else [], options)
    elif options.watch:
        _watch(options)
    else:
        _list(options)


def _ask(questions: list[str], options: SearchOptions) -> None:
    """A question; with --talk those of stdin after it, each with those before it."""
    from haina.apps.search.desk import described

    search, before = _searched(options), list[str]()
    writer = _writer(options) if options.model else None
    for question in chain(questions, _typed() if options.talk else ()):
        if options.talk and not question:
            before.clear()
            continue
        try:
            answer = search.ask(question, options, before=before)
        except ValueError as error:
            if not options.talk:
                raise
            if options.json:
                print(as_json({"error": str(error)}), flush=True)
            else:
                report(str(error))
            continue
        before.append(question)
        if writer and answer.found:
            answer = _written(writer, question, answer, options)
        if options.json:
            print(as_json(described(answer)), flush=True)
        else:
            print(_told(answer, said=writer is not None and answer.found), flush=True)


def _searched(options: SearchOptions) -> Search | Web:
    """What is asked: an index, or the web."""
    if options.web:
        return _web(options)
    from haina.apps.search.desk import Search

    search = Search(options.index)
    if options.vectors:
        from haina.apps.search.vectors import near

        search.near = near(search.store, _opened)
    return search


def _web(options: SearchOptions) -> Web:
    require("charset_normalizer", "lxml", "pypdf", "zstandard", extra="search")
    from haina.apps.search.web import Web

    return Web(options.web, private=options.web_private, problem=_problem)


def _problem(document: str, why: str) -> None:
    report(say(f"{document}: {why}", f"{document}：{why}"))


def _typed() -> Iterator[str]:
    """The lines of stdin, as they come."""
    while True:
        if interactive(sys.stdin):
            tell(
                say("Ask on; an empty line begins anew, Ctrl-D ends.", "请提问；空行另起话题，Ctrl-D 结束。")
            )
        line = sys.stdin.readline()
        if not line:
            return
        yield line.strip()


def _writer(options: SearchOptions) -> Writer:
    from haina.apps.search.write import Writer

    return Writer(_opened(str(named(Path(options.model)))))


def _opened(folder: str) -> Model:
    from haina.apps.model import open_model
    from haina.options.models import ModelOptions

    with Status() as status:
        return open_model(folder, ModelOptions(), progress=status.progress)


def _fill(options: SearchOptions) -> None:
    """Vectors of the passages that have none, until all have; with --watch of those that come, until Ctrl-C."""
    from haina.apps.search.desk import opened
    from haina.apps.search.ingest import WATCH_S
    from haina.apps.search.vectors import fill

    index = opened(options.index)
    folder = named(Path(options.model)).absolute() if options.model else EMBEDDED
    model = _opened(str(folder))
    with Status() as status:
        made = fill(index, model, str(folder), status.progress)
        while options.watch:
            time.sleep(WATCH_S)
            fill(index, model, str(folder), status.progress)
    print(as_json({"made": made}) if options.json else say(f"{made} vectors made", f"算出 {made} 个向量"))


def _written(writer: Writer, question: str, answer: Answer, options: SearchOptions) -> Answer:
    """The answer by a model, printed as it comes, unless it is to be JSON."""
    from haina.apps.search.write import written

    reply = writer.reply(question, answer.passages, own_words=options.own_words)
    for piece in reply:
        print("" if options.json else plain(piece), end="", flush=True)
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
        _problem(file, problem)


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
        _problem(each["document"], each["problem"])


def _told(answer: Answer, *, said: bool = False) -> str:
    """The answer, unless it has been said, its sources, and the passages where one may read on."""
    text = answer.answer or say("Not found in the indexed documents.", "已索引的文档中没有找到。")
    lines = ["" if said else text, ""]
    lines += [f"[{at}] {c.document}:{c.start}-{c.end}" for at, c in enumerate(answer.citations, start=1)]
    if not answer.found and answer.passages:
        lines.append(say("Nearest passages:", "最接近的段落："))
        for ranked in answer.passages[:SHOWN]:
            lines += [f"  {ranked.passage.document}", f"    {' '.join(ranked.passage.text.split())[:200]}"]
    return plain("\n".join(lines).rstrip())
