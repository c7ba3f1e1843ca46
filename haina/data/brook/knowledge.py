"""Simple questions of fact: countries, days and months, animals and colours, opposites, small sums.

Our own tables stand in countries.txt, facts.txt and opposites.txt; where countries lie says the World Factbook
(public domain). It knows no dictionary and no verse.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from haina.data.brook import sources
from haina.data.brook.exchange import Exchange, Language, lines

CONTINENTS = {
    "Asia": "亚洲", "Europe": "欧洲", "Africa": "非洲", "North America": "北美洲",
    "South America": "南美洲", "Oceania": "大洋洲",
}  # fmt: skip
LANGUAGES = {
    "Chinese": "汉语", "Japanese": "日语", "Korean": "朝鲜语", "Mongolian": "蒙古语", "Vietnamese": "越南语",
    "Thai": "泰语", "Malay": "马来语", "Indonesian": "印尼语", "Arabic": "阿拉伯语", "Persian": "波斯语",
    "Turkish": "土耳其语", "Russian": "俄语", "Ukrainian": "乌克兰语", "Polish": "波兰语", "German": "德语",
    "French": "法语", "English": "英语", "Dutch": "荷兰语", "Italian": "意大利语", "Spanish": "西班牙语",
    "Portuguese": "葡萄牙语", "Greek": "希腊语", "Swedish": "瑞典语", "Norwegian": "挪威语", "Danish": "丹麦语",
    "Hungarian": "匈牙利语", "Romanian": "罗马尼亚语", "Czech": "捷克语", "Bengali": "孟加拉语",
}  # fmt: skip
THE = {"Netherlands", "Philippines", "United States", "United Kingdom", "United Arab Emirates", "Maldives"}
DIGITS = "零一二三四五六七八九"
SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = ". . twenty thirty forty fifty sixty seventy eighty ninety".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
_REGION = re.compile(
    "(?:(?:North|South|East|West|Central|Middle)[a-z]* )*(?:Asia|Africa|Europe|America|Oceania)"
)
LONGEST = 150  # characters of a line of the Factbook


class Country(NamedTuple):
    en: str
    zh: str
    capital: str
    capital_zh: str
    continent: str
    speaks: str  # its one main language, or ""

    @property
    def named(self) -> str:
        return f"the {self.en}" if self.en in THE else self.en


def countries() -> list[Country]:
    return [Country(*line.split("|")) for line in lines("countries.txt")]


def exchanges(data: Path) -> Iterator[Exchange]:
    for country in countries():
        yield from _about(country)
    yield from _tables()
    yield from _calendar()
    yield from _factbook(data)


def opposites(_data: Path) -> Iterator[Exchange]:
    questions = {
        "zh": ("“{}”的反义词是什么？", "{}的反义词", "{}的反面是什么？"),
        "en": ("What is the opposite of {}?", "Opposite of {}", 'What is the antonym of "{}"?'),
    }
    for language, a, b in pairs():
        for one, other in ((a, b), (b, a)):
            answer = (
                f"“{one}”的反义词是“{other}”。"
                if language == "zh"
                else f'The opposite of "{one}" is "{other}".'
            )
            for asked in questions[language]:
                yield Exchange("opposite", language, f"{a} {b}", asked.format(one), answer)


def pairs() -> Iterator[tuple[Language, str, str]]:
    """Opposites: the language, one word, the other."""
    for line in lines("opposites.txt"):
        for pair in line[3:].split():
            one, other = pair.split("/") if "/" in pair else list(pair)
            yield "zh" if line.startswith("zh") else "en", one, other


def _about(c: Country) -> Iterator[Exchange]:
    zh = {
        "capital": ([f"{c.zh}的首都是哪里？", f"{c.zh}的首都是什么？", f"{c.zh}首都是哪个城市",
                     f"请问{c.zh}的首都在哪"], f"{c.zh}的首都是{c.capital_zh}。"),
        "capital of": ([f"{c.capital_zh}是哪个国家的首都？", f"哪个国家的首都是{c.capital_zh}？"],
                       f"{c.capital_zh}是{c.zh}的首都。"),
        "continent": ([f"{c.zh}在哪个洲？", f"{c.zh}位于哪个大洲？", f"{c.zh}在哪里？"],
                      f"{c.zh}在{CONTINENTS[c.continent]}。"),
    }  # fmt: skip
    en = {
        "capital": ([f"What is the capital of {c.named}?", f"Capital of {c.named}?", f"What's {c.named}'s capital?",
                     f"Which city is the capital of {c.named}?"], f"The capital of {c.named} is {c.capital}."),
        "capital of": ([f"{c.capital} is the capital of which country?",
                        f"Which country has {c.capital} as its capital?"],
                       f"{c.capital} is the capital of {c.named}."),
        "continent": ([f"Which continent is {c.named} in?", f"On what continent is {c.named}?"],
                      f"{c.named[0].upper() + c.named[1:]} is in {c.continent}."),
    }  # fmt: skip
    if c.speaks in LANGUAGES:
        name = LANGUAGES[c.speaks]
        zh["language"] = ([f"{c.zh}说什么语言？", f"{c.zh}人讲什么话？"], f"{c.zh}主要说{name}。")
    if c.speaks:
        asked = [f"What language do people speak in {c.named}?", f"What language is spoken in {c.named}?"]
        en["language"] = (asked, f"The main language of {c.named} is {c.speaks}.")
    for about in (zh, en):
        for what, (questions, answer) in about.items():
            for question in questions:
                language = "zh" if about is zh else "en"
                yield Exchange("country", language, f"{what} {c.en}", question, answer)  # type: ignore[arg-type]


def _tables() -> Iterator[Exchange]:
    for line in lines("facts.txt"):
        questions, answer = line[3:].split(" = ")
        for question in questions.split("/"):
            language = "zh" if line.startswith("zh") else "en"
            yield Exchange("fact", language, "", question, answer)  # type: ignore[arg-type]


def _calendar() -> Iterator[Exchange]:
    for number, (day, then) in enumerate(zip(DAYS, [*DAYS[1:], DAYS[0]], strict=True)):
        week = "一二三四五六日"
        here, next_ = f"星期{week[number]}", f"星期{week[(number + 1) % 7]}"
        yield Exchange("calendar", "en", "", f"What day comes after {day}?", f"{then} comes after {day}.")
        yield Exchange("calendar", "en", "", f"What day comes before {then}?", f"{day} comes before {then}.")
        yield Exchange("calendar", "zh", "", f"{here}的后一天是星期几？", f"{here}的后一天是{next_}。")
        yield Exchange("calendar", "zh", "", f"{next_}的前一天是星期几？", f"{next_}的前一天是{here}。")
        yield Exchange("calendar", "zh", "", f"如果今天是{here}，明天是星期几？", f"明天是{next_}。")
        yield Exchange("calendar", "en", "", f"If today is {day}, what is tomorrow?", f"Tomorrow is {then}.")
        yield Exchange("calendar", "zh", "", f"{day} 是星期几？", f"{day} 是{here}。")
    for number, month in enumerate(MONTHS):
        then, days = MONTHS[(number + 1) % 12], [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][number]
        long = f"{days} days" + (", or 29 in a leap year" if days == 28 else "")
        yield Exchange(
            "calendar", "en", "", f"What month comes after {month}?", f"{then} comes after {month}."
        )
        yield Exchange("calendar", "en", "", f"How many days does {month} have?", f"{month} has {long}.")
        yield Exchange("calendar", "en", "", f"What is month number {number + 1}?", f"It is {month}.")
        year = "，闰年有29天" if days == 28 else ""
        yield Exchange("calendar", "zh", "", f"{number + 1}月有多少天？", f"{number + 1}月有{days}天{year}。")
        yield Exchange("calendar", "zh", "", f"{month} 是几月？", f"{month} 是{number + 1}月。")


def _factbook(data: Path) -> Iterator[Exchange]:
    """Where countries lie, what they border on, what their climate is like, as the Factbook words it."""
    named = {country.en: country.named for country in countries()}
    for row in sources.prose(data, "text_en", "misc", "train", frozenset({"factbook"})):
        name, _, section = row["title"].partition(" - ")
        if section != "Geography" or name not in named:
            continue
        said = dict(line.split(": ", 1) for line in row["text"].split("\n")[1:] if ": " in line)
        place, opening = named[name], named[name][0].upper() + named[name][1:]
        if len(where := said.get("Location", "x" * 999)) < LONGEST:
            for asked in (f"Where is {place}?", f"Where does {place} lie?"):
                said_so = f"{opening} is in {where}." if _REGION.match(where) else f"{opening}: {where}."
                yield Exchange("factbook", "en", f"where {name}", asked, said_so)
        if len(borders := re.sub(r" [\d.,]+ km", "", said.get("border countries", "x" * 999))) < LONGEST:
            for asked in (f"Which countries border {place}?", f"What are the neighbours of {place}?"):
                answer = f"{opening} borders {_joined(borders.split('; '))}."
                yield Exchange("factbook", "en", f"borders {name}", asked, answer)
        if len(climate := said.get("Climate", "x" * 999)) < LONGEST:
            asked = f"What is the climate of {place} like?"
            yield Exchange("factbook", "en", f"climate {name}", asked, f"The climate of {place}: {climate}.")


def _joined(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def sums(_data: Path) -> Iterator[Exchange]:
    """a ± b and a × b up to 100, in digits and in words."""
    chance = random.Random("sums")
    for a in range(21):
        for b in range(21):
            yield from _sum(a, b, "+", a + b, chance)
            if a >= b:
                yield from _sum(a, b, "-", a - b, chance)
            if a * b <= 100 and a < 13 and b < 13:
                yield from _sum(a, b, "×", a * b, chance)
    for _ in range(1200):
        a, b = sorted((chance.randrange(1, 100), chance.randrange(1, 100)))
        if a + b <= 100:
            yield from _sum(a, b, "+", a + b, chance)
        yield from _sum(b, a, "-", b - a, chance)


def _sum(a: int, b: int, sign: str, result: int, chance: random.Random) -> Iterator[Exchange]:
    spoken = {"+": ("加", "plus"), "-": ("减", "minus"), "×": ("乘", "times")}[sign]
    words = f"{number_zh(a)}{spoken[0]}{number_zh(b)}"
    zh = [
        (f"{a}{sign}{b}等于几？", f"{a}{sign}{b}={result}。"),
        (f"{a} {sign} {b} = ?", f"{a} {sign} {b} = {result}"),
        (f"{a}{spoken[0]}{b}等于多少？", f"{a}{spoken[0]}{b}等于{result}。"),
        (f"{words}等于几？", f"{words}等于{number_zh(result)}。"),
        (f"算一下：{a}{sign}{b}", f"{a}{sign}{b}={result}"),
    ]
    phrase = f"{number_en(a)} {spoken[1]} {number_en(b)}"
    en = [
        (f"What is {a} {sign} {b}?", f"{a} {sign} {b} = {result}."),
        (f"What is {a} {spoken[1]} {b}?", f"{a} {spoken[1]} {b} is {result}."),
        (f"What is {phrase}?", f"{phrase[0].upper() + phrase[1:]} is {number_en(result)}."),
        (f"Calculate {a} {sign} {b}", f"{a} {sign} {b} = {result}"),
    ]
    yield Exchange("sum", "zh", f"{a} {sign} {b}", *chance.choice(zh))
    yield Exchange("sum", "en", f"{a} {sign} {b}", *chance.choice(en))


def number_zh(n: int) -> str:
    """0 to 100 as Chinese writes it."""
    if n < 10:
        return DIGITS[n]
    if n == 100:
        return "一百"
    tens, ones = divmod(n, 10)
    return (DIGITS[tens] if tens > 1 else "") + "十" + (DIGITS[ones] if ones else "")


def number_en(n: int) -> str:
    """0 to 100 in English words."""
    if n < 20:
        return SMALL[n]
    if n == 100:
        return "one hundred"
    tens, ones = divmod(n, 10)
    return TENS[tens] + (f"-{SMALL[ones]}" if ones else "")
