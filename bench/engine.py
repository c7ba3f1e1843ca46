"""Measure the engine: `python -m bench.engine`. Many requests at once, what scheduling costs, prefixes, guesses.

Both sides of every ratio are ours and of one run; what is asked is issue 4's. Models: the embedded one, and the shape
of a 7B with random weights in w4. Writes docs/benchmarks-engine.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bench.constraints import constraints
from bench.inference import kept
from bench.machine import Spread, describe, interleave
from bench.ours import write_random
from bench.report import Report, Section, at_least, at_most
from bench.setup import EMBEDDED, Bench
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Request
from haina.engine.runner import Out, Runner, Step
from haina.engine.sampling import Sampling
from haina.engine.speculate import Speculation

SAMPLED = Sampling(temperature=0.8, top_k=50, top_p=0.9, repetition_penalty=1.05, seed=1)
GREEDY = Sampling(temperature=0)
AT_ONCE = (1, 4, 8)
NEW_TOKENS = {"embedded": 128, "7b": 32, "tiny": 12}
PROMPT = 16
PREFIX, QUESTION = 2000, 16  # the prefix is shorter where the context is
COPIED, EDIT_EVERY = 120, 12


class Timed:
    """A runner that counts the seconds spent in it."""

    def __init__(self, runner: Runner):
        self.runner, self.pages, self.page_tokens = runner, runner.pages, runner.page_tokens
        self.copy = runner.copy
        self.seconds = 0.0

    def step(self, step: Step) -> Out:
        start = time.perf_counter()
        out = self.runner.step(step)
        self.seconds += time.perf_counter() - start
        return out

    def head(self, hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return self.runner.head(hidden_MD, ids)


class Model:
    """A checkpoint with one set of weights and as many engines over it as are asked for."""

    def __init__(self, name: str, folder: Path, threads: int, *, tokens: int):
        checkpoint = Checkpoint.open(folder)
        n_bytes = checkpoint.config.kv_bytes_per_token(2) * tokens
        opened = Engine.open(checkpoint, cache_bytes=n_bytes, threads=threads)
        self.name, self.config, self.runner = name, opened.config, Timed(opened.runner)

    def engine(self, *, guesses: bool = False) -> Engine:
        """With an empty cache."""
        return Engine(self.config, self.runner, drafters=Speculation() if guesses else None)

    def ids(self, tokens: int, seed: int) -> tuple[int, ...]:
        found = np.random.default_rng(seed).integers(300, self.config.vocab_size, tokens)
        return tuple(map(int, found))


class Costs:
    """Of steps that fed one token to each of so many rows: seconds a row outside the runner, and the share of it."""

    def __init__(self) -> None:
        self.row_s: dict[int, list[float]] = {n: [] for n in AT_ONCE}
        self.share: dict[int, list[float]] = {n: [] for n in AT_ONCE}

    def note(self, rows: int, whole_s: float, outside_s: float) -> None:
        self.row_s[rows].append(outside_s / rows)
        self.share[rows].append(outside_s / whole_s)


def serve(model: Model, count: int, costs: Costs) -> None:
    """`count` requests to their ends."""
    engine = model.engine()
    for i in range(count):
        engine.add(Request(model.ids(PROMPT, i), NEW_TOKENS[model.name], SAMPLED, stop_loops=False))
    while engine.busy:
        in_runner, start = model.runner.seconds, time.perf_counter()
        rows = len(engine.step())
        whole_s = time.perf_counter() - start
        if rows == count:
            costs.note(rows, whole_s, whole_s - (model.runner.seconds - in_runner))


def many(bench: Bench, model: Model) -> Section:
    """Tokens a second of one, four and eight requests, prompts included."""
    costs, new = Costs(), NEW_TOKENS[model.name]
    works: dict[str, Callable[[], object]] = {str(n): partial(serve, model, n, costs) for n in AT_ONCE}
    found = interleave(bench.rounds, works, bench.machine.read_rate)
    gain = {n: found.ratio("1", str(n)).times(n) for n in AT_ONCE}
    row_ms = {n: Spread.middle(1e3 * s for s in costs.row_s[n]) for n in AT_ONCE}
    share = {n: Spread.middle(costs.share[n]) for n in AT_ONCE}
    rows = [
        [str(n), f"{n * new / found.median_s(str(n)):.1f}", str(gain[n]), str(row_ms[n]), str(share[n])]
        for n in AT_ONCE
    ]
    goals = [at_least(f"{model.name}: tokens/s of 8 requests / of one", gain[8], 2.5)]
    if model.name == "embedded":
        goals.append(at_most("embedded: ms a row outside the network", row_ms[8], 0.3))
    else:
        goals.append(at_most(f"{model.name}: share of a step outside the network", share[1], 0.05))
    note = f"Prompts of {PROMPT} tokens, {new} new ones each, drawn (temperature, top-k, top-p, penalty)."
    header = ["requests", "tokens/s", "× one", "ms a row outside the network", "share of the step"]
    return Section(f"{model.name}: many at once", note, header, rows, goals)


def prefix(bench: Bench, model: Model) -> Section:
    """Seconds to the first token after a long prefix that is new, and one that was read before."""
    length = min(PREFIX, model.config.max_position_embeddings - 2 * QUESTION)
    shared, warm = model.ids(length, 0), model.engine()
    questions = iter(range(1000))

    def first(engine: Engine) -> None:
        request = Request((*shared, *model.ids(QUESTION, 1 + next(questions))), 1, GREEDY)
        list(engine.generate([request]))

    first(warm)
    works: dict[str, Callable[[], object]] = {
        "cached": lambda: first(warm),
        "new": lambda: first(_forgotten(warm)),
    }
    found = interleave(max(2, bench.rounds // 2), works, bench.machine.read_rate)
    share = found.ratio("cached", "new")
    rows = [[name, f"{1e3 * found.median_s(name):.0f}"] for name in ("new", "cached")]
    note = f"A prefix of {length} tokens, then a question of {QUESTION}; one request at a time."
    goal = at_most(f"{model.name}: time to first token, cached / new prefix", share, 0.05)
    return Section(f"{model.name}: a prefix", note, ["prefix", "ms to the first token"], rows, [goal])


def _forgotten(engine: Engine) -> Engine:
    engine.pages.forget()
    return engine


class Copying:
    """A runner whose model repeats a given text, but for an edit here and there; its work is the real one's."""

    def __init__(self, runner: Runner, text: tuple[int, ...]):
        self.runner, self.text = runner, text
        self.pages, self.page_tokens = runner.pages, runner.page_tokens
        self.head, self.copy = runner.head, runner.copy

    def step(self, step: Step) -> Out:
        out = self.runner.step(step)
        for logits_V, at in zip(out.logits_MV, step.at_N[step.want_M], strict=True):
            logits_V[self.text[at + 1]] = 1e9
        return out


def guesses(bench: Bench, model: Model) -> Section:
    """Greedy answers with prompt lookup and without: a text copied with edits, and one that never repeats itself."""
    original, new = model.ids(COPIED, 7), model.ids(COPIED + PROMPT, 8)
    edited = tuple(new[i] if i % EDIT_EVERY == EDIT_EVERY - 1 else id for i, id in enumerate(original))
    rows, goals = [], []
    for task, prompt, said, asked in (
        ("a text with edits", original, edited, 2.0),
        ("no repetition", new[:PROMPT], new[PROMPT:], 0.97),
    ):
        runner = Copying(model.runner, (*prompt, *said, 0))
        works: dict[str, Callable[[], object]] = {
            name: partial(_answer, Engine(model.config, runner, drafters=drafters), prompt, len(said))
            for name, drafters in (("plain", None), ("guessing", Speculation()))
        }
        ratio = interleave(bench.rounds, works, bench.machine.read_rate).ratio("plain", "guessing")
        rows.append([task, str(ratio)])
        goals.append(at_least(f"{model.name}: {task}, with guesses / without", ratio, asked))
    note = (
        f"Greedy, {COPIED} tokens; of the copy every {EDIT_EVERY}th token is another. What the model says is given, "
        "what it costs to say it is not. The tokens are the same with guesses and without."
    )
    return Section(f"{model.name}: prompt lookup", note, ["task", "× plain"], rows, goals)


def _answer(engine: Engine, prompt: tuple[int, ...], tokens: int) -> None:
    list(engine.generate([Request(prompt, tokens, GREEDY, stop_loops=False)]))


def main() -> None:
    options = parser().parse_args()
    with options.folder or tempfile.TemporaryDirectory(prefix="haina-bench-") as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        bench = Bench(Path(folder), options.threads, options.rounds, options.layers)
        about = [*describe(options.threads), f"{options.rounds} rounds"]
        sections: list[Section] = []
        for size in options.sizes.split(","):
            model = opened(bench, size)
            for section in (many, prefix, guesses):
                sections.append(section(bench, model))
                Report("python -m bench.engine", about, sections).write(options.out)
                print(f"{sections[-1].title}: {options.out}", file=sys.stderr)
        sections.append(constraints(bench, options.data))
        Report("python -m bench.engine", about, sections).write(options.out)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m bench.engine", description=(__doc__ or "").splitlines()[0]
    )
    add = found.add_argument
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=5)
    add("--sizes", default="embedded,7b")
    add("--layers", type=int, help="fewer layers than published, for a quick look")
    add("--data", type=Path, default=os.environ.get("HAINA_DATA", "../shared/data"))
    add("--folder", type=kept, help="keep the models here; else in a temporary folder (4 GB)")
    add("--out", type=Path, default="docs/benchmarks-engine.md")
    return found


def opened(bench: Bench, size: str) -> Model:
    """The embedded model, or random weights in w4 in a published shape."""
    if size == "embedded":
        return Model(size, EMBEDDED, bench.threads, tokens=8 * 512)
    config = bench.config(size)
    folder = bench.folder / f"{size}-{config.num_hidden_layers}"
    if not folder.exists():
        write_random(folder, config)
    return Model(size, folder, bench.threads, tokens=PREFIX + 512)


if __name__ == "__main__":
    main()
