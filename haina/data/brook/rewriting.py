"""Small changes to a given text: script, letter case, punctuation, order, politeness; and what can be read off it.

The sentences are those of open prose. It knows no grammar: every change is one that a rule makes with certainty.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from haina.data.brook import sources
from haina.data.brook.exchange import Exchange, Language, lines
from haina.data.brook.obey import THINGS

SENTENCES = 5000  # looked at, in each language
LONGEST_WORD = 4
_ZH_SENTENCE = re.compile(
    r"(?<=[。！？\n])[^\n。！？；：，、“”《》（）()「」:•][^\n。！？；：“”《》（）()「」:]{9,39}[。！？]"
)
_EN_SENTENCE = re.compile(r"(?<=[.!?] )[A-Z][A-Za-z ,']{25,90}[.!?](?= [A-Z])")
_YEAR = re.compile("(?<![0-9至~—-])(?:1[0-9]{3}|20[012][0-9])年(?:[0-9]{1,2}月(?:[0-9]{1,2}日)?)?")


def exchanges(data: Path) -> Iterator[Exchange]:
    zh, en = _sentences(data, "zh"), _sentences(data, "en")
    yield from _scripts(data, zh)
    yield from _punctuated(zh, en)
    yield from _echoed(zh, en)
    yield from _cased(en)
    yield from _ordered()
    yield from _read_off(zh)
    yield from _polite()


def _sentences(data: Path, language: Language) -> list[str]:
    kind, file, wanted = (
        ("text_zh", "misc", {"drcd", "cmrc2018"}) if language == "zh" else ("text_en", "books", {"books"})
    )
    pattern, found = _ZH_SENTENCE if language == "zh" else _EN_SENTENCE, []
    for row in sources.prose(data, kind, file, "train", frozenset(wanted)):
        found += [sentence.strip() for sentence in pattern.findall(row["text"])[:4]]
        if len(found) >= SENTENCES:
            break
    random.Random(language).shuffle(found)
    return found


@dataclass(frozen=True)
class Traditional:
    """Simplified → traditional by the longest words of CC-CEDICT; None where a character has several forms."""

    words: dict[str, str]

    @classmethod
    def of(cls, data: Path) -> Traditional:
        found: dict[str, set[str]] = {}
        for row in sources.cedict(data, "train"):
            if len(row["word"]) == len(row["trad"]) <= LONGEST_WORD:
                found.setdefault(row["word"], set()).add(row["trad"])
        return cls({word: forms.pop() for word, forms in found.items() if len(forms) == 1})

    def __call__(self, text: str) -> str | None:
        made = ""
        while len(made) < len(text):
            rest = text[len(made) : len(made) + LONGEST_WORD]
            known = next((rest[:n] for n in range(len(rest), 0, -1) if rest[:n] in self.words), None)
            if known is None and sources.is_han(rest[0]):
                return None
            made += self.words[known] if known else rest[0]
        return made


def _scripts(data: Path, sentences: list[str]) -> Iterator[Exchange]:
    traditional, chance = Traditional.of(data), random.Random("scripts")
    for sentence in sentences[:2000]:
        written = traditional(sentence)
        if written and written != sentence:
            ask = chance.choice(
                [
                    "把这句话转成简体：{}",
                    "请转换为简体中文：{}",
                    "繁体转简体：{}",
                    "Convert to simplified Chinese: {}",
                ]
            )
            yield Exchange("script", "zh", sentence, ask.format(written), sentence)
    words = [(word, trad) for word, trad in traditional.words.items() if word != trad and len(word) > 1]
    for word, trad in chance.sample(words, min(800, len(words))):
        yield Exchange("script", "zh", word, f"“{trad}”的简体怎么写？", f"“{trad}”的简体是“{word}”。")
        yield Exchange("script", "zh", word, f"“{word}”的繁体怎么写？", f"“{word}”的繁体是“{trad}”。")


def _punctuated(zh: list[str], en: list[str]) -> Iterator[Exchange]:
    chance = random.Random("punctuated")
    for sentence in [s for s in zh if "，" in s][:1000]:
        ask = chance.choice(["给这句话加上标点：{}", "请加标点：{}", "补上标点符号：{}"])
        yield Exchange(
            "punctuation", "zh", sentence, ask.format(re.sub("[，。、！？]", "", sentence)), sentence
        )
    for sentence in [s for s in en if "," in s and not re.search(" (?!I )[A-Z]", s)][:1000]:
        bare = re.sub("[,.!?]", "", sentence).lower()
        ask = chance.choice(["Add capital letters and punctuation: {}", "Punctuate this sentence: {}"])
        yield Exchange("punctuation", "en", sentence, ask.format(bare), sentence)


def _echoed(zh: list[str], en: list[str]) -> Iterator[Exchange]:
    chance = random.Random("echoed")
    for sentence in zh[2000:2700]:
        ask = chance.choice(["请重复这句话：{}", "跟我说：{}", "复述：{}", "原样输出：{}"])
        yield Exchange("repeat", "zh", sentence, ask.format(sentence), sentence)
    for sentence in en[2000:2700]:
        ask = chance.choice(["Repeat after me: {}", "Say this: {}", "Copy this sentence: {}", "Repeat: {}"])
        yield Exchange("repeat", "en", sentence, ask.format(sentence), sentence)


def _cased(en: list[str]) -> Iterator[Exchange]:
    chance = random.Random("cased")
    for sentence in en[2700:3700]:
        words = " ".join(sentence.split()[: chance.randrange(2, 7)]).rstrip(",.!?")
        way = chance.randrange(3)
        ask = [
            ["Write in capital letters: {}", "Make this uppercase: {}", "请转成大写：{}"],
            ["Write in lower case: {}", "Make this lowercase: {}", "请转成小写：{}"],
            ["Capitalize each word: {}", "Write in title case: {}"],
        ][way]
        made = [words.upper(), words.lower(), " ".join(w[0].upper() + w[1:] for w in words.split())][way]
        yield Exchange("case", "en", words, chance.choice(ask).format(words), made)


def _ordered() -> Iterator[Exchange]:
    """Lists reversed, sorted, counted; first and last."""
    chance = random.Random("ordered")
    pools = [[part.split() for part in items.split("/")] for items in THINGS.values()]
    for _ in range(900):
        zh, en = chance.choice(pools)
        items = chance.sample(zh, chance.randrange(3, 6))
        listed, back = "、".join(items), "、".join(reversed(items))
        asked, answer = chance.choice([
            (f"把顺序倒过来：{listed}", back),
            (f"数一数有几个：{listed}", f"有{len(items)}个。"),
            (f"{listed}，一共几样？", f"一共{len(items)}样。"),
            (f"第一个是什么：{listed}", items[0]),
            (f"最后一个是什么：{listed}", items[-1]),
            (f"用换行列出：{listed}", "\n".join(f"- {item}" for item in items)),
        ])  # fmt: skip
        yield Exchange("order", "zh", listed, asked, answer)
        items = chance.sample(en, chance.randrange(3, 6))
        listed = ", ".join(items)
        asked, answer = chance.choice([
            (f"Reverse the list: {listed}", ", ".join(reversed(items))),
            (f"Sort alphabetically: {listed}", ", ".join(sorted(items))),
            (f"How many items are in this list: {listed}?", f"{len(items)} items."),
            (f"What is the first item: {listed}?", items[0]),
            (f"What is the last item: {listed}?", items[-1]),
            (f"Make a bullet list: {listed}", "\n".join(f"- {item}" for item in items)),
        ])  # fmt: skip
        yield Exchange("order", "en", listed, asked, answer)
    for _ in range(300):
        numbers = chance.sample(range(1, 100), chance.randrange(3, 6))
        listed, up = (", ".join(map(str, some)) for some in (numbers, sorted(numbers)))
        yield Exchange("order", "zh", listed, f"从小到大排列：{listed}", up)
        yield Exchange("order", "en", listed, f"Sort from smallest to largest: {listed}", up)
        yield Exchange("order", "zh", listed, f"哪个数最大：{listed}", str(max(numbers)))
        yield Exchange("order", "en", listed, f"Which number is the largest: {listed}?", str(max(numbers)))


def _read_off(zh: list[str]) -> Iterator[Exchange]:
    """The date or year of a sentence, its number of characters."""
    chance = random.Random("read off")
    for sentence in zh:
        dates = _YEAR.findall(sentence)
        if len(dates) == 1 and sentence.count("年") == 1:
            ask = chance.choice(["找出句中的时间：{}", "下面的话里提到哪个时间？{}", "提取日期：{}"])
            yield Exchange("extract", "zh", sentence, ask.format(sentence), dates[0])
    for first, last in ((f, t) for f in _NAMES_EN for t in _CITIES_EN):
        mail = f"{first.lower()}{chance.randrange(10, 99)}@example.com"
        number = chance.randrange(100, 1000)
        text = f"{first} moved to {last} and lives at number {number}. Write to {mail}."
        asked, answer = chance.choice([
            (f"Find the e-mail address: {text}", mail),
            (f"Extract the number: {text}", str(number)),
            (f"Which city is mentioned? {text}", last),
            (f"Who is this about? {text}", first),
        ])  # fmt: skip
        yield Exchange("extract", "en", text, asked, answer)


_NAMES_EN = (
    "Anna Tom Lucy Peter Mary John Emma Paul Kate Ben Jane Mark Alice David Sarah James Helen Frank".split()
)
_CITIES_EN = (
    "London Paris Rome Boston Oslo Dublin Vienna Lisbon Tokyo Madrid Berlin Athens Chicago Sydney".split()
)


def _polite() -> Iterator[Exchange]:
    for line in lines("polite.txt"):
        language, rude, polite = line.split("|")
        asks = (
            ["说得礼貌一点：{}", "请改得客气些：{}", "把这句话改得礼貌：{}"]
            if language == "zh"
            else ["Say it politely: {}", "Make this more polite: {}", "Rewrite politely: {}"]
        )
        for ask in asks:
            yield Exchange("polite", "zh" if language == "zh" else "en", rude, ask.format(rude), polite)
