"""The network's opinion: texts under the keys by a beam of its own, and every candidate's nats behind the context.

What is typed is a Rule (haina/engine/rule.py): a character is allowed if some reading of it goes on from some key that
has been reached. The engine lifts it to tokens, runs a beam with the sparse head, and keeps keys and values of what
stands before the cursor from key to key. Network and trigram err on different sentences, so both count: the sum of
their logs, weighed. A model without character mode is asked in its own cut. It does not know how candidates are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from haina.apps.pinyin.decoder import Candidate
from haina.apps.pinyin.keys import Reach, Spelling
from haina.apps.pinyin.prior import CONTEXT
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Beams, Request
from haina.engine.rule import Rule, Vocabulary
from haina.text import pinyin
from haina.text.tokenizer import Tokenizer

SHARE = 0.1  # of the network's nats beside the trigram's: the best on held-out text for the embedded network
ASKED = 12  # candidates that are scored, and
WIDTH = 6  # texts of the beam
LONGEST = 60  # keys: beyond, the network is not asked
CACHE_BYTES = 32 << 20


@dataclass(frozen=True)
class Keys(Rule):
    """What was typed, and how far each way of reading it has come."""

    spelling: Spelling
    keys: str
    reach: Reach = "exact"
    at: frozenset[int] = frozenset({0})

    def step(self, char: str) -> Rule | None:
        known = {reading[:-1] for reading in pinyin.readings().get(char, ())}
        onward = _onward(self.spelling, self.keys, self.reach)
        ends = frozenset(end for at in self.at for syllable, end in onward[at] if syllable in known)
        return replace(self, at=ends) if ends else None

    def complete(self) -> bool:
        return len(self.keys) in self.at

    def chars(self) -> Iterable[str]:
        onward = _onward(self.spelling, self.keys, self.reach)
        return (c for s in {s for at in self.at for s, _ in onward[at]} for c in _spoken().get(s, ()))


@cache
def _spoken() -> dict[str, str]:
    """The characters of each syllable."""
    found: dict[str, str] = {}
    for char, known in pinyin.readings().items():
        for syllable in dict.fromkeys(reading[:-1] for reading in known):
            found[syllable] = found.get(syllable, "") + char
    return found


@cache
def _onward(spelling: Spelling, keys: str, reach: Reach) -> tuple[tuple[tuple[str, int], ...], ...]:
    """From each key, the syllables that may come and where they end, if the keys' end can be reached from there."""
    last = len(keys)
    ways: list[list[tuple[str, int]]] = [[] for _ in range(last + 1)]
    leads = [False] * last + [True]
    edges = [spelling.edges(keys, end, reach) for end in range(1, last + 1)]
    for end in range(last, 0, -1):
        for edge in edges[end - 1] if leads[end] else ():
            if not edge.open or end == last:
                leads[edge.start] = True
                ways[edge.start].append((pinyin.syllables()[edge.syllable], end))
    return tuple(map(tuple, ways))


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
    """A model and its vocabulary."""

    engine: Engine
    tokenizer: Tokenizer
    vocabulary: Vocabulary = field(repr=False)

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Network:
        """ValueError: what is wrong with the folder."""
        checkpoint = Checkpoint.open(str(folder))
        engine = Engine.open(checkpoint, threads=threads, cache_bytes=CACHE_BYTES)
        return cls(engine, checkpoint.tokenizer, Vocabulary(checkpoint.tokenizer, engine.config.vocab_size))

    def rank(self, context: str, keys: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates in the order of both opinions. Beyond ASKED, and of other keys, they keep theirs."""
        asked = worth_asking(keys, candidates)
        nats = self.nats(context, [candidate.text for candidate in asked]) if asked else []
        return weighed(candidates, nats)

    def nats(self, context: str, texts: Sequence[str]) -> list[float]:
        """Log-probability of each text behind the context."""
        return self.engine.score(
            before(self.tokenizer, context), [ids(self.tokenizer, text) for text in texts]
        )

    def typed(self, context: str, spelling: Spelling, keys: str, most: int = WIDTH) -> list[str]:
        """The likeliest texts under the keys, by the network alone."""
        rule = Keys(spelling, keys)
        if not any(_onward(spelling, keys, "exact")[0]):
            return []
        request = Request(
            tuple(before(self.tokenizer, context)),
            max_new_tokens=len(keys),
            constraint=self.vocabulary.lift(rule),
            beams=Beams(most),
            n=most,
        )
        answers: dict[int, list[int]] = {}
        for token in self.engine.generate([request]):
            answers.setdefault(token.choice, []).append(token.id)
        return [self.tokenizer.decode(ids) for _, ids in sorted(answers.items())]


def before(tokenizer: Tokenizer, context: str) -> list[int]:
    """The end of the context, behind the beginning of a line."""
    return tokenizer.encode("\n" + context[-CONTEXT:], by_character=bool(tokenizer.character_mode))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text that goes on behind another."""
    if tokenizer.character_mode:
        return tokenizer.encode(text, by_character=True)[1:]
    return tokenizer.encode("\n" + text)[len(tokenizer.encode("\n")) :]
