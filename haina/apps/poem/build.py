"""The tables of verse from their public sources: rhyme books and the patterns of all tunes, as compact text.

    haina data fetch haina/apps/poem/sources.toml --out FOLDER
    python -m haina.apps.poem.build FOLDER

FOLDER may also hold the files by their short names (TABLES below). What the sources are and what was changed says
`haina/text/rhymes/README.md`. It knows how those files are laid out; what the tables are good for it does not.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haina.options.data import FETCHED
from haina.text import hanzi
from haina.text.characters import HAN
from haina.text.normalize import simplified
from haina.wording import say

# short name → where it lies in what `haina data fetch` brings
TABLES = {
    "pingshui_rhyme.json": "chinese_word_rhyme/data/Pingshui_Rhyme.json",
    "cilin_rhyme.json": "chinese_word_rhyme/data/Cilin_Rhyme.json",
    "xinyun_rhyme_fourrhyme_edition.json": "chinese_word_rhyme/data/Xinyun_Rhyme_FourRhyme_Edition.json",
    "pingshui_by_group_rbnyng.json": "pingshui_rhyme/pingshui_rhyme/data/organized_ping_ze_rhyme_dict.json",
}
FORMS = "ci_forms_qinding.json"  # in one file, or as couyun has them: an index and a file a tune
COUYUN = "couyun/couyun/ci_pu"
RHYMES = Path(hanzi.__file__).with_name("rhymes")
TUNES = Path(__file__).with_name("tunes.txt")
SURE = 0.95  # of a 平水韵 part's known characters in one part of 词林正韵: then its others are there, too
KINDS = str.maketrans("平仄中", "-|+")
# Readings that the tables give to a common character because a rare one is written like it today (了 for 瞭), or by a
# slip: (part, tone) of the character. couyun's tables, made by others, do not have them.
SPURIOUS = {
    "了": {("二萧", "平"), ("六麻", "平"), ("第八部", "平"), ("二波", "阴")},
    "念": {("去声十七霰", "去"), ("第七部", "仄")},
    "国": {("入声一屋", "入"), ("第十五部", "入")},
    "花": {("上声四纸", "上")},
    "龙": {("入声十四缉", "入")},
    "乡": {("去声二十三漾", "去")},
    "阁": {("入声十五合", "入"), ("第十九部", "入")},
    "那": {("第十部", "仄")},
    "刺": {("第十八部", "入")},
}
Rows = list[tuple[str, str, str]]  # part, tone, characters


def main(folder: Path) -> None:
    pingshui = _pingshui(folder)
    _write("pingshui.txt", pingshui)
    _write("cilin.txt", _cilin(folder, pingshui))
    _write("xinyun.txt", _xinyun(folder))
    TUNES.write_text("".join(_tunes(folder)), "utf-8")


def _json(folder: Path, name: str) -> Any:
    for file in (folder / name, folder / FETCHED / TABLES.get(name, name)):
        if file.exists():
            return json.loads(file.read_bytes())
    raise ValueError(
        say(
            f"{folder}: no {name}; haina data fetch haina/apps/poem/sources.toml --out {folder}",
            f"{folder}：没有 {name}；请运行 haina data fetch haina/apps/poem/sources.toml --out {folder}",
        )
    )


def _write(name: str, rows: Rows) -> None:
    text = ""
    for part, tone, chars in rows:
        kept = "".join(char for char in chars if (part, tone) not in SPURIOUS.get(char, ()))
        text += f"{part}\t{tone}\t{kept}\n"
    RHYMES.joinpath(name).write_text(text, "utf-8")


def _pingshui(folder: Path) -> Rows:
    """105 parts of one table, each with the character it is named by (先 is not in its own); 三讲 from the other."""
    rows: Rows = []
    for section, parts in _json(folder, "pingshui_rhyme.json").items():
        tone = section[-3] if section[-2] == "声" and section[-3] in "上去入" else "平"
        for name, chars in parts.items():
            if (tone, name) == ("上", "四纸"):
                rows.append(("三讲", "上", _once(_other(folder, "上聲三講"))))
            rows.append((name.removeprefix("入声"), tone, _once("".join(chars) + name[-1])))
    return [(f"{tone}声{name}" if tone != "平" else name, tone, chars) for name, tone, chars in rows]


def _other(folder: Path, name: str) -> str:
    for sections in _json(folder, "pingshui_by_group_rbnyng.json").values():
        for parts in sections.values():
            if name in parts:
                return simplified("".join(parts[name]))
    raise ValueError(f"pingshui_by_group_rbnyng.json: {name}")


def _cilin(folder: Path, pingshui: Rows) -> Rows:
    """The table, and those characters of 平水韵 that it leaves out but whose whole part lies in one of its parts."""
    rows = [
        (part, tone.removesuffix("声"), "".join(chars))
        for part, tones in _json(folder, "cilin_rhyme.json").items()
        for tone, chars in tones.items()
    ]
    of: dict[str, set[int]] = defaultdict(set)
    for number, (_part, _tone, chars) in enumerate(rows):
        for char in chars:
            of[char].add(number)
    more: dict[int, str] = defaultdict(str)
    for _part, tone, chars in pingshui:
        kind = {"上": "仄", "去": "仄"}.get(tone, tone)
        votes = Counter(n for char in chars for n in of[char] if rows[n][1] == kind)
        known = sum(any(rows[n][1] == kind for n in of[char]) for char in chars)
        for number, count in votes.most_common(1):
            if count >= SURE * known:
                more[number] += "".join(char for char in chars if char not in of)
    return [(part, tone, _once(chars + more[n])) for n, (part, tone, chars) in enumerate(rows)]


def _xinyun(folder: Path) -> Rows:
    tones = {"阴平": "阴", "阳平": "阳", "上声": "上", "去声": "去"}
    table = _json(folder, "xinyun_rhyme_fourrhyme_edition.json")
    return [
        (part, tones[tone], _once("".join(chars))) for part, by in table.items() for tone, chars in by.items()
    ]


def _once(chars: str) -> str:
    return "".join(dict.fromkeys(HAN.findall(chars)))


# -- tunes --------------------------------------------------------------------------------------------------------


def _tunes(folder: Path) -> Iterator[str]:
    """For each tune a line "=names|sections", and a line for each of its forms (haina/apps/poem/form.py reads them)."""
    index, forms = _couyun(folder)
    for entry in index:
        yield f"={' '.join(dict.fromkeys(entry['names']))}|{entry['type'][0]}\n"
        for form in forms[entry["idx"]]:
            yield _pattern(form) + "\n"


def _couyun(folder: Path) -> tuple[list[dict[str, Any]], dict[int, list[dict[str, Any]]]]:
    place = folder / FETCHED / COUYUN
    if not place.exists():
        both = _json(folder, FORMS)
        return both["index"], {int(number): forms for number, forms in both["forms"].items()}
    index = json.loads((place / "ci_index.json").read_bytes())
    files = {entry["idx"]: place / "ci_list" / f"cipai_{entry['idx']}.json" for entry in index}
    return index, {number: json.loads(file.read_bytes()) for number, file in files.items()}


def _pattern(form: dict[str, Any]) -> str:
    """Tones, the letter of its rhyme behind each foot, "^n" where a clause says again what stood n characters before,
    "~n" where only its foot does; and the punctuation of the model poem."""
    tones = form["ge_lyu_str"].translate(KINDS)
    model = re.findall("[^，。、][，。、]*", form["origin"])
    assert len(model) == len(tones), form["origin"]
    feet = {
        abs(at): "abcdefghijklmnop"[n] for n, ats in enumerate(form["yun_classify"].values()) for at in ats
    }
    again = dict(_again(form, [char[0] for char in model]))
    text = ""
    for at, tone in enumerate(tones):
        text += tone + feet.get(at, "") + again.get(at, "") + model[at][1:2]
    return text[:-1] + "。"


def _again(form: dict[str, Any], model: list[str]) -> Iterator[tuple[int, str]]:
    """Of clauses marked 叠 (said again) or 重 (the same rhyme word): where, and how far back."""
    for start, at, mark in _clauses(form):
        if "叠" in mark or "重" in mark:
            length = at - start
            whole = [d for d in range(length, start + 1) if model[start - d : at - d] == model[start:at]]
            foot = [d for d in range(1, at) if model[at - 1 - d] == model[at - 1]]
            if whole and "叠" in mark:
                yield at - 1, f"^{whole[0]}"
            elif foot:
                yield at - 1, f"~{foot[0]}"


def _clauses(form: dict[str, Any]) -> Iterator[tuple[int, int, str]]:
    """Where each clause begins and ends, and its mark. 仄韵 as a mark looks like a tone, but no foot lies there."""
    feet, at = form["rhyme_pos"], 0
    for line in form["ge_lyu_sep"]:
        line = re.sub("[^平仄中韵句读叶换叠重]", "", line)
        end = at + len(re.findall("[平仄中]", line)) - 1
        if end not in feet and end - 1 in feet:
            line = re.sub("[平仄]韵$", "韵", line)
        for tones, mark in re.findall("([平仄中]+)([^平仄中]*)", line):
            yield at, at + len(tones), mark
            at += len(tones)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
