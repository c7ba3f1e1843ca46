"""The command line: a verb each, its flags the fields of its options; parse, call one function.

It imports Typer and nothing heavy: a verb imports what it needs when it is called, so that --help and Tab are quick.
Whatever a person or a file can cause ends here as one line on stderr and exit status 2. It knows no model.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haina import __version__
from haina.apps.screen import Status, complain, explained, interactive, note
from haina.flags import Verb, Verbs, usage, with_flags
from haina.options import (
    BenchOptions,
    BrookOptions,
    ChatOptions,
    ConvertOptions,
    FitOptions,
    ListOptions,
    PullOptions,
    RemoveOptions,
    RunOptions,
    ServeOptions,
    ShowOptions,
)
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.model import Model

EMBEDDED = Path(__file__).parent / "weights"
ITS_NAMES = ("haina-brook", "海纳·溪")
REFUSED = 2  # exit status; Typer makes Ctrl-C 130

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


@app.callback(invoke_without_command=True)
def haina(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help=say("Show the version.", "显示版本。"))] = False,
) -> None:
    if version:
        print(f"haina {__version__}")
    elif context.invoked_subcommand is None:
        talk(EMBEDDED, ChatOptions())


FOLDER = typer.Argument(metavar="PATH", help=say("model folder", "模型目录"), show_default=False)
FOLDER_OR_EMBEDDED = typer.Argument(
    metavar="[PATH]",
    help=say("model folder [default: the embedded model]", "模型目录，默认为内置模型"),
    show_default=False,
)
PROMPT = typer.Argument(
    metavar="[PROMPT]",
    help=say("the question; - or nothing: stdin", "问题；- 或省略则读标准输入"),
    show_default=False,
)

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
MODELS = typer.Argument(
    metavar="[MODEL]",
    help=say(
        "folder, .gguf file or NAME=PATH; the first is the default [default: the embedded model]",
        "目录、.gguf 文件或 名称=路径；第一个为默认模型；省略则用内置模型",
    ),
    show_default=False,
)
NAME = typer.Argument(
    metavar="NAME", help=say("owner/name, as on the hub", "机构/名称，与站点上相同"), show_default=False
)
RECIPE = typer.Argument(help=say("what to train", "训练方案"), show_default=False)


@app.command(
    cls=Verb, help=say("Talk with a model; a pipe is one question.", "与模型对话；管道输入视为一个问题。")
)
@with_flags
def chat(path: Annotated[Path, FOLDER_OR_EMBEDDED] = EMBEDDED, *, options: ChatOptions) -> None:
    talk(path, options)


@app.command(
    cls=Verb, help=say("Print one answer. A base model continues the text.", "回答一次。基座模型则续写文本。")
)
@with_flags
def run(path: Annotated[Path, FOLDER], prompt: Annotated[str, PROMPT] = "-", *, options: RunOptions) -> None:
    from haina.apps.conversation import answer_once, read_prompt, whole_text
    from haina.checkpoint.checkpoint import Checkpoint

    if prompt == "-":
        Checkpoint.open(
            named(path), verify=False
        )  # what is no model is refused before a question is waited for
    question = read_prompt() if prompt == "-" else whole_text(os.fsencode(prompt), say("the prompt", "提示"))
    if not question.strip():
        raise ValueError(say("the question is empty; write one", "问题为空；请写上问题"))
    for flag, texts in (("--system", [options.system or ""]), ("--stop", options.stop)):
        for text in texts:
            whole_text(os.fsencode(text), flag)
    answer_once(load(path, options), question, options)


@app.command(
    cls=Verb,
    help=say(
        "Serve models: OpenAI's, Anthropic's and Ollama's interfaces, a page.",
        "提供模型服务：OpenAI、Anthropic、Ollama 接口与网页。",
    ),
)
@with_flags
def serve(models: Annotated[list[str] | None, MODELS] = None, *, options: ServeOptions) -> None:
    from haina.serve.run import serve as serve_models

    serve_models(models or [str(EMBEDDED)], options)


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


def as_json(record: object) -> str:
    import json

    return json.dumps(record, ensure_ascii=False, indent=2)


def talk(path: Path, options: ChatOptions) -> None:
    """A conversation at a terminal; otherwise the whole of stdin is one question, a greeting if it is empty."""
    from haina.apps.chat import chat_template
    from haina.apps.conversation import answer_once, read_prompt
    from haina.apps.terminal import converse

    question = None if interactive(sys.stdin) else read_prompt()
    if question is not None and not question.strip():
        question = say("Hello!", "你好！")
        options = replace(
            options, temperature=options.temperature or 0.0
        )  # nobody's question: no chance in it
        note(say(f"(nothing on stdin; asked: {question})", f"（标准输入为空，改问：{question}）"))
    model = load(path, options)
    if question is None:
        converse(model, options)
    else:
        chat_template(model)
        answer_once(model, question, RunOptions(**vars(options)))


def load(path: Path, options: ChatOptions) -> Model:
    """The model, with a line that tells how far it is."""
    from haina.apps.model import open_model

    with Status() as status:
        model = open_model(named(path), options, progress=status.progress)
    for text in model.checkpoint.notes:
        note(text)
    return model


def named(path: Path) -> Path:
    """The model that a person means: a folder, a name of the library, or the embedded one by its own."""
    from haina.checkpoint.library import find

    found = find(path)
    return EMBEDDED if str(found) in ITS_NAMES and not found.exists() else found


def main() -> None:
    """The program: run a verb, and turn what went wrong into one line and an exit status."""
    if sys.stdout is None:
        complain(
            say(
                "stdout is closed, so that nothing can be said; redirect it, for example: > answer.txt",
                "标准输出已关闭，结果无处可写；请改用重定向，例如 > answer.txt",
            )
        )
        sys.exit(REFUSED)
    if not interactive(sys.stdout):
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        sys.exit(app(prog_name="haina", standalone_mode=False))
    except typer.TyperException as error:
        complain(usage(error))
    except (ValueError, OSError, MemoryError) as error:
        complain(explained(error))
    _forget_stdout()
    sys.exit(REFUSED)


def _forget_stdout() -> None:
    """What is still buffered for a full disk or a closed pipe must not fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
