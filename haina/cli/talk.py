"""Verbs that answer: chat, run, serve."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from haina import __version__
from haina.apps.screen import interactive, note
from haina.cli.app import EMBEDDED, FOLDER, FOLDER_OR_EMBEDDED, ITS_NAMES, app, load, named
from haina.flags import Verb, with_flags
from haina.options.serving import ServeOptions
from haina.options.talk import ChatOptions, RunOptions
from haina.wording import say

PROMPT = typer.Argument(
    metavar="[PROMPT]",
    help=say("the question; - or nothing: stdin", "问题；- 或省略则读标准输入"),
    show_default=False,
)
MODELS = typer.Argument(
    metavar="[MODEL]",
    help=say(
        "folder, .gguf file or NAME=PATH; after a model, its adapters; the first is the default "
        "[default: the embedded model]",
        "目录、.gguf 文件或 名称=路径；模型之后可列出其适配器；第一个为默认模型；省略则用内置模型",
    ),
    show_default=False,
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
def serve(
    line: typer.Context, models: Annotated[list[str] | None, MODELS] = None, *, options: ServeOptions
) -> None:
    from haina.serve.run import serve as serve_models

    if models:  # the embedded one by its own name, too
        models = [str(EMBEDDED) if name in ITS_NAMES and not Path(name).exists() else name for name in models]
    said = {"models": models, **vars(options)}
    serve_models({name: value for name, value in said.items() if _given(line, name)}, str(EMBEDDED))


def _given(line: typer.Context, name: str) -> bool:
    """Whether the command line says it, be it what holds anyway."""
    source = line.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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
