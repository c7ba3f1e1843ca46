"""Which of its sounds a character has in a word, where they differ in tone: 长 is level in 长江, oblique in 成长.

`senses.txt` lists words of two characters by the tone in them of one that has both, made from mozillazg's
phrase-pinyin-data by `python -m haina.apps.poem.build_senses DATA`; for licences see haina/text/rhymes/README.md. A
character that stands in no such word may be read in any way: old verse has 看 and 教 in both tones with one meaning.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("senses.txt")


@cache
def _words() -> dict[tuple[str, int], str]:
    """The kind of tone that a character has in a word: by the word and its place there."""
    found: dict[tuple[str, int], str] = {}
    for line in FILE.read_text("utf-8").splitlines():
        char, kind, words = line.split("\t")
        for word in words.split():
            found[word, word.index(char)] = kind
    return found


def sense(line: str, at: int) -> str:
    """The kind of tone that the word around a character gives it: "-", "|"; "": none does, or two that differ."""
    words = ((line[at : at + 2], 0), (line[at - 1 : at + 1] if at else "", 1))
    kinds = {_words()[word] for word in words if word in _words()}
    return kinds.pop() if len(kinds) == 1 else ""
