"""Verbs about models: show, fit, bench, pull, ls, rm, convert, merge, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from haina.apps.screen import Status, interactive, note
from haina.cli.app import EMBEDDED, FOLDER, FOLDER_OR_EMBEDDED, app, as_json, named
from haina.flags import Verb, with_flags
from haina.options.models import (
    BenchOptions,
    ConvertOptions,
    ExportOptions,
    FitOptions,
    ListOptions,
    MergeOptions,
    PullOptions,
    RemoveOptions,
    ShowOptions,
)
from haina.wording import say

DESTINATION = typer.Argument(
    metavar="[DST]",
    help=say("new folder [default: beside PATH, like PATH-w4]", "新目录，默认在原目录旁，如 PATH-w4"),
    show_default=False,
)
MODEL = typer.Argument(
    metavar="MODEL",
    help=say(
        "folder, .gguf file, name on the hub, or a shape like 13b",
        "目录、.gguf 文件、站点上的名称，或 13b 这样的规格",
    ),
    show_default=False,
)
NEW_FOLDER = typer.Argument(metavar="DST", help=say("new folder", "新目录"), show_default=False)
NEW_PLACE = typer.Argument(
    metavar="DST",
    help=say(
        "new folder; with --to gguf also a file NAME.gguf", "新目录；--to gguf 时也可以是文件 名称.gguf"
    ),
    show_default=False,
)
ADAPTER = typer.Argument(
    metavar="ADAPTER",
    help=say("adapter folder, as PEFT writes it", "适配器目录（PEFT 格式）"),
    show_default=False,
)
NAME = typer.Argument(
    metavar="NAME", help=say("owner/name, as on the hub", "机构/名称，与站点上相同"), show_default=False
)


@app.command(cls=Verb, help=say("Show what a model is and what it needs.", "显示模型信息与内存需求。"))
@with_flags
def show(path: Annotated[Path, FOLDER_OR_EMBEDDED] = EMBEDDED, *, options: ShowOptions) -> None:
    from haina.apps.show import describe, table
    from haina.checkpoint.checkpoint import Checkpoint

    with Status() as status:
        checkpoint = Checkpoint.open(named(path), progress=status.progress)
    record = describe(checkpoint, context=options.context)
    print(as_json(record) if options.json else table(record))


@app.command(
    cls=Verb,
    help=say("Tell what a model needs here, and how fast it can be.", "估算模型在本机的占用与速度。"),
)
@with_flags
def fit(model: Annotated[str, MODEL], *, options: FitOptions) -> None:
    from haina.apps.fit import assess, candidate, table
    from haina.checkpoint.hub import connect

    found = candidate(model, source=options.from_, web=connect(options.from_))
    record = assess(found, context=options.context)
    print(as_json(record) if options.json else table(record))


@app.command(cls=Verb, help=say("Measure how fast a model is here.", "实测模型在本机的速度。"))
@with_flags
def bench(path: Annotated[Path, FOLDER_OR_EMBEDDED] = EMBEDDED, *, options: BenchOptions) -> None:
    from haina.apps.bench import measure, table

    with Status() as status:
        record = measure(named(path), options, progress=status.progress)
    print(as_json(record) if options.json else table(record))


@app.command(
    cls=Verb,
    help=say("Download a model, or go on with it.", "下载模型，可断点续传。"),
)
@with_flags
def pull(name: Annotated[str, NAME], *, options: PullOptions) -> None:
    from haina.apps.library import pull as bring
    from haina.checkpoint.hub import connect

    target = bring(name, options, web=connect(options.from_), tell=print)
    print(say(f"done; talk with it: haina chat {target}", f"完成；与它对话：haina chat {target}"))


@app.command(cls=Verb, help=say("List the models that were downloaded.", "列出已下载的模型。"))
@with_flags
def ls(*, options: ListOptions) -> None:
    from haina.apps.library import listed, table

    records = listed()
    print(as_json(records) if options.json else table(records))


@app.command(cls=Verb, help=say("Delete a downloaded model.", "删除已下载的模型。"))
@with_flags
def rm(name: Annotated[str, NAME], *, options: RemoveOptions) -> None:
    from haina.apps.library import agreed, removal
    from haina.checkpoint.library import remove

    what = removal(name)
    if not options.yes and not interactive(sys.stdin):
        raise ValueError(say(f"{what}; to delete it, add -y", f"{what}；确认删除请加 -y"))
    if not options.yes and not agreed(what):
        print(say("kept", "已保留"))
        return
    remove(name)
    print(say(f"deleted {what}", f"已删除 {what}"))


@app.command(
    cls=Verb,
    help=say(
        "Write a model in fewer bits; called again after a stop, it goes on.",
        "把模型转换为更低精度；中断后重新运行即可继续。",
    ),
)
@with_flags
def convert(
    path: Annotated[Path, FOLDER],
    destination: Annotated[Path | None, DESTINATION] = None,
    *,
    options: ConvertOptions,
) -> None:
    from haina.apps.calibration import calibration
    from haina.apps.show import licence_line
    from haina.checkpoint.checkpoint import Checkpoint
    from haina.checkpoint.convert import convert as write
    from haina.checkpoint.library import find

    path = find(path)
    name = path.resolve().name.removesuffix(".gguf")
    place = destination or path.resolve().with_name(f"{name}-{options.to}")
    with Status() as status:
        reading = say("checking files", "校验文件")
        checkpoint = Checkpoint.open(
            path, progress=lambda _, done, total: status.progress(reading, done, total)
        )
        for text in checkpoint.notes:
            note(text)
        if options.calibrate:
            status.note(
                say(
                    "calibrating: each layer is computed before it is rounded; a 13B takes hours",
                    "开始校准：每层先计算，再舍入；13B 需要数小时",
                )
            )
        write(
            checkpoint,
            place,
            to=options.to,
            rounding=calibration(checkpoint, options),
            threads=options.threads,
            progress=status.transfer,
            note=status.note,
        )
    print(licence_line(checkpoint))
    print(
        say(
            f"{place}: done; talk with it: haina chat {place}", f"{place}：完成；与它对话：haina chat {place}"
        )
    )


@app.command(
    cls=Verb,
    help=say(
        "Write a model with an adapter (LoRA) added to its weights.", "把适配器（LoRA）并入模型权重并写出。"
    ),
)
@with_flags
def merge(
    path: Annotated[Path, FOLDER],
    adapter: Annotated[Path, ADAPTER],
    destination: Annotated[Path, NEW_FOLDER],
    *,
    options: MergeOptions,
) -> None:
    from haina.apps.model import opened
    from haina.apps.show import licence_line
    from haina.checkpoint.adapter import Adapter
    from haina.checkpoint.merge import merge as write

    with Status() as status:
        checkpoint, change = opened(named(path), status.progress), Adapter.read(adapter)
        for doubt in change.doubts(checkpoint):
            status.note(doubt)
        merging = say("merging", "合并")
        write(
            checkpoint,
            change,
            destination,
            dtype=options.dtype,
            progress=lambda done, total: status.progress(merging, done, total),
        )
    print(licence_line(checkpoint))
    print(
        say(
            f"{destination}: done; talk with it: haina chat {destination}",
            f"{destination}：完成；与它对话：haina chat {destination}",
        )
    )


@app.command(
    cls=Verb,
    help=say(
        "Write a model for other programs: transformers, vLLM, llama.cpp, Baichuan's tools.",
        "导出模型供其他程序使用：transformers、vLLM、llama.cpp、百川工具链。",
    ),
)
@with_flags
def export(
    path: Annotated[Path, FOLDER], destination: Annotated[Path, NEW_PLACE], *, options: ExportOptions
) -> None:
    from haina.apps.model import opened, size
    from haina.apps.show import licence_line
    from haina.checkpoint.export import export as write

    with Status() as status:
        checkpoint = opened(named(path), status.progress)
        for text in checkpoint.notes:
            note(text)
        made = write(
            checkpoint,
            destination,
            to=options.to,
            dtype=options.dtype,
            progress=status.transfer,
            note=status.note,
        )
    print(licence_line(checkpoint))
    files = [made] if made.is_file() else [path for path in made.rglob("*") if path.is_file()]
    written = size(sum(path.stat().st_size for path in files))
    use = {
        "gguf": f"llama-server -m {made}",
        "safetensors": f"vllm serve {made}; AutoModelForCausalLM.from_pretrained({str(made)!r})",
        "baichuan": f"AutoModelForCausalLM.from_pretrained({str(made)!r}, trust_remote_code=True)",
    }[options.to]
    print(say(f"{made}: done, {written}; use it: {use}", f"{made}：完成，{written}；使用：{use}"))
