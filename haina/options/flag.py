"""A field of a verb's options that people can set.

The options are frozen dataclasses whose fields are the flags, saved as run.json beside the result. They know names,
types and defaults, nothing of what the verbs do with them.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any


def flag(
    default: Any,
    en: str,
    zh: str,
    *,
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    short: str | None = None,
) -> Any:
    """A field that people can set: its help in both languages, the range of a number, a letter beside its name."""
    about = {"help": (en, zh), "metavar": metavar, "least": least, "most": most, "short": short}
    return field(default=default, metadata=about)
