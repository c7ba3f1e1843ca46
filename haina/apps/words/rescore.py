"""A second opinion on the first words found: how likely a language model takes each for the one described.

The dictionaries that haina-brook is trained on say "a large striped cat → tiger" in some of their lines, and so is it
asked here. Only words of the dictionary are scored, each to the end of its line: a trie whose leaves are these words.
It knows no channels and no index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from haina.apps.words.rank import Found
from haina.engine.engine import Engine
from haina.text.tokenizer import Tokenizer

AT_ONCE = 8  # contexts that there must be room for: words are scored side by side
LONGEST = 120  # characters of a description that it reads
SHARE = 0.1  # of its nats that is added to a score
SHOWN = "a domesticated animal that barks → dog\nthe season after winter → spring\n"


@dataclass(frozen=True)
class Opinion:
    """A model that has a say."""

    engine: Engine
    tokenizer: Tokenizer
    asked: int = 100  # words that it is asked about

    def rescored(self, description: str, found: Sequence[Found], words: Sequence[str]) -> list[Found]:
        """The words found, best first, by both; those that the model was not asked about come behind."""
        nats = self.nats(description, [words[each.word] for each in found[: self.asked]])
        nats += [min(nats, default=0.0)] * (len(found) - len(nats))
        both = [replace(each, score=each.score + SHARE * n) for each, n in zip(found, nats, strict=True)]
        return sorted(both[: self.asked], key=lambda each: -each.score) + both[self.asked :]

    def nats(self, description: str, words: Sequence[str]) -> list[float]:
        """Log-probability of each word behind the description."""
        prompt = f"{SHOWN}{' '.join(description.split())[:LONGEST]} →"
        ids = self.tokenizer.encode(prompt)
        return self.engine.score(
            ids, [self.tokenizer.encode(f"{prompt} {word}\n")[len(ids) :] for word in words]
        )
