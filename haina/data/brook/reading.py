"""A passage is given; it is to be summed up, given a title, or questions are to be answered out of it.

The passages are the openings of open texts that have a title. Answers are words of the passage; what it does not
say, the answer says so. It knows no evaluation set: questions are made by rule from the passage alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from haina.data.brook import sources
from haina.data.brook.exchange import Exchange, Language, share

SENTENCES, LONGEST, LONGEST_ANSWER = 3, {"zh": 170, "en": 480}, {"zh": 70, "en": 190}
_ENDS = {"zh": re.compile(r"[^。！？]+[。！？]"), "en": re.compile(r"[^.!?]+(?:\.(?=\d)[^.!?]+)*[.!?]")}
_YEAR = re.compile(r"(?<!\d)(1[0-9]{3}|20[012][0-9])(?!\d|年代)")
MEDICAL = 0.2  # of the diseases of MedQuAD, the largest source of short English articles
# The opening of a paragraph that says what a thing is.
_DEFINED = re.compile("(?:An? |The )?([A-Z]?[a-z-]+(?: [a-z-]+)?) (?:is an?|is the|are|refers to) ")
_QUESTION = re.compile("(?:What|How|Is|Who|Are) ")
_PRONOUNS = frozenset(
    """this that these those it he she they we you there here what who which one some many although because if when
    while how since as for in on at""".split()
)
SUM_UP = {
    "zh": [
        "用一句话概括：\n{}",
        "{}\n请用一句话总结上文。",
        "请概括下面这段话：\n{}",
        "{}\n这段话讲了什么？",
    ],
    "en": [
        "Summarise in one sentence:\n{}",
        "{}\nSum up the text in one sentence.",
        "{}\nWhat is this text about?",
    ],
}
TITLE = {
    "zh": ["给下面的文字起个标题：\n{}", "{}\n这段话介绍的是什么？只写名称。"],
    "en": ["Give this text a title:\n{}", "{}\nWhat is the topic? Name it only."],
}
ASK = {
    "zh": ["{}\n根据上文，{}", "阅读下文并回答。\n{}\n问题：{}", "{}\n问：{}"],
    "en": ["{}\nAccording to the text, {}", "Read and answer.\n{}\nQuestion: {}", "{}\nQ: {}"],
}
NOT_SAID = {
    "zh": ["文中没有提到。", "上文没有说明这一点。", "这段文字里没有提到。"],
    "en": ["The passage does not say.", "The text does not mention that."],
}


@dataclass(frozen=True)
class Passage:
    language: Language
    title: str
    sentences: list[str]

    @property
    def text(self) -> str:
        return (" " if self.language == "en" else "").join(self.sentences)


def exchanges(data: Path) -> Iterator[Exchange]:
    languages: tuple[Language, ...] = ("zh", "en")
    for language in languages:
        found = list(_passages(data, language))
        chance = random.Random(language)
        for passage in found:
            yield from _summed_up(passage, chance)
            yield from _asked(passage, chance.choice(found), chance)


def _passages(data: Path, language: Language) -> Iterator[Passage]:
    seen = set()
    for row in _rows(data, language):
        title = re.sub(r"_|\s*\(.*|（.*", " ", row["title"].split(" - ")[0]).strip()
        text = _tidy(row["text"]).removeprefix(f"{title}: Introduction Background: ")
        sentences = [s.strip() for s in _ENDS[language].findall(text)[:SENTENCES]]
        passage = Passage(language, title, sentences)
        if title and title not in seen and len(sentences) > 1 and len(passage.text) <= LONGEST[language]:
            seen.add(title)
            yield passage


def _tidy(text: str) -> str:
    """In one line, without brackets and the question that opens a record of MedQuAD."""
    text = re.sub(r"（[^（）]*）|\([^()]*\)|\[\d+\]", "", text)
    text = re.sub(r"\s+", " ", text).strip().replace("U.S.", "US")  # no sentence ends there
    return re.sub(r" (?=[.,;])", "", re.sub(r"^What (?:is|are)[^?]*\? ", "", text))


def _rows(data: Path, language: Language) -> Iterator[sources.Row]:
    if language == "zh":
        yield from sources.prose(data, "text_zh", "misc", "train", frozenset({"drcd", "cmrc2018", "xquad"}))
        return
    for row in sources.prose(data, "text_en", "textbooks", "train", frozenset({"openstax:*"})):
        for paragraph in row["text"].split("\n"):
            if (defined := _DEFINED.match(paragraph)) and _PRONOUNS.isdisjoint(defined[1].lower().split()):
                yield {**row, "title": defined[1], "text": paragraph}
    for row in sources.prose(data, "text_en", "misc", "train", frozenset({"factbook", "xquad", "medquad"})):
        if row["source"] == "medquad":
            if share(row["id"]) < MEDICAL and not _QUESTION.match(_tidy(row["text"])):
                yield row
        elif row["source"] == "xquad" or row["title"].endswith("Introduction"):
            yield row


def _summed_up(p: Passage, chance: random.Random) -> Iterator[Exchange]:
    first = p.sentences[0]
    if _telling(p, first):
        yield Exchange(
            "summary", p.language, p.title, chance.choice(SUM_UP[p.language]).format(p.text), first
        )
    if p.title.lower() in p.text.lower():
        yield Exchange("title", p.language, p.title, chance.choice(TITLE[p.language]).format(p.text), p.title)


def _telling(p: Passage, sentence: str) -> bool:
    """Whether a sentence names what the passage is about and is short enough to be an answer."""
    return p.title.lower() in sentence.lower() and len(sentence) <= LONGEST_ANSWER[p.language]


def _asked(p: Passage, other: Passage, chance: random.Random) -> Iterator[Exchange]:
    """What is …, when, and something that only another passage tells."""
    question = {"zh": "{}是什么？", "en": "what is {}?"}[p.language]
    ask = ASK[p.language]
    is_ = {"zh": "是", "en": " is "}[p.language]
    for sentence in p.sentences:
        if _telling(p, sentence) and is_ in sentence:
            asked = chance.choice(ask).format(p.text, question.format(p.title))
            yield Exchange("passage", p.language, p.title, asked, sentence)
            break
    years = set(_YEAR.findall(p.text))
    if len(years) == 1:
        when = {"zh": "文中提到的是哪一年？", "en": "which year is mentioned?"}[p.language]
        year = years.pop()
        answer = {"zh": f"{year}年。", "en": f"{year}."}[p.language]
        yield Exchange("passage", p.language, p.title, chance.choice(ask).format(p.text, when), answer)
    if other.title.lower() not in p.text.lower() and chance.random() < 0.6:
        absent = {
            "zh": ["{}是什么？", "{}在哪里？", "{}是什么时候的？"],
            "en": ["what is {}?", "where is {}?"],
        }[p.language]
        asked = chance.choice(ask).format(p.text, chance.choice(absent).format(other.title))
        yield Exchange("not said", p.language, p.title, asked, chance.choice(NOT_SAID[p.language]))
