"""This machine as the benchmarks see it: its name, its instruction sets, its limits, and timing in pairs.

Speeds of memory move by a factor of two within minutes, so nothing here is timed alone: every round holds a reading
of the memory, ours, and theirs, and what is reported is the ratio within a round, with its spread. It does not know
models. Each side is given a pause to put its threads to sleep before the other is timed; both libraries spin a while
after their work, and a spinning thread slows the other side down by half.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from ctypes import CDLL, c_char_p, c_double
from dataclasses import dataclass
from pathlib import Path

from haina.native.machine import ISAS, has_isa

PAUSE_S = 0.02
READINGS = 3
# What the kernels can use, in /proc/cpuinfo's words.
FLAGS = (
    "avx2 fma f16c avx_vnni avx512f avx512bw avx512vl avx512_vnni avx512_bf16 amx_int8 asimddp i8mm".split()
)


class Machine:
    """The limits of this machine with so many threads, measured by bench/peaks.cpp. Compiles it into `folder`."""

    def __init__(self, threads: int, folder: Path):
        library = folder / "peaks.so"
        source = Path(__file__).with_name("peaks.cpp")
        compiler = os.environ.get("CXX", "c++")
        subprocess.run(
            [compiler, "-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", source, "-o", library], check=True
        )
        self.threads = threads
        self._peaks = CDLL(str(library))
        self._peaks.peak_name.restype = c_char_p
        self._peaks.peak_ops.restype = self._peaks.read_rate.restype = c_double

    def read_rate(self) -> float:
        """Bytes a second read from memory, now: the best of a few readings, each a tenth of a second or less."""
        return max(float(self._peaks.read_rate(self.threads)) for _ in range(READINGS))

    def int8_peak(self) -> float:
        """int8 operations a second, now, by the best instruction that this machine has."""
        best = next(i for i, name in enumerate(self._names()) if name)
        return max(float(self._peaks.peak_ops(best, self.threads)) for _ in range(READINGS))

    def peaks(self) -> dict[str, float]:
        """Operations a second by instruction, int8 first, the fastest of each kind first."""
        return {
            name: max(self._peaks.peak_ops(i, self.threads) for _ in range(READINGS))
            for i, name in enumerate(self._names())
            if name
        }

    def _names(self) -> list[str]:
        """Of all that peaks.cpp knows; empty where this machine has not the instruction."""
        names: list[str] = []
        while (name := self._peaks.peak_name(len(names))) is not None:
            names.append(name.decode())
        return names


def describe(threads: int) -> list[str]:
    """Lines that say what this machine is, and how busy."""
    sets = " ".join(isa for isa in ISAS if isa != "best" and has_isa(isa))
    found = _cpuinfo("flags") or _cpuinfo("Features")
    flags = " ".join(flag for flag in FLAGS if flag in found.split())
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return [
        f"{platform.machine()}, {_cpuinfo('model name') or platform.processor()}, {os.cpu_count()} CPUs, "
        f"{threads} threads used; load average at the start {load:.1f}",
        f"instruction sets: {flags or 'unknown'}; haina's kernels here: {sets}",
    ]


def _cpuinfo(key: str) -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


@dataclass(frozen=True)
class Spread:
    """Of several rounds: median, smallest, largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    @classmethod
    def middle(cls, values: Iterable[float]) -> Spread:
        """Of many: median and quartiles."""
        low, median, high = statistics.quantiles(values, n=4)
        return cls(median, low, high)

    def times(self, factor: float) -> Spread:
        return Spread(factor * self.median, factor * self.low, factor * self.high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass(frozen=True)
class Rounds:
    """Seconds of each work in each round, and what the yardstick read around it."""

    seconds: dict[str, list[float]]
    yardstick: dict[str, list[float]]

    def median_s(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, slower: str, faster: str) -> Spread:
        """Seconds of one work per second of another in the same round."""
        pairs = zip(self.seconds[slower], self.seconds[faster], strict=True)
        return Spread.of(a / b for a, b in pairs)

    def share(self, name: str, amount: float) -> Spread:
        """amount / second of a work, in units of the yardstick in the same round."""
        pairs = zip(self.seconds[name], self.yardstick[name], strict=True)
        return Spread.of(amount / s / rate for s, rate in pairs)


def interleave(rounds: int, works: dict[str, Callable[[], object]], yardstick: Callable[[], float]) -> Rounds:
    """Time every work once a round, the yardstick (a rate) before and after it; one more round does not count."""
    found = Rounds({name: [] for name in works}, {name: [] for name in works})
    for number in range(rounds + 1):
        before = yardstick()
        for name, work in works.items():
            s = seconds(work)
            after = yardstick()
            if number:
                found.seconds[name].append(s)
                found.yardstick[name].append(max(before, after))
            before = after
    return found


def seconds(work: Callable[[], object]) -> float:
    """Of one call, after a pause for the threads of whoever worked before."""
    time.sleep(PAUSE_S)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
