"""What haina-brook reads: prose, verse, dictionaries, typed keys, open dialogues; one row a document.

The table says how often an epoch shows each source: 0.4 is two documents in five, 2 is every document twice. Verse
weighs by form (`verse.py`). Rows that do not say whether they are read character by character leave that to
`Encoding.by_character`. After `mixture` the order of rows is that of the files: whoever packs them shuffles.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from haina.data.brook import chat, dictionaries, keys, sources, verse
from haina.data.brook.sources import Part, Row

# domain, folder and file of the pack, {source: how often an epoch shows it}
PROSE: list[tuple[str, str, str, dict[str, float]]] = [
    ("zh", "text_zh", "literature", {"novel": 2, "luxun": 2}),
    ("zh", "text_zh", "articles", {"d2l-zh": 2, "oiwiki": 2, "react-zh": 2, "osguide-zh": 2}),
    ("zh", "text_zh", "articles", {"howtocook": 2, "howtolive": 2}),
    ("zh", "text_zh", "misc", {"drcd": 2, "cmrc2018": 2, "xquad": 2}),
    ("law", "text_zh", "law", {"laws": 0.4}),
    ("en", "text_en", "books", {"books": 1}),
    ("en", "text_en", "textbooks", {"openstax:*": 1.5}),
    ("en", "text_en", "misc", {"factbook": 1, "digitalgov": 0.7, "peps": 0.7, "owasp": 0.7, "medquad": 0.5}),
    ("en", "text_en", "misc", {"state_union": 1, "inaugural": 1, "osguide": 1, "xquad": 1}),
]
CLASSICAL = 1.5
CEDICT = WORDNET = KEYS = 1.0
CHAT: dict[str, float] = {
    "kdconv": 1, "smile": 1, "belle_eval": 1, "sharegpt_zh": 1, "rasbt": 1, "gpteacher_roleplay": 1,
    "gpteacher_codegen": 1, "gsm8k_train": 1, "lawyer_llama": 0.2, "huatuo": 0.2, "medical_sft_1k": 0.2,
}  # fmt: skip
MOST_BYTES = {"smile": 4_000_000}  # of counselling, which would drown the other dialogues


def base(data: Path, part: Part) -> Iterator[Row]:
    """Every document once, with the weight that an epoch gives it. ValueError: a file of the pack is missing."""
    yield from _prose(data, part)
    yield from _classical(data, part)
    yield from verse.documents(sources.poems(data, part))
    yield from dictionaries.chinese(sources.cedict(data, part), CEDICT)
    yield from dictionaries.english(sources.wordnet(data, part), WORDNET)
    yield from _chat(data, part)
    yield from keys.documents(_typed(data, part), keys.Readings.of(data), KEYS)


def _prose(data: Path, part: Part) -> Iterator[Row]:
    for domain, folder, file, weights in PROSE:
        for row in sources.prose(data, folder, file, part, frozenset(weights)):
            weight = weights.get(row["source"], weights.get("openstax:*", 1))
            yield document(row, domain, weight)


def _classical(data: Path, part: Part) -> Iterator[Row]:
    """Passages of a work and chapter as one document under its name."""
    works: dict[str, list[Row]] = {}
    for row in sources.classical(data, part):
        works.setdefault(row["title"], []).append(row)
    for title, passages in works.items():
        text = "\n".join([title, *(row["text"] for row in passages)])
        yield document({**passages[0], "text": text}, "classical", CLASSICAL)


def _chat(data: Path, part: Part) -> Iterator[Row]:
    taken: dict[str, int] = {}
    for row in chat.dialogues(sources.dialogues(data, part, frozenset(CHAT))):
        source = row["source"]
        taken[source] = taken.get(source, 0) + sum(len(m["content"].encode()) for m in row["messages"])
        if taken[source] <= MOST_BYTES.get(source, taken[source]):
            yield {**row, "domain": "chat", "weight": CHAT[source]}


def _typed(data: Path, part: Part) -> Iterator[Row]:
    """What people might type: prose and what is said in dialogues."""
    for domain, folder, file, weights in PROSE:
        if domain == "zh":
            yield from sources.prose(data, folder, file, part, frozenset(weights))
    for row in chat.dialogues(sources.dialogues(data, part, frozenset({"kdconv", "smile", "belle_eval"}))):
        yield {**row, "text": "\n".join(m["content"] for m in row["messages"])}


def document(row: Row, domain: str, weight: float) -> Row:
    """A row as haina/data/encode.py reads it, and nothing else."""
    kept = {name: row[name] for name in ("id", "source", "licence", "text")}
    return {**kept, "domain": domain, "weight": weight}
