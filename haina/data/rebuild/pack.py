"""fetched/ → the files of the data pack: which repository each row is from, under which licence, train or valid.

Of a key (a work, a headword) all rows fall to one side by its hash. A paragraph that stood before in the same language
goes; of a source that is larger than the mixture bears, documents stay by their hash. What a repository did not give
is missing in the files, and told.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from haina.data.rebuild import chinese, english, tables, talk, verse
from haina.data.rebuild.row import Keyed, Row
from haina.data.steps import written

VALID = 0.01  # of the keys
SHORTEST = {"zh": 200, "en": 300}  # characters of a document; passages are shorter
SHORTEST_PASSAGE = 80
SHORT_PARAGRAPH = 20  # characters: what is shorter may stand again

Read = Callable[[Path], Iterator[Keyed]]


@dataclass(frozen=True)
class Part:
    """Rows of one repository. source: how the pack names them; most_mb: about how much of them is kept."""

    repository: str  # a name in sources.toml
    source: str
    licence: str
    read: Read
    most_mb: float = 1e6


@dataclass(frozen=True)
class Texts:
    """A file of prose: rows of text, title, src, lang."""

    kind: str  # text_zh, text_en
    name: str
    parts: tuple[Part, ...]

    @property
    def language(self) -> str:
        return self.kind[-2:]


BY, BY_SA, PUBLIC = "CC BY 4.0", "CC BY-SA 4.0", "public domain"
_xquad_zh, _xquad_en = partial(chinese.xquad, language="zh"), partial(chinese.xquad, language="en")
OPENSTAX = (
    "life-liberty-and-pursuit-happiness", "principles-economics-bundle", "college-success-bundle",
    "introduction-anthropology", "introduction-python-programming", "statistics",
    "introduction-intellectual-property",
)  # fmt: skip
PROSE = (
    Texts("text_zh", "literature", (
        Part("chinese-novel", "novel", PUBLIC, chinese.novels, 22),
        Part("luxun", "luxun", PUBLIC, chinese.luxun),
    )),
    Texts("text_zh", "articles", (
        Part("d2l-zh", "d2l-zh", "Apache-2.0", chinese.manuals),
        Part("oi-wiki", "oiwiki", BY_SA, chinese.manuals, 2),
        Part("react-zh", "react-zh", BY, chinese.manuals),
        Part("how-to-cook", "howtocook", "Unlicense", chinese.manuals),
        Part("how-to-live-longer", "howtolive", "Unlicense", chinese.manuals),
        Part("open-source-guide-zh", "osguide-zh", BY, chinese.manuals),
    )),
    Texts("text_zh", "misc", (
        Part("drcd", "drcd", "CC BY-SA 3.0", chinese.passages),
        Part("cmrc2018", "cmrc2018", BY_SA, chinese.passages),
        Part("xquad", "xquad", BY_SA, _xquad_zh),
    )),
    Texts("text_zh", "law", (Part("laws", "laws", "public domain (PRC)", chinese.laws, 12),)),
    Texts("text_en", "books", (Part("classic-books", "books", PUBLIC, english.books, 31),)),
    Texts("text_en", "textbooks", tuple(
        Part(f"openstax-{name}", f"openstax:{name}", BY, english.openstax) for name in OPENSTAX
    )),
    Texts("text_en", "misc", (
        Part("factbook", "factbook", "public domain / CC0", english.factbook, 3.5),
        Part("medquad", "medquad", BY, english.medquad, 16.5),
        Part("digitalgov", "digitalgov", "public domain (US Government)", english.manuals, 4.7),
        Part("peps", "peps", "public domain / CC0", english.peps, 1.6),
        Part("owasp", "owasp", BY_SA, english.manuals, 0.9),
        Part("open-source-guide", "osguide", BY, english.manuals),
        Part("state-union", "state_union", PUBLIC, english.speeches),
        Part("inaugural", "inaugural", PUBLIC, english.speeches),
        Part("xquad", "xquad", BY_SA, _xquad_en),
    )),
)  # fmt: skip
TALKS = {
    "zh": (
        Part("kdconv", "kdconv", "Apache-2.0", talk.kdconv),
        Part("smile", "smile", "CC0-1.0; GPT output", talk.smile, 13),
        Part("belle-eval", "belle_eval", "ODC-By", talk.instructions),
        Part("sharegpt-zh", "sharegpt_zh", "Apache-2.0 repo; ShareGPT", talk.sharegpt),
        Part("medical-sft", "medical_sft_1k", "Apache-2.0 repo; GPT output", talk.sharegpt),
        Part("huatuo", "huatuo", "Apache-2.0 repo; GPT output", talk.instructions),
        Part("lawyer-llama", "lawyer_llama", "Apache-2.0 repo; GPT output", talk.instructions),
    ),
    "en": (
        Part("rasbt", "rasbt", "Apache-2.0", talk.instructions),
        Part("gsm8k", "gsm8k_train", "MIT", talk.gsm8k),
        Part("gpteacher-roleplay", "gpteacher_roleplay", "MIT; GPT-4 output", talk.instructions),
        Part("gpteacher-roleplay-2", "gpteacher_roleplay", "MIT; GPT-4 output", talk.instructions),
        Part("gpteacher-codegen", "gpteacher_codegen", "MIT; GPT-4 output", talk.instructions),
    ),
}
POEMS = (
    ("poetry-tang-song", verse.tang_and_song),
    ("poetry-ci", verse.song_ci),
    ("poetry-five-dynasties", verse.huajianji),
    ("poetry-nalan", verse.nalan),
    ("poetry-qu", verse.yuan_qu),
    ("poetry-shijing", verse.shijing),
    ("poetry-chuci", verse.chuci),
    ("werneror-poetry", verse.werneror),
)
CLASSICAL = Part("classical-modern", "classical-modern", PUBLIC, chinese.classical, 25)
DICTIONARIES = (("cedict", tables.cedict), ("wordnet", tables.wordnet))
# Not split: file of the pack, repository, what reads it.
TABLES: tuple[tuple[str, str, Callable[[Path], Iterator[Row]]], ...] = (
    ("pinyin/char_pinyin", "pinyin-data", tables.characters),
    ("pinyin/phrase_pinyin", "phrase-pinyin-data", tables.phrases),
    (
        "pinyin/wordfreq_zh_50k",
        "frequency-zh",
        lambda at: tables.frequencies(at / "content/2018/zh_cn/zh_cn_50k.txt"),
    ),
    (
        "pinyin/wordfreq_en_50k",
        "frequency-en",
        lambda at: tables.frequencies(at / "content/2018/en/en_50k.txt"),
    ),
    ("eval/revdict/hill_unseen_500", "reverse-dictionary", tables.held_out),
)


def rebuild(fetched: Path, out: Path, report: Callable[[str], None]) -> Counter[str]:
    """Write the pack's files into `out`; returns how many rows each repository gave. Those not in `fetched` give none.

    ValueError, json's and csv's among them: a file is not what its repository held at the commit.
    """
    made = _Making(fetched, out, report)
    for texts in PROSE:
        made.texts(texts)
    made.split("text_zh/{}/classical_modern_pairs", made.part(CLASSICAL, "src"))
    for language, parts in TALKS.items():
        found = chain.from_iterable(made.part(part, "source") for part in parts)
        made.split(f"chat/{{}}/sft_{language}", ((key, {**row, "lang": language}) for key, row in found))
    poems = chain.from_iterable(made.read(name, read) for name, read in POEMS)
    made.split("poetry/{}/poems", verse.chosen(poems))
    for name, read in DICTIONARIES:
        file = {"wordnet": "wordnet_en"}.get(name, name)
        made.split(f"dict/{{}}/{file}", made.read(name, read))
    for file, name, table in TABLES:
        made.whole(file, made.counted(name, table))
    (out / "sources.json").write_text(json.dumps(_terms(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    return made.rows


def repositories() -> set[str]:
    """All that rebuild looks for."""
    parts = [part for texts in PROSE for part in texts.parts] + [*TALKS["zh"], *TALKS["en"], CLASSICAL]
    named = {part.repository for part in parts} | {name for name, _ in (*POEMS, *DICTIONARIES)}
    return named | {name for _, name, _ in TABLES}


class _Making:
    """The folder in the making, and what each repository gave."""

    def __init__(self, fetched: Path, out: Path, report: Callable[[str], None]) -> None:
        self.fetched, self.out, self.report = fetched, out, report
        self.rows: Counter[str] = Counter()
        self.seen: dict[str, set[bytes]] = {"zh": set(), "en": set()}  # paragraphs

    def read(self, repository: str, rows: Read) -> Iterator[Keyed]:
        """The rows of a repository; none if it was not fetched."""
        folder = self.fetched / repository
        if folder.is_dir():
            self.report(f"{repository} …")
            for found in rows(folder):
                self.rows[repository] += 1
                yield found

    def counted(self, repository: str, table: Callable[[Path], Iterator[Row]]) -> Iterator[Row]:
        for _, found in self.read(repository, lambda folder: (("", row) for row in table(folder))):
            yield found

    def part(self, part: Part, field: str) -> Iterator[Keyed]:
        found = thinned(list(self.read(part.repository, part.read)), part.most_mb * 1e6)
        for key, row in found:
            yield key, {**row, field: part.source}

    def texts(self, texts: Texts) -> None:
        found = chain.from_iterable(self.part(part, "src") for part in texts.parts)
        self.split(f"{texts.kind}/{{}}/{texts.name}", self._once(found, texts))

    def _once(self, found: Iterator[Keyed], texts: Texts) -> Iterator[Keyed]:
        """Without paragraphs that stood before, and without what is then too short."""
        seen, least = self.seen[texts.language], SHORTEST[texts.language]
        for key, row in found:
            paragraphs = [p for p in row["text"].split("\n") if len(p) < SHORT_PARAGRAPH or _new(p, seen)]
            text = "\n".join(paragraphs).strip()
            if len(text) >= (SHORTEST_PASSAGE if row["src"] in ("drcd", "cmrc2018", "xquad") else least):
                yield key, {**row, "text": text, "lang": texts.language}

    def split(self, pattern: str, found: Iterable[Keyed]) -> None:
        """Rows into train and valid by their keys."""
        sides: dict[str, list[Row]] = {"train": [], "valid": []}
        for key, row in found:
            sides["valid" if share(key) < VALID else "train"].append(row)
        for side, rows in sides.items():
            self.whole(pattern.format(side), rows)

    def whole(self, name: str, rows: Iterable[Row]) -> None:
        file = self.out / f"{name}.jsonl.zst"
        file.parent.mkdir(parents=True, exist_ok=True)
        for _ in written(file, rows):
            pass


def thinned(found: list[Keyed], most_bytes: float) -> list[Keyed]:
    """All, or where they are more, about so many bytes of them by the hash of key and place."""
    sizes = [len(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")) for _, row in found]
    kept = most_bytes / max(sum(sizes), 1)
    return [one for number, one in enumerate(found) if kept >= 1 or share(f"{one[0]} {number}") < kept]


def _new(paragraph: str, seen: set[bytes]) -> bool:
    digest = hashlib.blake2b(paragraph.encode("utf-8", "replace"), digest_size=8).digest()
    new = digest not in seen
    seen.add(digest)
    return new


def share(key: str) -> float:
    """A number in [0, 1) that depends on nothing but the key."""
    return (
        int.from_bytes(hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=6).digest(), "big") / 2**48
    )


def _terms() -> Mapping[str, object]:
    """sources.json: licence, and true for open, null for an open set that holds model output."""
    sets: dict[str, dict[str, list[object]]] = {"text_zh": {}, "text_en": {}, "chat": {}}
    for texts in PROSE:
        sets[texts.kind] |= {part.source: [part.licence, True] for part in texts.parts}
    for part in (*TALKS["zh"], *TALKS["en"]):
        model_output = "GPT" in part.licence
        sets["chat"][part.source] = [part.licence, None if model_output else True]
    sets["text_en"]["openstax:*"] = ["per record field lic", None]
    return {
        "note": "src / source -> [licence, open for any use? true/false; null = holds model output]",
        "sets": sets,
    }
