"""The two languages of everything a person sees: English and Chinese, side by side at the place of use.

`say(en, zh)` returns one of them. It knows nothing of what is said: no catalogue, no keys to look up,
so a message is read, changed and reviewed in both languages at once. `short` says a number as people read one.
"""

from __future__ import annotations

import errno
import os


def chinese() -> bool:
    """Whether to speak Chinese: HAINA_LANG first, then the POSIX order LC_ALL, LC_MESSAGES, LANG."""
    for name in ("HAINA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return value.lower().startswith("zh")
    return False


def say(en: str, zh: str) -> str:
    """The text in the language of the person at the keyboard."""
    return zh if chinese() else en


def short(count: float, unit: str = "") -> str:
    """A count or a size in two or three figures: 812, 3.4 k, 12.6 B; with unit "B", bytes: 812 kB, 7.5 GB."""
    prefixes = ("", "k", "M", "G" if unit else "B", "T")
    power = 0
    while count >= 999.5 and power < len(prefixes) - 1:
        count, power = count / 1000, power + 1
    figures = f"{count:.0f}" if power == 0 or count >= 99.95 else f"{count:.1f}"
    return f"{figures} {prefixes[power]}{unit}".rstrip()


def system_reason(error: OSError) -> str:
    """Why the operating system refused, in the person's language where we know it."""
    said = {
        errno.ENOENT: say("no such file or folder", "没有这个文件或目录"),
        errno.EACCES: say("no permission", "没有权限"),
        errno.EPERM: say("no permission", "没有权限"),
        errno.EISDIR: say("it is a folder", "这是一个目录"),
        errno.ENOTDIR: say("it is not a folder", "这不是目录"),
        errno.ENOSPC: say("the disk is full", "磁盘已满"),
        errno.EROFS: say("the disk is read-only", "磁盘只读"),
        errno.ENAMETOOLONG: say("the name is too long", "名称过长"),
    }
    return said.get(error.errno or 0) or error.strerror or type(error).__name__
