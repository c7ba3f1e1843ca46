"""The gate: rows of the data pack that weights for everyone may be trained on, and no others.

`sources.json` of the pack maps each source to its licence and a flag: true, openly licensed or public domain; null,
an open set that holds model output or says its licence record by record; false, neither. The poems, dictionaries
and pinyin tables name no source in their rows; what may be taken of them is said here. It does not know what a row
is good for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

from haina.checkpoint.read_json import read_json_object
from haina.data.read import rows
from haina.text.characters import HAN
from haina.wording import say

Part = Literal["train", "valid"]
Row = dict[str, Any]

OPEN_RECORD = {
    "openstax:*": "CC BY 4.0"
}  # of a source that says its licence in each record: the one that is open
CEDICT = "CC BY-SA 3.0 (CC-CEDICT, MDBG)"
WORDNET = "CC BY 4.0 (Open English WordNet)"
POEMS = "public domain; compilations MIT (chinese-poetry, Werneror)"
PINYIN = "MIT (mozillazg/pinyin-data, phrase-pinyin-data; its CC-CEDICT part CC BY-SA)"

# Poems carry no source. Those of CCPC, whose repository names no licence, fill the dynasties below by themselves:
# chinese-poetry and Werneror gave this pack no regulated verse of Ming and Yuan, CCPC nothing but quatrains.
OF_CCPC = {("明", "五绝"), ("明", "七绝"), ("元", "五绝"), ("元", "七绝")}
# "清" also holds poets who lived into the 1970s. These died before 1942.
QING = frozenset(
    "纳兰性德 袁枚 王国维 陈三立 夏曾佑 苏曼殊 刘师培 郑孝胥 潘飞声 黄节 宁调元 高旭 徐树铮 袁克文 杨圻".split()
)
# Modern editors' notes stand between Lu Xun's own paragraphs, and their numbers in them.
_NOTE, _NOTE_NUMBER = re.compile(r"\s*〔\d+〕"), re.compile(r"〔\d+〕")


@dataclass(frozen=True)
class Terms:
    """What sources.json says of one source."""

    licence: str
    open: bool | None


def prose(data: Path, kind: str, file: str, part: Part, wanted: frozenset[str]) -> Iterator[Row]:
    """Texts of `wanted` sources: text, title, id, source, licence. ValueError: a wanted source is closed."""
    for row in _allowed(data, kind, f"{kind}/{part}/{file}.jsonl.zst", "src", wanted):
        text = _without_notes(row["text"]) if row["source"] == "luxun" else row["text"].strip()
        if text:
            yield {**row, "text": text}


def dialogues(data: Path, part: Part, wanted: frozenset[str]) -> Iterator[Row]:
    """Dialogues of `wanted` sources: messages, lang, id, source, licence."""
    for language in ("zh", "en"):
        yield from _allowed(data, "chat", f"chat/{part}/sft_{language}.jsonl.zst", "source", wanted)


def classical(data: Path, part: Part) -> Iterator[Row]:
    """Passages of classical prose: text, title. Of the pairs only the classical side is taken."""
    for number, row in enumerate(rows(data / "text_zh" / part / "classical_modern_pairs.jsonl.zst")):
        text = "".join(classical for classical, _modern in row["pairs"])
        about = {"source": "classical-modern", "licence": "public domain (the classical side)"}
        yield {"text": text, "title": row["title"], "id": f"classical:{number}", **about}


def poems(data: Path, part: Part) -> Iterator[Row]:
    """Poems: title, author, dynasty, form, lines, tune."""
    for number, row in enumerate(rows(data / "poetry" / part / "poems.jsonl.zst")):
        closed = (row["dynasty"], row["form"]) in OF_CCPC
        if not closed and (row["dynasty"] != "清" or row["author"] in QING):
            yield {**row, "id": f"poem:{part}:{number}", "source": "poems", "licence": POEMS}


def cedict(data: Path, part: Part) -> Iterator[Row]:
    """Entries of CC-CEDICT: word, trad, pinyin, defs."""
    for row in rows(data / "dict" / part / "cedict.jsonl.zst"):
        yield {**row, "source": "cedict", "licence": CEDICT}


def wordnet(data: Path, part: Part) -> Iterator[Row]:
    """Synsets of Open English WordNet: words, pos, defs, examples; none that defines a word kept for evaluation."""
    unseen = {row["word"].lower() for row in rows(data / "eval/revdict/hill_unseen_500.jsonl.zst")}
    for row in rows(data / "dict" / part / "wordnet_en.jsonl.zst"):
        if unseen.isdisjoint(word.lower() for word in row["words"]):
            yield {**row, "source": "wordnet", "licence": WORDNET}


def pinyin(data: Path, table: Literal["char", "phrase"]) -> Iterator[Row]:
    """Readings: char, pinyin, usual, or word, pinyin."""
    yield from rows(data / "pinyin" / f"{table}_pinyin.jsonl.zst")


def frequent(data: Path, language: Literal["zh", "en"]) -> list[str]:
    """50,000 words, the most frequent first (FrequencyWords, CC BY-SA 4.0). They choose; they are no text."""
    return [row["word"] for row in rows(data / "pinyin" / f"wordfreq_{language}_50k.jsonl.zst")]


def terms(data: Path, kind: str, source: str) -> Terms:
    """What sources.json says. ValueError if it does not know the source."""
    for pattern, (licence, is_open) in _terms(data)[kind].items():
        if fnmatchcase(source, pattern):
            return Terms(licence, is_open)
    raise ValueError(
        say(
            f"{data / 'sources.json'} has no {kind} source {source}; name its licence there",
            f"{data / 'sources.json'} 中没有 {kind} 的来源 {source}；请在其中写明许可",
        )
    )


def is_han(character: str) -> bool:
    return bool(HAN.match(character))


@cache
def _terms(data: Path) -> dict[str, dict[str, tuple[str, bool | None]]]:
    file = data / "sources.json"
    if not file.exists():
        raise ValueError(
            say(
                f"{data}: not the text of haina-brook; get it: haina data fetch --out {data}",
                f"{data}：其中没有海纳·溪的语料；取得语料：haina data fetch --out {data}",
            )
        )
    sets: dict[str, dict[str, tuple[str, bool | None]]] = read_json_object(file)["sets"]
    return sets


def _allowed(data: Path, kind: str, file: str, key: str, wanted: frozenset[str]) -> Iterator[Row]:
    for source in wanted:
        if terms(data, kind, source).open is False:
            raise ValueError(
                say(
                    f"{source} is not openly licensed; take it off the list of sources",
                    f"{source} 并非开放许可；请将其从来源清单中去掉",
                )
            )
    for number, row in enumerate(rows(data / file)):
        pattern = next((name for name in wanted if fnmatchcase(row[key], name)), None)
        if pattern and row.get("lic") == OPEN_RECORD.get(pattern, row.get("lic")):
            licence = row.get("lic") or terms(data, kind, row[key]).licence
            name = f"{kind}/{Path(file).name.split('.')[0]}"
            yield {**row, "id": f"{name}:{number}", "source": row[key], "licence": licence}


def _without_notes(text: str) -> str:
    paragraphs = (p for p in text.split("\n") if p.strip() and not _NOTE.match(p))
    return _NOTE_NUMBER.sub("", "\n".join(paragraphs)).strip()
