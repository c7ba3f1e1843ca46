"""Commands: what a line that begins with a slash does to a conversation; one table, in both languages.

They change the conversation they are given and tell the person what they did; a ValueError or OSError says what could
not be done, and then nothing has changed. They do not know the keyboard.
"""

from __future__ import annotations

import difflib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from haina.apps.chat import Chat, Settings
from haina.apps.conversation import Conversation
from haina.apps.screen import columns, padded, tell
from haina.apps.show import describe, table
from haina.checkpoint.read_json import read_json_object
from haina.options.talk import ChatOptions
from haina.wording import chinese, say, system_reason

LARGEST_CONVERSATION_BYTES = 16 << 20
SETTABLE = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens", "seed", "stats")
ON, OFF, DEFAULT = ("on", "true", "1", "开"), ("off", "false", "0", "关"), ("default", "默认")


@dataclass(frozen=True)
class Command:
    """One command: names in English, in Chinese, and the habits of other programs."""

    en: str
    zh: str
    act: Callable[[Conversation, str], None]
    help: tuple[str, str]
    argument: tuple[str, str] = ("", "")
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return say(self.en, self.zh)

    @property
    def usage(self) -> str:
        return f"{self.name} {say(*self.argument)}".strip()


def find_command(name: str) -> Command:
    """The command of that name. ValueError names the nearest one."""
    names = {n: command for command in COMMANDS for n in (command.en, command.zh, *command.others)}
    wanted = name.lower().replace("！", "!")
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted[1:], [n[1:] for n in names], n=1, cutoff=0.5)
    help = say("/help lists them all", "/帮助 可查看全部")
    guess = say(f"did you mean /{near[0]}?", f"是否想用 /{near[0]}？") if near else help
    raise ValueError(say(f"no command {name}; {guess}", f"没有 {name} 这个命令；{guess}"))


def show_help(conversation: Conversation, argument: str) -> None:
    width = 2 + max(columns(command.usage) for command in COMMANDS)
    rows = [f"  {padded(command.usage, width)}{say(*command.help)}" for command in COMMANDS]
    names = " ".join(command.en for command in COMMANDS)
    keys = say(
        'Enter sends. Several lines: Alt-Enter, or """ before and after. A blank before / makes it a question.\n'
        "Ctrl-C stops an answer, Ctrl-D leaves.",
        '按回车发送。多行：Alt-回车换行，或前后各加 """。以“/”开头的问题，请在前面加一个空格。\n'
        f"Ctrl-C 停止回答，Ctrl-D 离开。英文命令同样可用：{names}",
    )
    tell("\n".join([*rows, keys]))


def clear(conversation: Conversation, argument: str) -> None:
    conversation.chat.rounds = []
    tell(say("(cleared; the system prompt stays)", "（已清空；系统提示保留）"))


def set_system(conversation: Conversation, argument: str) -> None:
    if argument:
        conversation.chat.system = "" if argument == "-" else argument
    now = conversation.chat.system
    tell(say(f"system prompt: {now or '(none)'}", f"系统提示：{now or '（无）'}"))


def retry(conversation: Conversation, argument: str) -> None:
    if not conversation.chat.rounds:
        raise ValueError(say("nothing has been asked yet", "还没有提过问题"))
    question, _ = conversation.chat.rounds[-1]
    conversation.answer(question, rounds=-1)


def save(conversation: Conversation, argument: str) -> None:
    if _file(argument).is_file():
        raise ValueError(
            say(
                f"{argument}: exists already; to replace it: /save! {argument}",
                f"{argument}：已经存在；覆盖请用 /保存! {argument}",
            )
        )
    overwrite(conversation, argument)


def overwrite(conversation: Conversation, argument: str) -> None:
    record = {"model": conversation.model.name, **conversation.chat.to_json()}
    _write_whole(_file(argument), json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    tell(say(f"(saved to {argument})", f"（已保存到 {argument}）"))


def load(conversation: Conversation, argument: str) -> None:
    file = _file(argument)
    try:
        saved = read_json_object(file, limit_bytes=LARGEST_CONVERSATION_BYTES)
    except ValueError:
        if not (file.is_file() and os.access(file, os.R_OK)):
            raise
        raise ValueError(
            say(
                f"{argument}: not a saved conversation; choose a file that /save wrote",
                f"{argument}：不是保存的对话；请选用 /保存 写出的文件",
            )
        ) from None
    chat = Chat.from_json(saved, file=argument)
    conversation.chat = chat
    tell(
        say(
            f"(read {len(chat.rounds)} rounds from {argument})",
            f"（从 {argument} 读取了 {len(chat.rounds)} 轮对话）",
        )
    )


def set_option(conversation: Conversation, argument: str) -> None:
    name, _, value = argument.partition(" ")
    name = name.lower().replace("-", "_")
    if name and name not in SETTABLE:
        known = ", ".join(SETTABLE)
        raise ValueError(
            say(f"{name} cannot be set; there are: {known}", f"没有 {name} 这项设置；可设：{known}")
        )
    if value.strip():
        changed = replace(conversation.options, **{name: _value(name, value.strip().lower())})
        Settings.of(conversation.model.checkpoint, changed)
        conversation.options = changed
    tell(
        "\n".join(f"  {shown} {now}" for shown, now in _in_force(conversation).items() if name in ("", shown))
    )


def show_model(conversation: Conversation, argument: str) -> None:
    tell(table(describe(conversation.model.checkpoint, context=conversation.model.context)))


def leave(conversation: Conversation, argument: str) -> None:
    conversation.over = True


FILE, TEXT = ("FILE", "文件"), ("TEXT", "文字")
COMMANDS = (
    Command("/help", "/帮助", show_help, ("this list", "显示本表"), others=("/?",)),
    Command("/retry", "/重答", retry, ("another answer to the last question", "重新回答上一个问题")),
    Command("/clear", "/清空", clear, ("begin a new conversation", "开始新的对话")),
    Command(
        "/system",
        "/系统",
        set_system,
        ("set the system prompt; - removes it", "设置系统提示；- 为去掉"),
        TEXT,
    ),
    Command(
        "/set",
        "/设置",
        set_option,
        ("settings; `default` resets one", "查看或修改设置；default 为恢复默认"),
        ("NAME VALUE", "名称 值"),
    ),
    Command("/save", "/保存", save, ("write the conversation to a new file", "把对话写入新文件"), FILE),
    Command("/save!", "/保存!", overwrite, ("the same, over an existing file", "同上，覆盖已有文件"), FILE),
    Command("/load", "/读取", load, ("go on with a saved conversation", "读取保存的对话并继续"), FILE),
    Command("/show", "/信息", show_model, ("the model and the memory it needs", "模型信息与内存需求")),
    Command("/quit", "/退出", leave, ("leave", "离开"), others=("/bye", "/exit")),
)


def _in_force(conversation: Conversation) -> dict[str, Any]:
    settings = Settings.of(conversation.model.checkpoint, conversation.options)
    stats = say("on", "开") if conversation.options.stats else say("off", "关")
    values = {**vars(settings.sampling), "max_new_tokens": settings.max_new_tokens, "stats": stats}
    return {name: say("random", "随机") if values[name] is None else values[name] for name in SETTABLE}


def _value(name: str, typed: str) -> Any:
    """What was typed, as the type of the option. ValueError says what it takes."""
    if name == "stats":
        if typed not in (*ON, *OFF):
            raise ValueError(
                say(
                    f"{name} is on or off, not {typed}", f"{name} 只能是 on（开）或 off（关），不能是 {typed}"
                )
            )
        return typed in ON
    if typed in DEFAULT:
        return None
    whole = get_type_hints(ChatOptions)[name] == (int | None)
    least = next(field.metadata["least"] for field in fields(ChatOptions) if field.name == name)
    try:
        value = int(typed) if whole else float(typed)
    except ValueError:
        kind = say("a whole number" if whole else "a number", "整数" if whole else "数")
        raise ValueError(
            say(f"{name} takes {kind}, not {typed}", f"{name} 应为{kind}，不能是 {typed}")
        ) from None
    if least is not None and value < least:
        raise ValueError(say(f"{name} is at least {least}", f"{name} 至少为 {least}"))
    return value


def _file(argument: str) -> Path:
    if not argument:
        name = "talk.json" if not chinese() else "对话.json"
        raise ValueError(say(f"name a file, for example {name}", f"请给出文件名，例如 {name}"))
    return Path(argument).expanduser()


def _write_whole(file: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; a new one is readable by its owner only.

    A link is followed; what is no plain file (a device, a folder) is refused. ValueError names the file.
    """
    file = file.resolve()
    if file.exists() and not file.is_file():
        raise ValueError(
            say(f"{file}: not a plain file; choose another name", f"{file}：不是普通文件；请换个名称")
        )
    part = None
    try:
        handle, part = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:40]}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
        if file.exists():
            os.chmod(part, file.stat().st_mode & 0o777)
        os.replace(part, file)
    except OSError as error:
        why = system_reason(error)
        raise ValueError(say(f"{file}: cannot be written: {why}", f"{file}：无法写入：{why}")) from None
    finally:
        if part:
            Path(part).unlink(missing_ok=True)
