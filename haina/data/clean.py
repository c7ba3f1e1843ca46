"""clean(text): broken Unicode mended, invisible characters and leftovers of HTML taken out, spaces put in order.

Nothing is dropped here and no sentence is changed: Chinese punctuation stays full-width, letters and digits become
ASCII. Cleaning what is clean changes nothing. Mojibake is mended by ftfy (R. Speer, doi:10.5281/zenodo.2591652)
where its traces show, and by reading GBK as the UTF-8 that it was. It does not know languages or what is worth keeping.
"""

from __future__ import annotations

import html
import re
from typing import Literal
from unicodedata import is_normalized, normalize

import ftfy

from haina.text.normalize import narrow, simplified

Script = Literal["keep", "simplified"]

# Two characters that UTF-8 read as Latin-1 or Windows-1252 leaves behind: a lead byte and a continuation.
_LATIN_TRACES = re.compile("[\xc2-\xf4][\x80-\xbf\u0152-\u0178\u0192\u02c6\u02dc\u2013-\u203a€™]")
# ， 。 的 “ in UTF-8, read as GBK: characters that hardly anybody writes otherwise.
_GBK_TRACES = re.compile("[锛銆鐨鈥]")
GBK_SHARE = 0.01

_SURROGATE = re.compile("[\ud800-\udfff]")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TWICE = re.compile(r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+")  # &amp;amp;lt;
_LINE = re.compile("[\r\x0b\x0c\x85\u2028\u2029]\n?")
_SPACE = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Controls, zero widths, directions, noncharacters. The joiners U+200C and U+200D stay: emoji and Persian need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufdd0-\ufdef\ufffe\uffff]"
)
_INDENT = re.compile("\n[\u3000\xa0]+")  # of a Chinese paragraph; ASCII spaces may be code
_LINE_END = re.compile(r"[ \t]+\n")
_RARE = re.compile(f"[{''.join(c.pattern[1:-1] for c in (_SPACE, _INVISIBLE))}\r\x0b\x0c\x85\u2028\u2029]")
_EMPTY_LINES = re.compile(r"\n{3,}")


def clean(text: str, *, script: Script = "keep") -> str:
    """The text as it was meant. script="simplified": traditional characters become simplified ones (OpenCC)."""
    if _SURROGATE.search(text):  # halves that belong together are joined; what is alone becomes U+FFFD
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _tidy(text)
    mended = _unescape(_mend(text))
    text = text if mended == text else _tidy(mended)
    if script == "simplified":
        text = simplified(text)
    if " \n" in text or "\t\n" in text:
        text = _LINE_END.sub("\n", text)
    return (_EMPTY_LINES.sub("\n\n", text) if "\n\n\n" in text else text).strip()


def _tidy(text: str) -> str:
    """Without what is invisible, composed (NFC), letters and digits narrow."""
    text = _visible(text)
    return narrow(text if is_normalized("NFC", text) else normalize("NFC", text))


def _mend(text: str) -> str:
    if len(_GBK_TRACES.findall(text)) > GBK_SHARE * len(text):
        text = "\n".join(map(_from_gbk, text.split("\n")))
    return ftfy.fix_encoding(text) if _LATIN_TRACES.search(text) else text


def _from_gbk(line: str) -> str:
    """UTF-8 that was read as GBK. A character that the reader lost stays lost: then the line stays as it is."""
    try:
        return line.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return line


def _visible(text: str) -> str:
    if not _RARE.search(text):
        return text
    text = _INVISIBLE.sub("", _LINE.sub("\n", text))
    return _SPACE.sub(" ", _INDENT.sub("\n", text))


def _unescape(text: str) -> str:
    """Entities that stayed behind; where a "<" stands, the text is about HTML and they are meant (ftfy's rule)."""
    if "&" not in text or "<" in text or not _ENTITY.search(text):
        return text
    return _ENTITY.sub(lambda found: html.unescape(found[0]), _TWICE.sub("&", text))
