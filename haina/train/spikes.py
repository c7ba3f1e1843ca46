"""Whether a step may change the weights: not one whose loss or gradient is no number or far above the last ones.

The rule of OLMo-core's SkipStepOptimizer (allenai/OLMo-core src/olmo_core/optim/skip_step_optimizer.py): more than
six standard deviations above the mean of the last 128 steps. It knows numbers, neither steps nor weights.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

WINDOW = 128  # steps that are remembered
FEWEST = WINDOW // 2  # before that nothing is called a spike


def spike(recent: Sequence[tuple[float, float]], nats: float, norm: float, sigma: float) -> bool:
    """Whether (nats, norm) is no number, or above mean + sigma · deviation of `recent`. sigma 0: numbers never are."""
    if not (math.isfinite(nats) and math.isfinite(norm)):
        return True
    if not sigma or len(recent) < FEWEST:
        return False
    return any(
        value > statistics.fmean(before) + sigma * statistics.pstdev(before)
        for value, before in zip((nats, norm), zip(*recent, strict=True), strict=True)
    )
