"""Poems for people: lines, columns from right to left, tones and rhymes beside them; as text, SVG, HTML or a record.

○ is level, ● oblique, ⊙ unknown to the rhyme book; △ is a level rhyme word, ▲ an oblique one. It knows how a poem
looks, not how it came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from haina.apps.poem.anthology import Anthology, Quotation
from haina.apps.poem.explain import Explanation, Sign, explain
from haina.apps.poem.write import Poem, lines_of
from haina.wording import say

CELL, COLUMN, MARGIN = 44, 66, 48  # pixels of the picture
INK, FAINT, PAPER, RED = "#26221d", "#8a8175", "#fbf8f1", "#a33b2e"
SPACE = "　"


def sign_of(sign: Sign) -> str:
    """○ ● △ ▲, and ⊙ for a character whose tone its book does not have."""
    if sign.level is None:
        return "⊙"
    return ("△" if sign.level else "▲") if sign.rhyme else ("○" if sign.level else "●")


def explained(poem: Explanation) -> str:
    """Each line with its tones under it, and what it rhymes on."""
    shown = [f"{poem.form.name} · {poem.label} · {poem.form.book}"]
    for line in poem.lines:
        mark = line[-1].mark
        foot = f"{SPACE}{line[-1].rhyme}" if line[-1].rhyme else ""
        shown += ["".join(sign.char for sign in line) + mark, "".join(map(sign_of, line)) + foot]
    return "\n".join(shown)


def columns(text: str) -> str:
    """Each line of the poem a column, the first on the right."""
    rows = ["".join(char for char in line if char not in "，。、") for line in _split(text)]
    height = max(map(len, rows))
    padded = [row.ljust(height, SPACE) for row in rows]
    return "\n".join(SPACE.join(column[i] for column in reversed(padded)) for i in range(height))


def _split(text: str) -> list[str]:
    for mark in "，。、":
        text = text.replace(mark, mark + "\n")
    return [line for line in text.split("\n") if line]


def record(poem: Poem, *, references: bool = False) -> dict[str, Any]:
    """What `--json` says of a poem."""
    why = explain(poem.form, poem.text)
    assert why, "a poem outside its form"
    return {
        "form": poem.form.name,
        "book": poem.form.book,
        "pattern": why.label,
        "rhymes": list(why.rhymes),
        "text": poem.text,
        "lines": [_line(line, references) for line in why.lines],
        "score": round(poem.score, 4),
        "nats": round(poem.nats, 4),
        "theme": round(poem.theme, 4),
        "repeated": round(poem.repeated, 4),
        "copied": list(poem.copied),
    }


def _line(line: Sequence[Sign], references: bool) -> dict[str, Any]:
    text = "".join(sign.char for sign in line)
    like = {"like": [_quoted(each) for each in Anthology.shipped().like(text)]} if references else {}
    return {
        "text": text + line[-1].mark,
        "tones": "".join(map(sign_of, line)),
        "pattern": "".join({"-": "平", "|": "仄", "+": "中"}[sign.wanted] for sign in line),
        "rhyme": line[-1].rhyme or None,
        **like,
    }


def _quoted(quotation: Quotation) -> dict[str, str]:
    source = quotation.source
    return {"text": quotation.line, "title": source.title, "author": source.author, "dynasty": source.dynasty}


def svg(poem: Explanation, *, title: str = "", tones: bool = True) -> str:
    """A picture: columns from right to left, rhyme words in red, tones small beside them."""
    height = 2 * MARGIN + CELL * max(map(len, poem.lines))
    width = 2 * MARGIN + COLUMN * (len(poem.lines) + bool(title))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" lang="zh">',
        f"<title>{escape(title or poem.form.name)}</title>",
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        "<g font-family=\"'Noto Serif CJK SC','Source Han Serif SC','Songti SC',SimSun,serif\" text-anchor=\"middle\">",
    ]
    x = width - MARGIN - COLUMN // 2
    if title:
        parts += [_glyph(char, x, MARGIN + CELL * (i + 0.7), FAINT, 20) for i, char in enumerate(title[:12])]
        x -= COLUMN
    for line in poem.lines:
        for i, sign in enumerate(line):
            y = MARGIN + CELL * (i + 0.7)
            parts.append(_glyph(sign.char, x, y, RED if sign.rhyme else INK, 30))
            if tones:
                parts.append(_glyph(sign_of(sign), x + 26, y - 6, FAINT, 11))
        x -= COLUMN
    return "".join([*parts, "</g></svg>"])


def _glyph(char: str, x: float, y: float, colour: str, size: int) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}">{escape(char)}</text>'


def html(poem: Explanation, *, title: str = "") -> str:
    """A page to print: the poem in columns, its tones as ruby."""
    head = escape(title or poem.form.name)
    body = "".join(f"<p>{''.join(map(_ruby, line))}{line[-1].mark}</p>" for line in poem.lines)
    about = escape(f"{poem.form.name} · {poem.label} · {poem.form.book} · {'、'.join(poem.rhymes)}")
    style = (
        "body{writing-mode:vertical-rl;font-family:'Noto Serif CJK SC','Songti SC',SimSun,serif;font-size:28px;"
        f"line-height:1.9;margin:3em;background:{PAPER};color:{INK}}}rt{{font-size:10px;color:{FAINT}}}"
        "h1{font-size:24px;font-weight:normal}p{margin:0}small{font-size:13px;color:" + FAINT + "}"
    )
    return (
        f'<!DOCTYPE html><html lang="zh"><meta charset="utf-8"><title>{head}</title><style>{style}</style>'
        f"<h1>{head}</h1>{body}<small>{about}</small></html>\n"
    )


def _ruby(sign: Sign) -> str:
    return f"<ruby>{escape(sign.char)}<rt>{sign_of(sign)}</rt></ruby>"


def told(poem: Poem, *, vertical: bool, explains: bool, references: bool) -> str:
    """A poem for a terminal."""
    why = explain(poem.form, poem.text) if explains else None
    shown = [columns(poem.text)] if vertical else [] if why else [poem.text]
    shown += [explained(why)] if why else []
    if references:
        for line in lines_of(poem.text):
            like = "；".join(f"{each.line}（{each.source}）" for each in Anthology.shipped().like(line))
            shown.append(f"{line}  ≈  {like}")
    if poem.copied:
        known = "、".join(poem.copied)
        shown.append(say(f"(others wrote, too: {known})", f"（与前人相同的句子：{known}）"))
    return "\n".join(shown)


def drawn(poem: Poem, file: Path, *, title: str) -> None:
    """The picture or page of a poem into a file. ValueError: its name ends in neither .svg nor .html."""
    why = explain(poem.form, poem.text)
    assert why, "a poem outside its form"
    if file.suffix not in (".svg", ".html"):
        raise ValueError(
            say(
                f"{file}: a picture is an .svg or an .html file; name it so",
                f"{file}：请以 .svg 或 .html 为后缀",
            )
        )
    file.write_text(svg(why, title=title) if file.suffix == ".svg" else html(why, title=title), "utf-8")
