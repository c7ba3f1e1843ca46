"""The two languages of everything a person sees: English and Chinese, side by side at the place of use.

`say(en, zh)` returns one of them. It knows nothing of what is said: no catalogue, no keys to look up,
so a message is read, changed and reviewed in both languages at once.
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
