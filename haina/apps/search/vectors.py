"""Vectors of passages by a model's `embed`: what a question is near to, whatever its words.

They are made apart from the index, passage by passage, and go on where they were: `haina search vectors`. Whose they
are is remembered, and those of another model are made anew. Off unless asked for: a small model's vectors tell little,
and then an order fused with theirs is worse (README.md). It knows models; where vectors are kept, near.py and
postgres_near.py know; how two orders become one, rank.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from haina.apps.chat import text_ids
from haina.apps.model import Model
from haina.apps.search.rank import Near
from haina.checkpoint.adapter import fingerprint
from haina.wording import say

if TYPE_CHECKING:
    from haina.apps.search.store import Index

AT_ONCE = 32  # passages
FOUND = 20  # passages that are near
NAME = "vectors"  # in what the index remembers
Progress = Callable[[str, int, int], None]


class Vectors(Protocol):
    """The vectors of an index's passages, each of length 1; those of a passage go when it goes."""

    def missing(self, after: int, most: int) -> list[tuple[int, str]]:
        """The next passages that have none, by number: (number, text)."""

    def keep(self, rows: Sequence[tuple[int, str, np.ndarray]]) -> None:
        """Vectors of passages that still have the text they were made from: (number, text, vector)."""

    def clear(self, size: int) -> None:
        """Forget all; new ones will have so many numbers."""

    def near(self, vector: np.ndarray, most: int) -> list[int]:
        """The passages whose vectors are nearest, nearest first."""


def fill(index: Index, model: Model, folder: str, progress: Progress | None = None) -> int:
    """Make the vectors that are missing; how many. folder: of the model. Killed, it goes on at the last AT_ONCE."""
    vectors, whose = index.vectors(), fingerprint(model.checkpoint)
    if _known(index).get("fingerprint") != whose:
        vectors.clear(model.engine.config.hidden_size)
        with index.writing():
            index.remember(NAME, json.dumps({"fingerprint": whose, "folder": folder}))
    made, after, size = 0, 0, index.size
    while rows := vectors.missing(after, AT_ONCE):
        found = embedded(model, [text for _, text in rows])
        vectors.keep([(id, text, vector) for (id, text), vector in zip(rows, found, strict=True)])
        made, after = made + len(rows), rows[-1][0]
        if progress:
            progress(say("making vectors", "计算向量"), made, size)
    return made


def near(index: Index, opened: Callable[[str], Model]) -> Near:
    """What finds passages near to a text. opened: a model by its folder. ValueError: there are no vectors, or of
    another model."""
    known, vectors = _known(index), index.vectors()
    model = opened(known["folder"]) if known else None
    if model is None or fingerprint(model.checkpoint) != known["fingerprint"]:
        raise ValueError(
            say(
                f"{index.where}: no vectors by this model; make them: haina search vectors",
                f"{index.where}：没有此模型的向量；请先运行：haina search vectors",
            )
        )
    return lambda text: vectors.near(embedded(model, [text])[0], FOUND)


def embedded(model: Model, texts: Sequence[str]) -> np.ndarray:
    """float32 [B, D]: of each text, as much as fits into the model's context."""
    rows = [text_ids(model, text)[: model.context] or (model.tokenizer.eos_id,) for text in texts]
    return model.engine.embed(rows)


def _known(index: Index) -> dict[str, str]:
    """Whose vectors an index has; nothing: it has none."""
    kept = index.recall(NAME)
    known: dict[str, str] = json.loads(kept) if isinstance(kept, str) else {}
    return known
