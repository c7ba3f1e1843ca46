"""Rows by sample index: everything once an epoch, the same for every world size and after every restart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.data.pack import Batch, Samples
from haina.data.tokens import DOCUMENT, Tokens
from haina.text.messages import IGNORED


class Numbered(Tokens):
    """Documents whose every token tells which document and place it is: 1000 · document + place + 1."""

    def piece(self, document: int, at: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.arange(at, at + length, dtype=np.int32) + 1000 * document + 1
        last = at + length == self.documents["length"][document]
        return ids, np.append(ids[1:], IGNORED if last else ids[-1] + 1).astype(np.int32)


def numbered(
    lengths: list[int], weights: list[float] | None = None, domains: list[int] | None = None
) -> Tokens:
    documents = np.zeros(len(lengths), DOCUMENT)
    documents["length"] = lengths
    documents["weight"] = 1.0 if weights is None else weights
    documents["domain"] = 0 if domains is None else domains
    return Numbered(Path("tokens"), documents, {"domains": {"zh": {"tokens": 0}, "en": {"tokens": 0}}})


LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=25)


def epoch(samples: Samples, number: int) -> Batch:
    first = sum(samples.rows_of_epoch(n) for n in range(number))
    return samples.at(range(first, first + samples.rows_of_epoch(number)))


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 32), seed=st.integers(0, 3))
def test_every_token_is_seen_once_an_epoch(lengths: list[int], length: int, seed: int) -> None:
    samples = Samples(numbered(lengths), length, seed=seed)
    every = [1000 * n + place + 1 for n, size in enumerate(lengths) for place in range(size)]
    for number in (0, 1):
        batch = epoch(samples, number)
        assert sorted(batch.ids_BT[batch.ids_BT > 0].tolist()) == every
        learnt = batch.targets_BT[batch.targets_BT != IGNORED]
        assert sorted(learnt.tolist()) == [id for id in every if id % 1000 != 1]


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 32))
def test_documents_are_told_apart_and_counted_from_zero(lengths: list[int], length: int) -> None:
    batch = epoch(Samples(numbered(lengths), length), 0)
    for ids, documents, positions in zip(batch.ids_BT, batch.documents_BT, batch.positions_BT, strict=True):
        for number in range(documents.max() + 1):
            here = documents == number
            assert positions[here].tolist() == list(range(here.sum()))
            piece = ids[here]
            assert not piece.any() or (np.diff(piece) == 1).all()


@settings(max_examples=25, deadline=None)
@given(lengths=LENGTHS, step=st.integers(0, 9), parts=st.sampled_from([1, 2, 4]))
def test_a_batch_is_the_same_in_however_many_parts(lengths: list[int], step: int, parts: int) -> None:
    whole = Samples(numbered(lengths), 16, seed=7).batch(step, 4)
    own = 4 // parts
    fresh = [Samples(numbered(lengths), 16, seed=7).batch(step * parts + n, own) for n in range(parts)]
    for name, column in vars(whole).items():
        assert (np.concatenate([getattr(part, name) for part in fresh]) == column).all()


def test_order_and_company_change_with_the_epoch_and_the_seed() -> None:
    samples, other = (Samples(numbered([5] * 60), 16, seed=seed) for seed in (0, 1))
    first, second, third = epoch(samples, 0).ids_BT, epoch(samples, 1).ids_BT, epoch(other, 0).ids_BT
    assert not (first == second).all() and not (first == third).all()


def test_weights_are_times_per_epoch() -> None:
    """A weight of 2.5 is seen twice or three times, the same each time it is asked for."""
    count, epochs = 40, 20
    tokens = numbered([3] * count * 2, [2.5] * count + [1.0] * count, [0] * count + [1] * count)
    samples = Samples(tokens, 8, mixture={"en": 0.25})
    seen: list[Counter[int]] = []
    for number in range(epochs):
        ids = epoch(samples, number).ids_BT
        seen.append(Counter((ids[ids % 1000 == 1] // 1000).tolist()))
    assert {times[n] for times in seen for n in range(count)} == {2, 3}
    assert {times[n] for times in seen for n in range(count, 2 * count)} == {0, 1}
    assert sum(times[n] for times in seen for n in range(count)) / (count * epochs) == pytest.approx(
        2.5, abs=0.1
    )
    assert (epoch(samples, 3).ids_BT == epoch(Samples(tokens, 8, mixture={"en": 0.25}), 3).ids_BT).all()


@pytest.mark.parametrize(
    ("mixture", "words"),
    [
        ({"fr": 1.0}, "no domain fr; there are: zh, en"),
        ({"zh": -1.0}, "weight of zh is -1"),
        ({"zh": float("nan")}, "weight of zh is nan"),
        ({"zh": 0.0}, "nothing to show"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(mixture: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Samples(numbered([5] * 3), 8, mixture=mixture)
