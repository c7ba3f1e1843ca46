"""Doing as told: in the language asked for, in so many words, yes or no, only the number.

The facts are those of knowledge.py; here they are asked with a condition.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from haina.data.brook.exchange import Exchange, lines
from haina.data.brook.knowledge import CONTINENTS, Country, countries, pairs

ENGLISH_PLEASE = ["请用英文回答。", "请用英语回答。", "用英文回答", "（请用英文）"]
CHINESE_PLEASE = [
    "Please answer in Chinese.",
    "Answer in Chinese.",
    "In Chinese, please.",
    "Reply in Chinese.",
]
THINGS = {
    "水果/fruits": "苹果 香蕉 橙子 葡萄 西瓜 梨 桃子 草莓/apple banana orange grape melon pear peach strawberry",
    "动物/animals": "猫 狗 牛 马 羊 兔子 老虎 大象/cat dog cow horse sheep rabbit tiger elephant",
    "颜色/colours": "红 黄 蓝 绿 白 黑 紫 灰/red yellow blue green white black purple grey",
    "蔬菜/vegetables": "白菜 萝卜 土豆 番茄 黄瓜 菠菜 茄子 洋葱/cabbage carrot potato tomato pea leek bean onion",
    "花/flowers": "梅花 兰花 菊花 荷花 牡丹 桃花 桂花 玫瑰/rose lily tulip daisy orchid lotus peony violet",
    "鸟/birds": "麻雀 燕子 喜鹊 乌鸦 鸽子 老鹰 天鹅 鹤/sparrow swallow magpie crow pigeon eagle swan crane",
    "城市/cities": "北京 上海 伦敦 巴黎 东京 罗马 柏林 开罗/Beijing Shanghai London Paris Tokyo Rome Berlin Cairo",
    "乐器/instruments": "钢琴 吉他 笛子 二胡 鼓 古筝 小提琴 琵琶/piano guitar flute violin drum harp trumpet cello",
    "交通工具/vehicles": "汽车 火车 飞机 轮船 自行车 地铁 摩托车 卡车/car train plane ship bicycle bus truck tram",
    "职业/jobs": "医生 老师 农民 工人 厨师 警察 司机 律师/doctor teacher farmer nurse cook pilot driver lawyer",
}
COUNTS_ZH, COUNTS_EN = "零一两三四五", "zero one two three four five".split()


def language(_data: Path) -> Iterator[Exchange]:
    """Asked in one language, answered in the other because one is told to."""
    chance = random.Random("language")
    for c in countries():
        fact = f"capital {c.en}"
        where = f"{c.named[0].upper() + c.named[1:]} is in {c.continent}."
        yield Exchange("language", "en", fact, f"{c.zh}的首都是哪里？{chance.choice(ENGLISH_PLEASE)}",
                       f"The capital of {c.named} is {c.capital}.")  # fmt: skip
        yield Exchange("language", "zh", fact, f"What is the capital of {c.named}? {chance.choice(CHINESE_PLEASE)}",
                       f"{c.zh}的首都是{c.capital_zh}。")  # fmt: skip
        yield Exchange("language", "en", fact, f"{c.zh}在哪个洲？{chance.choice(ENGLISH_PLEASE)}", where)
        yield Exchange("language", "zh", fact, f"Which continent is {c.named} in? {chance.choice(CHINESE_PLEASE)}",
                       f"{c.zh}在{CONTINENTS[c.continent]}。")  # fmt: skip
    for asked_zh, asked_en, answer_zh, answer_en in _first_words():
        for please in ENGLISH_PLEASE:
            yield Exchange("language", "en", "", asked_zh + please, answer_en)
        for please in CHINESE_PLEASE:
            yield Exchange("language", "zh", "", f"{asked_en} {please}", answer_zh)


def _first_words() -> Iterator[tuple[str, str, str, str]]:
    for line in lines("phrases.txt"):
        asked_zh, asked_en, answer_zh, answer_en = line.split("|")
        yield asked_zh, asked_en, answer_zh, answer_en


def limits(_data: Path) -> Iterator[Exchange]:
    """Yes or no, one word, one sentence, only the number, so many things."""
    chance = random.Random("limits")
    found = countries()
    for c in found:
        yield from _one_sentence(c)
        yield from _yes_or_no(c, chance.choice(found), chance)
    yield from _one_word()
    yield from _things(chance)
    for _ in range(400):
        a, b = chance.randrange(1, 50), chance.randrange(1, 50)
        yield Exchange("limits", "zh", f"{a}+{b}", f"{a}+{b}等于几？只回答数字。", str(a + b))
        yield Exchange(
            "limits", "en", f"{a}+{b}", f"What is {a} + {b}? Answer with the number only.", str(a + b)
        )


def _one_sentence(c: Country) -> Iterator[Exchange]:
    answer = f"{c.zh}是{CONTINENTS[c.continent]}的一个国家，首都是{c.capital_zh}。"
    for asked in (f"用一句话介绍{c.zh}。", f"一句话介绍一下{c.zh}"):
        yield Exchange("limits", "zh", f"sentence {c.en}", asked, answer)
    answer = (
        f"{c.named[0].upper() + c.named[1:]} is a country in {c.continent}, and its capital is {c.capital}."
    )
    for asked in (f"Describe {c.named} in one sentence.", f"In one sentence, what is {c.named}?"):
        yield Exchange("limits", "en", f"sentence {c.en}", asked, answer)
    yield Exchange("limits", "zh", f"capital {c.en}", f"{c.zh}的首都是哪里？只回答城市名。", c.capital_zh)
    yield Exchange(
        "limits",
        "en",
        f"capital {c.en}",
        f"What is the capital of {c.named}? Answer with the city only.",
        c.capital,
    )


def _yes_or_no(c: Country, other: Country, chance: random.Random) -> Iterator[Exchange]:
    said, right = (c, True) if chance.random() < 0.5 else (other, other.en == c.en)
    for told in ("只回答是或否：", "请只用“是”或“否”回答："):
        asked = f"{told}{said.capital_zh}是{c.zh}的首都吗？"
        yield Exchange("limits", "zh", f"capital {c.en}", asked, "是" if right else "否")
    for told in ("Answer yes or no: is", "Yes or no: is"):
        asked = f"{told} {said.capital} the capital of {c.named}?"
        yield Exchange("limits", "en", f"capital {c.en}", asked, "Yes" if right else "No")


def _one_word() -> Iterator[Exchange]:
    for tongue, a, b in pairs():
        ask = (
            "用一个词回答：“{}”的反义词是什么？"
            if tongue == "zh"
            else "In one word: what is the opposite of {}?"
        )
        yield Exchange("limits", tongue, f"{a} {b}", ask.format(a), b)


def _things(chance: random.Random) -> Iterator[Exchange]:
    for names, items in THINGS.items():
        (name_zh, name_en), (zh, en) = names.split("/"), (part.split() for part in items.split("/"))
        for _ in range(30):
            count = chance.randrange(2, 6)
            some, others = chance.sample(zh, count), chance.sample(en, count)
            ask = chance.choice(["说出{}种{}", "列出{}种{}。", "请举出{}种{}", "写出{}种{}，用顿号隔开"])
            yield Exchange("list", "zh", "", ask.format(COUNTS_ZH[count], name_zh), "、".join(some) + "。")
            ask = chance.choice(["Name {} {}.", "List {} {}.", "Give me {} {}.", "Tell me {} {}."])
            yield Exchange("list", "en", "", ask.format(COUNTS_EN[count], name_en), ", ".join(others) + ".")
            answer = "\n".join(f"{number}. {item}" for number, item in enumerate(some, 1))
            yield Exchange("list", "zh", "", f"列出{COUNTS_ZH[count]}种{name_zh}，分行编号。", answer)
            answer = "\n".join(f"{number}. {item}" for number, item in enumerate(others, 1))
            yield Exchange("list", "en", "", f"Make a numbered list of {COUNTS_EN[count]} {name_en}.", answer)
        yield Exchange("limits", "en", "", f"Name three {name_en} in three words.", " ".join(en[:3]))
