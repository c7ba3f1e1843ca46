"""The table of sense.py, from the readings of words: `python -m haina.apps.poem.build_senses DATA`.

DATA is the data pack (haina/data/brook/sources.py), whose phrases are those of mozillazg/phrase-pinyin-data@cee0ed6.
Taken are words of two characters of which one has a level and an oblique sound both in 平水韵 and today, and no
entering tone, which today's readings do not tell.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from haina.apps.poem.sense import FILE
from haina.data.brook import sources
from haina.text import pinyin
from haina.text.hanzi import LEVEL, OBLIQUE, book

KINDS = {"1": LEVEL, "2": LEVEL, "3": OBLIQUE, "4": OBLIQUE}
SAME_SENSE = frozenset("看过望忘听叹醒教")  # in both tones, of one meaning (王力《诗词格律》)


def main(data: Path) -> None:
    chars, found = _many_sounded(), defaultdict[tuple[str, str], set[str]](set)
    for word, syllables in _words(data):
        for char, syllable in zip(word, syllables, strict=True):
            if char in chars and (kind := KINDS.get(syllable[-1:])) and word[0] != word[1]:
                found[char, kind].add(word)
    rows = (
        f"{char}\t{kind}\t{' '.join(sorted(words - found.get((char, other), set())))}\n"
        for (char, kind), words in sorted(found.items())
        for other in (LEVEL, OBLIQUE)
        if other != kind and (char, other) in found
    )
    FILE.write_text("".join(rows), "utf-8")


def _words(data: Path) -> Iterator[tuple[str, list[str]]]:
    for row in sources.pinyin(data, "phrase"):
        syllables = [pinyin.spelled(part) for part in row["pinyin"].split()]
        if len(row["word"]) == len(syllables) == 2:
            yield row["word"], syllables


def _many_sounded() -> frozenset[str]:
    """The characters whose tone hangs on their sense."""
    old = book("平水韵").usual
    entering = {char for char, sounds in old.sounds.items() if any(sound.tone == "入" for sound in sounds)}
    both = (old.kinds[LEVEL] & old.kinds[OBLIQUE]) - entering - SAME_SENSE
    return frozenset(char for char in both if {LEVEL, OBLIQUE} <= _today(char))


def _today(char: str) -> set[str]:
    return {KINDS.get(reading[-1], "") for reading in pinyin.readings().get(char, ())}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
