"""The only training loop: batches by index → gradient → step, with a log, exact resume and a clean stop.

An objective is a function; recipes choose the network, the rows and the numbers. The loop does not know what
the tokens mean, where they come from or what the weights are for. A run lives in a folder:
    run.json            the options, written before the first step
    log.jsonl           a line every `log_every` steps: step, tokens, nats (train), valid_nats, seconds
    state.safetensors   weights, optimiser state and the step, replaced atomically; a run resumes from it
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from haina.data.pack import Rows
from haina.model.decoder import Decoder
from haina.options import TrainOptions
from haina.train.optim import optimisers, schedule

Objective = Callable[[Decoder, Tensor, Tensor], tuple[Tensor, Tensor]]


def train(
    decoder: Decoder, rows: Rows, valid: Rows, objective: Objective, options: TrainOptions, folder: Path
) -> None:
    """Run `options.steps` steps from wherever the run in `folder` stands; the decoder holds the result."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(asdict(options), indent=1) + "\n")
    both = optimisers(
        decoder, matrix_lr=options.matrix_lr, other_lr=options.other_lr, weight_decay=options.weight_decay
    )
    first = resume(decoder, both, folder)
    log = Log(folder, options, first)
    loss_of = torch.compile(objective) if options.compile else objective
    saved = time.monotonic()
    end = min(options.steps, options.stop_after or options.steps)
    for step in range(first, end):
        nats = one_step(decoder, both, rows, loss_of, options, step)
        last = step + 1 == end
        scored = None
        if step % options.valid_every == 0 or last:
            scored = evaluate(decoder, valid, objective, options)
        if step % options.log_every == 0 or last:
            log.write(step, nats, scored)
        if last or time.monotonic() - saved > options.save_every_s:
            save(decoder, both, step + 1, folder)
            saved = time.monotonic()


def one_step(
    decoder: Decoder,
    both: list[torch.optim.Optimizer],
    rows: Rows,
    loss_of: Objective,
    options: TrainOptions,
    step: int,
) -> float:
    """One batch in `options.accumulate` parts, one clipped step of each optimiser; returns nats per token."""
    share = schedule(step, options.steps, warm_up=options.warm_up)
    for optimiser in both:
        for group in optimiser.param_groups:
            group["lr"] = group["peak_lr"] * share
    total = 0.0
    for part in range(options.accumulate):
        ids, targets = rows.batch(step * options.accumulate + part, options.rows, seed=options.seed)
        nats, loss = loss_of(decoder, torch.from_numpy(ids.astype("int64")), torch.from_numpy(targets).long())
        (loss / options.accumulate).backward()
        total += nats.item() / options.accumulate
    if total != total:
        raise FloatingPointError(
            f"step {step}: the loss is not a number; lower the learning rates and resume"
        )
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), options.clip)
    for optimiser in both:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return total


@torch.no_grad()
def evaluate(decoder: Decoder, valid: Rows, objective: Objective, options: TrainOptions) -> float:
    """Nats per learned token over all validation rows."""
    total = learned = 0.0
    for at in range(0, len(valid.ids_NT), options.rows):
        targets = torch.from_numpy(valid.targets_NT[at : at + options.rows]).long()
        ids = torch.from_numpy(valid.ids_NT[at : at + options.rows].astype("int64"))
        count = (targets >= 0).sum().item()
        total += objective(decoder, ids, targets)[0].item() * count
        learned += count
    return total / learned


class Log:
    """log.jsonl of a run: lines after the step it resumes from are dropped, its clocks go on from the last one."""

    def __init__(self, folder: Path, options: TrainOptions, first: int):
        self.file, self.options = folder / "log.jsonl", options
        text = self.file.read_text("utf-8") if self.file.exists() else ""
        kept = [line for line in map(json.loads, text.splitlines()) if line["step"] < first]
        self.file.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        before = kept[-1] if kept else {"seconds": 0.0, "cpu_s": 0.0}
        self.began = time.monotonic() - before["seconds"]
        self.cpu_began = time.process_time() - before["cpu_s"]

    def write(self, step: int, nats: float, valid_nats: float | None) -> None:
        tokens = (step + 1) * self.options.rows * self.options.accumulate * self.options.length
        line: dict[str, float] = {"step": step, "tokens": tokens, "nats": round(nats, 4)}
        line["seconds"] = round(time.monotonic() - self.began, 1)
        line["cpu_s"] = round(time.process_time() - self.cpu_began, 1)
        if valid_nats is not None:
            line["valid_nats"] = round(valid_nats, 4)
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(" ".join(f"{key} {value}" for key, value in line.items()), flush=True)


def save(decoder: Decoder, both: list[torch.optim.Optimizer], step: int, folder: Path) -> None:
    """Write the state beside the old one, then take its place: a kill leaves one or the other."""
    state = {f"model.{name}": p.detach() for name, p in decoder.named_parameters()}
    for number, optimiser in enumerate(both):
        for index, values in optimiser.state_dict()["state"].items():
            state |= {
                f"optim.{number}.{index}.{key}": torch.as_tensor(value) for key, value in values.items()
            }
    new = folder / "state.new"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, new, {"step": str(step)})
    os.replace(new, folder / "state.safetensors")


def resume(decoder: Decoder, both: list[torch.optim.Optimizer], folder: Path) -> int:
    """Load the state of an earlier run, if there is one; returns the next step."""
    file = folder / "state.safetensors"
    if not file.exists():
        return 0
    state = load_file(file)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            parameter.copy_(state[f"model.{name}"])
    for number, optimiser in enumerate(both):
        values: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            if key.startswith(f"optim.{number}."):
                _, _, index, name = key.split(".")
                values.setdefault(int(index), {})[name] = tensor
        optimiser.load_state_dict({"state": values, "param_groups": optimiser.state_dict()["param_groups"]})

    with safe_open(file, "pt") as opened:
        return int(opened.metadata()["step"])
