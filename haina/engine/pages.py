"""Pages: which pages of the cache are free, how many rows read each, and what the full ones hold.

A page holds the keys and values of `page_tokens` tokens. A full page may be named by its content: a digest of its
tokens and of all before them, so that whoever comes with the same beginning finds it. Pages that nobody reads keep
their names until their room is needed, the least recently read first. It does not know who reads, nor tokens.
Source of the idea: vLLM's automatic prefix caching (docs/design/prefix_caching.md); ours hashes with BLAKE2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np


def first_key(tenant: str, adapter: str = "") -> bytes:
    """The name of an empty text. Tenants have different ones, so neither finds, nor notices, the other's pages; and
    adapters of a tenant, whose keys and values differ."""
    key = _digest(tenant, b"")
    return _digest(adapter, key) if adapter else key


def _digest(text: str, key: bytes) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=32, key=key, person=b"haina").digest()


def next_key(before: bytes, ids: Sequence[int]) -> bytes:
    """The name of a page with these tokens after a text with that name. Nobody can build two texts with one name."""
    return hashlib.blake2b(np.array(ids, np.int32).tobytes(), digest_size=32, key=before).digest()


class Pages:
    """Numbers 0 … count - 1. `free` counts the pages without readers, named or not."""

    def __init__(self, count: int, page_tokens: int):
        self.count, self.page_tokens = count, page_tokens
        self.readers = [0] * count
        self._blank = list(range(count - 1, -1, -1))  # without readers and without name
        self._idle: dict[int, None] = {}  # without readers, named; least recently read first
        self._named: dict[bytes, int] = {}
        self._name: dict[int, bytes] = {}

    @property
    def free(self) -> int:
        return len(self._blank) + len(self._idle)

    def needed(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_tokens)

    def take(self, count: int) -> list[int] | None:
        """Pages to write, with one reader each, or None while too few are free. Idle ones lose their names."""
        if count > self.free:
            return None
        pages = []
        for _ in range(count):
            page = self._blank.pop() if self._blank else self._forget_oldest()
            self.readers[page] = 1
            pages.append(page)
        return pages

    def _forget_oldest(self) -> int:
        page = next(iter(self._idle))
        del self._idle[page], self._named[self._name.pop(page)]
        return page

    def name(self, page: int, key: bytes) -> None:
        """A page is full, and this is what it holds. If another holds the same, that one stays the known one."""
        if self._named.setdefault(key, page) == page:
            self._name[page] = key

    def unname(self, page: int) -> None:
        """What it holds is not to be relied upon."""
        if page in self._name:
            del self._named[self._name.pop(page)]

    def find(self, key: bytes) -> int | None:
        """The page of that name, with one reader more."""
        page = self._named.get(key)
        if page is not None:
            self.share(page)
        return page

    def look(self, key: bytes) -> int | None:
        """The page of that name, as it is."""
        return self._named.get(key)

    def share(self, page: int) -> None:
        """One reader more, for a page that somebody reads or that was found."""
        self._idle.pop(page, None)
        self.readers[page] += 1

    def give_back(self, pages: Iterable[int]) -> None:
        """One reader fewer each. The pages of a text in its order: its end is forgotten before its beginning."""
        for page in reversed(list(pages)):
            assert self.readers[page] > 0, "a page was given back twice"
            self.readers[page] -= 1
            if self.readers[page] == 0:
                if page in self._name:
                    self._idle[page] = None
                else:
                    self._blank.append(page)

    def forget(self) -> None:
        """All names of pages that nobody reads."""
        while self._idle:
            self._blank.append(self._forget_oldest())
