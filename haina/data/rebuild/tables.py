"""Dictionaries, readings and frequencies: tables with a row an entry.

It knows the formats of CC-CEDICT, Open English WordNet, mozillazg's pinyin tables and FrequencyWords.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haina.data.rebuild.row import Keyed, Row, sorted_files
from haina.text.characters import common
from haina.text.normalize import simplified

_ENTRY = re.compile(r"(?P<trad>\S+) (?P<word>\S+) \[(?P<pinyin>[^\]]*)\] /(?P<defs>.+)/\s*")
_CHARACTER = re.compile(r"U\+([0-9A-F]+): *(\S+)")
_PHRASE = re.compile(r"([^\s:#]+): *([^#\n]+)")
PHRASES = ("overwrite", "pinyin", "di", "cc_cedict", "zdic_cybs")  # the first that has a word is right


def cedict(folder: Path) -> Iterator[Keyed]:
    """Test2/cedict_ts.u8.lzma: TRADITIONAL SIMPLIFIED [PINYIN] /DEFINITION/…/."""
    with lzma.open(folder / "Test2" / "cedict_ts.u8.lzma", "rt", encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#") and (entry := _ENTRY.fullmatch(line)):
                yield entry["word"], {**entry.groupdict(), "defs": entry["defs"].split("/")}


def wordnet(folder: Path) -> Iterator[Keyed]:
    """src/yaml/KIND.DOMAIN.yaml: synsets by their ids."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file in sorted_files(folder, "src/yaml/*.*.yaml"):
        if file.name.startswith(("entries", "frames")):
            continue
        for name, synset in yaml.load(file.read_text("utf-8"), loader).items():
            yield str(synset["members"][0]), _synset(name, synset, file.stem)


def _synset(name: str, synset: dict[str, Any], domain: str) -> Row:
    examples = [one if isinstance(one, str) else one.get("text", "") for one in synset.get("example", [])]
    return {
        "id": name,
        "pos": synset["partOfSpeech"],
        "words": [str(member) for member in synset["members"]],
        "defs": synset["definition"],
        "examples": examples,
        "domain": domain,
    }


def characters(folder: Path) -> Iterator[Row]:
    """pinyin.txt: all readings; kMandarin_8105.txt: the usual one of the common characters."""
    ordinary = frozenset(common())
    usual = {char: readings[0] for char, readings in _readings(folder / "kMandarin_8105.txt")}
    for char, readings in _readings(folder / "pinyin.txt"):
        more = {"usual": usual[char]} if char in usual else {}
        yield {"char": char, "pinyin": readings, "common": char in ordinary, **more}


def _readings(file: Path) -> Iterator[tuple[str, list[str]]]:
    for line in file.read_text("utf-8").splitlines():
        if found := _CHARACTER.match(line):
            yield chr(int(found[1], 16)), found[2].split(",")


def phrases(folder: Path) -> Iterator[Row]:
    """WORD: READINGS, in simplified characters, each word once."""
    seen: set[str] = set()
    for name in PHRASES:
        for line in simplified((folder / f"{name}.txt").read_text("utf-8")).splitlines():
            found = None if line.startswith("#") else _PHRASE.match(line)
            if found and found[1] not in seen:
                seen.add(found[1])
                yield {"word": found[1], "pinyin": found[2].strip(), "src": name}


def frequencies(file: Path) -> Iterator[Row]:
    """WORD COUNT, the most frequent first."""
    for line in file.read_text("utf-8").splitlines():
        word, _, count = line.rpartition(" ")
        if word and count.isdigit():
            yield {"word": word, "freq": int(count)}


def held_out(folder: Path) -> Iterator[Row]:
    """The words that the reverse dictionary is asked for; nothing else of the set is taken."""
    for row in json.loads((folder / "data" / "data_test_500_rand1_unseen.json").read_bytes()):
        yield {"word": row["word"]}
