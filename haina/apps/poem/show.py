"""Poems as others take them along: a record, SVG, a page to print.

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
from haina.apps.poem.write import Poem
from haina.wording import say

CELL, COLUMN, MARGIN = 44, 66, 48  # pixels of the picture
INK, FAINT, PAPER, RED = "#26221d", "#8a8175", "#fbf8f1", "#a33b2e"


def sign_of(sign: Sign) -> str:
    """○ ● △ ▲, and ⊙ for a character whose tone its book does not have."""
    if sign.level is None:
        return "⊙"
    return ("△" if sign.level else "▲") if sign.rhyme else ("○" if sign.level else "●")


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
        "parallel": round(poem.parallel, 4),
        "misread": list(poem.misread),
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


def suits(file: Path) -> Path:
    """A file that a poem can be drawn into. ValueError: its name ends in neither .svg nor .html."""
    if file.suffix not in (".svg", ".html"):
        raise ValueError(
            say(
                f"{file}: a picture is an .svg or an .html file; name it so",
                f"{file}：请以 .svg 或 .html 为后缀",
            )
        )
    return file


def drawn(poem: Poem, file: Path, *, title: str) -> None:
    """The picture or page of a poem into a file that `suits`."""
    why = explain(poem.form, poem.text)
    assert why, "a poem outside its form"
    file.write_text(svg(why, title=title) if file.suffix == ".svg" else html(why, title=title), "utf-8")
