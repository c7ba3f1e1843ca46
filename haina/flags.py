"""A verb's options as flags of the command line, and Typer's words in the person's language.

It knows dataclasses with `options.flag` fields, and Typer; it does not know which verbs there are.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from haina.wording import chinese, say

# Typer's own words, for help and for usage errors.
TYPER_IN_CHINESE = (
    (r"Usage: ", "用法："),
    (r"\[OPTIONS\]", "[选项]"),
    (r"COMMAND \[ARGS\]\.\.\.", "命令 [参数]..."),
    (r"(?m)^Options:", "选项："),
    (r"(?m)^Arguments:", "参数："),
    (r"(?m)^Commands:", "命令："),
    (r"\[default: (.*?)\]", r"[默认 \1]"),
    (r"\[required\]", "[必需]"),
    (r"Show this message and exit\.", "显示本帮助并退出。"),
    (r"Install completion for the current shell\.", "为当前 shell 安装补全。"),
    (
        r"Show completion for the current shell, to copy it or\s+customize the installation\.",
        "显示当前 shell 的补全脚本。",
    ),
    (r"No such command (.+?)\.", r"没有 \1 这个命令。"),
    (r"No such option: (\S+)", r"没有 \1 这个选项"),
    (r" \(Possible options: (.+)\)", r"（相近的：\1）"),
    (r"Did you mean (.+)\?", r"是否想用 \1？"),
    (r"Missing argument (.+?)\.", r"缺少参数 \1。"),
    (r"Got unexpected extra argument\(s\) \((.+)\)", r"多余的参数：\1"),
    (r"Option (.+) requires an argument\.", r"选项 \1 需要一个值。"),
    (r"Option (.+) does not take a value\.", r"选项 \1 不带值。"),
    (r"Invalid value for (.+?): ", r"\1 的值无效："),
    (r"(\S+) is not one of (.+?)\.", r"\1 不在可选值 \2 之中"),
    (r"this takes a number", "应为数"),
    (r"this takes a whole number", "应为整数"),
    (r"at least (\S+)", r"不得小于 \1"),
    (r"at most (\S+)", r"不得大于 \1"),
    (r"path (.+) is not readable\.", r"没有权限读取 \1。"),
)
# What stands for a value in help.
PLACES_IN_CHINESE = {
    "ADAPTER": "适配器",
    "ADDRESS": "地址",
    "DATA": "数据",
    "DST": "目标",
    "FILE": "文件",
    "FILES": "文件",
    "DOMAIN": "领域",
    "FOLDER": "目录",
    "FOLDERS": "目录",
    "MINUTES": "分钟",
    "MODEL": "模型",
    "NAME": "名称",
    "NAMES": "名称",
    "PATH": "路径",
    "PROMPT": "提示",
    "PROMPTS": "提示",
    "RECIPE": "配方",
    "SECONDS": "秒",
    "SHARE": "比例",
    "TEXT": "文本",
    "TIME": "时间",
    "TOKENS": "词元数",
    "URL": "网址",
}
# What Typer passes on from Pydantic, in fewer words.
PYDANTIC_IN_SHORT = (
    (r"Value error, ", ""),
    (r"Input should be a valid number.*", "this takes a number"),
    (r"Input should be a valid integer.*", "this takes a whole number"),
    (r"Input should be greater than or equal to (\S+)", r"at least \1"),
    (r"Input should be less than or equal to (\S+)", r"at most \1"),
)


def in_their_language(text: str) -> str:
    """What Typer says, in the person's language."""
    return _replaced(text, TYPER_IN_CHINESE) if chinese() else text


def _replaced(text: str, table: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in table:
        text = re.sub(pattern, replacement, text)
    return text


def _in_chinese(metavar: str | None) -> str | None:
    return metavar and re.sub("[A-Z]+", lambda word: PLACES_IN_CHINESE.get(word[0], word[0]), metavar)


LISTS = re.compile(r" <list\[\w+\]>")  # what Typer puts behind an argument; its columns stay where they are


class Verb(TyperCommand):
    def __init__(self, *args: Any, **named: Any):
        super().__init__(*args, **named)
        if chinese():
            for parameter in self.params:
                parameter.metavar = _in_chinese(parameter.metavar)

    def get_help(self, ctx: Any) -> str:
        return LISTS.sub(lambda found: " " * len(found[0]), in_their_language(super().get_help(ctx)))


class Verbs(TyperGroup):
    def get_help(self, ctx: Any) -> str:
        return in_their_language(super().get_help(ctx))


def usage(error: typer.TyperException) -> str:
    """A usage error in one line, with the command that explains."""
    message = in_their_language(_replaced(error.format_message(), PYDANTIC_IN_SHORT))
    unknown = re.match(r"No such command '(.+?)'", error.format_message())
    if unknown and Path(unknown[1]).exists():
        command = f"haina chat {unknown[1]}"
        return say(
            f"{message} To talk with this folder: {command}", f"{message}与该目录中的模型对话：{command}"
        )
    context = getattr(error, "ctx", None)
    flag = re.match(r"No such option: (\S+)", error.format_message())
    if flag and context and isinstance(context.command, Verbs) and _takes(context.command, "chat", flag[1]):
        command = f"haina chat {flag[1]}"
        return say(f"{message}; with the command: {command}", f"{message}；请带上命令：{command}")
    command = f"{context.command_path if context else 'haina'} --help"
    return say(f"{message} (help: {command})", f"{message}（用法：{command}）")


def _takes(verbs: Verbs, name: str, flag: str) -> bool:
    return any(flag in parameter.opts for parameter in verbs.commands[name].params)


def with_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with its last parameter, a dataclass of options, taken apart: a flag for every field."""
    hints = get_type_hints(verb, include_extras=True)
    *own, last = inspect.signature(verb).parameters.values()
    options = hints[last.name]
    types = get_type_hints(options)

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        flags = {field.name: given.pop(field.name) for field in fields(options)}
        verb(**given, **{last.name: options(**flags)})

    parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
    parameters += [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_flag(f), annotation=types[f.name])
        for f in fields(options)
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _flag(field: Field[Any]) -> Any:
    about = field.metadata
    name = f"--{field.name.rstrip('_').replace('_', '-')}"
    return typer.Option(
        field.default,
        *([name, about["short"]] if about["short"] else [name]),
        help=say(*about["help"]),
        metavar=about["metavar"],
        min=about["least"],
        max=about["most"],
        show_default=field.name in ("bits", "cache", "to", "from_"),
    )
