"""The network's opinion: the nats of the trigram's best texts behind the context.

Network and trigram err on different sentences, so both count: the sum of their logs, weighed. What all texts begin with
is read once, with what stands before the cursor, and the engine keeps keys and values of it from key to key; behind it
the texts are read side by side. A model without character mode is asked in its own cut. It does not know how candidates
are shown, nor how long anybody would wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from haina.apps.pinyin.decoder import Candidate
from haina.apps.pinyin.prior import CONTEXT
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Score
from haina.text.tokenizer import Tokenizer

SHARE = 0.1  # of the network's nats beside the trigram's: the best on held-out text for the embedded network
ASKED = 12  # candidates that are scored
LONGEST = 60  # keys: beyond, the network is not asked
CACHE_BYTES = 32 << 20


def worth_asking(keys: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first of the candidates, if there is a choice among them and time to make it."""
    return list(candidates[:ASKED]) if len(candidates) > 1 and len(keys) <= LONGEST else []


def weighed(candidates: Sequence[Candidate], nats: Sequence[float]) -> list[Candidate]:
    """The candidates in the order of both opinions; those that the network was not asked about keep theirs, behind."""
    if not nats:
        return list(candidates)
    both = [replace(c, score=c.score + SHARE * n) for c, n in zip(candidates, nats, strict=False)]
    rest = [replace(c, score=c.score + SHARE * min(nats)) for c in candidates[len(nats) :]]
    return sorted(both, key=lambda c: -c.score) + rest


@dataclass
class Network:
    """A model that is asked."""

    engine: Engine
    tokenizer: Tokenizer

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Network:
        """ValueError: what is wrong with the folder."""
        checkpoint = Checkpoint.open(str(folder))
        return cls(Engine.open(checkpoint, threads=threads, cache_bytes=CACHE_BYTES), checkpoint.tokenizer)

    def rank(self, context: str, keys: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates in the order of both opinions. Beyond ASKED, and of other keys, they keep theirs."""
        asked = worth_asking(keys, candidates)
        if not asked:
            return list(candidates)
        score = question(self.tokenizer, context, [candidate.text for candidate in asked])
        return weighed(candidates, self.engine.score(score.prompt, score.answers))


def question(tokenizer: Tokenizer, context: str, texts: Sequence[str], tenant: str = "") -> Score:
    """What the engine is asked of at least two texts behind a context. Nats of what all begin with are left out."""
    rows = [_ids(tokenizer, text) for text in texts]
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*(row[:-1] for row in rows), strict=False))
    shared = sum(1 for _ in alike)
    prompt = (*_before(tokenizer, context), *rows[0][:shared])
    return Score(prompt, tuple(tuple(row[shared:]) for row in rows), tenant=tenant)


def _before(tokenizer: Tokenizer, context: str) -> list[int]:
    """The end of the context, behind the beginning of a line."""
    return tokenizer.encode("\n" + context[-CONTEXT:], by_character=bool(tokenizer.character_mode))


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text that goes on behind another."""
    if tokenizer.character_mode:
        return tokenizer.encode(text, by_character=True)[1:]
    return tokenizer.encode("\n" + text)[len(tokenizer.encode("\n")) :]
