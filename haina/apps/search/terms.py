"""What of a text is compared: neighbouring characters of scripts without spaces, stems of words of the others.

Characters are folded first: width, case, accents, traditional to simplified (simplified.txt, from OpenCC's
TSCharacters, Apache-2.0), by tables over Unicode 3.2, which every Python carries unchanged. Character bigrams beat
segmenters on every set we measured. FORMAT changes whenever the terms of any text do: an index is then made again.
It does not know what a term is worth.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from unicodedata import ucd_3_2_0

import numpy as np

from haina.apps.words.terms import stem
from haina.text.normalize import FOLDED, codes, fold

FORMAT = 1
LONGEST = 40  # characters of a word; what is longer is no word
MANY = 1  # in the table: not one character but none or several
DENSE = (  # scripts without spaces: Thai, Lao, Burmese, Khmer, kana, Chinese; Korean; beyond FOLDED, emoji too
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uac00-\ud7af\U00010000-\U0010ffff"
)
_SIMPLIFIED = Path(__file__).with_name("simplified.txt")
_DENSE = re.compile(f"[{DENSE}]+")
_RUN = re.compile(f"[{DENSE}]+|[^ {DENSE}]+")
_WORD = re.compile(f"[^ {DENSE}]+")
_VANISH = (
    *range(0x300, 0x370),
    0xAD,
    *range(0x200B, 0x2010),
    0x2060,
    0xFEFF,
)  # accents, soft hyphens, joiners


@cache
def _tables() -> tuple[np.ndarray, dict[int, str]]:
    """uint32 [FOLDED]: what each character is compared as, a space for what is neither letter nor digit; and MANY."""
    one, many = fold().copy(), dict.fromkeys(_VANISH, "")
    traditional, simplified = _SIMPLIFIED.read_text("utf-8").split("\n")[:2]
    one[[ord(char) for char in traditional]] = [ord(char) for char in simplified]
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):  # Latin letters with accents
        base = ucd_3_2_0.normalize("NFKD", chr(code)).lower()[0]
        one[code] = ord(base) if base.isascii() and base.isalpha() else one[code]
    for code in np.flatnonzero(one == 0).tolist():
        form = ucd_3_2_0.normalize("NFKC", chr(code)).lower()
        if len(form) > 1 and any(char.isalnum() for char in form):
            form = "".join(char if char.isalnum() else " " for char in form)
            many[code] = f" {form} " if form[0].isdigit() else form  # ½ is no part of the number before it
    one[one == 0] = ord(" ")
    one[list(many)] = MANY
    return one, many


@cache
def _simpler() -> np.ndarray:
    """uint32 [FOLDED]: each character, or its simplified one."""
    table = np.arange(FOLDED, dtype=np.uint32)
    traditional, simplified = _SIMPLIFIED.read_text("utf-8").split("\n")[:2]
    table[[ord(char) for char in traditional]] = [ord(char) for char in simplified]
    return table


def simpler(text: str) -> str:
    """The text in simplified characters, each by itself, and otherwise as it is."""
    if text.isascii():
        return text
    given = codes(text)
    found = np.where(given < FOLDED, _simpler()[np.minimum(given, FOLDED - 1)], given)
    return found.tobytes().decode("utf-32-le", "surrogatepass")


def folded(text: str) -> str:
    """The text as it is compared, not always of the same length: "ﬁ" is "fi", and accents vanish."""
    one, many = _tables()
    given = codes(text)
    found = np.where(given < FOLDED, one[np.minimum(given, FOLDED - 1)], given)
    if (found == MANY).any():
        parts = (many[int(g)] if f == MANY else chr(f) for g, f in zip(given, found, strict=True))
        return "".join(parts)
    return found.tobytes().decode("utf-32-le")


def cut(text: str) -> list[str]:
    """The terms for an index: pairs of neighbours, the last character of a run alone, stems. As often as they occur.

    So that every character is the beginning of a term: who looks for one alone asks for what begins with it.
    """
    return joined(text).split()


def joined(text: str) -> str:
    """The same terms with spaces between them: every character of a dense script, the next one, a space."""
    stemmed = _WORD.sub(lambda found: word(found[0]), folded(text))
    given = codes(stemmed)
    dense = np.where(given < FOLDED, _dense()[np.minimum(given, FOLDED - 1)], True)
    narrow = bool((given < FOLDED).all())
    spread = np.zeros((len(given), 4), np.uint16 if narrow else np.uint32)
    spread[:, 1] = given
    spread[dense, 3] = ord(" ")
    both = dense[:-1] & dense[1:]
    spread[:-1, 2][both] = given[1:][both]
    spread[1:, 0][dense[1:] & ~dense[:-1]] = ord(" ")
    flat = spread.ravel()
    kept: bytes = flat.compress(flat).tobytes()
    return kept.decode("utf-16-le" if narrow else "utf-32-le")


@cache
def _dense() -> np.ndarray:
    """bool [FOLDED]: which characters are of scripts without spaces."""
    return np.array([_DENSE.match(chr(code)) is not None for code in range(FOLDED)])


def word(run: str) -> str:
    """The stem of a word; of an English one, that is."""
    run = run[:LONGEST]
    return stem(run) if run.isascii() and run.isalpha() else run


def pairs(text: str) -> list[str]:
    """The distinct terms to look for: pairs of neighbours, characters that stand alone, stems."""
    found: list[str] = []
    for run in _RUN.findall(folded(text)):
        if not _DENSE.match(run):
            found.append(word(run))
        else:
            found += map(str.__add__, run, run[1:]) if len(run) > 1 else [run]
    return list(dict.fromkeys(found))


def characters(text: str) -> list[str]:
    """The distinct characters of scripts without spaces."""
    return list(dict.fromkeys("".join(_DENSE.findall(folded(text)))))


def words(folded_text: str) -> list[str]:
    """The stems in a folded text, as often as they occur."""
    return list(map(word, _WORD.findall(folded_text)))


def is_dense(term: str) -> bool:
    return _DENSE.match(term) is not None
