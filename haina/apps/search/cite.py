"""Quoting: the Rule under which a model may only quote what stands in the passages it was given.

An answer is made of sentences; each holds at least one “quote”[n], a stretch of passage n, character by character.
Between quotes a model may say a little of its own, without quotation marks, brackets or the end of a sentence. So
every quotation mark in an answer holds a verbatim stretch, and no sentence is without its source. `citations` finds
the stretches again. What has been copied so far is the state: where it goes on is looked up in the passages
(WebGLM's numbered quotes, arXiv 2306.07906, as a constraint instead of a hope). It knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from haina.engine.rule import Rule

SHORTEST = 2  # characters of a quote
MOST = 8  # quotes of an answer
Stage = Literal["before", "quote", "[", "n", "]", "behind", "end"]
MARK: dict[str, Stage] = {"[": "n", "n": "]", "]": "behind"}  # what comes behind each place of [n]
ENDS = "。！？.!?"
MARKS = '“”„‟"「」『』«»[]［］【】'  # never the model's own
_QUOTE = re.compile(r"“([^“”]+)”\[(\d+)\]")


@dataclass(frozen=True)
class Quoting(Rule):
    """stage: before the first quote of a sentence, in a quote, at each place of its [n], behind it, behind a sentence.

    whole: only whole sentences are quoted, each as (n of its passage, text), and nothing else is said.
    """

    passages: tuple[str, ...]
    whole: tuple[tuple[int, str], ...] = ()
    stage: Stage = "before"
    span: str = ""
    said: frozenset[str] = frozenset()  # what has been quoted: once is enough

    def step(self, char: str) -> Rule | None:
        if self.stage == "quote":
            return self._quoted(char)
        if self.stage in MARK:
            return self._marked(char)
        if char == "“":
            return replace(self, stage="quote") if self._more() else None
        if self.stage == "behind" and char in ENDS:
            return replace(self, stage="end")
        if self.stage == "end":
            return replace(self, stage="before") if char == " " and self._more() else None
        own = not self.whole and char not in MARKS and char not in ENDS and char.isprintable()
        return self if own else None

    def _more(self) -> bool:
        """Whether anything is left to be quoted."""
        left = any(text not in self.said for _, text in self.whole) if self.whole else True
        return left and len(self.said) < (1 if self.whole else MOST)

    def _quoted(self, char: str) -> Rule | None:
        if char == "”":
            return replace(self, stage="[") if self._closes() else None
        longer = self.span + char
        if self.whole:
            goes_on = any(text.startswith(longer) and text not in self.said for _, text in self.whole)
        else:
            goes_on = quotable(char) and any(longer in passage for passage in self.passages)
        return replace(self, span=longer) if goes_on else None

    def _closes(self) -> bool:
        if self.whole:
            return any(self.span == text for _, text in self.whole)
        return len(self.span.strip()) >= SHORTEST and self.span not in self.said

    def _marked(self, char: str) -> Rule | None:
        if char not in self._marks():
            return None
        after = MARK.get(self.stage, "behind")
        return replace(self, stage=after) if after != "behind" else self._behind()

    def _behind(self) -> Rule:
        return replace(self, stage="behind", span="", said=self.said | {self.span})

    def _marks(self) -> str:
        """What may stand here in [n]: at most nine passages, so that it is one digit."""
        if self.stage != "n":
            return self.stage
        if self.whole:
            return "".join(str(n) for n, text in self.whole if text == self.span)
        return "".join(str(n) for n, text in enumerate(self.passages[:9], start=1) if self.span in text)

    def complete(self) -> bool:
        return self.stage in ("end", "behind")

    def chars(self) -> Iterable[str] | None:
        if self.stage == "quote":
            return self._following()
        if self.stage in MARK:
            return self._marks()
        return None if not self.whole else {"before": "“", "behind": "“" + ENDS, "end": " "}[self.stage]

    def _following(self) -> Iterator[str]:
        """What stands behind the stretch, wherever it occurs; and the closing mark."""
        yield "”"
        at_of = [(text, 0 if text.startswith(self.span) else -1) for _, text in self.whole]
        for text, at in at_of or [(passage, passage.find(self.span)) for passage in self.passages]:
            while 0 <= at < len(text) - len(self.span):
                yield text[at + len(self.span)]
                at = -1 if self.whole else text.find(self.span, at + 1)


def quotable(text: str) -> bool:
    """Whether a text can stand in a quote as it is."""
    return text.isprintable() and "“" not in text and "”" not in text


def quotes(text: str) -> list[tuple[int, str]]:
    """The quotes of an answer, each as (n of its passage from 1, the stretch)."""
    return [(int(found[2]), found[1]) for found in _QUOTE.finditer(text)]


def renumbered(text: str) -> str:
    """The answer with its quotes numbered in their order, as citations are, and no longer by passages."""
    number = count(1)
    return _QUOTE.sub(lambda found: f"“{found[1]}”[{next(number)}]", text)
