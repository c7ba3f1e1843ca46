"""Document: one text and where it comes from. What a reader gives, rules judge and a corpus keeps. It knows no rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Document:
    """`id` is unique within a source; `licence` is an SPDX expression or words; `language` as language.py says it."""

    text: str
    id: str
    source: str = ""
    licence: str = ""
    language: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
