"""The dictionaries as senses, and what lists say about words: frequency, HSK level, domain, strokes.

A folder holds the repositories of sources.toml as `haina data fetch` leaves them; those that are missing are left out,
as long as there is one dictionary. It knows how these files are laid out; not what a sense is good for.
"""

from __future__ import annotations

import json
import lzma
import re
from collections import defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haina.apps.words.terms import HAN, is_chinese
from haina.options.data import FETCHED
from haina.wording import say

POS = {"n": "n", "v": "v", "a": "a", "s": "a", "r": "r"}
_WIKTIONARY_POS = {"Noun": "n", "Proper noun": "n", "Verb": "v", "Adjective": "a", "Adverb": "r"}
_FORM = re.compile(
    r"(\([^)]*\) )?[\w ,/-]*\b(of|form|spelling|abbreviation|initialism|acronym|plural)\b [\w' -]+\.?$", re.I
)
_TAG = re.compile(r"<[^>]+>|\{\{.*?\}\}")
_ASIDE = re.compile(r"\[[^\]]*\]|\([^)]*\)")
_BOTH_SCRIPTS = re.compile(rf"([{HAN}]+)\|([{HAN}]+)")
_POINTER = re.compile(
    r"^(?:\w+ )?(?:variant of|see |see also|CL:|same as|equivalent to|also written|abbr\. |Taiwan pr|also pr)",
    re.I,
)
CHINESE_TEXT = (  # files, and how many of them one is taken of: enough text, and no kind too much of it
    ("smile/data/*.json", 4),
    ("chinese-novel/resources/**/*.html", 8),
    ("luxun/data/raw/**/*.md", 1),
    ("kdconv/data/*/train.json", 1),
    ("how-to-cook/*/**/*.md", 1),
    ("huatuo/data/llama_data.json", 1),
    ("lawyer-llama/data/*.json", 1),
)
NOT_FREE = {"御香缥缈录", "上古秘史", "青红帮演义", "明代宫闱史"}  # novels whose authors died after 1945
RELATED = ("similar", "also", "attribute", "entails", "causes", "mero_part", "mero_substance", "domain_topic")


Synsets = dict[str, dict[str, list[str]]]  # by their names: members, definition, relations


@dataclass(frozen=True)
class Sense:
    """One meaning. `also` holds the words around it (broader and narrower ones, kin), to be found by, not shown."""

    gloss: str
    words: tuple[str, ...]
    source: str
    pos: str = ""
    examples: tuple[str, ...] = ()
    also: str = ""


@dataclass
class Known:
    """What lists say of words. Frequencies are per million; readings as CC-CEDICT writes them: hai3 na4."""

    frequency: dict[str, float] = field(default_factory=dict)
    hsk: dict[str, int] = field(default_factory=dict)
    pos: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    reading: dict[str, str] = field(default_factory=dict)
    idioms: set[str] = field(default_factory=set)
    strokes: dict[str, int] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)  # forgot → forget


def senses(folder: Path, known: Known, undefined: Set[str] = frozenset()) -> list[Sense]:
    """All senses of the dictionaries in a folder; `known` learns readings and forms on the way. ValueError: none.

    undefined: words that are taken as if no dictionary had them. Who shares a synset with them keeps it, but for its
    Chinese words: they are there as translations of those.
    """
    found: list[Sense] = []
    for read in (_wordnet, _wiktionary, _cedict):
        found += (sense for sense in read(folder, known, undefined) if undefined.isdisjoint(sense.words))
    if not found:
        raise ValueError(
            say(
                f"{folder}: no dictionary; haina data fetch haina/apps/words/sources.toml --out {folder}",
                f"{folder}：没有词典；请运行 haina data fetch haina/apps/words/sources.toml --out {folder}",
            )
        )
    return found


def known_words(folder: Path) -> Known:
    known = Known()
    for path in _files(folder, "frequency-words/content/2018/*/*_50k.txt"):
        rows = [line.split() for line in path.read_text("utf-8").splitlines()]
        total = sum(int(count) for _, count in rows)
        for word, count in rows:  # either list holds some words of the other language
            known.frequency[word] = max(known.frequency.get(word, 0.0), int(count) * 1e6 / total)
    for path in _files(folder, "hsk/complete.min.json"):
        for entry in json.loads(path.read_bytes()):
            levels = [int(level[1:].rstrip("+")) for level in entry["l"] if level[0] == "n"]
            if levels:
                known.hsk[entry["s"]] = min(levels)
            known.pos[entry["s"]].update(p[0].replace("d", "r") for p in entry["p"] if p[0] in "nvad")
    for path in _files(folder, "unihan/src/unihan/Unihan_DictionaryLikeData.txt"):
        for found in re.finditer(r"U\+(\w+)\tkTotalStrokes\t(\d+)", path.read_text("utf-8")):
            known.strokes[chr(int(found[1], 16))] = int(found[2])
    for path in _files(folder, "thuocl/data/*.txt"):
        _thuocl(path, known)
    return known


def _thuocl(path: Path, known: Known) -> None:
    """Document frequencies, of which we take idioms, and a rank for words that the other list lacks."""
    for line in path.read_text("utf-8-sig").replace("\r", "\n").splitlines():
        word, _, count = line.partition("\t")
        word = word.strip()
        if not count.strip().isdigit() or not word:
            continue
        known.frequency.setdefault(word, min(int(count) / 2e5, 1.0))
        if path.stem.endswith("chengyu"):
            known.idioms.add(word)


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted((folder / FETCHED).glob(pattern)) or sorted(folder.glob(pattern))


# -- Open English WordNet, and the Chinese words of its synsets -------------------------------------------------------


def _wordnet(folder: Path, known: Known, undefined: Set[str]) -> Iterator[Sense]:
    synsets: Synsets = {}
    for path in _files(folder, "english-wordnet/src/yaml/*.yaml"):
        if path.name.startswith("entries-"):
            _forms(path, known)
        elif path.name != "frames.yaml":
            synsets.update(_yaml(path))
    if not synsets:
        yield from _packed_wordnet(folder)
    translated = {name for name, synset in synsets.items() if undefined.isdisjoint(synset["members"])}
    synsets = _known_synsets(synsets, undefined)
    narrower = defaultdict(list)
    for synset in synsets.values():
        for broader in synset.get("hypernym", []):
            narrower[broader].append(synset["members"][0])
    chinese = _chinese_of_synsets(folder)
    for name, synset in synsets.items():
        words, pos = chinese.get("".join(synset.get("ili", [])), []), POS[name[-1]]
        words = words if name in translated else []
        for word in words:
            known.pos[word].add(pos)
        yield Sense(
            "; ".join(synset["definition"]),
            (*synset["members"], *words),
            "oewn",
            pos,
            tuple(synset.get("example", [])),
            _around(synsets, synset, narrower[name]),
        )


def _known_synsets(synsets: Synsets, undefined: Set[str]) -> Synsets:
    """Without words that are to be undefined, and without relations to synsets that had no other word."""
    if not undefined:
        return synsets
    kept = {name: [word for word in s["members"] if word not in undefined] for name, s in synsets.items()}
    return {
        name: {
            **{key: [v for v in values if kept.get(v, True)] for key, values in synset.items()},
            "members": kept[name],
        }
        for name, synset in synsets.items()
        if kept[name]
    }


def _around(synsets: Synsets, synset: dict[str, list[str]], narrower: list[str]) -> str:
    """Names and definition of what is broader, names of what is narrower or akin."""
    parts = [" ".join(narrower[:12])]
    for broader in synset.get("hypernym", []):
        parts += [*synsets[broader]["members"], *synsets[broader]["definition"]]
    for relation in RELATED:
        parts += [" ".join(synsets[other]["members"]) for other in synset.get(relation, [])]
    return " ".join(parts)


def _chinese_of_synsets(folder: Path) -> dict[str, list[str]]:
    """Chinese Open Wordnet and Wiktionary's additions: an ILI → Chinese words."""
    concepts = {}
    for path in _files(folder, "cili/ili-map-pwn30.tab"):
        rows = (line.split("\t") for line in path.read_text("utf-8").splitlines())
        concepts = {row[1]: row[0] for row in rows if len(row) == 2}
    found: dict[str, list[str]] = defaultdict(list)
    for path in _files(folder, "omw-data/wns/*/wn-*-cmn.tab"):
        for line in path.read_text("utf-8").splitlines():
            at, kind, *rest = line.split("\t")
            word = rest[0].replace("+", "").strip() if rest else ""
            if kind == "cmn:lemma" and is_chinese(word) and at in concepts:
                ili = concepts[at]
                if word not in found[ili]:
                    found[ili].append(word)
    return found


def _packed_wordnet(folder: Path) -> Iterator[Sense]:
    """WordNet as rows {"words", "defs", "pos", "examples"}: what the data pack's dict/ holds; without relations."""
    for row in _rows(folder, "wordnet_en.jsonl.zst"):
        yield Sense(
            "; ".join(row["defs"]), tuple(row["words"]), "oewn", POS[row["pos"]], tuple(row["examples"])
        )


def _yaml(path: Path) -> Synsets:
    """The plain lists of WordNet's files, {id: {key: values}}: a fraction of the time that a YAML parser takes."""
    found: dict[str, dict[str, list[str]]] = {}
    values: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        text = line.lstrip()
        indent = len(line) - len(text)
        if indent == 0:
            entry = found.setdefault(_scalar(text.rstrip(":")), {})
        elif text.startswith("- ") and indent == 2:
            values.append(text[2:])
        elif indent == 2:
            key, _, rest = text.partition(":")
            values = entry.setdefault(key, [])
            values += [rest.strip()] if rest.strip() else []
        elif values:
            values[-1] += " " + text
    return {name: {key: [*map(_scalar, texts)] for key, texts in e.items()} for name, e in found.items()}


def _scalar(text: str) -> str:
    """Without quotes; of an example with its source, the example."""
    text = re.sub(r"^text: | source: .*$", "", text) if "source: " in text else text
    if text[:1] == text[-1:] == "'":
        return text[1:-1].replace("''", "'")
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == text[-1:] == '"' else text


def _forms(path: Path, known: Known) -> None:
    """Irregular forms: the lists under "form:" in the files of entries."""
    word, inside = "", False
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith(" "):
            word = _scalar(line.rstrip(":"))
        elif line.startswith("    - ") and inside:
            known.forms.setdefault(_scalar(line[6:]), word)
        else:
            inside = line == "    form:"


# -- English Wiktionary -----------------------------------------------------------------------------------------------


def _wiktionary(folder: Path, known: Known, _: Set[str]) -> Iterator[Sense]:
    for path in _files(folder, "open-dictionary/api/*/*.json"):
        for word, entry in json.loads(path.read_bytes()).items():
            for pos, text, examples in _meanings(entry):
                gloss = _TAG.sub("", text).strip()
                if len(gloss) > 3 and not _FORM.match(gloss):
                    yield Sense(gloss, (word,), "wiktionary", pos, tuple(examples[:2]))


def _meanings(entry: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for etymology in entry["etymologies"]:
        for part in etymology["partsOfSpeech"]:
            for meaning in part["senses"]:
                yield (
                    _WIKTIONARY_POS.get(part["partOfSpeech"], "o"),
                    meaning["sense"],
                    meaning.get("examples", []),
                )


# -- CC-CEDICT --------------------------------------------------------------------------------------------------------


def _cedict(folder: Path, known: Known, _: Set[str]) -> Iterator[Sense]:
    for word, reading, glosses in _cedict_rows(folder):
        if not word:
            continue
        known.reading.setdefault(word, reading.lower())
        kept = [_BOTH_SCRIPTS.sub(r"\2", gloss) for gloss in glosses if not _POINTER.match(gloss)]
        if any("(idiom" in gloss for gloss in glosses):
            known.idioms.add(word)
        if kept:
            pos = "v" if kept[0].startswith("to ") else ""
            if pos:
                known.pos[word].add(pos)
            yield Sense("; ".join(kept), (word,), "cedict", pos)


def _cedict_rows(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    for path in _files(folder, "cc-cedict/Test2/cedict_ts.u8.lzma"):
        for line in lzma.decompress(path.read_bytes()).decode().splitlines():
            found = re.match(r"(\S+) (\S+) \[([^\]]+)\] /(.+)/", line)
            if found:
                yield found[2], found[3], found[4].split("/")
        return
    for row in _rows(folder, "cedict.jsonl.zst"):
        yield row["word"], row["pinyin"], row["defs"]


def translations(gloss: str) -> list[str]:
    """The English words and phrases of a CC-CEDICT gloss: "to walk; to go (on foot)" → walk, go."""
    found = []
    for part in re.split("[;,]", _ASIDE.sub("", gloss)):
        phrase = re.sub(r"^(to be|to|a|an|the) ", "", part.strip()).strip().lower()
        if phrase and len(phrase.split()) <= 3 and not is_chinese(phrase):
            found.append(phrase)
    return found


def running_text(folder: Path) -> Iterator[str]:
    """Books in English, from which vectors of words are learned; none of their text stays in an index."""
    for path in _files(folder, "classic-books/*/*.md"):
        yield path.read_text("utf-8", "replace")
    for row in _rows(folder, "books.jsonl.zst"):
        yield row["text"]


def chinese_text(folder: Path) -> Iterator[str]:
    """Talks, novels, recipes in Chinese: what words are used together is learned of them; an index holds none."""
    for pattern, every in CHINESE_TEXT:
        for path in _files(folder, pattern)[::every]:
            if NOT_FREE.intersection(path.parts):
                continue
            text = path.read_text("utf-8", "replace")
            yield from _strings(json.loads(text)) if path.suffix == ".json" else [_TAG.sub("", text)]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Of the training and the validation part of a set in the data pack."""
    for path in sorted(folder.glob(f"**/{name}")):
        import zstandard

        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
