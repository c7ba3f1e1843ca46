"""Measure the server: `python -m bench.serving`. Beside its own engine called directly, and beside llama.cpp's server.

Every round holds one of each side; the clients (load.py) are on the same cores as the server, whoever's it is. Models:
the embedded one, and the shape of a 7B with random weights in w4. Writes docs/benchmarks-serving.md.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.inference import kept
from bench.load import Answer, Crowd, crowd, stream
from bench.machine import Rounds, Spread, describe, interleave, seconds
from bench.others import peer
from bench.parts import embedded_gguf
from bench.report import Report, Section, at_least, at_most
from bench.servers import END, SAMPLING, Ours, Server, Theirs, Used
from bench.setup import EMBEDDED, Bench
from haina.apps.model import Model, load_model, opened
from haina.engine.request import Request
from haina.engine.sampling import Sampling
from haina.options.models import ModelOptions

PROMPT = 16  # tokens, never the same twice
ROOM = {"embedded": 512, "7b": 256, "tiny": 256}  # tokens of a conversation
NEW = {"embedded": 256, "7b": 48, "tiny": 48}  # tokens of an answer alone and among 64
PEER_NEW = {"embedded": 256, "7b": 32, "tiny": 32}
MANY = 64
AT_ONCE = (8, 32)
FIRSTS = 24  # answers of one token, in a round
QUEUE, TIMES, COMING = 8, 10, 400  # room, how many times too many come, and how many that is
ASKED = Sampling(**SAMPLING, repetition_penalty=1.05, logit_bias=((END, -100.0),))


class Figures(NamedTuple):
    """Of one crowd."""

    crowd: Crowd
    used: Used


class Sides:
    """One model behind each server, and in an engine of this process; whatever is not asked for is not started."""

    def __init__(self, bench: Bench, size: str, program: Path | None):
        self.bench, self.size, self._program = bench, size, program
        self._random = np.random.default_rng(0)
        self._running = ExitStack()
        self.found: dict[str, list[Figures]] = {}

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    @cached_property
    def folder(self) -> Path:
        return EMBEDDED if self.size == "embedded" else self.bench.files(self.size)[0]

    @cached_property
    def engine(self) -> Model:
        """As `haina serve` opens it."""
        options = ModelOptions(threads=self.bench.threads, context=ROOM[self.size])
        return load_model(opened(self.folder), options, conversations=MANY)

    @cached_property
    def ours(self) -> Server:
        server = Ours(self.folder, self.bench.folder, self.bench.threads, tokens=ROOM[self.size])
        return self._running.enter_context(server)

    @cached_property
    def theirs(self) -> Server:
        assert self._program
        kind = "Q8_0"  # as w8
        files = self.bench.files
        file = embedded_gguf(self.bench, kind) if self.size == "embedded" else files(self.size)[1]
        room, threads = ROOM[self.size], self.bench.threads
        server = Theirs(self._program, file, threads, at_once=max(AT_ONCE), tokens=room)
        return self._running.enter_context(server)

    def direct(self, count: int, tokens: int) -> None:
        """So many requests at once to their ends, without a server."""
        requests = [Request(ids, tokens, ASKED, stop_ids=frozenset({END})) for ids in self._prompts(count)]
        heard = sum(1 for _ in self.engine.engine.generate(requests))
        assert heard == count * tokens

    def asked(self, server: Server, name: str, count: int, tokens: int) -> None:
        """The same of a server; what came of it is in `found[name]`."""
        before = server.used()
        answers = crowd(server.port, self.bodies(server, count, tokens))
        used = Used(*(after - start for after, start in zip(server.used(), before, strict=True)))
        assert answers.tokens == count * tokens, f"{name}: {answers.tokens} tokens, not {count * tokens}"
        self.found.setdefault(name, []).append(Figures(answers, used))

    def bodies(self, server: Server, count: int, tokens: int) -> list[dict[str, Any]]:
        """Of requests that nobody has made before."""
        return [server.body(ids, tokens) for ids in self._prompts(count)]

    def _prompts(self, count: int) -> Iterable[tuple[int, ...]]:
        vocabulary = self.engine.checkpoint.config.vocab_size
        for _ in range(count):
            yield tuple(self._random.integers(300, vocabulary, PROMPT).tolist())

    def counted(self, name: str) -> Iterator[Figures]:
        """Without the round that does not count."""
        return itertools.islice(self.found[name], 1, None)


def run(sides: Sides, works: dict[str, Callable[[], object]]) -> Rounds:
    bench = sides.bench
    return interleave(bench.rounds, works, bench.machine.read_rate)


def overhead(sides: Sides) -> Section:
    """One stream, and the seconds to the first byte."""
    new, size = NEW[sides.size], sides.size
    found = run(
        sides,
        {"engine": partial(sides.direct, 1, new), "server": partial(sides.asked, sides.ours, "one", 1, new)},
    )
    share = found.ratio("engine", "server")
    beyond_ms = Spread.middle(_beyond_ms(sides))
    rows = [[name, f"{new / found.median_s(name):.1f}", ""] for name in ("engine", "server")]
    rows[1][2] = str(share)
    goals = [at_most(f"{size}: ms to the first byte beyond the engine", beyond_ms, 2.0)]
    if size != "embedded":
        goals.append(at_least(f"{size}: tokens/s of the server / of the engine", share, 0.97))
    note = (
        f"One stream of {new} tokens after {PROMPT}, connection and prompt included. To the first byte: {FIRSTS} "
        "answers of one token a round, each beside the engine's own; median and quartiles."
    )
    return Section(f"{size}: one stream", note, ["side", "tokens/s", "of the engine's"], rows, goals)


def _beyond_ms(sides: Sides) -> Iterator[float]:
    for _ in range(FIRSTS * sides.bench.rounds):
        direct_s = seconds(partial(sides.direct, 1, 1))
        seconds(partial(sides.asked, sides.ours, "first", 1, 1))
        yield 1e3 * (sides.found["first"][-1].crowd.waits_s[0] - direct_s)


def many(sides: Sides) -> Section:
    """64 streams at once, beside the engine with 64 requests."""
    new = NEW[sides.size]
    found = run(
        sides,
        {
            "engine": partial(sides.direct, MANY, new),
            "server": partial(sides.asked, sides.ours, "many", MANY, new),
        },
    )
    share, answers = found.ratio("engine", "server"), list(sides.counted("many"))
    evenness = Spread.of(f.crowd.unevenness for f in answers)
    whole_us, first_us = (
        Spread.of(1e6 * getattr(f.used, name) / f.crowd.tokens for f in answers) for name in Used._fields
    )
    rows = [[name, f"{MANY * new / found.median_s(name):.0f}", ""] for name in ("engine", "server")]
    rows[1][2] = f"{whole_us}, of it outside the engine's thread {first_us}"
    goals = [
        at_least(f"{sides.size}: tokens/s of {MANY} streams / of the engine", share, 0.6),
        at_most(f"{sides.size}: of {MANY} streams, most tokens / fewest", evenness, 1.5),
    ]
    note = (
        f"{MANY} clients on the same cores, {new} tokens each. Most and fewest: tokens of a stream at the moment when "
        "the first of them ends."
    )
    header = ["side", "tokens/s", "µs of CPU a token"]
    return Section(f"{sides.size}: {MANY} streams at once", note, header, rows, goals)


def against(sides: Sides) -> Section:
    """Ours and llama.cpp's under the same load."""
    new, rows, goals = PEER_NEW[sides.size], [], []
    for count in AT_ONCE:
        names = {"haina": sides.ours, "llama.cpp": sides.theirs}
        found = run(
            sides,
            {
                name: partial(sides.asked, server, f"{name} {count}", count, new)
                for name, server in names.items()
            },
        )
        waits = {name: _p99_s(sides.counted(f"{name} {count}")) for name in names}
        for name in names:
            used_us = Spread.of(
                1e6 * f.used.whole_s / f.crowd.tokens for f in sides.counted(f"{name} {count}")
            )
            rate = f"{count * new / found.median_s(name):.0f}"
            rows.append([str(count), name, rate, f"{1e3 * statistics.median(waits[name]):.0f}", str(used_us)])
        later = Spread.of(a / b for a, b in zip(waits["llama.cpp"], waits["haina"], strict=True))
        what = f"{sides.size}, {count} clients / llama.cpp's server"
        goals.append(at_least(f"{what}: tokens/s", found.ratio("llama.cpp", "haina"), 1.0))
        goals.append(at_least(f"{what}: how much sooner the first token, p99", later, 1.0))
    note = (
        f"{PROMPT} tokens, {new} new ones each, all asked at once; continuous batching on both sides. The first token: "
        "the 99th percentile of a round, connection included; the median of the rounds."
    )
    header = ["clients", "server", "tokens/s", "ms to the first token, p99", "µs of CPU a token"]
    return Section(f"{sides.size}: beside llama.cpp's server", note, header, rows, goals)


def overload(sides: Sides) -> Section:
    """Ten times as many come as can be served: how soon they hear of it. Those let in are served to their end."""
    new = NEW[sides.size] // 4
    found: list[list[Answer]] = []
    with Ours(
        sides.folder, sides.bench.folder, sides.bench.threads, tokens=ROOM[sides.size], queue=QUEUE
    ) as server:
        for _ in range(sides.bench.rounds + 1):
            each_s = seconds(partial(crowd, server.port, sides.bodies(server, QUEUE, new))) / QUEUE
            found.append(stream(server.port, sides.bodies(server, COMING, new), each_s / TIMES))
    rounds = found[1:]
    assert all(answer.tokens == new for answers in rounds for answer in answers if answer.served)
    waits_ms = [[1e3 * (a.heard_s - a.asked_s) for a in answers if not a.served] for answers in rounds]
    middle, last = (Spread.of(float(np.quantile(ms, q)) for ms in waits_ms) for q in (0.5, 0.99))
    served = Spread.of(sum(a.served for a in answers) for answers in rounds)
    rows = [[str(COMING), str(served), str(middle), str(last)]]
    note = (
        f"--queue {QUEUE}; {COMING} clients, one after another, {TIMES} times as fast as {QUEUE} at once are answered "
        f"({new} tokens). The others are told 429, connection included. All that were let in got all their tokens."
    )
    header = ["clients", "served", "ms until turned away, median", "p99"]
    goal = at_most(f"{sides.size}: {TIMES} times too many, ms until turned away, p99", last, 20)
    return Section(f"{sides.size}: overload", note, header, rows, [goal])


def _p99_s(found: Iterable[Figures]) -> list[float]:
    return [float(np.quantile(figures.crowd.waits_s, 0.99)) for figures in found]


def main() -> None:
    options = parser().parse_args()
    with options.folder or tempfile.TemporaryDirectory(prefix="haina-bench-") as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        bench = Bench(Path(folder), options.threads, options.rounds, options.layers)
        about = [
            *describe(options.threads),
            f"{options.rounds} rounds; the 7B shape with {options.layers} layers",
        ]
        program = Path(options.peer) if options.peer else None
        sections: list[Section] = []
        for size in options.sizes.split(","):
            works = [overhead, many, overload] if size == "embedded" else [overhead]
            works += [against] if program and peer else []
            with Sides(bench, size, program) as sides:
                for work in works:
                    sections.append(work(sides))
                    Report("python -m bench.serving", about, sections).write(options.out)
                    print(f"{sections[-1].title}: {options.out}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m bench.serving", description=(__doc__ or "").splitlines()[0]
    )
    add = found.add_argument
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=5)
    add("--sizes", default="embedded,7b")
    add("--layers", type=int, default=8, help="of the 7B shape")
    add("--peer", default=shutil.which("llama-server"), help="llama.cpp's server; without it ours runs alone")
    add("--folder", type=kept, help="keep the models here; else in a temporary folder (3 GB)")
    add("--out", type=Path, default="docs/benchmarks-serving.md")
    return found


if __name__ == "__main__":
    main()
