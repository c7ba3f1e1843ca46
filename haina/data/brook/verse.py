"""Poems as documents: a heading in one of several layouts or none, then the verse, a sentence to a line.

Half of them are read character by character. It knows how often forms are shown and which poems a reader would try
first; it knows no rules of verse.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from haina.data.brook.sources import Row

NAMES = {
    "五绝": "五言绝句", "七绝": "七言绝句", "五律": "五言律诗", "七律": "七言律诗", "六绝": "六言绝句",
    "五古": "五言古诗", "七古": "七言古诗", "四言": "四言诗", "杂言": "杂言诗",
    "词": "词", "曲": "曲", "诗经": "诗经", "楚辞": "楚辞", "五言长篇": "五言长篇", "七言长篇": "七言长篇",
}  # fmt: skip
# How often an epoch shows each form. 古, 杂言 and 长篇 hold what fits no other form, songs and prefaces among them.
WEIGHTS = {
    "五绝": 2.0,
    "七绝": 1.5,
    "五律": 1.2,
    "七律": 1.2,
    "四言": 1.0,
    "词": 1.5,
    "诗经": 2.0,
    "楚辞": 1.0,
}
OTHER_FORMS = 0.5
FAMOUS_WEIGHT = 12.0
# First lines that a reader would try first. Some of the best known are held out by the pack; none is added by hand.
FAMOUS = frozenset(
    """白日依山尽 红豆生南国 千山鸟飞绝 空山不见人 锄禾日当午 春种一粒粟 朝辞白帝彩云间 故人西辞黄鹤楼 日照香炉生紫烟
    天门中断楚江开 两个黄鹂鸣翠柳 黄四娘家花满蹊 江碧鸟逾白 远上寒山石径斜 碧玉妆成一树高 独在异乡为异客
    葡萄美酒夜光杯 黄河远上白云间 秦时明月汉时关 渭城朝雨浥轻尘 李白乘舟将欲行 国破山河在 好雨知时节 离离原上草
    海上生明月 空山新雨后 慈母手中线 松下问童子 独坐幽篁里 人闲桂花落 单车欲问边 向晚意不适 迟日江山丽 功盖三分国
    寥落古行宫 绿蚁新醅酒 众鸟高飞尽 危楼高百尺 毕竟西湖六月中 山外青山楼外楼 寒雨连江夜入吴 烟笼寒水月笼沙
    煮豆持作羹 相见时难别亦难 君问归期未有期 锦瑟无端五十弦 天街小雨润如酥 千里莺啼绿映红 独怜幽草涧边生
    朱雀桥边野草花 春城无处不飞花 杨柳青青江水平 床前看月光 风急天高猿啸哀 丞相祠堂何处寻 剑外忽传收蓟北 岱宗夫如何
    前不见古人 劝君莫惜金缕衣 二月卖新丝 鹅 爆竹声中一岁除 京口瓜洲一水间 黄梅时节家家雨 驿外断桥边 红酥手
    大江东去 明月几时有 寻寻觅觅 昨夜雨疏风骤 红藕香残玉簟秋 庭院深深深几许 明月别枝惊鹊 东风夜放花千树 醉里挑灯看剑
    怒发冲冠 春花秋月何时了 无言独上西楼 人生若只如初见 枯藤老树昏鸦 江南好 关关雎鸠 蒹葭苍苍 东临碣石 对酒当歌
    青青园中葵 迢迢牵牛星 敕勒川""".split()
)
MOST_CHARACTERS = 1200
LONGEST_TITLE = 20  # longer ones are prefaces


def documents(poems: Iterator[Row]) -> Iterator[Row]:
    for poem in poems:
        chance = random.Random(poem["id"])
        text = "\n".join([*_heading(poem, chance), *sentences(poem["lines"])])[:MOST_CHARACTERS]
        weight = FAMOUS_WEIGHT if famous(poem) else WEIGHTS.get(poem["form"], OTHER_FORMS)
        kept = {name: poem[name] for name in ("id", "source", "licence")}
        by_character = chance.random() < 0.5
        yield {**kept, "domain": "verse", "weight": weight, "by_character": by_character, "text": text}


def sentences(lines: list[str]) -> list[str]:
    """Verse lines joined as they are printed: 白日依山尽，黄河入海流。"""
    return re.findall(r"[^。！？]+[。！？]*", re.sub(r"(?<=[。！？])。", "", "".join(lines)))


def famous(poem: Row) -> bool:
    return bare(poem["lines"][0]) in FAMOUS


def bare(line: str) -> str:
    """The line without what closes it."""
    return line.rstrip("，。！？；、：")


def _heading(poem: Row, chance: random.Random) -> list[str]:
    title, author, dynasty = poem["title"], poem["author"], poem["dynasty"]
    form = str(poem.get("tune") or NAMES.get(poem["form"], poem["form"]))
    if len(title) > LONGEST_TITLE:
        return chance.choice([[form], [f"{form} {author}（{dynasty}）"], []])
    layouts = [
        [f"《{title}》{author}（{dynasty}）"],
        [f"{form}《{title}》"],
        [f"{form}《{title}》{author}（{dynasty}）"],
        [title, f"{dynasty}·{author}"],
        [f"{author}《{title}》"],
        [form],
        [],
    ]
    return chance.choices(layouts, [5, 5, 4, 2, 1, 2, 2])[0]
