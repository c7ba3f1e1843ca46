"""What a poem is to be about, in English or in today's Chinese → the title that a poet would have given it.

Words are looked up in `themes.txt`, longest first; a short Chinese text without such words is a title as it is.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from haina.text.characters import HAN
from haina.wording import say

LONGEST = 200  # characters of a theme
TITLE = 8  # characters of a title
_WORD = re.compile(r"[a-z][a-z'-]*|[^a-z\s]", re.IGNORECASE)


@cache
def _table() -> dict[str, str]:
    lines = Path(__file__).with_name("themes.txt").read_text("utf-8").splitlines()
    return dict(line.split("=") for line in lines)


def title(theme: str) -> str:
    """ "autumn river" → 秋江, 今天下雨了，我想家 → 雨思乡; "" for nothing. ValueError: it is too long."""
    theme = " ".join(theme.split())
    if len(theme) > LONGEST:
        raise ValueError(
            say(
                f"the theme has {len(theme):,} characters; say it in up to {LONGEST}",
                f"主题共 {len(theme):,} 字，过长；请缩到 {LONGEST} 字以内",
            )
        )
    chinese = HAN.findall(theme)
    if chinese and len(chinese) == len(theme) and len(theme) <= 4:
        return theme
    words = "".join(dict.fromkeys(_found(theme)))
    if words:
        return words[:TITLE]
    return "".join(chinese)[:TITLE] or theme


def _found(theme: str) -> list[str]:
    """The titles of the words that are known, where they stand."""
    tokens, found, at = _WORD.findall(theme.lower()), list[str](), 0
    while at < len(tokens):
        for size in (4, 3, 2, 1):
            part = tokens[at : at + size]
            word = (" " if part[0][0].isascii() else "").join(part)
            if len(part) == size and word in _table():
                found.append(_table()[word])
                break
        else:
            size = 1
        at += size
    return found
