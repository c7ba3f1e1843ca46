"""The forms that one text can have: widths, what is left of it for comparing, its sentences, simplified characters.

Chinese punctuation stays as it is: full-width letters and digits alone become ASCII. For comparing, texts are folded
to lower-case letters and digits by FOLD, a table over Unicode 3.2, which Python carries unchanged, so that every
version of Python folds alike. It knows characters; what is worth keeping, `haina/data` decides.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from unicodedata import ucd_3_2_0

import numpy as np

from haina.wording import say

FOLDED = 0x10000  # characters beyond it, rare Chinese ones and emoji, stand for themselves
ENDS = "。！？!?；;…"
_SENTENCE = re.compile(  # one set of first characters: a search for it alone runs at the speed of memory
    rf"""[\n.{ENDS}](?:(?<=\n)|(?<=[{ENDS}])[{ENDS}]*[”’」』）)"']*|(?<=[a-z"')]\.)(?=\s))"""
)
_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ]+")
_WIDE_POINT = re.compile("([0-9])．(?=[0-9])")  # １．５ is a number
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}


def narrow(text: str) -> str:
    """Full-width letters, digits and decimal points as ASCII; all other full-width characters stay."""
    text = _WIDE.sub(lambda found: found[0].translate(_NARROW), text)
    return _WIDE_POINT.sub(r"\1.", text) if "．" in text else text


def codes(text: str) -> np.ndarray:
    """The code points, uint32, lone surrogates among them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def fold() -> np.ndarray:
    """uint32 [FOLDED]: the lower-case letter or digit that a character is compared as; 0 for all that is neither."""
    table = np.zeros(FOLDED, np.uint32)
    for first, last in ((0x3400, 0x4DB6), (0x4E00, 0xA000), (0xAC00, 0xD7A4)):  # Chinese, Korean
        table[first:last] = np.arange(first, last)
    for code in np.flatnonzero(table == 0).tolist():
        folded = ucd_3_2_0.normalize("NFKC", chr(code)).lower()
        if len(folded) == 1 and ucd_3_2_0.category(folded)[0] in "LNM":
            table[code] = ord(folded)
    return table


def sentence_ends(text: str) -> list[int]:
    """Where sentences end, the end of the text last: after 。！？；… and their closing quotes, at a line's end, and
    after a full stop that follows a small letter and precedes a space."""
    ends = [found.end() for found in _SENTENCE.finditer(text)]
    return ends if ends and ends[-1] == len(text) else [*ends, len(text)]


def sentences(text: str) -> list[str]:
    """The sentences, without the space around them; none is empty."""
    ends = sentence_ends(text)
    pieces = (text[start:end].strip() for start, end in zip([0, *ends], ends, strict=False))
    return [piece for piece in pieces if piece]


def simplified(text: str) -> str:
    """Traditional characters as simplified ones, phrase by phrase (OpenCC, t2s)."""
    converted: str = _opencc().convert(text)
    return converted


@cache
def _opencc() -> Any:
    try:
        from opencc import OpenCC
    except ImportError:
        raise ValueError(
            say(
                "simplified characters need OpenCC; pip install 'haina[data]'",
                "繁简转换需要 OpenCC；请运行 pip install 'haina[data]'",
            )
        ) from None
    return OpenCC("t2s")
