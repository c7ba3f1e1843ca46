"""The graph of a form: a node for each character of each pattern, ways to the next, what the feet ahead ask.

What is given stands in the nodes already, also where the form says it again. Which characters have which tone and
rhyme is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from haina.apps.poem.form import Form, Slot
from haina.text.hanzi import EITHER, LEVEL, OBLIQUE


class Node(NamedTuple):
    """One character of one pattern. kinds: tones it must have, all of them. said: the character that is given."""

    at: int
    kinds: frozenset[str]
    rhyme: str
    near: bool
    again: int
    said: str
    then: tuple[int, ...]  # nodes; none: the end


class Need(NamedTuple):
    """What the feet ahead ask of one rhyme: so many free words of each kind, and the words that are given."""

    rhyme: str
    free: tuple[int, int, int] = (0, 0, 0)  # level, oblique, either
    given: tuple[tuple[str, str], ...] = ()  # word and kind, sorted
    near: frozenset[str] = frozenset()  # given words that need a neighbouring part only

    def along(self, node: Node) -> Need:
        """With the foot of a node before those ahead."""
        kind = next(iter(node.kinds)) if len(node.kinds) == 1 else EITHER
        if node.said and node.near:
            return self._replace(near=self.near | {node.said})
        if node.said:
            return self._replace(given=tuple(sorted([*self.given, (node.said, kind)])))
        if node.near:
            return self
        level, oblique, either = (
            count + (kind == own) for count, own in zip(self.free, (LEVEL, OBLIQUE, EITHER), strict=True)
        )
        return self._replace(free=(level, oblique, either))


Needs = tuple[Need, ...]  # of each rhyme one


@dataclass(frozen=True, eq=False)
class Graph:
    """nodes: each behind those that follow it. entries: where poems begin."""

    form: Form
    asked: Mapping[int, str]

    @cached_property
    def _made(self) -> tuple[tuple[Node, ...], tuple[int, ...]]:
        nodes: list[Node] = []
        entries: list[int] = []
        for pattern in self.form.patterns:
            then: tuple[int, ...] = ()
            at = self.form.size
            for couplet in reversed(pattern):
                at -= len(couplet[0])
                then = tuple(self._chain(nodes, way, at, then) for way in couplet)
            entries += then
        return tuple(nodes), tuple(entries)

    def _chain(self, nodes: list[Node], slots: tuple[Slot, ...], at: int, then: tuple[int, ...]) -> int:
        """Nodes for one way of a couplet; the first one's number. What is said again must suit both places."""
        kinds = [{slot.kind} - {EITHER} for slot in slots]
        rhymes = [slot.rhyme for slot in slots]
        for i in reversed(range(len(slots))):
            if slots[i].again:
                source = i - slots[i].again
                kinds[source] |= kinds[i]
                rhymes[source], rhymes[i] = rhymes[source] or rhymes[i], ""
        for i in reversed(range(len(slots))):
            slot, said = slots[i], self.given.get(at + i, "")
            nodes.append(Node(at + i, frozenset(kinds[i]), rhymes[i], slot.near, slot.again, said, then))
            then = (len(nodes) - 1,)
        return then[0]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self._made[0]

    @property
    def entries(self) -> tuple[int, ...]:
        return self._made[1]

    @cached_property
    def letters(self) -> tuple[str, ...]:
        return tuple(sorted({node.rhyme for node in self.nodes if node.rhyme}))

    @cached_property
    def memory(self) -> int:
        """How many characters back the form looks."""
        return max((node.again for node in self.nodes), default=0)

    @cached_property
    def given(self) -> dict[int, str]:
        """Given characters, also where they are said again."""
        given = dict(self.asked)
        for i, source in reversed(self._again):
            if i in given:
                given.setdefault(source, given[i])
        for i, source in self._again:
            if source in given:
                given.setdefault(i, given[source])
        return given

    @property
    def agrees(self) -> bool:
        """Whether the same is given wherever the form says something again."""
        return all(self.given[i] == self.given.get(source) for i, source in self._again if i in self.given)

    @cached_property
    def _again(self) -> list[tuple[int, int]]:
        """Places that say again what stood at earlier ones; forms with such have one pattern."""
        slots = self.form.patterns[0][0][0]
        return [(i, i - slot.again) for i, slot in enumerate(slots) if slot.again]

    def needs(self, shut: Callable[[Node], bool]) -> tuple[frozenset[Needs], ...]:
        """Of each node: what the feet from it on ask, for each way to the end that no `shut` node bars."""
        found: list[frozenset[Needs]] = []
        for node in self.nodes:
            ahead = [needs for then in node.then for needs in found[then]] if node.then else [()]
            found.append(frozenset() if shut(node) else frozenset(_with(needs, node) for needs in ahead))
        return tuple(found)


def _with(needs: Needs, node: Node) -> Needs:
    """What the feet behind a node ask, and its own."""
    if not node.rhyme:
        return needs
    own = next((need for need in needs if need.rhyme == node.rhyme), Need(node.rhyme))
    return (*(need for need in needs if need.rhyme != node.rhyme), own.along(node))
