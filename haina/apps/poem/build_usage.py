"""What people's poems tell of characters: `python -m haina.apps.poem.build_usage DATA`.

Two tables. `answers.txt`: classes of characters that answer each other in the second and third couplets of 律诗, by
their co-occurrence (positive pointwise mutual information, its largest eigenvectors, spherical k-means), and how much
likelier than by chance each class answers each. `pingshui_unused.txt`: readings of 平水韵 on which a character does
not rhyme in poems, though it often rhymes on others: 听 on 文. DATA is a folder as haina-brook is trained on.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from haina.apps.poem.couplet import FILE, TENTHS
from haina.apps.poem.write import lines_of
from haina.data.brook.sources import poems
from haina.text import hanzi
from haina.text.hanzi import LEVEL, UNUSUAL, book

REGULATED = ("五绝", "七绝", "五律", "七律")
CHARACTERS, CLASSES, DIMENSIONS = 3000, 64, 50
OFTEN, SELDOM = 20, 0.08  # feet of a character, and the share of them below which a part is not used
Pairs = Counter[tuple[str, str]]


def main(data: Path) -> None:
    pairs: Pairs = Counter()
    rhymed: dict[str, Counter[int]] = defaultdict(Counter)
    for row in poems(data, "train"):
        lines = lines_of("".join(row["lines"]))
        if row["form"] in REGULATED and len(lines) in (4, 8) and len(set(map(len, lines))) == 1:
            _count_rhyme(rhymed, [line[-1] for line in lines[1::2]])
            for n in (2, 4) if len(lines) == 8 else ():
                pairs.update(zip(lines[n], lines[n + 1], strict=True))
    text = "".join(f"{part} {chars}\n" for part, chars in _unused(rhymed).items())
    Path(hanzi.__file__).with_name("rhymes").joinpath(UNUSUAL).write_text(text, "utf-8")
    FILE.write_text("".join(_classes(pairs)), "utf-8")


def _count_rhyme(rhymed: dict[str, Counter[int]], feet: list[str]) -> None:
    """Where the feet share one part, they rhyme on it."""
    shared = frozenset.intersection(*(book("平水韵").rhymes(foot, LEVEL) for foot in feet))
    if len(shared) == 1:
        for foot in feet:
            rhymed[foot].update(shared)


def _unused(rhymed: dict[str, Counter[int]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for char, parts in sorted(rhymed.items()):
        for part in sorted(book("平水韵").rhymes(char, LEVEL)):
            if parts.total() >= OFTEN and parts[part] < SELDOM * parts.total():
                name = book("平水韵").parts[part]
                found[name] = found.get(name, "") + char
    return found


def _classes(pairs: Pairs) -> Iterable[str]:
    """The rows of answers.txt."""
    often: Counter[str] = Counter()
    for pair, count in pairs.items():
        often.update(dict.fromkeys(pair, count))
    chars = [char for char, _ in often.most_common(CHARACTERS)]
    together = _table(pairs, {char: i for i, char in enumerate(chars)})
    own = _clustered(_vectors(together))
    of = {char: int(n) for char, n in zip(chars, own, strict=True)}
    odds = np.rint(TENTHS * _log_odds(_table(pairs, of) + 1)).astype(int)
    for number in range(CLASSES):
        yield f"{''.join(c for c in chars if of[c] == number)}\t{' '.join(map(str, odds[number]))}\n"


def _table(pairs: Pairs, number: dict[str, int]) -> np.ndarray:
    """How often these stand together, either one above."""
    size = max(number.values()) + 1
    found = np.zeros((size, size), np.float32)
    for (upper, lower), count in pairs.items():
        if upper in number and lower in number:
            found[number[upper], number[lower]] += count
    return np.asarray(found + found.T)


def _log_odds(together: np.ndarray) -> np.ndarray:
    each = together.sum(1, keepdims=True)
    return np.asarray(np.log(together * together.sum() / (each * each.T)))


def _vectors(together: np.ndarray) -> np.ndarray:
    """[n, DIMENSIONS] float32 of length 1: randomised eigenvectors (Halko, Martinsson, Tropp 2011)."""
    positive = np.where(together > 0, np.maximum(_log_odds(np.maximum(together, 1e-6)), 0), 0).astype(
        np.float32
    )
    random = np.random.default_rng(0)
    base = random.standard_normal((len(positive), DIMENSIONS + 20)).astype(np.float32)
    for _ in range(6):
        base, _ = np.linalg.qr(positive @ base)
    values, vectors = np.linalg.eigh(base.T @ positive @ base)
    best = np.argsort(-np.abs(values))[:DIMENSIONS]
    return _unit(base @ vectors[:, best] * np.sqrt(np.abs(values[best])))


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9))


def _clustered(x: np.ndarray) -> np.ndarray:
    """The class of each row."""
    random = np.random.default_rng(1)
    centres = x[random.choice(len(x), CLASSES, replace=False)]
    own = (x @ centres.T).argmax(1)
    for _ in range(40):
        sums = [
            x[own == n].sum(0) if (own == n).any() else x[random.integers(len(x))] for n in range(CLASSES)
        ]
        centres = _unit(np.stack(sums))
        own = (x @ centres.T).argmax(1)
    return np.asarray(own)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
