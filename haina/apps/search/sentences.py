"""The sentences of passages that may answer a question, and numbers of how well each would.

What is asked for shows in the question: 多少 wants a number, "why" a reason. It knows words that ask and words that
answer, nothing of the index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from haina.apps.search.features import Question, Terms
from haina.apps.search.store import Passage
from haina.apps.search.terms import folded, pairs, simpler

SINGLE, TOGETHER = 1, 10  # of the numbers of a sentence: what tells whether an answer is there
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
_UNIT = re.compile("(?:多少|几)([\u4e00-\u9fff]{1,2})")
_NUMBER = re.compile(f"{NUMBER}+")
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


NUMBERS = tuple(answer for _, answer in ASKED[:2])


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
    """Numbers of each sentence; scores: of the passages.

    What a text is about stands in its first sentence and is not said again: so it counts what a sentence holds that
    the first one lacks, and what both hold together.
    """
    wanted, terms = Wanted.of(question), question.pairs
    rows: list[list[float]] = []
    lead = before = inside = [False] * len(terms.names)
    last = -1
    for sentence, text in zip(found, _folded([each.text for each in found]), strict=True):
        first = sentence.passage != last
        before, inside, single = inside, terms.inside(text), question.single.inside(text)
        if first:
            lead, before, last = inside, [False] * len(inside), sentence.passage
        here = list(zip(inside, lead, before, strict=True))
        length, new = len(text.replace(" ", "")), len(text.translate(wanted.known))
        rows.append(
            [
                terms.share(inside),
                question.single.share(single),
                question.shared(text),
                scores[sentence.passage] - scores[0],
                terms.share(before),
                math.log(max(length, 1)),
                new / max(length, 1),
                wanted.pairs.share(inside),
                wanted.single.share(single),
                terms.share([now and not led for now, led, _ in here]),
                terms.share([now or led or was for now, led, was in here]),
                float(first),
                *wanted.fits(sentence.text),
            ]
        )
    return rows


def _folded(texts: Sequence[str]) -> list[str]:
    """Each text folded: all in one go, unless lengths change."""
    together = "\n".join(texts)
    whole = folded(together)
    if len(whole) != len(together):
        return list(map(folded, texts))
    ends = list(accumulate(len(text) + 1 for text in texts))
    return [whole[end - 1 - len(text) : end - 1] for end, text in zip(ends, texts, strict=True)]


@dataclass(frozen=True)
class Wanted:
    """What a question asks for: patterns of answers; what it measures; the terms about the word that asks."""

    answers: tuple[re.Pattern[str], ...]
    unit: str
    said: str  # the question, in simplified characters
    pairs: Terms
    single: Terms
    known: dict[int, None]  # characters that are no news

    @classmethod
    def of(cls, question: Question) -> Wanted:
        said = simpler(question.text)
        unit = _UNIT.search(said)
        asks = ASKS.search(said)
        about = said[max(asks.start() - AROUND, 0) : asks.end() + AROUND] if asks else ""
        return cls(
            tuple(answer for asks, answer in ASKED if asks.search(said)),
            unit[1] if unit else "",
            said,
            _only(question.pairs, set(pairs(about))),
            _only(question.single, set(ASKS.sub("", about))),
            dict.fromkeys(map(ord, f" {question.folded}")),
        )

    def fits(self, sentence: str) -> tuple[float, ...]:
        """Whether a sentence looks like an answer, has the unit behind a number, a number that the question has not."""
        text = simpler(sentence)
        fit = sum(answer.search(text) is not None for answer in self.answers) / max(len(self.answers), 1)
        units = (self.unit, self.unit[:1]) if self.unit else ()
        unit = sum(re.search(NUMBER + "[余多来]?" + each, text) is not None for each in units) / 2
        asks_number = any(answer in NUMBERS for answer in self.answers)
        news = asks_number and any(number not in self.said for number in _NUMBER.findall(text))
        return fit, unit, float(news)


def _only(terms: Terms, names: set[str]) -> Terms:
    """The terms, with no weight but for some."""
    weights = (w if name in names else 0.0 for name, w in zip(terms.names, terms.idf, strict=True))
    return replace(terms, idf=tuple(weights))
