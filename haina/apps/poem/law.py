"""Law: a form with all that is asked of one poem, as a graph; and Verse, the Rule over characters that walks it.

A node of the graph is one character of one pattern; from it lead ways to the next. Verse stands on several nodes at
once: on all that what was said so far may be. Each such way knows which rhyme parts are still possible for each
letter and which rhyme words are spent. A way is only gone when the poem can be finished behind it: there must be a
part with enough words that are left (`Law.open`), so there are no dead ends, and what is not offered is not possible.

Accepted are exactly the texts that obey the form by some reading of each character. Which reading is meant, which
word sounds well, how the network sees it: not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

from haina.apps.poem.form import Form
from haina.apps.poem.graph import Graph, Need, Needs, Node
from haina.engine.rule import Rule
from haina.text.characters import HAN
from haina.text.hanzi import EITHER, LEVEL, OBLIQUE, Book, book

# Parts of 平水韵 from which the first line of a poem may borrow (王力《诗词格律》, 首句用邻韵).
NEIGHBOURS = "东冬 江阳 支微齐 鱼虞 佳灰 真文元 元寒删先 萧肴豪 麻佳 庚青蒸 覃盐咸".split()
ALL = -1  # a mask of every part


class Way(NamedTuple):
    """A node, and of each rhyme the parts still possible (bits) and the words spent."""

    node: int
    parts: tuple[int, ...]
    spent: tuple[frozenset[str], ...]


@dataclass(frozen=True, eq=False)
class Law:
    """given: characters by their place. rhymes: of some letters, the parts allowed (bits).

    alphabet: characters to write with, None for any; given ones need not be among them. barred: never written.
    """

    form: Form
    given: Mapping[int, str] = field(default_factory=dict)
    rhymes: Mapping[str, int] = field(default_factory=dict)
    alphabet: frozenset[str] | None = None
    barred: frozenset[str] = frozenset()

    @cached_property
    def book(self) -> Book:
        return book(self.form.book)

    @cached_property
    def writes(self) -> Book:
        """The book to write by: any reading of a text is accepted, but what is written has a usual one."""
        return self.book if self.alphabet is None else self.book.usual

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.form, self.given)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return self.graph.nodes

    @cached_property
    def letters(self) -> tuple[str, ...]:
        return self.graph.letters

    @cached_property
    def start(self) -> Verse | None:
        """The empty poem; None: what is asked cannot be met."""
        if not self.graph.agrees:
            return None
        parts = tuple(self.rhymes.get(letter, ALL) & self._all for letter in self.letters)
        spent = (frozenset[str](),) * len(parts)
        ways = (Way(node, parts, spent) for node in self.graph.entries)
        open_ = frozenset(way for way in ways if self.open(way))
        return Verse(self, 0, 0, open_) if open_ else None

    # -- characters -----------------------------------------------------------------------------------------------

    @cached_property
    def _all(self) -> int:
        return (1 << len(self.book.parts)) - 1

    def pool(self, kinds: frozenset[str]) -> frozenset[str]:
        """The characters to write with that have tones of all these kinds."""
        return self.pools(frozenset({kinds}))

    def pools(self, several: frozenset[frozenset[str]]) -> frozenset[str]:
        """Those of any of several such pools; the same object each time, so that it is quick to look up."""
        if several not in self._pools:
            chars = frozenset().union(*map(self._with_tones, several))
            self._pools[several] = chars - self.barred
        return self._pools[several]

    @cached_property
    def _pools(self) -> dict[frozenset[frozenset[str]], frozenset[str]]:
        return {}

    def _with_tones(self, kinds: frozenset[str]) -> frozenset[str]:
        chars = self.book.kinds[EITHER] if self.alphabet is None else self.alphabet
        for kind in kinds:
            chars = chars & self.writes.kinds[kind]
        return chars

    def suits(self, node: Node, char: str) -> bool:
        """Whether a character may stand there by itself. Where the tone is free, so is the character."""
        if node.said:
            if char != node.said:
                return False
        elif char in self.barred or not (self.alphabet is None or char in self.alphabet):
            return False
        if not node.kinds:
            return bool(HAN.match(char)) or char == node.said
        own = self.book if node.said else self.writes
        return all(char in own.kinds[kind] for kind in node.kinds)

    def parts(self, char: str, node: Node) -> int:
        """The rhyme parts, as bits, that a foot leaves possible."""
        own = self.book if node.said else self.writes
        mask = 0
        for kind in node.kinds or {EITHER}:
            for part in own.rhymes(char, kind):
                mask |= _neighbours(self.book)[part] if node.near else 1 << part
        return mask

    def words(self, part: int, kind: str) -> frozenset[str]:
        """The rhyme words of a part to write with."""
        if (part, kind) not in self._words:
            words = self.writes.members(part, kind) - self.barred
            self._words[part, kind] = words if self.alphabet is None else words & self.alphabet
        return self._words[part, kind]

    @cached_property
    def _words(self) -> dict[tuple[int, str], frozenset[str]]:
        return {}

    # -- whether a poem can be finished -----------------------------------------------------------------------------

    @cached_property
    def _needs(self) -> tuple[frozenset[Needs], ...]:
        """Of each node what the feet from it on ask; nothing: a given character shuts it."""
        return self.graph.needs(lambda node: bool(node.said) and not self.suits(node, node.said))

    @cached_property
    def _open(self) -> dict[Way, bool]:
        return {}

    def open(self, way: Way) -> bool:
        """Whether a poem can be finished from this way on, its node included."""
        if way not in self._open:
            self._open[way] = any(self._met(needs, way) for needs in self._needs[way.node])
        return self._open[way]

    def _met(self, needs: Needs, way: Way) -> bool:
        for need in needs:
            i = self.letters.index(need.rhyme)
            if not any(self._rhymes(need, part, way.spent[i]) for part in _bits(way.parts[i])):
                return False
        return True

    def _rhymes(self, need: Need, part: int, spent: frozenset[str]) -> bool:
        """Whether a part has the words."""
        given = frozenset(word for word, _ in need.given) | need.near
        if len(given) < len(need.given) + len(need.near) or not given.isdisjoint(spent):
            return False
        if any(word not in self.book.members(part, kind) for word, kind in need.given):
            return False
        near = _neighbours(self.book)
        if any(not any(near[p] >> part & 1 for p in self.book.rhymes(w, LEVEL)) for w in need.near):
            return False
        return self._enough(part, need.free, spent | given)

    def _enough(self, part: int, free: tuple[int, int, int], gone: frozenset[str]) -> bool:
        """Hall's condition for the three kinds of feet."""
        level, oblique = self.words(part, LEVEL), self.words(part, OBLIQUE)
        n_level, n_oblique, n_either = free
        spare = min(len(level) - n_level, len(oblique) - n_oblique)
        if spare >= len(gone) + n_either and not (n_level and n_oblique):
            return True  # which is quickly seen
        level, oblique = level - gone, oblique - gone
        enough = len(level) >= n_level and len(oblique) >= n_oblique
        return enough and len(level | oblique) >= n_level + n_oblique + n_either

    # -- steps ------------------------------------------------------------------------------------------------------

    def step(self, way: Way, char: str, back: str) -> Iterator[Way | None]:
        """The ways behind a character; None where the poem ends. back: the characters before it."""
        node = self.nodes[way.node]
        if not self.suits(node, char) or (node.again and back[-node.again] != char):
            return
        after = self._rhymed(way, node, char)
        if after is None:
            return
        if not node.then:
            yield None
        for then in node.then:
            ahead = after._replace(node=then)
            if self.open(ahead):
                yield ahead

    def _rhymed(self, way: Way, node: Node, char: str) -> Way | None:
        if not node.rhyme:
            return way
        i = self.letters.index(node.rhyme)
        parts = way.parts[i] & self.parts(char, node)
        if not parts or char in way.spent[i]:
            return None
        return Way(
            way.node,
            (*way.parts[:i], parts, *way.parts[i + 1 :]),
            (*way.spent[:i], way.spent[i] | {char}, *way.spent[i + 1 :]),
        )

    @cached_property
    def _chars(self) -> dict[Way, frozenset[str]]:
        return {}

    def offered(self, ways: Iterable[Way], back: str) -> frozenset[str]:
        """The characters that may come, all of which lead to an end."""
        plain, others = set[frozenset[str]](), []
        for way in ways:
            node = self.nodes[way.node]
            if node.said or node.again or node.rhyme:
                others.append(self.chars(way, back))
            else:
                plain.add(node.kinds)
        pool = self.pools(frozenset(plain)) if plain else frozenset[str]()
        return pool.union(*others) if others and not all(map(pool.issuperset, others)) else pool

    def chars(self, way: Way, back: str) -> frozenset[str]:
        """The same of one way."""
        node = self.nodes[way.node]
        if node.said or node.again:
            only = node.said or back[-node.again]
            return frozenset(only if any(True for _ in self.step(way, only, back)) else "")
        if way not in self._chars:
            self._chars[way] = self._feet(way, node, back)
        return self._chars[way]

    def _feet(self, way: Way, node: Node, back: str) -> frozenset[str]:
        """The rhyme words that may come: those of parts with words to spare, and of others those that are tried."""
        i = self.letters.index(node.rhyme)
        if node.near or len(node.kinds) != 1:
            sure, tried = frozenset[str](), self.pool(node.kinds)
        else:
            (kind,) = node.kinds
            sure = self._all_words(way.parts[i] & self._ample[i], kind) - way.spent[i]
            tried = self._all_words(way.parts[i] & ~self._ample[i], kind) - sure
        return sure.union(c for c in tried if any(True for _ in self.step(way, c, back)))

    def _all_words(self, parts: int, kind: str) -> frozenset[str]:
        return frozenset().union(*(self.words(part, kind) for part in _bits(parts)))

    @cached_property
    def _ample(self) -> tuple[int, ...]:
        """Of each letter: the parts, as bits, that have words enough whichever of them are taken."""
        found = []
        for letter in self.letters:
            feet = [node for node in self.nodes if node.rhyme == letter]
            if any(node.said or len(node.kinds) != 1 for node in feet):
                found.append(0)
                continue
            most = len({node.at for node in feet})
            kinds = {kind for node in feet for kind in node.kinds}
            parts = range(len(self.book.parts))
            found.append(sum(1 << p for p in parts if all(len(self.words(p, k)) >= most for k in kinds)))
        return tuple(found)


@dataclass(frozen=True)
class Verse(Rule):
    """A poem as far as it is said: `at` characters, `marked` of the marks behind the last of them.

    ways: none where it has ended. back: as many of the last characters as the form looks back.
    """

    law: Law
    at: int
    marked: int
    ways: frozenset[Way]
    back: str = ""

    @property
    def mark(self) -> str:
        """What is still to be written behind the last character."""
        return self.law.form.marks[self.at - 1][self.marked :] if self.at else ""

    def step(self, char: str) -> Verse | None:
        if mark := self.mark:
            return (
                Verse(self.law, self.at, self.marked + 1, self.ways, self.back) if char == mark[0] else None
            )
        ends = False
        ahead = set[Way]()
        for way in self.ways:
            for after in self.law.step(way, char, self.back):
                ends |= after is None
                ahead |= {after} if after else set()
        if not (ahead or ends):
            return None
        back = (self.back + char)[-self.law.graph.memory :] if self.law.graph.memory else ""
        return Verse(self.law, self.at + 1, 0, frozenset(ahead), back)

    def complete(self) -> bool:
        return self.at == self.law.form.size and not self.mark

    def chars(self) -> Collection[str]:
        if mark := self.mark:
            return mark[0]
        return self.law.offered(self.ways, self.back)

    def __str__(self) -> str:
        return f"{self.law.form.name} {self.at}/{self.law.form.size}"


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@cache
def _neighbours(book: Book) -> tuple[int, ...]:
    """Of each part: itself and its neighbours, as bits."""
    masks = [1 << i for i in range(len(book.parts))]
    if book.name == "平水韵":
        level = {name[-1]: i for i, name in enumerate(book.parts) if "声" not in name}
        for names in NEIGHBOURS:
            together = sum(1 << level[name] for name in names)
            for name in names:
                masks[level[name]] |= together
    return tuple(masks)
