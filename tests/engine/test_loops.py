"""The loop detector: loops end, what people write does not."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest

import haina
from haina.data.read import rows
from haina.engine.loops import LOOP_ROUNDS, LOOP_TOKENS, PERIODS, ROUNDS, Loops
from haina.text.tokenizer import Tokenizer


def first_loop(ids: list[int]) -> int | None:
    """After how many tokens the detector says so."""
    loops = Loops()
    return next((count for count, id in enumerate(ids, 1) if loops.saw(id)), None)


def enough_tokens(period: int) -> int:
    return max(min(LOOP_TOKENS, LOOP_ROUNDS * period), ROUNDS * period)


@pytest.mark.parametrize("before", [0, 1, 700, 5000])
@pytest.mark.parametrize("period", [1, 2, 3, 7, 40, 255, 256, 400, PERIODS])
def test_a_loop_is_found_when_it_has_gone_on_long_enough(period: int, before: int) -> None:
    """Not a token earlier, wherever it begins, and again with every token after it."""
    random = np.random.default_rng(period)
    start = random.integers(100, 10_000, before).tolist()
    round_ = random.permutation(100)[: min(period, 100)].tolist() + list(range(20_000, 20_000 + period - 100))
    enough = enough_tokens(period)
    loops = Loops()
    said = [loops.saw(id) for id in start + (round_ * (enough // period + 2))[: enough + 10]]
    assert not any(said[: before + enough - 1])
    assert all(said[before + enough - 1 :])


def test_a_loop_that_is_left_is_none() -> None:
    loops = Loops()
    for i in range(10 * LOOP_ROUNDS):
        assert not loops.saw(7 if i % LOOP_ROUNDS else i)


def test_longer_rounds_than_it_knows_are_no_loop() -> None:
    assert first_loop(list(range(PERIODS + 1)) * 5) is None


ROW = [5, 6] * 20 + [7]  # 0, 0, …, 0 and the end of the line
ORDINARY = {
    "ha ha ha": [5, 6] * 100,
    "a list of 200 zeros": [1, *[5, 6] * 200, 2],
    "a table of 20 × 20 zeros": ROW * 20,
    "a ruled page": [5] * 80 + [6] + [7] * 80 + [6] + [5] * 80,
    "a numbered list": [token for i in range(300) for token in (1000 + i, 5, 6, 7, 8, 9)],
    "verses with a refrain": [
        token for verse in range(12) for token in (*range(2000 + 60 * verse, 2060 + 60 * verse), *range(40))
    ],
    "rows that differ in one number": [token for i in range(60) for token in (*ROW[:-1], 1000 + i, 7)],
}


@pytest.mark.parametrize("name", ORDINARY)
def test_what_people_ask_for_is_no_loop(name: str) -> None:
    assert first_loop(ORDINARY[name]) is None


@pytest.mark.parametrize(
    "file",
    [
        "poetry/valid/poems",
        "chat/valid/sft_zh",
        "chat/valid/sft_en",
        "text_zh/valid/misc",
        "text_en/valid/misc",
    ],
)
def test_what_people_write_is_no_loop(data: Path, file: str) -> None:
    """Texts one after another, as one long answer."""
    pytest.importorskip("zstandard")
    tokenizer = Tokenizer.open(Path(haina.__file__).parent / "weights" / "tokenizer.model")
    texts = (str(row) for row in islice(rows(data / f"{file}.jsonl.zst"), 200))
    assert first_loop(list(chain.from_iterable(map(tokenizer.encode, texts)))[:30_000]) is None


def test_a_fork_goes_its_own_way() -> None:
    loops = Loops()
    for _ in range(LOOP_ROUNDS - 1):
        assert not loops.saw(3)
    fork = loops.fork()
    assert not fork.saw(4)
    assert loops.saw(3)
    assert not fork.saw(3)
