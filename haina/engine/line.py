"""Line: a text that the network is reading, and what it is asked about it; Job: who asks, with one line or several.

Lines know their pages and how far they have been read; they do not know sampling, other lines or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from haina.engine.pages import Pages, next_key
from haina.engine.request import Event


@dataclass(eq=False)
class Line:
    """The first `fed` of `ids` have keys and values in `pages`; the last `drafts` are guesses that may go again.

    Wanted of the ids from `wanted` on: the logits after each, or with `hidden` the states.
    """

    ids: list[int]
    wanted: int
    root: bytes  # the name of its empty beginning (pages.py)
    hidden: bool = False
    adapter: str = ""  # what changes the network for it (request.py)
    drafts: int = 0
    fed: int = 0
    pages: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)  # the names of its full pages, as far as they are known
    named: int = 0  # how many of its full pages others can find
    found: int = 0  # ids that did not have to be read, because their pages were found
    again: bool = False  # it has lost its pages before
    served: int = 0  # the step that fed it last

    @property
    def unfed(self) -> int:
        return len(self.ids) - self.fed

    @property
    def sure(self) -> int:
        """How many of the ids are no guesses."""
        return len(self.ids) - self.drafts

    def key(self, page: int, page_tokens: int) -> bytes | None:
        """The name of its page with that index, if that page is full of ids that are no guesses."""
        if (page + 1) * page_tokens > self.sure:
            return None
        for p in range(len(self.keys), page + 1):
            before = self.keys[-1] if self.keys else self.root
            self.keys.append(next_key(before, self.ids[p * page_tokens : (p + 1) * page_tokens]))
        return self.keys[page]

    def name_pages(self, pages: Pages) -> None:
        """Others may find its full pages, as far as they are fed and sure."""
        for page in range(self.named, min(self.fed, self.sure) // pages.page_tokens):
            key = self.key(page, pages.page_tokens)
            assert key is not None
            pages.name(self.pages[page], key)
            self.named += 1

    def drop_drafts(self) -> None:
        if self.drafts:
            del self.ids[self.sure :]
            self.drafts, self.fed = 0, min(self.fed, len(self.ids))


class Job(Protocol):
    """What a request becomes when it is served. `order`: a smaller one is served first."""

    number: int
    order: tuple[int, int]
    prompt_tokens: int
    most_lines: int  # that it may have
    lines: list[Line]  # the first begins with the prompt
    done: bool

    def prepare(self) -> None:
        """A step is about to be planned; the last moment to append drafts."""
        ...

    def take(self, line: Line, rows: np.ndarray) -> Sequence[Event]:
        """What was wanted of the ids just fed to a line, float32 (m, V) or (m, D). ValueError: it cannot go on."""
        ...

    def failed(self, error: str) -> Sequence[Event]:
        """It has ended; what it still has to say."""
        ...

    def most_pages(self, page_tokens: int) -> int:
        """Pages it holds at the worst."""
        ...


class Branches(Protocol):
    """What a job with several lines is given: the scheduler."""

    def fork(self, line: Line) -> Line:
        """A line with the same beginning, read as far as its pages can be shared or copied."""
        ...

    def release(self, line: Line) -> None:
        """Its pages are given back."""
        ...
