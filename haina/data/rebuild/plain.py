"""Prose out of Markdown, reStructuredText and HTML as repositories of books and manuals write them.

Stricter than haina/data/markup.py, which keeps all that a reader sees: here listings, tables and directives go. It does
not know where the files are from.
"""

from __future__ import annotations

import html
import re

from haina.data.markup import plain_markdown

_FRONT_TITLE = re.compile(r"\A---\n(?:.*\n)*?title:\s*(.+)\n")
_HEADING = re.compile(r"^#{1,3}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_NOT_PROSE = (
    (re.compile(r"^([ \t]*)(```|~~~).*?(?:^\1\2[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL), ""),
    (re.compile(r"^[ \t]*\$\$.*?\$\$", re.MULTILINE | re.DOTALL), ""),
    (re.compile(r"^[ \t]*\|.*\n", re.MULTILINE), ""),
    (re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{/\*.*?\*/\}", re.DOTALL), ""),
    (re.compile(r"\s?:[a-z]+:`[^`\n]*`"), ""),  # d2l's :numref:`...`
    (re.compile(r"^[ \t]*(?:\?\?\?\+?|!!!)[ \t]+\w+[ \t]*\"?([^\"\n]*)\"?[ \t]*$", re.MULTILINE), r"\1"),
    (re.compile(r"^(?::(?:begin|end)_tab:|#@tab|[ \t]*=== \").*\n?", re.MULTILINE), ""),
)
_TAG, _BREAK = re.compile(r"<[^<>]{1,200}>"), re.compile(r"(?i)\s*<(?:br|/p|/li|/h\d)\s*/?>\s*")
_EMPTY = re.compile(r"\n{3,}")

_RST_FIELDS = re.compile(r"\A(?:[A-Z][A-Za-z-]*:.*\n(?:[ \t]+.*\n)*)+")
_RST = (
    (re.compile(r"^\.\. .*\n(?:[ \t]+.*\n|\n(?=[ \t]))*", re.MULTILINE), ""),  # directives, targets, comments
    (re.compile(r"::[ \t]*\n\n(?:[ \t]+.*\n|\n(?=[ \t]))+"), ":\n"),  # literal blocks
    (re.compile(r"^([=\-~^\"'*+#`.])\1{2,}[ \t]*\n", re.MULTILINE), ""),
    (re.compile(r":[a-z:]+:`(?:[^`<]*<)?[!~]?([^`>]*)>?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([^`\n]+)`_?"), r"\1"),
    (re.compile(r"\[#?[\w-]+\]_"), ""),
    (re.compile(r"(\*{1,2})(\S[^*\n]*?)\1"), r"\2"),
)


def markdown(text: str) -> tuple[str, str]:
    """(title, prose). The title is that of the front matter, else the first heading, else ""."""
    text = text.replace("\r\n", "\n")
    heading = _FRONT_TITLE.match(text) or _HEADING.search(text)
    for pattern, replacement in _NOT_PROSE:
        text = pattern.sub(replacement, text)
    title = heading[1].strip().strip("'\"") if heading else ""
    return title, tidy(html.unescape(_TAG.sub("", plain_markdown(text))))


def restructured(text: str) -> str:
    """The prose of a PEP, without its fields."""
    text = _RST_FIELDS.sub("", text.replace("\r\n", "\n"))
    for pattern, replacement in _RST:
        text = pattern.sub(replacement, text)
    return tidy(text)


def untagged(text: str) -> str:
    """A fragment of HTML as text: breaks become lines, other tags go."""
    return tidy(html.unescape(_TAG.sub("", _BREAK.sub("\n", text))))


def tidy(text: str) -> str:
    """Without space at the ends of lines, and no more than one empty line."""
    return _EMPTY.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()
