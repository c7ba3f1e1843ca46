"""What a desktop's input method does with keys: spell, choose, commit, and ask the local service for candidates.

`Keyboard` is the state behind one cursor: it takes the names of keys and says what is to be shown and what is typed
into the program; ibus.py puts it before people. Only the standard library is needed, since a desktop's Python is not
ours. Candidates come from POST /v1/input of `haina serve`: at once from the trigram, better ones from the network a
moment later, unless the user has begun to choose; what is chosen is learnt by POST /v1/input/words. It knows no IBus.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

URL = "http://127.0.0.1:8080/v1/input"
PAGE = 9  # candidates shown at once: a digit chooses
TOP = 45
CONTEXT = 64  # characters of what was committed that are remembered
LONGEST = 8  # characters of a word that is learnt
WAIT_S = 2.0
PUNCTUATION = {
    ",": "，",
    ".": "。",
    "?": "？",
    "!": "！",
    ":": "：",
    ";": "；",
    "(": "（",
    ")": "）",
    "\\": "、",
}

Ask = Callable[[dict[str, Any]], "list[dict[str, Any]]"]
Teach = Callable[["list[str]"], None]


@dataclass(frozen=True)
class Shown:
    """What stands under the cursor: what is chosen and typed, a page of candidates, and which of them is marked."""

    preedit: str = ""
    candidates: tuple[str, ...] = ()
    marked: int = 0


def service(url: str = URL, key: str = "") -> tuple[Ask, Teach]:
    """Asks and teaches a running `haina serve`; no candidates where there is none."""

    def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (urllib.error.URLError, TimeoutError, ValueError):
            return {}

    def teach(words: list[str]) -> None:
        threading.Thread(target=post, args=(f"{url}/words", {"words": words}), daemon=True).start()

    return lambda body: post(url, body).get("candidates", []), teach


@dataclass
class Keyboard:
    """Keys at one cursor. `commit` is called with what the program shall have, `teach` with words that were chosen."""

    ask: Ask
    commit: Callable[[str], None]
    teach: Teach = lambda words: None
    scheme: str = "full"
    context: str = ""
    keys: str = ""
    chosen: list[tuple[str, str]] = field(default_factory=list)  # text, and the keys that it stands for
    found: list[dict[str, Any]] = field(default_factory=list)
    marked: int = 0

    def press(self, key: str) -> bool:
        """A key by its name: a character, or Return, space, BackSpace, Escape, Left … Whether it was ours."""
        if len(key) == 1 and ("a" <= key <= "z" or (self.keys and key in "';" and self._spells(key))):
            self._spell(self.keys + key)
            return True
        if not self.keys and not self.chosen:
            return self._punctuation(key)
        if key in "123456789" and key.isdigit():
            self._choose(self.marked // PAGE * PAGE + int(key) - 1)
        elif key == "space":
            self._choose(self.marked)
        elif key == "Return":
            self._say(self._text() + self.keys)
        elif key == "BackSpace":
            self._back()
        elif key == "Escape":
            self.reset()
        elif key in _MOVES:
            self.marked = max(0, min(self.marked + _MOVES[key], len(self.found) - 1))
        elif len(key) == 1:
            self._choose(self.marked, whole=True)
            return self._punctuation(key)
        return True

    def better(self) -> bool:
        """Ask the network; whether anything changed. Not when the user has begun to look through the candidates."""
        keys, marked = self.keys, self.marked
        if not keys or marked:
            return False
        found = self.ask(self._body(keys))
        if found and keys == self.keys and not self.marked and found != self.found:
            self.found = found
            return True
        return False

    def shown(self) -> Shown:
        start = self.marked // PAGE * PAGE
        page = tuple(str(candidate["text"]) for candidate in self.found[start : start + PAGE])
        return Shown(self._text() + self.keys, page, self.marked - start)

    def reset(self) -> None:
        """Forget what is typed and chosen, but not what was committed."""
        self.keys, self.chosen, self.found, self.marked = "", [], [], 0

    def _body(self, keys: str, *, quick: bool = False) -> dict[str, Any]:
        context = (self.context + self._text())[-CONTEXT:]
        return {"keys": keys, "context": context, "top": TOP, "scheme": self.scheme, "quick": quick}

    def _spell(self, keys: str) -> None:
        self.keys, self.marked = keys, 0
        self.found = self.ask(self._body(keys, quick=True)) if keys else []

    def _spells(self, key: str) -> bool:
        return key == "'" or self.scheme == "microsoft"

    def _choose(self, at: int, *, whole: bool = False) -> None:
        if not self.found:
            self._say(self._text() + self.keys)
        elif at < len(self.found):
            candidate = self.found[at]
            count = int(candidate["keys"])
            self.chosen.append((str(candidate["text"]), self.keys[:count]))
            self._spell(self.keys[count:].lstrip("'"))
            if not self.keys:
                self.teach(_lessons([text for text, _ in self.chosen]))
                self._say(self._text())
            elif whole:
                self._choose(0, whole=True)

    def _back(self) -> None:
        if self.keys:
            self._spell(self.keys[:-1])
        if not self.keys and self.chosen:
            self._spell(self.chosen.pop()[1])

    def _punctuation(self, key: str) -> bool:
        if key in PUNCTUATION:
            self._say(PUNCTUATION[key])
        return key in PUNCTUATION

    def _say(self, text: str) -> None:
        self.reset()
        self.context = (self.context + text)[-CONTEXT:]
        self.commit(text)

    def _text(self) -> str:
        return "".join(text for text, _ in self.chosen)


def _lessons(parts: list[str]) -> list[str]:
    """Each part, and the whole, as far as they may be words."""
    whole = ["".join(parts)] if len(parts) > 1 else []
    return [text for text in [*parts, *whole] if len(text) <= LONGEST]


_MOVES = {
    "Right": 1,
    "Down": 1,
    "Left": -1,
    "Up": -1,
    "Page_Down": PAGE,
    "Page_Up": -PAGE,
    "=": PAGE,
    "-": -PAGE,
}
