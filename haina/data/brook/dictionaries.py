"""Dictionary entries as documents, several to each: from the word to its meaning, and from the meaning to the word.

It turns CC-CEDICT's numbered tones into marks. It does not know which words are common nor which are held out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator

from haina.data.brook.sources import Row

ENTRIES = 10  # to a document
POS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
MARKS = {"a": "āáǎà", "e": "ēéěè", "i": "īíǐì", "o": "ōóǒò", "u": "ūúǔù", "ü": "ǖǘǚǜ"}
_REFERENCE = re.compile(r"([^\s,;()|]+)\|([^\s,;()\[\]]+)")  # 變|变: both scripts
_READING = re.compile(r"\[[A-Za-z:1-5 ,·]+\]")


def chinese(entries: Iterable[Row], weight: float) -> Iterator[Row]:
    """CC-CEDICT: 苹果 píngguǒ: apple, or apple → 苹果."""
    yield from _documents(entries, "cedict", "dictionary zh", weight, [_chinese, _chinese_reversed])


def english(synsets: Iterable[Row], weight: float) -> Iterator[Row]:
    """WordNet: word (pos): definition; examples; synonyms, or definition → words."""
    yield from _documents(
        synsets, "wordnet", "dictionary en", weight, [_english, _english, _english_reversed]
    )


def _documents(
    entries: Iterable[Row], name: str, domain: str, weight: float, ways: list[Callable[[Row], str]]
) -> Iterator[Row]:
    """Shuffled, so that neighbours do not give an entry away."""
    found = list(entries)
    chance = random.Random(name)
    chance.shuffle(found)
    for start in range(0, len(found), ENTRIES):
        way, group = chance.choice(ways), found[start : start + ENTRIES]
        text = "\n".join(filter(None, map(way, group)))
        about = {"source": name, "licence": group[0]["licence"], "domain": domain, "weight": weight}
        yield {"id": f"{name}:{start}", "text": text, **about}


def _chinese(entry: Row) -> str:
    return f"{entry['word']} {marked(entry['pinyin'])}: {'; '.join(plain(d) for d in entry['defs'])}"


def _chinese_reversed(entry: Row) -> str:
    return f"{'; '.join(plain(d) for d in entry['defs'])} → {entry['word']}"


def _english(synset: Row) -> str:
    word, *others = synset["words"]
    parts = [f"{word} ({POS.get(synset['pos'], 'word')}): {synset['defs'][0]}"]
    parts += [f"e.g. {example}" for example in synset["examples"][:2]]
    parts += [f"synonyms: {', '.join(others)}"] if others else []
    return "; ".join(parts)


def _english_reversed(synset: Row) -> str:
    return f"{synset['defs'][0]} → {', '.join(synset['words'])}"


def plain(definition: str) -> str:
    """A definition with references as readers write them: 變|变[bian4] becomes 变."""
    return _READING.sub("", _REFERENCE.sub(r"\2", definition))


def marked(pinyin: str) -> str:
    """ping2 guo3 → píngguǒ."""
    return re.sub(r"\s+(?=[a-zāáǎàēéěèōóǒò])", "", " ".join(map(_syllable, pinyin.split())))


def _syllable(written: str) -> str:
    """A syllable with its tone mark, on a, e, the o of ou, else the last vowel (GB/T 16159)."""
    body, tone = re.sub("u:", "ü", written[:-1]), written[-1:]
    if tone not in "1234" or not tone:
        return body if tone == "5" else re.sub("u:", "ü", written)
    low = body.lower()
    at = next((low.index(v) for v in ("a", "e", "ou") if v in low), None)
    if at is None:
        at = max((low.rindex(v) for v in "iouü" if v in low), default=None)
    if at is None:
        return body
    mark = MARKS[low[at]][int(tone) - 1]
    return body[:at] + (mark.upper() if body[at].isupper() else mark) + body[at + 1 :]
