"""How sure a figure is: 95 % intervals of shares and of ratios of sums. It does not know what is counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # of 95 %
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure, of n things, that lies between low and high with 95 % confidence."""

    value: float
    low: float
    high: float
    n: int


def share(hits: float, n: int) -> Estimate:
    """How many of n, as E. B. Wilson has it (JASA 22, 1927): honest where none or all are hits."""
    p, z2 = hits / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Estimate(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)), n)


def ratio(above: np.ndarray, below: np.ndarray, *, seed: int = 0) -> Estimate:
    """Σ above / Σ below over things drawn together, documents above all: percentiles of the bootstrap (Efron 1979)."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    drawn = np.random.default_rng(seed).integers(0, len(above), (RESAMPLES, len(above)))
    found = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
    low, high = np.percentile(found, [2.5, 97.5])
    return Estimate(float(above.sum() / below.sum()), float(low), float(high), len(above))


def typical(values: np.ndarray, *, seed: int = 0) -> Estimate:
    """The median, with percentiles of its bootstrap."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(np.asarray(values)[drawn], axis=1), [2.5, 97.5])
    return Estimate(float(np.median(values)), float(low), float(high), len(values))
