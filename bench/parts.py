"""What is not a large model: matrix products alone, the embedded model, conversion."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.machine import Rounds, interleave
from bench.others import openvino_peer, peer, write_gguf
from bench.ours import Ours, write_bf16
from bench.report import Goal, Section, at_least
from bench.setup import EMBEDDED, SHAPES, Bench, fewer_layers
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import convert
from haina.native import kernels
from haina.native.binding import Matrix

TOKENS = (1, 4, 8, 16, 32, 64, 128, 512)
CONTEXT = 64  # of the embedded model; as many tokens are made in one timing
IDS = list(range(300, 300 + CONTEXT))


def products(bench: Bench, size: str) -> Section:
    """The matrix products of one layer alone, activations rounded on the way; against OpenVINO if it is there."""
    folder, _ = bench.files(size)
    layer = Ours(folder, sequences=1, tokens=32, threads=bench.threads).layer_matrices(0)
    theirs = openvino_peer and openvino_peer.layer([(w.rows, w.cols) for w in layer], bench.threads)
    rows, goals = [], []
    for tokens in TOKENS:
        rng = np.random.default_rng(tokens)
        x = {cols: rng.standard_normal((tokens, cols), np.float32) for cols in {w.cols for w in layer}}
        works: dict[str, Callable[[], object]] = {"ours": partial(_all_products, layer, x, bench.threads)}
        works |= {"theirs": partial(theirs, x)} if theirs else {}
        found = interleave(max(3, bench.rounds // 2), works, bench.machine.int8_peak)
        share = found.share("ours", 2 * tokens * sum(w.rows * w.cols for w in layer))
        rows.append(_products_row(found, tokens, layer))
        if tokens == TOKENS[-1]:
            goals.append(at_least(f"{size} products, {tokens} tokens: share of the int8 peak", share, 0.7))
            if theirs:
                ratio = found.ratio("theirs", "ours")
                goals.append(at_least(f"{size} products, {tokens} tokens / OpenVINO int4", ratio, 1.0))
    header = ["tokens", "ours, ms", "GB/s of weights", "Gop/s", "of the int8 peak"]
    header += ["OpenVINO int4, ms", "ratio"] if theirs else []
    note = f"The seven matrices of one layer of a {size}, w4, one after the other."
    note += f" {openvino_peer.describe()}, groups of {openvino_peer.GROUP}." if theirs else ""
    return Section(f"{size}: matrix products alone", note, header, rows, goals)


def _all_products(layer: list[Matrix], x: dict[int, np.ndarray], threads: int) -> None:
    for w in layer:
        kernels.matmul(w, x[w.cols], threads=threads)


def _products_row(found: Rounds, tokens: int, layer: list[Matrix]) -> list[str]:
    s, operations = found.median_s("ours"), 2 * tokens * sum(w.rows * w.cols for w in layer)
    read = sum(w.data.nbytes for w in layer) / s
    row = [str(tokens), f"{s * 1e3:.1f}", f"{read / 1e9:.1f}", f"{operations / s / 1e9:.0f}"]
    row.append(str(found.share("ours", operations)))
    if "theirs" in found.seconds:
        row += [f"{found.median_s('theirs') * 1e3:.1f}", str(found.ratio("theirs", "ours"))]
    return row


def embedded(bench: Bench) -> Section:
    """The embedded model, one sequence: steps at 64 to 128 tokens of context."""
    ours = Ours(EMBEDDED, sequences=1, tokens=2 * CONTEXT, threads=bench.threads)
    ours.feed(IDS, 0)
    works: dict[str, Callable[[], object]] = {
        "haina w8": lambda: [ours.step(IDS[:1], CONTEXT + t) for t in range(CONTEXT)]
    }
    with ExitStack() as stack:
        for kind in ("Q8_0", "F16") if peer else ():
            model = stack.enter_context(peer.Peer(embedded_gguf(bench, kind)))
            context = model.context(sequences=1, tokens=2 * CONTEXT, threads=bench.threads)
            context.feed(IDS, 0)
            works[f"llama.cpp {kind}"] = partial(_their_steps, context)
        found = interleave(3 * bench.rounds, works, bench.machine.read_rate)
    ratios = {name: found.ratio(name, "haina w8") for name in works}
    rows = [[name, f"{CONTEXT / found.median_s(name):.0f}", str(ratio)] for name, ratio in ratios.items()]
    goals = [at_least(f"embedded model / {name}", ratio, 1.0) for name, ratio in list(ratios.items())[1:]]
    note = "haina-brook; both sides are called from Python, one call a token."
    return Section("The embedded model, one sequence", note, ["side", "tokens/s", "ratio"], rows, goals)


def embedded_gguf(bench: Bench, kind: str) -> Path:
    """The embedded model's weights in a type of llama.cpp's."""
    checkpoint = Checkpoint.open(EMBEDDED)
    exact, file = bench.folder / "embedded.gguf", bench.folder / f"embedded-{kind}.gguf"
    write_gguf.export(exact, checkpoint.config, {name: raw.float32() for name, raw in checkpoint.tensors()})
    peer.quantize(exact, file, kind, threads=bench.threads)
    return file


def _their_steps(context: peer.PeerContext) -> None:
    for t in range(CONTEXT):
        context.step(IDS[:1], CONTEXT + t)
    context.forget(CONTEXT)


def conversion(bench: Bench, size: str) -> Section:
    """bf16 → w4 and w8 of two layers of a shape."""
    config = replace(fewer_layers(SHAPES[size], 2), vocab_size=8192)  # two layers are most of it
    source = bench.folder / f"{size}-2-bf16"
    if not source.exists():
        write_bf16(source, config)
    megabytes = sum(file.stat().st_size for file in source.glob("*.safetensors")) / 1e6
    rows, goals = [], []
    for kind in ("w4", "w8"):
        target = bench.folder / f"converted-{kind}"
        shutil.rmtree(target, ignore_errors=True)
        cpu, wall = _cpu_s(), os.times().elapsed
        convert(Checkpoint.open(source), target, to=kind, threads=bench.threads)
        cpu, wall = _cpu_s() - cpu, os.times().elapsed - wall
        rows.append([kind, f"{megabytes / wall:.0f}", f"{megabytes / cpu:.0f}", f"{wall:.1f}"])
        goals.append(Goal(f"conversion to {kind}, MB of source a second and core", megabytes / cpu, 150))
    header = ["to", "MB/s", "MB/s a core (CPU time)", "s"]
    note = f"{megabytes:.0f} MB of bf16, two layers of a {size} and a small vocabulary, disk included."
    return Section("Conversion", note, header, rows, goals)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
