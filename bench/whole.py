"""Whole models in Baichuan's shapes: decoding, prefill, resident memory. Weights are random, files are complete.

What is left out on both sides: the choice of the next token. Every step returns its logits to Python.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.machine import Rounds, interleave
from bench.memory import measure
from bench.others import peer
from bench.ours import HEAD, Ours, decode_bytes, matrices
from bench.report import Goal, Section, at_least, at_most
from bench.setup import SHAPES, Bench
from haina.model.config import ModelConfig

BATCHES = (1, 2, 4, 8)
STEPS = 3  # tokens made in one timing, for each sequence
CONTEXT = 64  # tokens seen before the first of them
PROMPT = 512
FED = 128  # tokens of the prompt where memory is measured: several of our steps
IDS = list(range(300, 300 + PROMPT))  # any will do
# Issue 3, "Figures to reach": of a batch, times the one-sequence step at most, times llama.cpp's speed at least.
BATCH_GOALS = {4: (1.2, 1.6), 8: (1.5, 2.4)}

Steps = dict[int, dict[str, Callable[[], object]]]


def decode(bench: Bench, size: str) -> Section:
    """Steps of 1, 2, 4 and 8 sequences, one token each, at 64 to 68 tokens of context."""
    config, (folder, file) = bench.config(size), bench.files(size)
    note = (
        f"{_shape(size, config)}; {CONTEXT} to {CONTEXT + STEPS} tokens of context, keys and values in F16."
    )
    with ExitStack() as stack:
        sides = [_our_steps(folder, bench.threads)]
        if peer:
            model = stack.enter_context(peer.Peer(file))
            note += f" llama.cpp: {'; '.join(model.buffers)}."
            sides.append(_their_steps(model, bench.threads))
        works = {name: work for n in BATCHES for side in sides for name, work in side[n].items()}
        found = interleave(bench.rounds, works, bench.machine.read_rate)
    header = ["sequences", "ours, ms a step", "tokens/s", "× one", "GB/s of weights", "of the read rate"]
    header += ["llama.cpp Q4_0, ms", "ratio"] if peer else []
    rows = [_decode_row(found, n, decode_bytes(config)) for n in BATCHES]
    return Section(
        f"{size}: decoding, w4", note, header, rows, _decode_goals(found, size, decode_bytes(config))
    )


def _our_steps(folder: Path, threads: int) -> Steps:
    """The work of each batch size, by its name."""
    ours = Ours(folder, sequences=max(BATCHES), tokens=2 * CONTEXT, threads=threads)
    for sequence in range(max(BATCHES)):
        ours.feed(IDS[:CONTEXT], 0, sequence=sequence)

    def run(n: int) -> None:
        for t in range(STEPS):
            ours.step(IDS[:n], CONTEXT + t)

    return {n: {f"ours {n}": partial(run, n)} for n in BATCHES}


def _their_steps(model: peer.Peer, threads: int) -> Steps:
    """The same; a context has exactly as many sequences as it serves, else llama.cpp would attend to empty ones."""
    contexts = {n: model.context(sequences=n, tokens=2 * CONTEXT, threads=threads) for n in BATCHES}
    for context in contexts.values():
        context.feed(IDS[:CONTEXT], 0)
        context.copy_sequence()

    def run(n: int) -> None:
        for t in range(STEPS):
            contexts[n].step(IDS[:n], CONTEXT + t)
        contexts[n].forget(CONTEXT)

    return {n: {f"theirs {n}": partial(run, n)} for n in BATCHES}


def _decode_row(found: Rounds, n: int, n_bytes: int) -> list[str]:
    s = found.median_s(f"ours {n}") / STEPS
    share = found.share(f"ours {n}", STEPS * n_bytes)
    row = [str(n), f"{s * 1e3:.0f}", f"{n / s:.2f}", str(found.ratio(f"ours {n}", "ours 1"))]
    row += [f"{n_bytes / s / 1e9:.1f}", str(share)]
    if peer:
        row += [
            f"{found.median_s(f'theirs {n}') / STEPS * 1e3:.0f}",
            str(found.ratio(f"theirs {n}", f"ours {n}")),
        ]
    return row


def _decode_goals(found: Rounds, size: str, n_bytes: int) -> list[Goal]:
    share = found.share("ours 1", STEPS * n_bytes)
    goals = [at_least(f"{size} decode: share of the read rate", share, 0.85)]
    if peer:
        goals.append(at_least(f"{size} decode / llama.cpp", found.ratio("theirs 1", "ours 1"), 1.1))
    for n, (cost, speed) in BATCH_GOALS.items():
        goals.append(at_most(f"{size} step of {n} / step of one", found.ratio(f"ours {n}", "ours 1"), cost))
        if peer:
            ratio = found.ratio(f"theirs {n}", f"ours {n}")
            goals.append(at_least(f"{size} decode of {n} / llama.cpp", ratio, speed))
    return goals


def _shape(size: str, config: ModelConfig) -> str:
    whole = SHAPES[size].num_hidden_layers
    layers = config.num_hidden_layers
    fewer = "" if layers == whole else f" of {whole}, both sides with rotary positions"
    return f"The shape of a Baichuan {size}, {layers} layers{fewer}, random weights"


def prefill(bench: Bench, size: str) -> Section:
    """512 tokens of a prompt, logits of the last."""
    config, (folder, file) = bench.config(size), bench.files(size)
    ours = Ours(folder, sequences=1, tokens=PROMPT, threads=bench.threads)
    works: dict[str, Callable[[], object]] = {"ours": lambda: ours.feed(IDS, 0)}
    with ExitStack() as stack:
        if peer:
            context = stack.enter_context(peer.Peer(file)).context(
                sequences=1, tokens=PROMPT, threads=bench.threads
            )

            def theirs() -> None:
                context.forget(0)
                context.feed(IDS, 0)

            works["theirs"] = theirs
        rounds = max(1, bench.rounds // 3)
        found = interleave(rounds, works, bench.machine.int8_peak)
    s = found.median_s("ours")
    operations = 2 * PROMPT * sum(rows * cols for name, rows, cols in matrices(config) if name != HEAD)
    row = [
        f"{s:.2f}",
        f"{PROMPT / s:.1f}",
        f"{operations / s / 1e9:.0f}",
        str(found.share("ours", operations)),
    ]
    header, goals = ["ours, s", "tokens/s", "Gop/s", "of the int8 peak"], []
    if peer:
        ratio = found.ratio("theirs", "ours")
        row += [f"{found.median_s('theirs'):.2f}", str(ratio)]
        header += ["llama.cpp Q4_0, s", "ratio"]
        goals.append(at_least(f"{size} prefill of {PROMPT} / llama.cpp", ratio, 2.5))
    note = (
        f"{_shape(size, config)}; the whole model in one step, its head for the last token; {rounds} rounds."
    )
    return Section(f"{size}: prefill of {PROMPT} tokens, w4", note, header, [row], goals)


def resident(bench: Bench, size: str) -> Section:
    """What a process holds after a prompt, keys and values in int8."""
    config, (folder, file) = bench.config(size), bench.files(size)
    whole = size == "13b" and config.num_hidden_layers == SHAPES[size].num_hidden_layers
    rows, goals = [], []
    for context, asked in ((PROMPT, 8.0), (4096, 9.4)):
        for side, path in (("ours", folder), ("llama.cpp", file))[: 2 if peer else 1]:
            found = measure(side, path, FED, context, bench.threads)
            cells = [found["RssAnon"], found["RssFile"], found["VmRSS"], found["VmHWM"]]
            rows.append([side, str(context), *(f"{n / 1e9:.2f}" for n in cells)])
            if side == "ours" and whole:
                goals.append(
                    Goal(
                        f"{size} w4, GB resident at {context} tokens (peak)",
                        found["VmHWM"] / 1e9,
                        asked,
                        most=True,
                    )
                )
    header = ["side", "context", "RssAnon GB", "RssFile GB", "RSS GB", "peak GB"]
    note = (
        f"{_shape(size, config)}. A process of its own for each; ours w4 with int8 keys and values, llama.cpp Q4_0 "
        "with Q8_0 keys and values, loaded as it loads by default. RssFile is the mapped model, which the system "
        "may drop."
    )
    return Section(f"{size}: resident memory", note, header, rows, goals)
