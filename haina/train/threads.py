"""How many threads a run on a CPU computes with: what is asked for, what it began with, or what is faster just now.

torch cuts an operation into as many parts as it has threads, and all wait for the last one. On a machine that does
other work, too, the last one waits for a core: two threads on two busy cores have been thirty times slower than one.
Sums depend on how they are cut, so a run keeps its number, or it would not resume bitwise. It knows no run.
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from haina.model.config import ModelConfig

TRY_S = 0.3  # with each number of threads
TRY_ROWS = 512


def choose(asked: int | None, before: int, config: ModelConfig, device: str) -> int:
    """Set torch's threads and give their number. before: of the run, 0 if it begins now."""
    most = torch.get_num_threads()
    chosen = asked or before or (faster(most, config) if device == "cpu" and most > 1 else most)
    torch.set_num_threads(chosen)
    return chosen


def faster(most: int, config: ModelConfig) -> int:
    """1 or `most`, by which more of the work of a block is done in TRY_S."""
    return max((1, most), key=lambda threads: rounds(threads, config.hidden_size, config.intermediate_size))


@torch.no_grad()
def rounds(threads: int, width: int, ffn: int) -> float:
    """How often in a second rows pass products and what lies between them, as in a block."""
    torch.set_num_threads(threads)
    x_ND, up_FD, down_DF = torch.randn(TRY_ROWS, width), torch.randn(ffn, width), torch.randn(width, ffn)
    began, done = time.perf_counter(), 0
    while not done or time.perf_counter() - began < TRY_S:
        F.rms_norm(F.silu(x_ND @ up_FD.T) @ down_DF.T, (width,))
        done += 1
    return done / (time.perf_counter() - began)
