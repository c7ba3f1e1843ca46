"""Why documents were dropped, in words: the names that readers, steps and rules give, for people in both languages.

It knows names, not what they are decided by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from haina.wording import say

SHOWN = 6  # reasons in a summary; the report has all

Words = tuple[str, str]  # in English and in Chinese
_WORDS: Mapping[str, Words] = {
    # the steps
    "licence": ("licence not allowed", "许可协议不在允许之列"),
    "language": ("another language", "语种不符"),
    "no_text": ("no text", "没有文本"),
    "quality": ("quality score too low", "质量评分过低"),
    "exact_duplicate": ("the same text stays elsewhere", "与保留的文档完全相同"),
    "near_duplicate": ("nearly the same text stays elsewhere", "与保留的文档近乎相同"),
    "evaluation": ("holds text of an evaluation set", "含评测集文本"),
    # the readers
    "no_field": ("a row without the field that text names", "数据行缺少 text 所指的字段"),
    "encoding": ("not in the file's encoding", "编码有误"),
    "binary": ("not text but binary", "二进制内容，不是文本"),
    "too_large": ("too large", "过大"),
    "truncated": ("damaged file", "文件损坏或不完整"),
    "not_matching": ("a line unlike the pattern", "行与 pattern 不符"),
    "not_yaml": ("not YAML", "不是 YAML"),
    "not_json": ("not a JSON object", "不是 JSON 对象"),
    "not_csv": ("not CSV", "不是 CSV"),
    "not_parquet": ("not Parquet", "不是 Parquet"),
    "not_xml": ("XML that breaks off", "XML 不完整"),
    "not_warc": ("WARC that breaks off", "WARC 不完整"),
    # the rules of filters.py
    "broken_text": ("garbled characters", "含有乱码"),
    "too_short": ("too short", "篇幅过短"),
    "too_long": ("too long", "篇幅过长"),
    "bullets": ("nearly all lines are bullets", "几乎全是列表项"),
    "lines_trail_off": ("many lines trail off in …", "过多的行以省略号结尾"),
    "hashes": ("many # signs", "# 号过多"),
    "ellipses": ("many ellipses", "省略号过多"),
    "word_length": ("words unusually short or long", "词长异常"),
    "few_letters": ("few words, many numbers or signs", "文字过少，数字或符号过多"),
    "stop_words": ("hardly any of the commonest words", "几乎没有常用词"),
    "lines_without_end": ("few lines end a sentence", "以句末标点结尾的行过少"),
    "many_lines": ("many line breaks", "换行过多"),
    "repeated_lines": ("lines that repeat", "重复的行过多"),
    "repeated_line_chars": ("lines that repeat hold much of the text", "重复的行占篇幅过多"),
    "lorem_ipsum": ("lorem ipsum, placeholder text", "含占位文字 lorem ipsum"),
    "curly_bracket": ("a curly bracket, as in code", "含花括号，疑似代码"),
    "few_sentences": ("few sentences", "句子过少"),
    "short_lines": ("many short lines", "短行过多"),
}
_TOP, _REPEATED = re.compile(r"top_(\d+)_gram"), re.compile(r"repeated_(\d+)_grams")


def words(reason: str) -> Words:
    """A reason in English and Chinese; "evaluation: NAME" keeps its name."""
    if found := _TOP.fullmatch(reason):
        return f"one phrase of {found[1]} words fills much of it", f"同一个 {found[1]} 词短语反复出现"
    if found := _REPEATED.fullmatch(reason):
        return f"phrases of {found[1]} words repeat", f"{found[1]} 词短语重复过多"
    name, _, detail = reason.partition(": ")
    en, zh = _WORDS[name]
    return (f"{en} ({detail})", f"{zh}（{detail}）") if detail else (en, zh)


def counted(dropped: Mapping[str, int]) -> str:
    """The most frequent reasons with their counts, on one line."""
    shown = [(words(reason), n) for reason, n in list(dropped.items())[:SHOWN]]
    more = len(dropped) > SHOWN
    return say(
        "; ".join(f"{n:,} {en}" for (en, _), n in shown) + "; …" * more,
        "；".join(f"{zh} {n:,}" for (_, zh), n in shown) + "；……" * more,
    )
