"""What of a text is compared: stems of English words; Chinese characters and their neighbours in pairs.

The stems are Porter's ("An algorithm for suffix stripping", 1980), so that "forgetting" meets "forgot" never but
"forgets" always. There is no segmenter: character uni- and bigrams beat one in our measurements of search. It does
not know what a term is worth.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

HAN = r"\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ffff"
LONGEST_WORD = 4  # characters of a Chinese word that is looked for in a text
_RUN = re.compile(rf"[{HAN}]+|[a-z0-9]+(?:'[a-z]+)?")
_HAN_RUN = re.compile(f"[{HAN}]+")
_VOWEL = re.compile("[aeiou]|(?<=[^aeiou])y")
_MEASURE = re.compile("[aeiouy]+[^aeiouy]+")
_DOUBLE = re.compile(r"([^aeioulsz])\1$")
_CVC = re.compile("[^aeiou][aeiouy][^aeiouwxy]$")
_STEP2 = {
    **{"ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "abli": "able"},
    **{
        "alli": "al",
        "entli": "ent",
        "eli": "e",
        "ousli": "ous",
        "ization": "ize",
        "ation": "ate",
        "ator": "ate",
    },
    **{"alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive"},
    "biliti": "ble",
}
_STEP3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP4 = (
    *(
        "ement",
        "ance",
        "ence",
        "able",
        "ible",
        "ment",
        "sion",
        "tion",
        "ant",
        "ent",
        "ism",
        "ate",
        "iti",
        "ous",
    ),
    *("ive", "ize", "al", "er", "ic", "ou"),
)


def folded(text: str) -> str:
    """Small letters, of one width, without accents."""
    marked = unicodedata.normalize("NFKD", text.replace("’", "'")).lower()
    return unicodedata.normalize("NFC", "".join(c for c in marked if not unicodedata.combining(c)))


def is_chinese(text: str) -> bool:
    return _HAN_RUN.search(text) is not None


def runs(text: str) -> list[str]:
    """Stretches of Chinese characters, and words in letters."""
    return _RUN.findall(folded(text))


def terms(text: str) -> list[str]:
    """Stems; characters and pairs of neighbours. In their order, as often as they occur."""
    found = []
    for run in runs(text):
        if run[0].isascii():
            found.append(stem(run.split("'")[0]))
        else:
            found += [*run, *(run[at : at + 2] for at in range(len(run) - 1))]
    return found


def inside(text: str) -> list[str]:
    """All stretches of one to LONGEST_WORD Chinese characters, and the stems: what may be a word in a text."""
    found = []
    for run in runs(text):
        if run[0].isascii():
            found.append(stem(run.split("'")[0]))
        else:
            found += [run[at : at + n] for n in range(1, LONGEST_WORD + 1) for at in range(len(run) - n + 1)]
    return found


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Porter's stem of a word in small letters."""
    if len(word) < 3:
        return word
    word = _plurals(word)
    word = _endings(word, _STEP2)
    word = _endings(word, _STEP3)
    word = _residues(word)
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _CVC.search(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word


def _measure(word: str) -> int:
    """How many times consonants follow vowels."""
    return len(_MEASURE.findall(re.sub("^y|(?<=[aeiou])y", "j", word)))


def _plurals(word: str) -> str:
    """Steps 1a to 1c: -s, -ed, -ing, -y."""
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        word = word[:-1] if _measure(word[:-3]) else word
    else:
        for ending in ("ed", "ing"):
            rest = word.removesuffix(ending)
            if rest != word and _VOWEL.search(rest):
                word = _mended(rest)
                break
    return word[:-1] + "i" if word.endswith("y") and _VOWEL.search(word[:-1]) else word


def _mended(word: str) -> str:
    """hop(p)ing, hat(e)d: what is left of a verb, as a verb."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _DOUBLE.search(word):
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _CVC.search(word) else word


def _endings(word: str, table: dict[str, str]) -> str:
    for ending, shorter in table.items():
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            return rest + shorter if _measure(rest) else word
    return word


def _residues(word: str) -> str:
    """Step 4: -ance, -able, -ment and their like, if enough stays."""
    for ending in _STEP4:
        if word.endswith(ending):
            rest = word[: -len(ending)] + (ending[0] if ending in ("sion", "tion") else "")
            return rest if _measure(rest) > 1 else word
    return word
