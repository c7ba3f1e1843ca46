"""Options of `haina words`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from haina.options.flag import flag


@dataclass(frozen=True)
class WordsOptions:
    """What words are looked for, in which order, and how they are shown."""

    top: int = flag(100, "how many [default: 100]", "个数，默认 100", metavar="N", least=1, most=1000)
    to: Literal["en", "zh"] | None = flag(
        None, "language of the words [default: that of the description]", "结果的语言，默认与描述相同"
    )
    pos: Literal["noun", "verb", "adjective", "adverb"] | None = flag(None, "part of speech", "词性")
    length: str = flag(
        "",
        "characters of a Chinese word, letters of an English one: 4 or 2-4",
        "字数（英文为字母数）：4 或 2-4",
    )
    initial: str = flag("", "begins with this", "以此开头", metavar="TEXT")
    containing: str = flag("", "holds this", "含此字或字母", metavar="TEXT")
    pattern: str = flag("", "? is one character, * any number", "? 代表一字，* 代表任意多字")
    pinyin: str = flag(
        "", "initials or syllables, a space between: h n, hai na", "拼音首字母或音节，以空格分隔：h n、hai na"
    )
    rhyme: str = flag("", "rhymes with a character or a final: 光, ang", "与某字或韵母押韵：光、ang")
    tones: str = flag("", "tone of each syllable, ? for any: 14, 平仄", "各字声调，? 为任意：14、平仄")
    strokes: str = flag("", "strokes in all: 10 or 8-12", "总笔画数：10 或 8-12", metavar="N")
    hsk: int | None = flag(None, "of this HSK level or below", "HSK 不高于此级", metavar="N", least=1, most=7)
    common: float | None = flag(
        None, "at least so many times in a million words", "每百万词至少出现的次数", metavar="N", least=0
    )
    style: Literal["formal", "informal", "old"] | None = flag(
        None, "only words so marked", "只要标有此语体的词"
    )
    idioms: bool = flag(False, "only idioms (成语)", "只要成语")
    single: bool = flag(False, "no phrases: English words without spaces or hyphens", "英文不要词组")
    sort: Literal["relevance", "frequency", "length", "alphabet", "strokes"] = flag(
        "relevance",
        "order [default: relevance]; alphabet is pinyin for Chinese",
        "排序，默认按相关度；字母序对中文为拼音序",
    )
    clusters: bool = flag(False, "group them by meaning", "按意义分组")
    details: bool = flag(
        False,
        "also part of speech, reading, examples, the dictionary and its licence",
        "并显示词性、读音、例句、所据词典及其许可",
    )
    model: str = flag(
        "",
        "a model that has a say on the first hundred, which takes longer [default: none]",
        "由此模型参与前一百个词的排序，较慢；默认不用模型",
        metavar="MODEL",
    )
    index: str = flag(
        "",
        "index file [default: your own, else the small one in the package]",
        "索引文件，默认用自建的，否则用内置的小索引",
        metavar="FILE",
    )
    build: str = flag(
        "",
        "make the full index from dictionaries in a folder",
        "由目录中的词典生成完整索引",
        metavar="FOLDER",
    )
    json: bool = flag(False, "as JSON", "以 JSON 输出")
