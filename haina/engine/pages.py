"""Pages: which pages of the cache are free. A page holds the keys and values of `page_tokens` tokens.

It hands out numbers and takes them back; it does not know what is in a page or who reads it.
"""

from __future__ import annotations


class Pages:
    """Numbers 0 … count - 1, each free or taken."""

    def __init__(self, count: int, page_tokens: int):
        self.count, self.page_tokens = count, page_tokens
        self._free = list(range(count - 1, -1, -1))

    @property
    def free(self) -> int:
        return len(self._free)

    def needed(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_tokens)

    def take(self, tokens: int) -> list[int] | None:
        """Pages for `tokens` tokens, or None while too few are free."""
        count = self.needed(tokens)
        if count > len(self._free):
            return None
        return [self._free.pop() for _ in range(count)]

    def give_back(self, pages: list[int]) -> None:
        assert not set(pages) & set(self._free), "a page was given back twice"
        self._free.extend(reversed(pages))
