"""How many threads a run on a CPU computes with: what is asked for, what it began with, or what is faster just now.

torch cuts an operation into as many parts as it has threads, and all wait for the last one. On a machine that does
other work, too, the last one waits for a core: two threads on two busy cores have been thirty times slower than one.
Sums depend on how they are cut, so a run keeps its number, or it would not resume bitwise. It knows no run: what it
tries is a small network with as many tokens at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.train.objectives import next_token
from haina.train.plan import Size, shape

TRY_S = 0.3
CLEARLY = 1.15  # times as fast, before several threads are taken
MOST_WIDTH, MOST_TOKENS = 512, 1024  # from there on products are all of the work


def choose(asked: int | None, before: int, config: ModelConfig, device: str, tokens: int) -> int:
    """Set torch's threads and give their number. before: of the run, 0 if it begins now; tokens: computed at once."""
    most = torch.get_num_threads()
    measured = device == "cpu" and most > 1
    chosen = asked or before or (faster(most, config.hidden_size, tokens) if measured else most)
    torch.set_num_threads(chosen)
    return chosen


def faster(most: int, width: int, tokens: int) -> int:
    """`most` if it clearly does more steps in a while, else 1; each is tried twice."""
    step, done = a_step(min(width, MOST_WIDTH) // 64 * 64, min(tokens, MOST_TOKENS)), {1: 0.0, most: 0.0}
    for threads in (1, most, 1, most):
        done[threads] += pace(step, threads)
    return most if done[most] > CLEARLY * done[1] else 1


def a_step(width: int, tokens: int) -> Callable[[], None]:
    """Forward and backward through two blocks of at most so wide a network."""
    width = max(64, width)
    size = Size(width, 3 * width, 2, width // 64, 1024, tokens, tokens, tokens, 0.0)
    decoder = Decoder(shape(size, 1024, length=tokens, position="rope", head="plain")).initialise(seed=0)
    ids_BT = torch.zeros(1, tokens, dtype=torch.long)

    def step() -> None:
        next_token(decoder, {"ids_BT": ids_BT, "targets_BT": ids_BT})[1].backward()

    return step


def pace(step: Callable[[], None], threads: int) -> float:
    """Steps a second, after a first one."""
    torch.set_num_threads(threads)
    step()
    began, done = time.perf_counter(), 0
    while not done or time.perf_counter() - began < TRY_S:
        step()
        done += 1
    return done / (time.perf_counter() - began)
