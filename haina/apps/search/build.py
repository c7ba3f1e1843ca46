"""The tables of search again: python -m haina.apps.search.build [FOLDER], with OpenCC (Apache-2.0) installed.

simplified.txt, two lines: the traditional characters that OpenCC's t2s maps to one other character by themselves, and
what they become. Search compares characters, so phrases are of no concern.

glosses.txt.gz, with FOLDER alone, which `haina data fetch haina/apps/words/sources.toml --out FOLDER` fills: the words
of CC-CEDICT that have short glosses, those first that FrequencyWords counts most often (README.md). It knows nothing
of searching.
"""

from __future__ import annotations

import gzip
import lzma
import re
import sys
from pathlib import Path

from haina.apps.search.across import FILE, PHRASE
from haina.apps.search.features import SMALL
from haina.apps.search.terms import folded, words
from haina.text.normalize import simplified

TABLE = Path(__file__).with_name("simplified.txt")
HAN = (range(0x3400, 0x4DB6), range(0x4E00, 0xA000))
CEDICT = "cc-cedict/Test2/cedict_ts.u8.lzma"
FREQUENCIES = "frequency-words/content/2018/zh_cn/zh_cn_50k.txt"
_ENTRY = re.compile(r"\S+ (\S+) \[.*?\] /(.+)/")
_ASIDE = re.compile(r"\([^)]*\)|\[[^]]*\]|\b(surname|(old )?variant of|see( also)?|CL:|abbr\. for).*")


def simplified_table() -> None:
    pairs = [(chr(code), simplified(chr(code))) for codes in HAN for code in codes]
    pairs = [
        (char, other) for char, other in pairs if other != char and len(other) == 1 and ord(other) < 0x10000
    ]
    TABLE.write_text("".join(a for a, _ in pairs) + "\n" + "".join(b for _, b in pairs) + "\n", "utf-8")


def glosses(folder: Path) -> None:
    counted = (folder / FREQUENCIES).read_text("utf-8").splitlines()
    place = {line.split()[0]: at for at, line in enumerate(counted)}
    found: dict[str, dict[str, None]] = {}
    for line in lzma.decompress((folder / CEDICT).read_bytes()).decode().splitlines():
        if entry := _ENTRY.match(line):
            for gloss in filter(None, map(_stems, re.split("[/;]", entry[2]))):
                found.setdefault(folded(entry[1]), {})[gloss] = None
    order = sorted(found, key=lambda word: place.get(word, len(place)))
    lines = [f"{word}\t{'/'.join(found[word])}" for word in order if len(word) > 1 and " " not in word]
    FILE.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))


def _stems(gloss: str) -> str:
    """The words of a gloss that say something; "" where there are none, or too many to be a translation."""
    stems = [
        stem
        for stem in words(folded(_ASIDE.sub("", gloss).split(",")[0]))
        if stem.isascii() and stem not in SMALL
    ]
    return " ".join(stems) if len(stems) <= PHRASE else ""


def main() -> None:
    if len(sys.argv) > 1:
        glosses(Path(sys.argv[1]))
    else:
        simplified_table()


if __name__ == "__main__":
    main()
