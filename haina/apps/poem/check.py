"""A second opinion on verse: whether a text keeps its form, by the rules as books of prosody say them.

It is here to judge what `law.py` writes, and shares nothing with it but the tables: there a form is a set of patterns,
here it is sentences about a poem (粘, 对, 孤平, 三平尾, 拗救, 押韵), each of which names its own fault. Of a character
with several sounds any will do. A poem outside a form is not wrong; it is not in this form.

Source of the rules: 王力《诗词格律》; of those of tunes: 钦定词谱, as `tunes.txt` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

from haina.wording import say

HERE = Path(__file__).parent
RHYMES = HERE.parents[1] / "text" / "rhymes"
TABLES = {"平水韵": "pingshui.txt", "词林正韵": "cilin.txt", "中华新韵": "xinyun.txt"}
NEAR = ["东冬", "江阳", "支微齐", "鱼虞", "佳灰", "真文元", "元寒删先", "萧肴豪", "麻佳", "庚青蒸", "覃盐咸"]
TONE = {"-": "平", "|": "仄"}  # of a pattern; "+" is either
OTHER = {"平": "仄", "仄": "平"}
_HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+")
Faults = list[str]


@cache
def _sounds(book: str) -> dict[str, set[tuple[str, str]]]:
    """Character → its (part, 平 or 仄)."""
    found: dict[str, set[tuple[str, str]]] = {}
    for row in (RHYMES / TABLES[book]).read_text("utf-8").split("\n")[:-1]:
        part, tone, chars = row.split("\t")
        for char in chars:
            found.setdefault(char, set()).add((part, "平" if tone in "平阴阳" else "仄"))
    return found


def tones(char: str, book: str) -> set[str]:
    return {tone for _, tone in _sounds(book).get(char, ())}


def parts(char: str, book: str, tone: str | None = None) -> set[str]:
    return {part for part, own in _sounds(book).get(char, ()) if tone in (None, own)}


# -- 近体诗 ---------------------------------------------------------------------------------------------------------


def regulated(
    text: str, length: int, *, book: str = "平水韵", twists: bool = False, near: bool = False
) -> Faults:
    """Faults of a 绝句, 律诗 or 排律: of the reading with the fewest; none: it keeps the form."""
    lines = _HAN.findall(text)
    if any(len(line) != length for line in lines) or len(lines) % 2 or len(lines) < 4:
        return [say("the lines have not the length of the form", "句数或字数不合")]
    readings = (
        [*_tones_faults(lines, second, rhymes, book, twists), *_rhyme_faults(lines, rhymes, book, near)]
        for second, rhymes in product("平仄", (False, True))
    )
    return min(readings, key=len)


def _tones_faults(lines: list[str], second: str, rhymes: bool, book: str, twists: bool) -> Faults:
    """As if the second character of the poem had this tone, and its first line rhymed or not."""
    faults: Faults = []
    for couplet in range(0, len(lines), 2):
        upper, lower = (
            _line_faults(lines[couplet], couplet + 1, second, couplet == 0 and rhymes, book),
            _line_faults(lines[couplet + 1], couplet + 2, OTHER[second], True, book),  # 对
        )
        if (
            twists
            and (upper or lower)
            and _rescued(lines[couplet : couplet + 2], second, rhymes and not couplet, book)
        ):
            upper = lower = []
        faults += upper + lower
        second = OTHER[second]  # 粘: the next line begins as this couplet's second
    return faults


def _line_faults(line: str, number: int, second: str, rhymes: bool, book: str) -> Faults:
    """Of one line whose second character has this tone; a rhyming line ends level."""
    wanted = _wanted(len(line), second, rhymes)
    return [
        say(
            f"line {number}, character {i + 1}: {line[i]} is not {tone}",
            f"第 {number} 句第 {i + 1} 字“{line[i]}”不是{tone}声",
        )
        for i, tone in wanted.items()
        if tone not in tones(line[i], book)
    ]


def _wanted(length: int, second: str, rhymes: bool) -> dict[int, str]:
    """Places (from 0) whose tone is fixed."""
    end = "平" if rhymes else "仄"
    wanted = {i: second if i % 4 == 1 else OTHER[second] for i in range(1, length - 1, 2)}  # 二四六分明
    wanted[length - 1] = end
    wanted[length - 3] = OTHER[end]  # neither 三平尾 nor 三仄尾, nor 小拗
    if rhymes and wanted[length - 2] == "仄":
        wanted[length - 5] = "平"  # or 孤平
    return wanted


def _rescued(couplet: list[str], second: str, rhymes: bool, book: str) -> bool:
    """Whether what is wrong is made good: 本句自救, 对句相救, 特拗."""
    length = len(couplet[0])
    upper, lower = _wanted(length, second, rhymes), _wanted(length, OTHER[second], True)
    third, fourth = length - 3, length - 2
    ways = [(upper, lower)]
    if (
        lower[fourth] == "仄"
    ):  # the lower line is 平平仄仄平: its third may be level, and then its first be oblique
        saved = {i: tone for i, tone in lower.items() if i != length - 5} | {third: "平"}
        ways.append((upper, saved))
        if not rhymes:
            small = upper | {third: "仄"}
            large = {i: tone for i, tone in upper.items() if i != third} | {fourth: "仄"}
            ways += [(small, lower), (small, saved), (large, saved)]
    elif not rhymes:  # 平平平仄仄 may be 平平仄平仄
        ways.append((upper | {third: "仄", fourth: "平", length - 5: "平"}, lower))
    else:  # the first line itself is 平平仄仄平
        ways.append(({i: t for i, t in upper.items() if i != length - 5} | {third: "平"}, lower))
    return any(_fits(couplet[0], a, book) and _fits(couplet[1], b, book) for a, b in ways)


def _fits(line: str, wanted: dict[int, str], book: str) -> bool:
    return all(tone in tones(line[i], book) for i, tone in wanted.items())


def _rhyme_faults(lines: list[str], rhymes: bool, book: str, near: bool) -> Faults:
    feet = [line[-1] for line in lines[1::2]]
    shared = set.intersection(*(parts(foot, book, "平") for foot in feet))
    first = parts(lines[0][-1], book, "平") if rhymes else set()
    if rhymes and near and book == "平水韵":
        first |= {p for p in shared if any(p[-1] in row and q[-1] in row for row in NEAR for q in first)}
    if rhymes:
        shared &= first
        feet = [lines[0][-1], *feet]
    return _same(feet, shared)


def _same(feet: list[str], shared: set[str]) -> Faults:
    faults: Faults = []
    if not shared:
        faults.append(say(f"{'、'.join(feet)} do not rhyme", f"{'、'.join(feet)}不押韵"))
    if len(set(feet)) < len(feet):
        faults.append(say(f"a rhyme word comes twice: {'、'.join(feet)}", f"韵字重复：{'、'.join(feet)}"))
    return faults


# -- 古体诗 ---------------------------------------------------------------------------------------------------------


def ancient(text: str, length: int, *, book: str = "平水韵") -> Faults:
    """Faults of a 古绝 or 古风: lines of one length, one rhyme, level or oblique."""
    lines = _HAN.findall(text)
    if any(len(line) != length for line in lines) or len(lines) % 2 or len(lines) < 4:
        return [say("the lines have not the length of the form", "句数或字数不合")]
    feet = [line[-1] for line in lines[1::2]]
    shared = (set.intersection(*(parts(foot, book, tone) for foot in feet)) for tone in "平仄")
    return _same(feet, set().union(*shared))


# -- 词 ------------------------------------------------------------------------------------------------------------


@cache
def _patterns() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    patterns: list[str] = []
    for line in (HERE / "tunes.txt").read_text("utf-8").split("\n")[:-1]:
        if line[0] == "=":
            patterns = []
            for i, name in enumerate(line[1:].partition("|")[0].split(" ")):
                if i == 0 or name not in found:
                    found[name] = patterns
        else:
            patterns.append(line)
    return found


def tune(text: str, name: str, number: int = 1, *, book: str = "词林正韵") -> Faults:
    """Faults of a 词 to form `number` of a tune."""
    said = "".join(_HAN.findall(text))
    pattern = _patterns()[name][number - 1]
    faults: Faults = []
    feet: dict[str, list[tuple[str, str]]] = {}
    clauses = re.findall(r"([^，。、]+)[，。、]", pattern)
    if sum(len(re.findall("[-|+]", clause)) for clause in clauses) != len(said):
        return [say("the text has not the length of the tune", "字数不合")]
    at = 0
    for clause in clauses:
        ((kinds, letter, again, back),) = re.findall(r"([-|+]+)([a-z]?)([\^~]?)(\d*)", clause)
        here = said[at : at + len(kinds)]
        faults += _kind_faults(here, kinds, at, book)
        at += len(kinds)
        if again == "^" and said[at - len(kinds) - int(back) : at - int(back)] != here:
            faults.append(say(f"{here} does not say again what it should", f"“{here}”应为叠句"))
        elif again == "~" and said[at - 1 - int(back)] != here[-1]:
            faults.append(say(f"{here[-1]} is not the same word again", f"“{here[-1]}”应为重韵"))
        elif letter and not again:
            feet.setdefault(letter, []).append((here[-1], kinds[-1]))
    for rhyme in feet.values():
        own = (parts(char, book, TONE.get(kind)) for char, kind in rhyme)
        faults += _same([char for char, _ in rhyme], set.intersection(*own))
    return faults


def _kind_faults(said: str, kinds: str, at: int, book: str) -> Iterator[str]:
    for i, (char, kind) in enumerate(zip(said, kinds, strict=True), at + 1):
        tone = TONE.get(kind)
        if tone and tone not in tones(char, book):
            yield say(f"character {i}: {char} is not {tone}", f"第 {i} 字“{char}”不是{tone}声")
