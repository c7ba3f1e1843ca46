"""Search as a person meets it: folders in, a question in, an answer with its sources out.

Command line and HTTP call these. It knows no terminal.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from haina.apps.search.answer import Answer, answered
from haina.apps.search.ingest import Change, Progress, add, refresh, remove, watch
from haina.apps.search.rank import Near, Ranking, counted, fused
from haina.apps.search.store import Index, Store
from haina.checkpoint.library import models
from haina.options.search import SearchOptions
from haina.wording import say

DATABASES = ("postgresql://", "postgres://")
AROUND = 3000  # characters before and behind a stretch that is shown
LONGEST = 20_000  # of a stretch


def own_index() -> Path:
    """Where a person's index lies."""
    return models().with_name("search.db")


def opened(place: str, *, new: bool = False) -> Index:
    """An index: a file, one's own for "", or an address that begins with postgresql://. ValueError: there is none."""
    if place.startswith(DATABASES):
        return _database(place, new)
    return Store(Path(place) if place else own_index(), new=new)


def _database(address: str, new: bool) -> Index:
    try:
        from haina.apps.search.postgres import Postgres
    except ImportError:
        raise ValueError(
            say(
                "an index in PostgreSQL needs psycopg: pip install 'haina[postgres]'",
                "PostgreSQL 索引需要 psycopg：pip install 'haina[postgres]'",
            )
        ) from None
    return Postgres(address, new=new)


class Search:
    """An index that answers; any number of threads may ask, one at a time. near: what else a text is near to."""

    def __init__(self, file: str = ""):
        """ValueError: there is no index, or it is none."""
        self.store = opened(file)
        self._ranking = Ranking(self.store)
        self._one_at_a_time = threading.Lock()
        self.near: Near | None = None

    def ask(self, text: str, asked: SearchOptions | None = None, before: Sequence[str] = ()) -> Answer:
        """The answer to a question. before: what was asked before it. ValueError: there is nothing to look for."""
        asked = asked or SearchOptions()
        with self._one_at_a_time:
            question = self._ranking.question(text, before[-1] if before else "")
            if not question.pairs.names:
                raise ValueError(
                    say("no letters or digits in the question; ask in words", "问题里没有文字；请用文字提问")
                )
            ranked = self._ranking.find(question, asked.top)
            if self.near:
                others = self.store.passages(self.near(text))
                scored = [self._ranking.scored(question, passage) for passage in others]
                ranked = fused(ranked, scored)[: asked.top]
        return answered(question, ranked)

    def text(self, document: str) -> str:
        """The text in which a document's citations lie; "" for one that is not in the index."""
        with self._one_at_a_time:
            return self.store.text(document)

    def stretch(self, document: str, start: int, end: int) -> dict[str, Any] | None:
        """text(document)[start:end], at most LONGEST characters, with what stands around it; None: no such document.

        {"document", "start", "end", "before", "text", "after", "length"}; "end" is where "text" ends, "length" the
        whole document's.
        """
        end = min(end, start + LONGEST)
        with self._one_at_a_time:
            found = self.store.around(document, max(start - AROUND, 0), end + AROUND)
        if found is None:
            return None
        first, text, length = found
        parts = text[: max(start - first, 0)], text[max(start - first, 0) : max(end - first, 0)]
        after = text[max(end - first, 0) : max(end - first, 0) + AROUND]
        before, middle = parts[0][-AROUND:], parts[1]
        place = {"document": document, "start": start, "end": start + len(middle)}
        return {**place, "before": before, "text": middle, "after": after, "length": length}

    def contents(self) -> dict[str, Any]:
        """{"folders": …, "documents": n, "passages": n, "unreadable": n}"""
        with self._one_at_a_time:
            documents = self.store.documents()
            return {
                "folders": self.store.folders,
                "documents": len(documents),
                "passages": self.store.size,
                "unreadable": sum(bool(document.problem) for document in documents),
            }


def described(answer: Answer) -> dict[str, Any]:
    """As JSON: {"answer", "found", "citations": [{"document", "start", "end", "quote"}], "passages": […]}."""
    return {
        "answer": answer.answer or say("Not found in the indexed documents.", "已索引的文档中没有找到。"),
        "found": answer.found,
        "citations": [
            {"document": c.document, "start": c.start, "end": c.end, "quote": c.quote}
            for c in answer.citations
        ],
        "passages": passages_described(answer),
    }


def passages_described(answer: Answer) -> list[dict[str, Any]]:
    """As JSON: [{"document", "start", "end", "text", "score"}], best first."""
    return [
        {
            "document": ranked.passage.document,
            "start": ranked.passage.start,
            "end": ranked.passage.end,
            "text": ranked.passage.text,
            "score": round(ranked.score, 4),
        }
        for ranked in answer.passages
    ]


def add_folders(folders: list[str], file: str = "", progress: Progress | None = None) -> list[Change]:
    """Put folders into the index, or bring them up to date; none given: all that are in it."""
    store = opened(file, new=bool(folders))
    changes = [add(store, folder, progress) for folder in folders] or [refresh(store, progress)]
    _remember(store)
    store.close()
    return changes


def remove_folders(folders: list[str], file: str = "") -> int:
    """Take folders out of the index; how many documents went."""
    store = opened(file)
    gone = sum(remove(store, folder) for folder in folders)
    _remember(store)
    store.close()
    return gone


def watch_folders(file: str, told: Callable[[Change], None]) -> None:
    """Keep the index up to date until Ctrl-C."""
    watch(opened(file), told)


def _remember(store: Index) -> None:
    """What Ranking would have to count."""
    with store.writing():
        store.remember("characters", json.dumps(asdict(counted(store)), ensure_ascii=False))


def contents(file: str = "") -> dict[str, Any]:
    """What is in the index: folders, documents with their problems, how many passages."""
    store = opened(file)
    documents = store.documents()
    found = {
        "index": store.where,
        "folders": store.folders,
        "documents": len(documents),
        "passages": store.size,
        "problems": [{"document": d.path, "problem": d.problem} for d in documents if d.problem],
    }
    store.close()
    return found
