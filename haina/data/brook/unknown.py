"""What a small offline model cannot know: people and places nobody heard of, the future, private and live things.

Names are put together by chance, so that not knowing is what an unknown name asks for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from haina.data.brook.exchange import Exchange, Language

SURNAMES = (
    "赵钱孙周吴郑冯陈褚卫蒋沈韩杨朱秦许何吕张孔曹严华金魏陶姜戚谢邹喻柏窦章云苏潘葛奚范彭郎鲁韦苗方俞任"
)
GIVEN = "铭睿晗芮渊泽澜岚骁颖珂璟宸郁沐恺钧曦朗苒蔚菡筠彦洵祺楠韬翊岩雯婧默砚棠穗邈衡"
FIRST = "Alder Bram Corin Della Elwin Farah Gideon Hesper Ivo Jorun Kestrel Linnea Marlow Nerys Orin Quill".split()
LAST = "Ashdown Brackwell Corvane Dunmere Ellsworth Farrow Greaves Holloway Kessler Lorne Merriton".split()
PLACES_ZH = "青 白 云 石 柳 南 北 长 临 望 水 梅 松 河 沙 桃".split()
KINDS_ZH = "村 镇 山 岛 湖 桥 寺 河".split()
PLACES_EN = "Brindle Ash Hollow Wren Thistle Marrow Fen Copper Larks Stone Elder Quarry".split()
KINDS_EN = "ford mere wick bury holm stead".split()

PERSON = {
    "zh": (["{}是谁？", "你认识{}吗？", "介绍一下{}", "{}是什么人？", "{}写过什么书？", "{}是哪年出生的？"],
           ["我不知道{}是谁。", "抱歉，我不了解{}。", "我没有读到过{}，不能乱说。"]),
    "en": (["Who is {}?", "Who was {}?", "Tell me about {}.", "Do you know {}?", "When was {} born?",
            "What did {} write?"],
           ["I do not know who {} is.", "Sorry, I know nothing about {}.",
            "I have not read about {}, so I cannot say."]),
}  # fmt: skip
PLACE = {
    "zh": (["{}在哪里？", "{}有多少人？", "{}有什么好玩的？", "介绍一下{}"],
           ["我不知道{}，说不出来。", "抱歉，我没有听说过{}。"]),
    "en": (["Where is {}?", "How many people live in {}?", "What is {} famous for?", "Tell me about {}."],
           ["I do not know {}.", "Sorry, I have never heard of {}."]),
}  # fmt: skip
FUTURE = {
    "zh": (["{}房价会涨吗？", "{}会发生什么？", "{}谁会得冠军？", "{}股市会怎样？",
            "{}会下雪吗？", "{}我会发财吗？", "{}会有地震吗？"],
           ["{}年后", "明年", "下个月", "后年", "下周", "明天", "今年冬天", "下半年"],
           ["未来的事我不知道，也没有人能说准。", "我不能预测未来。", "这个我不知道，请别让我乱猜。"]),
    "en": (["Who will win the cup {}?", "What will happen {}?", "Will prices rise {}?", "Will I be rich {}?",
            "Will it snow {}?", "What will the stock market do {}?", "Will there be an earthquake {}?"],
           ["in {} years", "next year", "next month", "tomorrow", "next week", "this winter", "soon"],
           ["I cannot see the future.", "I do not know, and nobody can be sure.", "I cannot predict that."]),
}  # fmt: skip
PRIVATE = {
    "zh": (["我的{}是什么？", "你知道我的{}吗？", "告诉我我朋友的{}", "我老板的{}是多少？"],
           "电话号码 生日 密码 住址 身份证号 工资 体重 名字 邮箱 车牌号 年龄 血型".split(),
           ["我不知道你的私事，你没有告诉过我。", "这个我不知道，也不该知道。"]),
    "en": (["What is my {}?", "Do you know my {}?", "Tell me my friend's {}.", "What is my neighbour's {}?"],
           ["phone number", "birthday", "password", "address", "salary", "weight", "e-mail address", "age", "income"],
           ["I do not know private things; nobody told me.", "I do not know that, and it is private."]),
}  # fmt: skip
LIVE = {
    "zh": (["现在{}多少钱？", "今天{}怎么样？", "{}最新的消息是什么？", "此刻{}是什么情况？"],
           "黄金 比特币 白菜 猪肉 鸡蛋 机票 汽油 路况 空气 股市 球赛 票房 航班 火车票 气温".split(),
           ["我不能联网，不知道现在的情况。", "这要看最新的消息，我离线运行，查不到。"]),
    "en": (["What is the price of {} now?", "How is {} today?", "What is the latest on {}?", "Check {} for me."],
           ["gold", "bitcoin", "the traffic", "the air", "petrol", "the stock market", "my flight", "wheat"],
           ["I am offline, so I cannot know.", "I have no live data. Please look it up."]),
}  # fmt: skip
TIMES = 1000  # people, and half as many places, in each language


def exchanges(_data: Path) -> Iterator[Exchange]:
    chance = random.Random("unknown")
    for _ in range(TIMES):
        yield _named(
            "zh",
            PERSON,
            chance.choice(SURNAMES) + "".join(chance.sample(GIVEN, chance.choice((1, 2)))),
            chance,
        )
        yield _named("en", PERSON, f"{chance.choice(FIRST)} {chance.choice(LAST)}", chance)
        if chance.random() < 0.5:
            yield _named("zh", PLACE, "".join(chance.sample(PLACES_ZH, 2)) + chance.choice(KINDS_ZH), chance)
            yield _named("en", PLACE, chance.choice(PLACES_EN) + chance.choice(KINDS_EN), chance)
    languages: tuple[Language, ...] = ("zh", "en")
    for table in (FUTURE, PRIVATE, LIVE):
        for language in languages:
            questions, things, answers = table[language]
            for question in questions:
                for thing in things:
                    asked = question.format(thing.format(chance.randrange(2, 60)))
                    yield Exchange("unknown", language, asked, asked, chance.choice(answers))


def _named(
    language: Language, table: dict[str, tuple[list[str], list[str]]], name: str, chance: random.Random
) -> Exchange:
    questions, answers = table[language]
    asked = chance.choice(questions).format(name)
    return Exchange("unknown", language, name, asked, chance.choice(answers).format(name))
