"""Poems: one row each, with title, author, dynasty, form, lines that keep what closes them, and of 词 the tune.

Forms are told by the number and length of lines alone. It knows chinese-poetry's and Werneror's files; how many poems
of whom are taken, says `chosen`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haina.data.rebuild.row import Keyed, Row, sorted_files
from haina.text.normalize import simplified

MOST_OF_AN_AUTHOR = 400  # of the 诗 of Song, which would drown the other dynasties
_LINE = re.compile("[^，。！？；]+[，。！？；]?")
_NOTE = re.compile(r"（[^）]*）|\([^)]*\)|〔[^〕]*〕|【[^】]*】|\{[^}]*\}|\[[^\]]*\]|[“”‘’「」『』《》\"]")
_LOST = re.compile("[□?？]{2}|□|■|\ufffd|〖|[A-Za-z]")
_STOP = re.compile("[，。！？；、：]")
# Werneror's files: the dynasty of their poems here. Tang and Song are chinese-poetry's; later ones may be in copyright,
# but for the poets whom haina/data/brook/sources.py names.
DYNASTIES = {
    "先秦": "先秦", "秦": "秦", "汉": "汉", "魏晋": "魏晋", "魏晋末南北朝初": "南北朝", "南北朝": "南北朝", "隋": "隋",
    "隋末唐初": "隋末唐初", "唐末宋初": "唐末宋初", "辽": "辽", "金": "金", "宋末金初": "宋末金初",
    "金末元初": "金末元初", "宋末元初": "宋末元初", "清末民国初": "清", "清末近现代初": "清", "清_1": "清",
    "清_2": "清",
}  # fmt: skip
OF_QING = frozenset(
    "袁枚 王国维 陈三立 夏曾佑 苏曼殊 刘师培 郑孝胥 潘飞声 黄节 宁调元 高旭 徐树铮 袁克文 杨圻".split()
)


def tang_and_song(folder: Path) -> Iterator[Keyed]:
    """全唐诗/poet.tang.N.json and poet.song.N.json, in traditional characters."""
    for file in sorted_files(folder, "全唐诗/poet.*.json"):
        dynasty = "唐" if ".tang." in file.name else "宋"
        for poem in json.loads(simplified(file.read_text("utf-8"))):
            yield from _poem(poem.get("title", ""), poem.get("author", ""), dynasty, poem["paragraphs"])


def song_ci(folder: Path) -> Iterator[Keyed]:
    """宋词/ci.song.N.json: a tune is the title."""
    for file in sorted_files(folder, "宋词/ci.song.*.json"):
        for poem in json.loads(simplified(file.read_text("utf-8"))):
            tune = poem.get("rhythmic", "")
            yield from _poem(tune, poem["author"], "宋", poem["paragraphs"], form="词", tune=tune)


def huajianji(folder: Path) -> Iterator[Keyed]:
    """五代诗词: 词 of the Five Dynasties."""
    for file in sorted_files(folder, "五代诗词/*/*.json"):
        content = json.loads(simplified(file.read_text("utf-8")))
        for poem in content if isinstance(content, list) else []:
            if tune := poem.get("rhythmic"):
                yield from _poem(_titled(tune, poem["paragraphs"]), poem["author"], "五代", poem["paragraphs"],
                                 form="词", tune=tune)  # fmt: skip


def nalan(folder: Path) -> Iterator[Keyed]:
    """纳兰性德: 词, the tune before the first line."""
    for file in sorted_files(folder, "纳兰性德/*.json"):
        for poem in json.loads(simplified(file.read_text("utf-8"))):
            tune = poem["title"].split("·")[0]
            yield from _poem(poem["title"], "纳兰性德", "清", poem["para"], form="词", tune=tune)


def _titled(tune: str, paragraphs: list[str]) -> str:
    return f"{tune}·{_STOP.split(paragraphs[0])[0]}"


def yuan_qu(folder: Path) -> Iterator[Keyed]:
    for file in sorted_files(folder, "元曲/*.json"):
        for poem in json.loads(simplified(file.read_text("utf-8"))):
            yield from _poem(poem["title"], poem["author"], "元", poem["paragraphs"], form="曲")


def shijing(folder: Path) -> Iterator[Keyed]:
    for poem in json.loads(simplified((folder / "诗经" / "shijing.json").read_text("utf-8"))):
        title = "·".join((poem["chapter"], poem["section"], poem["title"]))
        yield from _poem(title, "佚名", "先秦", poem["content"], form="诗经")


def chuci(folder: Path) -> Iterator[Keyed]:
    for poem in json.loads(simplified((folder / "楚辞" / "chuci.json").read_text("utf-8"))):
        yield from _poem(poem["title"], poem["author"], "先秦", poem["content"], form="楚辞")


def werneror(folder: Path) -> Iterator[Keyed]:
    """DYNASTY.csv: 题目, 朝代, 作者, 内容."""
    for name, dynasty in DYNASTIES.items():
        file = folder / f"{name}.csv"
        if not file.is_file():
            continue
        with file.open(encoding="utf-8-sig", newline="") as opened:
            for poem in csv.DictReader(opened):
                if dynasty != "清" or poem["作者"] in OF_QING:
                    yield from _poem(poem["题目"], poem["作者"], dynasty, [simplified(poem["内容"])])


def _poem(title: str, author: str, dynasty: str, paragraphs: list[str], **more: str) -> Iterator[Keyed]:
    """The poem, or nothing: a character is lost, or it is a fragment."""
    text = "".join(_NOTE.sub("", part).strip() for part in paragraphs)
    lines = [line.strip() for line in _LINE.findall(text) if _STOP.sub("", line).strip()]
    if len(lines) < 2 or _LOST.search(text) or not title:
        return
    row: Row = {
        "title": title,
        "author": author,
        "dynasty": dynasty,
        "form": form(lines),
        "lines": lines,
    } | more
    yield key(row), row


def form(lines: list[str]) -> str:
    """五绝, 七律 and so on; 杂言 where lines are not of one length."""
    sizes = {len(_STOP.sub("", line)) for line in lines}
    size, count = sizes.pop(), len(lines)
    if sizes or size not in (4, 5, 6, 7):
        return "杂言"
    if size == 4:
        return "四言"
    if size == 6:
        return "六绝" if count == 4 else "杂言"
    ending = {4: "绝", 8: "律"}.get(count, "言长篇" if count > 8 and count % 2 == 0 else "古")
    return "五七"[size == 7] + ending


def key(row: Row) -> str:
    """What poems that are nearly the same share: the letters of their first two lines."""
    return _STOP.sub("", "".join(row["lines"][:2]))


def chosen(poems: Iterator[Keyed]) -> Iterator[Keyed]:
    """Each poem once, and of an author of Song no more 诗 than the mixture bears."""
    seen: set[str] = set()
    counts: Counter[Any] = Counter()
    for name, row in poems:
        if name in seen:
            continue
        seen.add(name)
        counts[row["dynasty"], row["author"], row["form"] == "词"] += 1
        if (
            row["dynasty"] != "宋"
            or row["form"] == "词"
            or counts["宋", row["author"], False] <= MOST_OF_AN_AUTHOR
        ):
            yield name, row
