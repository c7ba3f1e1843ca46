"""What vectors of words are learned from: running text, pieces, definitions, and the Chinese words of their terms."""

from __future__ import annotations

import numpy as np
import pytest

from haina.apps.words import company, text, vectors
from haina.apps.words.encoder import pieces
from haina.apps.words.vectors import Choices, Lists, Words


def rows(*lists: list[int]) -> Lists:
    starts = np.cumsum([0, *map(len, lists)])
    return Lists(np.array([value for one in lists for value in one], np.int64), starts)


def test_words_with_the_same_neighbours_lie_together() -> None:
    pytest.importorskip("scipy")
    animals = [f"the {word} ran through the green field and slept" for word in ("cat", "dog")]
    things = [f"he bought {word} bread from an old market stall" for word in ("rye", "white")]
    found = text.vectors([*animals, *things] * 3000, 8)
    assert found["cat"] @ found["dog"] > 0.4 > 0.2 > found["cat"] @ found["rye"]
    assert text.vectors(["once"], 8) == {}


def test_words_that_are_used_together_keep_company() -> None:
    pytest.importorskip("scipy")
    lines = ["下雨要撑雨伞", "下雨没有雨伞", "草原上有马", "马在草原跑", "他说好", "好的他说"]
    found = company.learn(lines * 30, ["下雨", "雨伞", "草原", "没有"])
    at = {word: row for row, word in enumerate(found.words)}
    together = found.vectors @ found.contexts.T
    assert together[at["雨伞"], at["下雨"]] > together[at["雨伞"], at["草原"]]
    assert "撑" in at and "伞" not in at  # the longest word is taken
    assert company.learn(["only English"], ["雨伞"]).words == []


def test_pieces() -> None:
    assert [*pieces("cat")] == ["<ca", "cat", "at>", "<cat", "cat>", "<cat>"]
    assert [*pieces("雨伞")] == ["雨", "伞", "雨伞"]


def test_a_term_is_put_as_one_of_its_own_words_alone() -> None:
    choices = Choices(rows([7, 8], [], [9]), np.cumsum([1.0, 3.0, 2.0]))
    drawn = choices.drawn(np.repeat([0, 1, 2], 400), np.random.default_rng(0)).reshape(3, 400)
    assert set(drawn[0]) == {7, 8} and set(drawn[1]) == {-1} and set(drawn[2]) == {9}
    assert 0.65 < np.mean(drawn[0] == 8) < 0.85


def test_a_word_without_definition_is_found_by_its_pieces_and_its_neighbours() -> None:
    """Terms 0-3 define words 0-3. Word 4 has the piece of word 1, word 5 stands in text where word 2 does."""
    told = np.zeros((6, 8), np.float32)
    told[[2, 5], 0] = 1
    named = Words(told, rows([0], [1], [], [3], [1], []), 4)
    defined = rows([0], [1], [2], [3])
    first = np.random.default_rng(3).standard_normal((5, 8), np.float32) / 4
    none = Choices(rows([], [], [], [], []), np.zeros(0))
    terms = vectors.learn(defined, defined, first, named, none, epochs=120)
    likeness = vectors.unit(terms[:4]) @ named.all(np.arange(6) < 4).T
    assert likeness[:, :4].argmax(1).tolist() == [0, 1, 2, 3]
    assert likeness[:, 4].argmax() == 1 and likeness[:, 5].argmax() == 2


def test_bytes_keep_directions() -> None:
    made = np.random.default_rng(0).standard_normal((5, 16), np.float32)
    values, scale = vectors.int8(made)
    assert np.abs(values * scale[:, None] - made).max() < 0.02
