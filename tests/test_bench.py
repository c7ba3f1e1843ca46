"""The benchmarks run, in the smallest dose, and write their page; figures of a test machine mean nothing."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = ("decode", "prefill", "products", "embedded", "conversion")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the benchmarks and without haina's sources: they are to find the installed package."""
    shutil.copytree(ROOT / "bench", tmp_path / "bench")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "bench"]:
        del sys.modules[name]


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "c++")), reason="no C++ compiler")
def test_every_section_of_a_tiny_run_is_on_the_page(bench: Path) -> None:
    out = bench / "page.md"
    options = ["--sizes", "tiny", "--rounds", "1", "--sections", ",".join(SECTIONS), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "bench.inference", *options], check=True, cwd=bench)
    page = out.read_text("utf-8")
    for title in (
        "Limits of this machine",
        "tiny: decoding",
        "tiny: prefill",
        "tiny: matrix products",
        "Conversion",
    ):
        assert f"## {title}" in page
    assert "| tiny step of 4 / step of one | ≤ 1.2 |" in page
    assert "| vpmaddubsw" in page or "| vpdpbusd" in page or "| sdot" in page
    assert out.with_suffix(".png").stat().st_size > 1000


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "c++")), reason="no C++ compiler")
def test_the_engine_is_measured_too(bench: Path) -> None:
    out = bench / "engine.md"
    options = ["--sizes", "tiny", "--rounds", "2", "--data", "nowhere", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "bench.engine", *options], check=True, cwd=bench)
    page = out.read_text("utf-8")
    for title in ("tiny: many at once", "tiny: a prefix", "tiny: prompt lookup"):
        assert f"## {title}" in page
    assert "| tiny: tokens/s of 8 requests / of one | ≥ 2.5 |" in page and "≤ 0.06" in page


def test_ratios_are_taken_within_a_round(bench: Path) -> None:
    machine = importlib.import_module("bench.machine")
    rounds = machine.Rounds({"a": [1.0, 2.0, 3.0], "b": [2.0, 8.0, 3.0]}, {"a": [1.0, 1.0, 2.0]})
    ratio = rounds.ratio("b", "a")
    assert (ratio.low, ratio.median, ratio.high) == (1.0, 2.0, 4.0)
    assert rounds.share("a", 6.0).median == 3.0


def test_the_divergence_is_that_of_the_definition(bench: Path) -> None:
    quality = importlib.import_module("bench.quality")
    p, q = (np.log(np.array([row], np.float32)) + 3 for row in ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25]))
    expected = 0.5 * np.log(2) + 0.25 * np.log(0.5)
    assert quality.divergence(iter([p]), iter([q])) == pytest.approx(expected, rel=1e-6)
    assert quality.divergence(iter([p]), iter([p])) == pytest.approx(0, abs=1e-9)


def test_bits_count_what_lies_in_the_files(bench: Path) -> None:
    quality = importlib.import_module("bench.quality")
    sizes = {"in": (8, 8), "mid": (4, 8), "out": (16, 8)}
    assert quality._bits(sizes, ("in", "out")) == (4.0, (8.0, 16.0), pytest.approx(28 / 3))
