"""HTML → the text a reader sees, a line for each block. By lxml, which mends what is broken and fetches nothing."""

from __future__ import annotations

import re

from lxml import etree

from haina.apps.search.problem import Unreadable
from haina.wording import say

HIDDEN = frozenset(("script", "style", "template", "noscript", "head", "svg", "iframe", "object", "select"))
BLOCKS = frozenset(
    "address article aside blockquote body br caption dd details div dl dt fieldset figcaption figure footer form"
    " h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tbody tfoot thead tr ul".split()
)
CELLS = ("td", "th")
UNSEEN = re.compile(  # styles by which text is there for programs alone
    r"\b(?:display\s*:\s*none|visibility\s*:\s*hidden|(?:font-size|opacity)\s*:\s*0+(?:\.0*)?(?:[a-z%]*\s*)(?:;|$|!))",
    re.IGNORECASE,
)


def html_text(page: bytes) -> str:
    """The text of a page in UTF-8; "" for an empty one. Unreadable: it is nested too deeply."""
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(page, parser) if page.strip() else None
    except etree.XMLSyntaxError:
        raise Unreadable(say("broken HTML", "HTML 已损坏")) from None
    return "" if root is None else _told(root)


def _told(root: etree._Element) -> str:
    found: list[str] = []
    hidden = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        name = etree.QName(element).localname if isinstance(element.tag, str) else ""
        begins = event == "start"
        if name in HIDDEN or "hidden" in element.attrib or UNSEEN.search(element.get("style", "")):
            hidden += 1 if begins else -1
        elif not hidden:
            found.append("\n" if name in BLOCKS else "\t" if name in CELLS and not begins else "")
            found.append(element.text or "" if begins else "")
        if not begins and not hidden:
            found.append(element.tail or "")
    lines = (" ".join(line.split()) for line in "".join(_one_space(part) for part in found).split("\n"))
    return "\n\n".join(line for line in lines if line)


def _one_space(part: str) -> str:
    """In HTML a line's end is a space; our own "\\n" is a block's."""
    return part if part in ("\n", "\t") else part.replace("\n", " ").replace("\r", " ")
