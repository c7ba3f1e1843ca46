"""Soak: requests of random lengths come and go, a third of them in mid-air, and nothing is lost, doubled or leaked."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Request, Token
from haina.engine.sampling import Sampling

REQUESTS = 1000 * int(os.environ.get("HAINA_TORTURE", 1))  # 20,000 by `make torture`
CANCELLED = 0.3
AT_ONCE = 24
CACHE_TOKENS = 1500  # of which requests at once would like more than twice as much


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_nothing_is_lost_doubled_or_leaked(small: Checkpoint) -> None:
    engine = Engine.open(small, cache_bytes=CACHE_TOKENS * 2 * 2 * 2 * 48, threads=1)
    random = np.random.default_rng(0)
    lengths: dict[int, int] = {}  # of the answers in flight, at most
    heard: dict[int, int] = {}
    ended = cancelled = made = 0
    warm_bytes = 0
    while made < REQUESTS or engine.busy:
        while made < REQUESTS and len(lengths) < AT_ONCE:
            request = wish(random)
            number = engine.add(request)
            lengths[number], heard[number] = min(request.max_new_tokens, 1024 - len(request.ids)), 0
            made += 1
            if made == REQUESTS // 2:
                warm_bytes = resident_bytes()
        for token in engine.step():
            assert isinstance(token, Token) and token.finish != "error"
            heard[token.request] += 1
            if token.finish:
                assert heard.pop(token.request) == lengths.pop(token.request) or token.finish == "loop"
                ended += 1
        if lengths and random.random() < CANCELLED * AT_ONCE / 80:
            number = int(random.choice(list(lengths)))
            engine.cancel(number)
            del lengths[number], heard[number]
            cancelled += 1
    assert ended + cancelled == REQUESTS and not lengths
    assert engine.pages.free == engine.pages.count and not any(engine.pages.readers)
    assert cancelled / REQUESTS == pytest.approx(CANCELLED, abs=0.15)
    assert engine.counts.preempted > 0 and engine.counts.shared > 0
    assert resident_bytes() < 1.01 * warm_bytes


def wish(random: np.random.Generator) -> Request:
    shared = tuple(range(5, 5 + int(random.integers(0, 100))))
    own = tuple(random.integers(3, 560, 1 + int(random.exponential(20))).tolist())
    new = 1 + int(random.exponential(30))
    return Request((*shared, *own), new, Sampling(seed=int(random.integers(1 << 30))))
