"""TextStream: ids → text as soon as it is whole UTF-8, with stop strings held back.

What was handed out is never taken back. So two things wait: the bytes of a character that is not complete,
and the characters that may turn out to begin a stop string. The rest goes out at once; a U+FFFD that a text
really holds is a character like any other (judging by "�" has cost others a quadratic stall:
sgl-project/sglang#34740). Stop strings are found by the automaton of Aho and Corasick (CACM 18(6), 1975),
whose state says just what has to wait: the longest end of the text that begins a stop string. Every
character is looked at once, however the tokens cut the text.

Not known here: stop ids, lengths, cancelling; that is the engine's.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field

from haina.text.tokenizer import Tokenizer
from haina.wording import say


class Stops:
    """Stop strings, made ready once for any number of streams."""

    def __init__(self, strings: Sequence[str]):
        """ValueError: one is empty."""
        if "" in strings:
            raise ValueError(say("a stop string is empty; leave it out", "停止字符串为空，请去掉"))
        self.root = _automaton(strings)


class TextStream:
    """The text of one answer, in pieces: joined, what `push` and `close` return is `tokenizer.decode(ids)`,
    cut before the stop string that is complete first (the longest one, if several are complete at that
    character).
    """

    def __init__(self, tokenizer: Tokenizer, *, stop: Sequence[str] | Stops = (), opening: bool = True):
        """`opening` False: the ids go on with a text, so the first one keeps its leading space."""
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._opening = opening
        self._root = self._state = (stop if isinstance(stop, Stops) else Stops(stop)).root
        self._waiting = ""
        self._sent: list[str] = []
        self.stopped = False  # a stop string was found: nothing comes any more

    def push(self, id: int) -> str:
        """What can be shown now that the model said `id`; often "", never half a character."""
        added, self._opening = self._tokenizer.added_bytes(id, opening=self._opening)
        return self._advance(self._utf8.decode(added))

    def close(self) -> str:
        """What was waiting, at the end of the answer; an incomplete character becomes U+FFFD."""
        out = self._advance(self._utf8.decode(b"", final=True))
        rest, self._waiting = self._waiting, ""
        return out + self._send(rest)

    @property
    def text(self) -> str:
        """All that was handed out so far."""
        return "".join(self._sent)

    def _advance(self, text: str) -> str:
        if self.stopped:
            return ""
        self._waiting += text
        for at, char in enumerate(text, start=len(self._waiting) - len(text)):
            self._state = self._root.step(self._state, char)
            if self._state.found:
                out, self._waiting = self._waiting[: at + 1 - self._state.found], ""
                self.stopped = True
                return self._send(out)
        ready = len(self._waiting) - self._state.depth
        out, self._waiting = self._waiting[:ready], self._waiting[ready:]
        return self._send(out)

    def _send(self, text: str) -> str:
        self._sent.append(text)
        return text


@dataclass(eq=False)
class _State:
    """What the text ends with: the first `depth` characters of some stop string."""

    depth: int = 0
    found: int = 0  # length of the longest stop string that the text ends with
    then: dict[str, _State] = field(default_factory=dict)
    shorter: _State | None = None  # the next longest such end; None at the root

    def step(self, state: _State, char: str) -> _State:
        """The state after one more character; `self` is the root."""
        while char not in state.then:
            if state.shorter is None:
                return self
            state = state.shorter
        return state.then[char]


def _automaton(stop: Sequence[str]) -> _State:
    root = _State()
    for string in stop:
        state = root
        for char in string:
            state = state.then.setdefault(char, _State(state.depth + 1))
        state.found = len(string)
    queue = [root]
    for state in queue:  # breadth first: the shorter states are complete
        for char, longer in state.then.items():
            longer.shorter = root if state.shorter is None else root.step(state.shorter, char)
            longer.found = longer.found or longer.shorter.found
            queue.append(longer)
    return root
