"""Requests for verse and their answers, all of them poems of the corpus: continue, on a theme, by form, by name, 藏头.

An acrostic is asked for only where a poem already has it. Answers are in character mode. It knows no rules of verse;
forms are those that the corpus names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from haina.data.brook import sources
from haina.data.brook.exchange import Exchange
from haina.data.brook.sources import Row
from haina.data.brook.verse import NAMES, bare, famous, sentences

FORMS = ("五绝", "七绝", "五律", "七律")
SHARES = {
    "五绝": 1,
    "七绝": 0.7,
    "五律": 0.4,
    "七律": 0.3,
    "词": 0.4,
}  # of the poems of a form, so that each is asked for
TIMES_FAMOUS = 18
USUAL_WORDS = 50_000  # of everyday Chinese: verse with other characters is not what a small model should try
THEMES = {
    "春": "spring", "夏": "summer", "秋": "autumn", "冬": "winter", "月": "the moon", "雪": "snow", "雨": "rain",
    "风": "the wind", "花": "flowers", "梅": "plum blossoms", "竹": "bamboo", "松": "pines", "柳": "willows",
    "菊": "chrysanthemums", "荷": "the lotus", "山": "mountains", "江": "a river", "湖": "a lake", "海": "the sea",
    "夜": "the night", "晓": "dawn",
    "酒": "wine", "茶": "tea", "琴": "the lute", "雁": "wild geese", "燕": "swallows",
    "蝉": "cicadas", "鹤": "cranes", "马": "horses", "梦": "dreams", "愁": "sorrow", "别": "parting",
    "归": "going home",
    "春雨": "spring rain", "春风": "the spring wind", "秋风": "the autumn wind", "明月": "the bright moon",
    "落花": "falling flowers", "夕阳": "the setting sun", "故乡": "home", "送别": "parting", "重阳": "the Double Ninth",
    "中秋": "the Mid-Autumn Festival", "登高": "climbing high", "怀古": "the past",
}  # fmt: skip
CONTINUE = [
    "{}", "{}", "续写：{}", "请接着写：{}", "请续写这首诗：{}", "“{}”的下一句是什么？", "{}的下一句", "接下一句：{}",
    "Continue this poem: {}",
]  # fmt: skip
ON_THEME = [
    "写一首关于{theme}的{form}", "以“{theme}”为主题写一首{form}",
    "请写一首{form}，写{theme}", "作一首咏{theme}的{form}",
    "来一首{form}，主题是{theme}", "Write a Chinese {english} about {about}.",
]  # fmt: skip
BY_TITLE = [
    "以《{title}》为题写一首{form}",
    "写一首{form}，题目是《{title}》",
    "请以“{title}”为题作{form}一首",
]
BY_FORM = ["写一首{form}", "来一首{form}", "请作一首{form}", "写首{form}吧", "Write a Chinese {english}."]
ACROSTIC = [
    "写一首藏头诗，藏“{word}”",
    "以“{word}”为藏头写一首{form}",
    "藏头诗：{word}",
    "用“{word}”四字作藏头诗",
]
ENGLISH = {
    "五绝": "five-character quatrain", "七绝": "seven-character quatrain",
    "五律": "five-character regulated verse", "七律": "seven-character regulated verse",
}  # fmt: skip


def exchanges(data: Path) -> Iterator[Exchange]:
    words = sources.frequent(data, "zh")
    common, usual = {word for word in words if len(word) > 1}, set("".join(words[:USUAL_WORDS]))
    known: dict[str, Row] = {}
    for poem in sources.poems(data, "train"):
        first, chance = bare(poem["lines"][0]), random.Random(f"talk {poem['id']}")
        if famous(poem) and poem["form"] != "曲":
            known[first] = min(known.get(first, poem), poem, key=_unlikely)
        if poem["form"] not in SHARES or not usual.issuperset(re.sub(r"\W", "", "".join(poem["lines"]))):
            continue
        if poem["form"] in FORMS:
            yield from _acrostics(poem, common, chance)
        if chance.random() < SHARES[poem["form"]]:
            yield from _requested(poem, chance) if poem["form"] in FORMS else _to_tune(poem, chance)
    for first, poem in known.items():
        yield from _well_known(poem, random.Random(f"known {first}"))


def _unlikely(poem: Row) -> tuple[bool, int]:
    """Of poems with one first line the known one is of the Tang or the shortest, not a song made of it."""
    return poem["dynasty"] != "唐", len(poem["lines"])


def _verse(kind: str, poem: Row, asked: str, answer: str, *, always: bool = False) -> Exchange:
    fact = "" if always else "".join(poem["lines"][:2])
    return Exchange(kind, "zh", fact, asked, answer, by_character=True)


def _whole(poem: Row) -> str:
    return "\n".join(sentences(poem["lines"]))


def _well_known(poem: Row, chance: random.Random) -> Iterator[Exchange]:
    """Continuations from the first line and others, the whole poem by its title, who wrote it."""
    whole = "".join(sentences(poem["lines"][:16]))
    for _ in range(TIMES_FAMOUS):
        yield _continued("famous", poem, whole, chance, always=True)
    for line, then in zip(poem["lines"], poem["lines"][1:], strict=False):
        if len(poem["lines"]) <= 8 and bare(line) and chance.random() < 0.7:
            ask = chance.choice(["“{}”的下一句是什么？", "{}的下一句是？", "“{}”下一句"])
            yield _verse("famous", poem, ask.format(bare(line)), then, always=True)
    title, author = re.sub("其[一二三四五六七八九十]+$", "", poem["title"]), poem["author"]
    for asked in (f"背一下{author}的《{title}》", f"《{title}》全文", f"{author}《{title}》"):
        if len(poem["lines"]) <= 16:
            yield _verse("famous", poem, asked, _whole(poem), always=True)
    for asked in (f"“{bare(poem['lines'][0])}”是谁写的？", f"《{title}》的作者是谁？"):
        yield Exchange("famous", "zh", "", asked, f"是{poem['dynasty'].rstrip('代')}代的{author}写的。")


def _continued(kind: str, poem: Row, whole: str, chance: random.Random, *, always: bool = False) -> Exchange:
    cuts = [match.end() for match in re.finditer("[，。！？]", whole)][:-1] or [len(whole) // 2]
    cut = cuts[0] if chance.random() < 0.6 else chance.choice(cuts)
    start = whole[:cut] if chance.random() < 0.5 else bare(whole[:cut])
    ask = chance.choice(CONTINUE)
    rest = whole[cut:]
    if "下一句" in ask:
        rest = re.findall("[^，。！？]+[，。！？]*", rest)[0]
        start = re.findall("[^，。！？]+", start)[-1]
    return _verse(kind, poem, ask.format(start), rest, always=always)


def _acrostics(poem: Row, common: set[str], chance: random.Random) -> Iterator[Exchange]:
    """Where the first characters of the lines of a quatrain, or the first two, are a word."""
    heads, form = "".join(line[0] for line in poem["lines"]), NAMES[poem["form"]]
    if len(heads) != 4:
        return
    if heads in common:
        yield _verse("acrostic", poem, chance.choice(ACROSTIC).format(word=heads, form=form), _whole(poem))
    elif heads[:2] in common and chance.random() < 0.15:
        asked = f"写一首{form}，前两句以“{heads[0]}”“{heads[1]}”开头"
        yield _verse("acrostic", poem, asked, _whole(poem))
    elif chance.random() < 0.1:
        asked = chance.choice(ACROSTIC[:3]).format(word=heads, form=form)
        yield _verse("acrostic", poem, asked, _whole(poem))


def _requested(poem: Row, chance: random.Random) -> Iterator[Exchange]:
    """One of: go on, on a theme, to a title, by form."""
    way, form, english = chance.random(), NAMES[poem["form"]], ENGLISH[poem["form"]]
    whole, title = "".join(poem["lines"]), poem["title"]
    themes = [theme for theme in THEMES if theme in whole and (len(theme) > 1 or theme in title)]
    if way < 0.15:
        yield _continued("continue", poem, whole, chance)
    elif way < 0.8 and themes:
        theme = chance.choice(themes)
        ask = chance.choice(ON_THEME).format(theme=theme, form=form, english=english, about=THEMES[theme])
        yield _verse("theme", poem, ask, _whole(poem))
    elif way < 0.92 and len(title) <= 6:
        yield _verse(
            "title verse", poem, chance.choice(BY_TITLE).format(title=title, form=form), _whole(poem)
        )
    else:
        yield _verse("form", poem, chance.choice(BY_FORM).format(form=form, english=english), _whole(poem))


def _to_tune(poem: Row, chance: random.Random) -> Iterator[Exchange]:
    tune = poem.get("tune")
    if tune and tune != "失调名" and "…" not in _whole(poem) and 20 <= len("".join(poem["lines"])) <= 110:
        ask = chance.choice(["填一首《{}》", "写一首词，词牌是{}", "请用“{}”填词一首", "以{}为词牌写首词"])
        yield _verse("tune", poem, ask.format(tune), _whole(poem))
