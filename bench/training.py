"""The training step against transformers' and this machine's peak, the data path, and Muon against AdamW.

Writes docs/benchmarks-training.md: `python -m bench.training [--rounds N] [--batch ROWS] [--data FOLDER]`. Both sides
take the same network, batch, precision, AdamW and clipping; theirs is LlamaForCausalLM with labels in a plain loop,
which is what Trainer runs. Rounds are interleaved as everywhere in bench/.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import describe, interleave
from bench.report import Goal, Report, Section, at_least
from haina.data.encode import Encoding, write
from haina.data.pack import Batch, Samples
from haina.data.read import rows as read_rows
from haina.data.tokens import Tokens
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.text.vocabulary import learn
from haina.train.log import read_log
from haina.train.loop import Held, Task, Trainer, keep_freed_memory, train
from haina.train.objectives import next_token
from haina.train.plan import SIZES, flops_per_token, matmul_peak, shape
from haina.train.state import Progress, States

LENGTH, PIECES = 512, 16384
SMALL_STEPS = 160


@dataclass(frozen=True)
class Bench:
    rounds: int
    rows: int
    folder: Path
    tokens: Tokens


def step(bench: Bench) -> Section:
    """One optimiser step of 24 M parameters, fp32, AdamW."""
    config = shape(SIZES["m"], PIECES, length=LENGTH, position="rope", head="plain")
    with get_context("spawn").Pool(1, begin_theirs, (config, bench.rows)) as them:
        works: dict[str, Callable[[], object]] = {
            "transformers": lambda: them.apply(their_turn),
            "haina": ours(config, bench, Samples(bench.tokens, LENGTH)),
            "haina, a document a row": ours(config, bench, Whole(Samples(bench.tokens, LENGTH))),
        }
        found = interleave(bench.rounds, works, lambda: matmul_peak("cpu", torch.float32))
    tokens = bench.rows * LENGTH
    flops = flops_per_token(config, LENGTH) * tokens
    rows = [
        [
            name,
            f"{tokens / found.median_s(name):,.0f}",
            f"{flops / found.median_s(name) / 1e9:.0f}",
            str(found.ratio("transformers", name)),
            str(found.share(name, flops)),
        ]
        for name in works
    ]
    goals = [
        at_least("training step / transformers", found.ratio("transformers", "haina"), 1.3),
        at_least("training step: share of the peak of torch's products", found.share("haina", flops), 0.4),
    ]
    note = (
        f"{config.parameters / 1e6:.1f} M parameters ({config.hidden_size} × {config.num_hidden_layers}), "
        f"{bench.rows} rows of {LENGTH} tokens, fp32 (no bf16 here), fused AdamW, clip 1. Rows are packed with poems: "
        "ours attends inside each, theirs over the whole row; the last line is ours without documents. GFLOP/s count "
        "the causal half of whole rows for all. "
        "The peak is a product of two 1024 × 1024 matrices through torch, read in every round."
    )
    return Section("Training step", note, ["", "tokens/s", "GFLOP/s", "speed", "of the peak"], rows, goals)


their_step: Any = None


def begin_theirs(config: ModelConfig, rows: int) -> None:
    """Their side lives in a process of its own: ours tells the allocator to keep memory, which would help both."""
    global their_step
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers, num_attention_heads=config.num_attention_heads,
            max_position_embeddings=LENGTH, rms_norm_eps=config.rms_norm_eps, use_cache=False,
        )
    )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    ids = torch.randint(0, config.vocab_size, (rows, LENGTH))

    def work() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    their_step = work


def their_turn() -> None:
    their_step()


@dataclass(frozen=True)
class Whole:
    """The same rows, each taken for one document."""

    samples: Samples

    def batch(self, number: int, rows: int) -> Batch:
        batch = self.samples.batch(number, rows)
        firsts = np.zeros_like(batch.documents_BT)
        return replace(
            batch, documents_BT=firsts, positions_BT=firsts + np.arange(LENGTH, dtype=firsts.dtype)
        )


def ours(config: ModelConfig, bench: Bench, shown: Samples | Whole) -> Callable[[], object]:
    """A step of the loop itself, batch from the token folder included."""
    options = TrainOptions(rows=bench.rows, length=LENGTH, optimiser="adamw", spike_sigma=0.0)
    task = Task(Decoder(config).initialise(), shown, {}, next_token)
    trainer, now = Trainer(task, options, States(bench.folder / "none", 1)), Progress()

    def work() -> None:
        nonlocal now
        now, _ = trainer.step(now)

    return work


def data_path(bench: Bench) -> Section:
    """Rows from the token folder, against the step that they feed."""
    config = shape(SIZES["m"], PIECES, length=LENGTH, position="rope", head="plain")
    samples = Samples(bench.tokens, LENGTH)
    whole = ours(config, bench, samples)
    samples.batch(0, bench.rows)
    counter = iter(range(1, 1 << 20))
    works = {"batch": lambda: samples.batch(next(counter), bench.rows), "step": whole}
    found = interleave(bench.rounds, works, lambda: 1.0)
    share = found.ratio("batch", "step")
    rows = [
        [
            f"{found.median_s('batch') * 1e3:.1f}",
            f"{found.median_s('step') * 1e3:,.0f}",
            f"{share.median:.2%}",
        ]
    ]
    goal = Goal("data path, share of the training step", share.median, 0.02, most=True, spread=share)
    return Section(
        "Data path",
        f"{bench.rows} rows of {LENGTH} tokens.",
        ["batch, ms", "step, ms", "share"],
        rows,
        [goal],
    )


def muon(bench: Bench) -> Section:
    """Steps until Muon's held-out loss is that which AdamW, at the best of three rates, has at its end."""
    config = shape(SIZES["xs"], 8192, length=128, position="rope", head="plain")
    curves = {
        (name, lr): small_run(bench, config, name, lr)
        for name, lr in (("adamw", 3e-4), ("adamw", 1e-3), ("adamw", 3e-3), ("muon", 1e-2))
    }
    best = {
        n: min((k for k in curves if k[0] == n), key=lambda k: curves[k][-1][1]) for n in ("adamw", "muon")
    }
    target = curves[best["adamw"]][-1][1]
    reached = next((at for at, nats in curves[best["muon"]] if nats <= target), SMALL_STEPS)
    rows = [[f"{name} {lr:g}", f"{curve[-1][1]:.3f}"] for (name, lr), curve in curves.items()]
    goal = Goal("AdamW's steps / Muon's steps to the same held-out loss", SMALL_STEPS / reached, 1.0)
    note = (
        f"{config.parameters / 1e6:.1f} M parameters, {SMALL_STEPS} steps of 2,048 tokens, same order, one seed, each "
        f"with its own schedule to the end. Muon reaches AdamW's last loss ({target:.3f}) after {reached} steps, "
        "while its rate is still high."
    )
    return Section(
        "Muon against AdamW", note, ["optimiser, rate of the matrices", "held-out nats/token"], rows, [goal]
    )


def small_run(bench: Bench, config: ModelConfig, optimiser: Any, lr: float) -> list[tuple[int, float]]:
    """(step, held-out nats) along a run."""
    options = TrainOptions(
        steps=SMALL_STEPS, rows=16, length=128, optimiser=optimiser, matrix_lr=lr, other_lr=3e-3, warm_up=20,
        valid_every=10, log_every=10, save_every=SMALL_STEPS,
    )  # fmt: skip
    samples = Samples(bench.tokens, 128)
    held = Held([samples.at(range(-(n + 1) * 16 + 100_000, -n * 16 + 100_000)) for n in range(4)])
    folder = bench.folder / f"{optimiser}-{lr}"
    train(Task(Decoder(config).initialise(), samples, {"": held}, next_token), options, folder)
    return [
        (line["step"] + 1, line["valid_nats"])
        for line in read_log(folder / "log.jsonl")
        if "valid_nats" in line
    ]


def text(data: Path) -> Iterator[dict[str, str]]:
    for number, poem in enumerate(read_rows(data / "poetry" / "train" / "poems.jsonl.zst")):
        if number < 60_000:
            yield {"text": poem["title"] + "\n" + "\n".join(poem["lines"]), "domain": "verse"}


def encoded(data: Path, folder: Path) -> Tokens:
    """Verse as tokens, with a vocabulary of its own."""
    tokenizer = folder / "tokenizer.model"
    tokenizer.write_bytes(learn((row["text"] for row in text(data)), pieces=8192, coverage=0.9995))
    return write(text(data), folder / "tokens", Encoding(str(tokenizer)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="rows of 512 tokens")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks-training.md"))
    given = parser.parse_args()
    began = time.monotonic()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(given.rounds, given.batch, Path(place), encoded(given.data, Path(place)))
        sections = [work(bench) for work in (step, data_path, muon)]
    Report("python -m bench.training", describe(torch.get_num_threads()), sections).write(given.out)
    print(f"{given.out}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
