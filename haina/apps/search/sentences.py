"""The sentences of passages that may answer a question, and numbers of how well each would.

What is asked for shows in the question: 多少 wants a number, "why" a reason. It knows words that ask and words that
answer, nothing of the index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from haina.apps.search.features import Question, Terms
from haina.apps.search.store import Passage
from haina.apps.search.terms import folded, pairs

SHORTEST = 4  # characters of a sentence
LONGEST = 400  # of a quote; a longer sentence is quoted in part
NUMBER = "[0-9０-９〇零一二两三四五六七八九十百千万亿]"
COUNTED = "one|two|three|four|five|six|seven|eight|nine|ten|dozen|hundred|thousand|million"
MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_END = re.compile(  # a semicolon ends none: what is asked for often stands on its other side
    r"""[。！？!?\n\f]+[”’」』）)"']*|(?<=[a-z0-9%"')])[.](?=\s)|(?<=[A-Z]{2})[.](?=\s+[A-Z])"""
)
ASKS = re.compile(
    "什么|甚么|多少|几|谁|哪|何|为什么|怎|如何|what|which|who|whose|whom|when|where|why|how", re.IGNORECASE
)
AROUND = 8  # characters about the word that asks: what is asked for


def _any(*ways: str, case: int = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile("|".join(ways), case)


ASKED = (  # what the question has, and what an answer to it has
    (
        _any(
            "多少|几[^乎]|多[长高大远重久]|第几",
            "how (many|much|long|far|old|tall|big|often)",
            "what percent",
        ),
        _any(NUMBER, rf"\b({COUNTED})\b"),
    ),
    (
        _any(
            "何时|什么时[候间]|哪一?[年天日月]|几[年月日号时]|哪个(年代|世纪|时期|朝代)|年份",
            "when|what (year|date|day|month|century|time)|which year",
        ),
        _any(f"{NUMBER}+[年月日世时]|[朝代时]期", rf"[0-9]{{4}}|\b({MONTHS}|century)\b"),
    ),
    (
        _any("谁|何人|[哪那][一]?位|什么人|哪个人", "who|whom|whose"),
        _any("[·・]|[人王帝后子师长家员者]", r"\b[A-Z][a-z]+ [A-Z]", case=0),
    ),
    (
        _any(
            "哪里|哪儿|何处|在哪|哪个(国家|城市|地方|省|地区|州|县)|什么地方|位于",
            "where|which (country|city|state|town|place)",
        ),
        _any("[省市县区国州岛村镇乡洲路街港湾山]", r"\b(in|at|near|from) [A-Z]", case=0),
    ),
    (
        _any("为什么|为何|原因|怎么会|何以", "why|reason|cause"),
        _any("因|由于|所以|以便|导致|为了", "because|due to|since|so that|in order|as a result"),
    ),
)


@dataclass(frozen=True)
class Sentence:
    """A stretch of a passage: its place in the list of passages, and in the passage's text."""

    passage: int
    start: int
    end: int
    text: str


def sentences(passages: Sequence[Passage]) -> Iterator[Sentence]:
    """The sentences of passages, without the space around them."""
    for number, passage in enumerate(passages):
        at = 0
        for end in _ends(passage.text):
            raw = passage.text[at:end]
            text = raw.strip()[:LONGEST].rstrip()
            start = at + len(raw) - len(raw.lstrip())
            at = end
            if len(text) >= SHORTEST and any(map(str.isalnum, text)):
                yield Sentence(number, start, start + len(text), text)


def _ends(text: str) -> list[int]:
    return [*(found.end() for found in _END.finditer(text)), len(text)]


def features(question: Question, found: Sequence[Sentence], scores: Sequence[float]) -> list[list[float]]:
    """Numbers of each sentence; scores: of the passages."""
    wants = [answer for asks, answer in ASKED if asks.search(question.text)]
    texts = [folded(sentence.text) for sentence in found]
    near = _focus(question)
    rows, before, last = [], 0.0, -1
    for sentence, text in zip(found, texts, strict=True):
        inside = question.pairs.counts(text)
        weight = question.pairs.held(inside)
        before, last = before if sentence.passage == last else 0.0, sentence.passage
        length = len(text.replace(" ", ""))
        old = sum(char in question.folded for char in text if char != " ")
        rows.append(
            [
                weight,
                question.single.held(question.single.counts(text)),
                question.shared(text),
                scores[sentence.passage] - scores[0],
                sum(answer.search(sentence.text) is not None for answer in wants) / max(len(wants), 1),
                before,
                math.log(max(length, 1)),
                1 - old / max(length, 1),
                near.held(inside),
            ]
        )
        before = weight
    return rows


def _focus(question: Question) -> Terms:
    """The terms of the question, with no weight but for those about the word that asks."""
    asks = ASKS.search(question.text)
    about = question.text[max(asks.start() - AROUND, 0) : asks.end() + AROUND] if asks else ""
    near, terms = set(pairs(about)), question.pairs
    weights = (w if name in near else 0.0 for name, w in zip(terms.names, terms.idf, strict=True))
    return replace(terms, idf=tuple(weights))
