"""The reverse dictionary as a person meets it: a description in, words out, each with the definition that matched.

`open_dictionary` finds the index; Dictionary.search answers. Command line and HTTP call these two. It knows no
terminal.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haina.apps.words.cluster import clusters
from haina.apps.words.filters import POS, allowed
from haina.apps.words.index import POS_BITS, READY, Index, Meaning
from haina.apps.words.rank import Language, Ranking
from haina.apps.words.terms import folded, is_chinese
from haina.checkpoint.library import models
from haina.options.words import WordsOptions
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.words.rescore import Opinion

LONGEST = 2000  # characters of a description; what follows is not read


@dataclass(frozen=True)
class Result:
    """A word. score: greater is better, comparable within an answer; strokes, hsk: 0 if it has none.

    cluster: from 1, words of one meaning share it; 0 if they were not asked for.
    """

    word: str
    score: float
    meaning: Meaning | None
    source: dict[str, str]
    pos: tuple[str, ...]
    reading: str
    frequency: float
    strokes: int
    hsk: int
    cluster: int = 0

    @property
    def why(self) -> str:
        """The definition that matched."""
        return self.meaning.gloss if self.meaning else ""

    def record(self, *, details: bool) -> dict[str, Any]:
        brief = {"word": self.word, "score": round(self.score, 4), "why": self.why}
        if not details:
            return brief
        return {
            **brief,
            "pos": list(self.pos),
            "pinyin": self.reading,
            "frequency": round(self.frequency, 3),
            "strokes": self.strokes,
            "hsk": self.hsk,
            "examples": list(self.meaning.examples) if self.meaning else [],
            "source": self.source.get("name", ""),
            "licence": self.source.get("licence", ""),
            "cluster": self.cluster,
        }


class Dictionary:
    """An index and its ranking; any number of threads may search."""

    def __init__(self, index: Index):
        self.index = index
        self.ranking = Ranking(index)
        self._pos, self._frequency = index.array("pos"), index.array("frequency")
        self._strokes, self._hsk = index.array("strokes"), index.array("hsk")
        self._one_at_a_time = threading.Lock()

    def search(
        self, text: str, asked: WordsOptions | None = None, opinion: Opinion | None = None
    ) -> list[Result]:
        """The words for a description. ValueError: nothing to look for, or a filter that cannot be read.

        opinion: a model that has a say on the first hundred.
        """
        asked = asked or WordsOptions()
        text = text[:LONGEST]
        if not any(char.isalnum() for char in folded(text)):
            raise ValueError(
                say(
                    "no letters in the description; describe the word you look for",
                    "描述里没有文字；请描述要找的词",
                )
            )
        language: Language = asked.to or ("zh" if is_chinese(text) else "en")
        with self._one_at_a_time:
            top = max(asked.top, opinion.asked) if opinion else asked.top
            found = self.ranking.find(text, language, allowed(self.index, asked), top)
            if opinion:
                found = opinion.rescored(text, found, self.index.words)[: asked.top]
            results = [self._result(each.word, each.score, each.sense) for each in found]
        if asked.clusters:
            results = clusters(results)
        return _sorted(results, asked.sort)

    def _result(self, word: int, score: float, sense: int) -> Result:
        index = self.index
        meaning = index.meaning(sense) if sense >= 0 else None
        chinese = word >= index.english
        return Result(
            index.words[word],
            score,
            meaning,
            index.sources[meaning.source] if meaning else {},
            tuple(name for name, kind in POS.items() if self._pos[word] & POS_BITS[kind]),
            index.readings[word - index.english] if chinese else "",
            float(self._frequency[word]),
            int(self._strokes[word - index.english]) if chinese else 0,
            int(self._hsk[word]),
        )


def _sorted(results: list[Result], order: str) -> list[Result]:
    if order == "frequency":
        return sorted(results, key=lambda r: -r.frequency)
    if order == "length":
        return sorted(results, key=lambda r: (len(r.word), -r.score))
    if order == "alphabet":
        return sorted(results, key=lambda r: (r.reading or folded(r.word), r.word))
    if order == "strokes":
        return sorted(results, key=lambda r: (r.strokes, -r.score))
    return (
        sorted(results, key=lambda r: (r.cluster, -r.score)) if any(r.cluster for r in results) else results
    )


def described(results: Sequence[Result], asked: WordsOptions) -> dict[str, list[dict[str, Any]]]:
    """As JSON: {"results": [{"word", "score", "why"}]}, with more of each word if details are asked for."""
    return {"results": [each.record(details=asked.details) for each in results]}


def own_index() -> Path:
    """Where the index lies that a person has built."""
    return models().with_name("words.db")


def open_dictionary(file: str = "") -> Dictionary:
    """The index named, else one's own, else the small one that the package carries."""
    path = Path(file) if file else own_index() if own_index().exists() else READY
    return Dictionary(Index(path))


def build_own(folder: Path, file: str = "") -> str:
    """Make the full index from the dictionaries in a folder; what to tell about it."""
    from haina.apps.words.build import make

    path = Path(file) if file else own_index()
    path.parent.mkdir(parents=True, exist_ok=True)
    count = make(folder, path)
    return say(f"{path}: {count:,} words", f"{path}：{count:,} 词")
