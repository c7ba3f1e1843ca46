"""The filter of known lines from poems: `python -m haina.apps.poem.build_known DATA`.

DATA is a folder as haina-brook is trained on; only poems that its weights may see are taken (data/brook/sources.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from haina.apps.poem.known import FILE, Known
from haina.apps.poem.write import lines_of
from haina.data.brook.sources import poems

SHORTEST = 5  # characters: what is shorter, anybody says


def lines(data: Path) -> Iterator[str]:
    for poem in poems(data, "train"):
        yield from (line for line in lines_of("".join(poem["lines"])) if len(line) >= SHORTEST)


if __name__ == "__main__":
    Known.of(lines(Path(sys.argv[1]))).bits.tofile(FILE)
