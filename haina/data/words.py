"""The words of a text as the rules compare them: folded; a Chinese character is one, a run of other letters is one."""

from __future__ import annotations

from functools import lru_cache

from haina.native import minhash
from haina.native.minhash import Words
from haina.text.normalize import codes, fold


@lru_cache(maxsize=1)  # one rule after another asks for the same text
def words(text: str) -> Words:
    """Lower-case letters and digits alone: no punctuation, no space, no difference of width."""
    return minhash.words(codes(text), fold())
