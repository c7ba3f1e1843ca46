"""The two languages of everything a person sees: English and Chinese, side by side at the place of use.

`say(en, zh)` returns one of them. It knows nothing of what is said: no catalogue, no keys to look up,
so a message is read, changed and reviewed in both languages at once.
"""

from __future__ import annotations

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
