"""Measure haina's inference against llama.cpp and the limits of this machine: `python -m bench.inference`.

Every section (whole.py, parts.py, quality.py) runs both sides interleaved and says which figures of issue 3 it
decides; report.py writes docs/benchmarks.md and its picture. Without the packages of the `bench` extra our side is
measured alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from bench.machine import describe
from bench.others import peer
from bench.parts import conversion, embedded, products
from bench.quality import quality
from bench.report import Report, Section
from bench.setup import Bench
from bench.whole import decode, prefill, resident


def main() -> None:
    options = parser().parse_args()
    with options.folder or tempfile.TemporaryDirectory(prefix="haina-bench-") as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        bench = Bench(Path(folder), options.threads, options.rounds, options.layers)
        sections, about = [limits(bench)], machine(options)
        for section in options.sections.split(","):
            sections += run_section(bench, section, options)
            Report("python -m bench.inference", about, sections).write(
                options.out
            )  # what there is so far: a run takes half an hour
            print(f"{section}: {len(sections)} tables in {options.out}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m bench.inference", description=(__doc__ or "").splitlines()[0]
    )
    add = found.add_argument
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=7, help="of a decode timing; a third as many of a prefill")
    add("--sizes", default="7b,13b")
    add("--layers", type=int, help="fewer layers than published, for a quick look")
    add("--sections", default="decode,prefill,products,memory,embedded,conversion,quality")
    add("--folder", type=kept, help="keep the models here; else in a temporary folder (15 GB)")
    add("--data", type=Path, default=os.environ.get("HAINA_DATA", "../shared/data"))
    add("--run", type=Path, default="runs/brook", help="the training run of the embedded model")
    add("--out", type=Path, default="docs/benchmarks.md")
    return found


def kept(folder: str) -> nullcontext[str]:
    return nullcontext(folder)


def machine(options: argparse.Namespace) -> list[str]:
    """Lines that say on what, against what and how it was measured."""
    other = peer.describe() if peer else "llama.cpp is not installed (`pip install .[bench]`): ours alone"
    layers = options.layers or "as published, or as many as memory holds twice"
    return [*describe(options.threads), other, f"{options.rounds} rounds; layers: {layers}"]


def run_section(bench: Bench, section: str, options: argparse.Namespace) -> list[Section]:
    sizes = options.sizes.split(",")
    if section == "decode":
        return [decode(bench, size) for size in sizes]
    if section == "prefill":
        return [prefill(bench, size) for size in sizes]
    if section == "products":
        return [products(bench, sizes[-1])]
    if section == "memory":
        return [resident(bench, sizes[-1])]
    if section == "embedded":
        return [embedded(bench)]
    if section == "conversion":
        return [conversion(bench, sizes[0])]
    return quality(bench, options.run, options.data)


def limits(bench: Bench) -> Section:
    rows = [[name, f"{ops / 1e9:.0f} Gop/s"] for name, ops in bench.machine.peaks().items()]
    rows.append(["memory, read", f"{bench.machine.read_rate() / 1e9:.1f} GB/s"])
    note = f"{bench.threads} threads, at the start; both are measured again around every timing."
    return Section("Limits of this machine", note, ["what", "at most"], rows)


if __name__ == "__main__":
    main()
