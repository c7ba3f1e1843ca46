"""NativeRunner on the embedded model: what a Step asks for, a few ids alone, and pages copied for a fork."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import haina
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.runner import Out, Step
from haina.engine.runner_native import NativeRunner
from haina.native.binding import CacheDtype

WEIGHTS = Path(haina.__file__).parent / "weights"
PROMPT = list(range(300, 340))  # a page of 32 tokens, and eight


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def make(cache_dtype: CacheDtype) -> NativeRunner:
    checkpoint = Checkpoint.open(str(WEIGHTS))
    return NativeRunner(
        checkpoint, bits=8, cache_tokens=256, cache_dtype=cache_dtype, threads=2, progress=None
    )


def feed(runner: NativeRunner, pages: list[int], ids: list[int], at: int = 0) -> Out:
    """One row: the logits of its last token, and the states of all."""
    return runner.step(
        Step(
            ids_N=int32(*ids),
            at_N=int32(*range(at, at + len(ids))),
            row_start_B1=int32(0, len(ids)),
            pages=int32(*pages),
            page_start_B1=int32(0, len(pages)),
            want_M=int32(len(ids) - 1),
            hidden_M=int32(*range(len(ids))),
        )
    )


def test_states_give_the_logits_of_a_step() -> None:
    runner = make("F16")
    logits_MV, hidden_MD = feed(runner, [3, 1], PROMPT)
    assert logits_MV.shape == (1, 6144) and hidden_MD.shape == (40, 192)
    ids = np.sort(np.random.default_rng(0).permutation(6144)[:500]).astype(np.int32)
    assert runner.head(hidden_MD[-1:], ids).tobytes() == logits_MV[:, ids].tobytes()
    assert runner.head(hidden_MD, ids)[-1].tobytes() == logits_MV[0, ids].tobytes()


@pytest.mark.parametrize("cache_dtype", ["F16", "I8"])
def test_a_fork_goes_on_from_copied_pages(cache_dtype: CacheDtype) -> None:
    runner = make(cache_dtype)
    feed(runner, [3, 1], PROMPT)
    runner.copy([1], [6])
    first = feed(runner, [3, 1], [7, 8], at=40).logits_MV  # the original first: its page is its own
    fork = feed(runner, [3, 6], [9], at=40).logits_MV
    assert feed(make(cache_dtype), [0, 1], [*PROMPT, 7, 8]).logits_MV.tobytes() == first.tobytes()
    assert feed(make(cache_dtype), [0, 1], [*PROMPT, 9]).logits_MV.tobytes() == fork.tobytes()
