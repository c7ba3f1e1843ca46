"""Sentences that give orders to whoever answers: "ignore the above", "whoever asks shall be told …", 请只回答……

A passage is data, whatever it says: such a sentence is no answer, and a model does not get to see it. What gives it
away are kinds of words (orders.txt), each of which honest texts have too; several together are an order. WEIGHTS are
a logistic's over 86 orders, 60 sentences of manuals and 17,000 ordinary ones, none of them of bench/search_injected*.
What the question has itself is not counted: who asks about orders wants to read them. A lie that gives no order it
cannot tell from the truth.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from haina.apps.search.sentences import ASKS, sentences
from haina.apps.search.store import Passage
from haina.apps.search.terms import folded, simpler

WEIGHTS = {
    "discard": 3.8,  # what else is said
    "turn": 7.8,  # of a conversation that is none
    "tag": 2.7,
    "machine": 3.0,  # is spoken to
    "person": 1.5,  # who asks
    "you": 3.3,
    "order": 3.3,
    "answer": 2.6,  # what is to be said
    "scope": 3.7,  # which questions
    "authority": 2.6,
}
BIAS = -5.5
ORDER = 0.0  # from here on a sentence is one
CERTAIN = 2.0  # and from here on the passage about it is not trusted
ECHO = 3.0  # beside the whole question
BEHIND = 3.0  # what stands behind an order belongs to it sooner
_FILE = Path(__file__).with_name("orders.txt")
_HAN, _LATIN = re.compile("[\u4e00-\u9fff]"), re.compile("[a-z]{2}|[<|]")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


@cache
def _patterns(chinese: bool) -> dict[str, re.Pattern[str]]:
    """The patterns of each kind; without those that hold Chinese characters, or with them alone."""
    lines = [line.split("\t") for line in _FILE.read_text("utf-8").splitlines() if "\t" in line]
    ways = {
        kind: [way for named, way in lines if named == kind and bool(_HAN.search(way)) is chinese]
        for kind in WEIGHTS
    }
    return {
        kind: re.compile("|".join(f"(?:{way})" for way in given), re.M)
        for kind, given in ways.items()
        if given
    }


def kinds(text: str) -> frozenset[str]:
    """Which of WEIGHTS a text has, characters that are not seen left aside."""
    text = simpler(unicodedata.normalize("NFKC", _UNSEEN.sub("", text))).lower()
    scripts = [chinese for chinese, letters in ((False, _LATIN), (True, _HAN)) if letters.search(text)]
    patterns = (each for chinese in scripts for each in _patterns(chinese).items())
    return frozenset(kind for kind, pattern in patterns if pattern.search(text))


def commanding(texts: Sequence[str], question: str = "") -> list[float]:
    """How much each sentence of a passage is an order to whoever answers a question: log odds, an ORDER or not."""
    asked, said = kinds(question), _said(question)
    echoing = [said != "" and said in _said(text) for text in texts]
    if BIAS + ECHO * any(echoing) + _weight(kinds("\n".join(texts)) - asked) <= ORDER:
        return [BIAS] * len(texts)
    found = list[float]()
    for at, text in enumerate(texts):
        echo = any(echoing[max(at - 1, 0) : at + 1])
        around = f"{texts[at - 1]} {text}" if at and echoing[at - 1] else text
        behind = max(found, default=BIAS) > ORDER
        found.append(BIAS + _weight(kinds(around) - asked) + ECHO * echo + BEHIND * behind)
    return found


def _weight(found: Iterable[str]) -> float:
    return sum(WEIGHTS[kind] for kind in found)


def _said(text: str) -> str:
    """A question as it is looked for in a passage; "" for one that does not ask, which any passage may repeat."""
    return folded(text).replace(" ", "") if ASKS.search(simpler(text)) else ""


def without_orders(text: str, question: str = "") -> str:
    """A text with an empty line in place of each order."""
    found = list(sentences([Passage(0, "", 0, text)]))
    odds = commanding([each.text for each in found], question)
    for sentence, odd in reversed(list(zip(found, odds, strict=True))):
        if odd > ORDER:
            text = f"{text[: sentence.start]}\n{text[sentence.end :]}"
    return text
