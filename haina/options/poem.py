"""Options of `haina poem`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from haina.options.flag import flag


@dataclass(frozen=True)
class PoemOptions:
    """What is to be written, and how it is shown."""

    form: str = flag(
        "五言绝句",
        "五言绝句, 七言律诗, 五言排律, 七言古风 … or one of 817 tunes: 菩萨蛮 [default: 五言绝句]",
        "五言绝句、七言律诗、五言排律、七言古风……或 817 个词牌之一，如菩萨蛮；默认五言绝句",
        metavar="NAME",
    )
    theme: str = flag("", "what it is about, in Chinese or English", "题目或主题，中英文皆可", metavar="TEXT")
    author: str = flag("", "in the manner of a poet: 李白", "仿某位诗人，如李白", metavar="NAME")
    keywords: str = flag(
        "", "words that must occur, with commas between them", "必须出现的词，用逗号分隔", metavar="WORDS"
    )
    acrostic: str = flag("", "a character for each line", "藏头：每句一字", metavar="TEXT")
    at: int = flag(
        1, "where in the line the acrostic stands; -1: last", "藏字在句中的位置，-1 为句末", metavar="N"
    )
    given: str = flag(
        "",
        "verse that is given, □ for what is to be written; what it lacks is written",
        "已有的诗句，□ 为待填之字；不足部分续写",
        metavar="TEXT",
    )
    scope: Literal["keep", "line", "couplet", "all"] = flag(
        "keep",
        "what of the given verse may change besides □: nothing, or what is around □ and [月], which stays "
        "[default: keep]",
        "除 □ 外，已有诗句中还可改动的范围：不改、本句、本联或全诗（□ 或 [月] 所在处；[月] 始终保留），默认 keep",
    )
    couplet: str = flag("", "answer this upper line", "对下联：给出上联", metavar="TEXT")
    quote: bool = flag(False, "only lines by known poets (集句)", "集句：只用前人成句")
    rhyme: str = flag("", "the rhyme: 一东, 东", "指定韵部，如一东、东", metavar="NAME")
    book: Literal["平水韵", "词林正韵", "中华新韵"] | None = flag(
        None,
        "rhyme book [default: 平水韵; 词林正韵 for tunes]",
        "韵书，诗默认平水韵，词默认词林正韵",
    )
    pattern: str = flag("", "平起首句入韵, 仄起 …", "格式，如平起首句入韵、仄起", metavar="NAME")
    number: int = flag(1, "which form of the tune [default: 1]", "词牌的第几体，默认 1", metavar="N", least=1)
    lines: int = flag(0, "lines of 排律 and 古风", "排律、古风的句数", metavar="N", least=0)
    twists: bool = flag(False, "allow 拗救", "允许拗救")
    near: bool = flag(False, "the first line may borrow a neighbouring rhyme", "首句可用邻韵")
    poems: int = flag(
        1,
        "how many to show, best first [default: 1]",
        "显示几首，优者在前，默认 1",
        metavar="N",
        least=1,
        most=16,
    )
    seed: int | None = flag(
        None, "the same seed gives the same poems", "种子相同则结果相同", metavar="N", least=0
    )
    explain: bool = flag(False, "tones and rhymes under the lines", "逐句标注平仄与韵脚")
    references: bool = flag(False, "lines by known poets like each line", "列出前人的相近诗句")
    picture: str = flag(
        "", "draw it into this .svg or .html file", "将诗绘成 .svg 或 .html 文件", metavar="FILE"
    )
    vertical: bool = flag(False, "in columns, from right to left", "竖排")
    model: str = flag(
        "", "model folder [default: the embedded one]", "模型目录，默认用内置模型", metavar="MODEL"
    )
    threads: int | None = flag(
        None,
        "CPU threads [default: all cores]",
        "CPU 线程数，默认用全部核心",
        metavar="N",
        least=1,
        most=1024,
    )
    forms: str = flag(
        "",
        "write nothing; show the patterns of this tune, or list those whose names hold it (all: every one)",
        "不写诗，只列词谱：给出词牌名则列其各体；给出部分名称则列相近者；“全部”列出所有",
        metavar="NAME",
    )
    json: bool = flag(False, "as JSON", "以 JSON 输出")
