"""The sparse head: the logits of a few ids have the bits of a whole step, whatever the weights lie in."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from haina.native import kernels, reference
from haina.native.binding import Matrix, forward
from haina.native.head import head
from haina.native.packing import PACKED, assemble, integers, pack

RANDOM = np.random.default_rng(6)
DTYPES = ["F32", "F16", "BF16", *PACKED]


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def some_ids(rows: int) -> list[np.ndarray]:
    """None, one, a few in order, all in disorder, and each more than once."""
    few = np.sort(RANDOM.permutation(rows)[: rows // 3 + 1])
    every = [[], [rows - 1], few, RANDOM.permutation(rows), RANDOM.integers(0, rows, 2 * rows)]
    return [np.array(ids, np.int32) for ids in every]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, cols", [(1, 1), (33, 40), (64, 513), (70, 1100), (300, 700)])
def test_rows_have_the_bits_of_the_whole_product(isa, dtype, rows, cols, matrix) -> None:
    w = matrix(normal(rows, cols), dtype)
    for tokens in (0, 1, 5, 50):
        x = normal(tokens, cols)
        whole = kernels.matmul(w, x, isa=isa)
        for ids in some_ids(rows):
            y = head(w.c(), x, ids, isa=isa, threads=1 + ids.size % 3)
            assert y.shape == (tokens, ids.size) and y.tobytes() == whole[:, ids].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_the_reference(isa, dtype, matrix) -> None:
    w, x = matrix(normal(70, 600), dtype), normal(3, 600)
    for ids in some_ids(70):
        expected = reference.head(w, x, ids)
        np.testing.assert_allclose(head(w.c(), x, ids, isa=isa), expected, atol=1e-4 * (dtype not in PACKED))


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_states_of_a_step_give_its_logits(isa, dtype, tied, alibi, Tiny, Rows) -> None:
    tiny = Tiny(dtype=dtype, alibi=alibi)
    if tied:
        del tiny.tensors["lm_head.weight"]
    rows, each = Rows(tiny.model()), np.arange(9, dtype=np.int32)
    starts = {"row_start_B1": np.array([0, 9], np.int32), "page_start_B1": np.array([0, 1], np.int32)}
    step = {"ids": each, "at": each, "pages": each[:1]} | starts
    logits, hidden = forward(rows.model, rows.cache, **step, want=each, hidden=each, isa=isa)
    for ids in some_ids(37):
        assert head(rows.model.c.head, hidden, ids, isa=isa).tobytes() == logits[:, ids].tobytes()


def test_a_bad_row_shows_where_it_is_named_alone(isa) -> None:
    q, s, scale = integers("W4", pack("W4", normal(40, 700)), 40, 700)
    scale[7] = np.nan
    bad = Matrix("W4", assemble("W4", q, s, scale), 40, 700)
    ids = np.array([6, 8, 7, 39], np.int32)
    assert np.isnan(head(bad.c(), normal(2, 700), ids, isa=isa)).tolist() == [[False, False, True, False]] * 2


@pytest.mark.parametrize("dtype", ["BF16", "W8"])
def test_few_rows_cost_little(dtype, matrix) -> None:
    """40 rows of 32,000 in less than a quarter of them all. CPU time, so that a busy machine does not matter."""
    w, x, ids = matrix(normal(32_000, 512), dtype), normal(1, 512), np.arange(0, 32_000, 800, dtype=np.int32)

    def cpu_s(work: Callable[[], object]) -> float:
        start = time.thread_time()
        work()
        return time.thread_time() - start

    few, all_rows = (lambda: head(w.c(), x, ids, threads=1)), (lambda: kernels.matmul(w, x))
    assert 4 * min(cpu_s(few) for _ in range(9)) < min(cpu_s(all_rows) for _ in range(9))


@pytest.mark.parametrize(
    "name, change",
    [
        ("ids", {"ids": np.array([3, 37], np.int32)}),
        ("ids", {"ids": np.array([-1], np.int32)}),
        ("ids", {"ids": np.array([1, 2])}),
        ("ids", {"ids": np.zeros(8, np.int32)[::2]}),
        ("ids", {"ids": [1, 2]}),
        ("hidden_MD", {"hidden_MD": np.zeros((2, 45), np.float32)}),
        ("hidden_MD", {"hidden_MD": np.zeros(44, np.float32)}),
        ("hidden_MD", {"hidden_MD": np.zeros((2, 44))}),
        ("hidden_MD", {"hidden_MD": np.zeros((44, 2), np.float32).T}),
        ("threads", {"threads": 0}),
        ("isa", {"isa": "mmx"}),
    ],
)
def test_what_cannot_be_asked_is_refused(name, change, Tiny) -> None:
    model = Tiny().model()
    good = {"hidden_MD": np.zeros((2, 44), np.float32), "ids": np.arange(3, dtype=np.int32)}
    with pytest.raises(ValueError, match=f"^{name}: [^\n]*$"):
        head(model.c.head, **(good | change))
