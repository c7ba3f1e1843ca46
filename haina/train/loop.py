"""The only training loop: batches by index → gradient → step, with a log, exact resume and a clean stop.

An objective is a function; recipes choose the network, the rows and the numbers. The loop does not know what
the tokens mean, where they come from or what the weights are for. A run lives in a folder:
    run.json            the options, written before the first step; a run goes on with the same ones only
    log.jsonl           a line every `log_every` steps: step, tokens, nats (train), valid_nats, seconds
    state.safetensors   weights, optimiser state and the step, replaced atomically; a run resumes from it
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from haina.checkpoint.read_json import read_json_object
from haina.data.pack import Rows
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.text.messages import IGNORED
from haina.train.optim import optimisers, schedule
from haina.wording import say

Objective = Callable[[Decoder, Tensor, Tensor], tuple[Tensor, Tensor]]
# Options that may differ from one session of a run to the next: they do not change its numbers.
OF_A_SESSION = {"stop_after", "log_every", "valid_every", "save_every_s", "compile"}


def train(
    decoder: Decoder, rows: Rows, valid: Rows, objective: Objective, options: TrainOptions, folder: Path
) -> None:
    """Run `options.steps` steps from wherever the run in `folder` stands; the decoder holds the result.

    The batches go where the decoder's weights are. ValueError: the run was begun with other options, its log is
    damaged, or the loss is not a finite number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keep_options(options, folder)
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


def keep_options(options: TrainOptions, folder: Path) -> None:
    """Write run.json. ValueError if the run goes on from a state that other options made."""
    file, now = folder / "run.json", asdict(options)
    if (folder / "state.safetensors").exists() and file.exists():
        before = asdict(TrainOptions()) | read_json_object(file)  # an old run lacks the newest fields
        changed = (name for name in now if name not in OF_A_SESSION and before[name] != now[name])
        if name := next(changed, None):
            raise ValueError(
                say(
                    f"{file}: the run was begun with {name} = {before[name]}, not {now[name]}; "
                    "choose another folder, or go on with the same options",
                    f"{file}：此次训练开始时 {name} = {before[name]}，现为 {now[name]}；"
                    "请换一个目录，或沿用原来的选项",
                )
            )
    _replace(file, json.dumps(now, indent=1) + "\n")


def one_step(
    decoder: Decoder,
    both: list[torch.optim.Optimizer],
    rows: Rows,
    loss_of: Objective,
    options: TrainOptions,
    step: int,
) -> float:
    """One batch in `options.accumulate` parts, one clipped step of each optimiser; returns nats per token.

    Each part weighs the same, however many of its tokens are learned.
    """
    share = schedule(step, options.steps, warm_up=options.warm_up)
    for optimiser in both:
        for group in optimiser.param_groups:
            group["lr"] = group["peak_lr"] * share
    total = 0.0
    for part in range(options.accumulate):
        batch = rows.batch(step * options.accumulate + part, options.rows, seed=options.seed)
        nats, loss = loss_of(decoder, *beside(decoder, *batch))
        (loss / options.accumulate).backward()
        total += nats.item() / options.accumulate
    if not isfinite(total):
        raise ValueError(
            say(
                f"step {step}: the loss is {total}; begin again in another folder with lower learning rates",
                f"第 {step} 步：损失为 {total}；请调低学习率，换一个目录重新训练",
            )
        )
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), options.clip)
    for optimiser in both:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return total


def beside(decoder: Decoder, ids_BT: np.ndarray, targets_BT: np.ndarray) -> tuple[Tensor, Tensor]:
    """The batch as int64 tensors on the device of the decoder's weights."""
    device = next(decoder.parameters()).device
    return torch.from_numpy(ids_BT).to(device).long(), torch.from_numpy(targets_BT).to(device).long()


@torch.no_grad()
def evaluate(decoder: Decoder, valid: Rows, objective: Objective, options: TrainOptions) -> float:
    """Nats per learned token over all validation rows."""
    total = learned = 0.0
    for at in range(0, len(valid.ids_NT), options.rows):
        part = slice(at, at + options.rows)
        ids, targets = beside(decoder, valid.ids_NT[part], valid.targets_NT[part])
        count = (targets != IGNORED).sum().item()
        total += objective(decoder, ids, targets)[0].item() * count
        learned += count
    return total / learned


class Log:
    """log.jsonl of a run: lines after the step it resumes from are dropped, its clocks go on from the last one."""

    def __init__(self, folder: Path, options: TrainOptions, first: int):
        self.file, self.options = folder / "log.jsonl", options
        kept = [line for line in _lines(self.file) if line["step"] < first]
        _replace(self.file, "".join(json.dumps(line) + "\n" for line in kept))
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


def _lines(file: Path) -> list[dict[str, Any]]:
    """What is logged so far. A last line that a kill cut short is left out; ValueError if an earlier one is damaged."""
    wire = file.read_bytes().splitlines() if file.exists() else []
    lines = []
    for number, line in enumerate(wire, 1):
        try:
            lines.append(json.loads(line))
        except ValueError:
            if number < len(wire):
                raise ValueError(
                    say(
                        f"{file}:{number}: the line is damaged; delete it, the run goes on without it",
                        f"{file}:{number}：此行已损坏；请删去这一行，不影响继续训练",
                    )
                ) from None
    return lines


def _replace(file: Path, text: str) -> None:
    """Write the file beside the old one, then take its place."""
    new = file.with_suffix(".new")
    new.write_text(text, "utf-8")
    os.replace(new, file)


def save(decoder: Decoder, both: list[torch.optim.Optimizer], step: int, folder: Path) -> None:
    """Write the state beside the old one, then take its place: a kill or a power cut leaves one or the other."""
    state = {f"model.{name}": p.detach() for name, p in decoder.named_parameters()}
    for number, optimiser in enumerate(both):
        for index, values in optimiser.state_dict()["state"].items():
            state |= {
                f"optim.{number}.{index}.{key}": torch.as_tensor(value) for key, value in values.items()
            }
    new = folder / "state.new"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, new, {"step": str(step)})
    with new.open("rb+") as file:
        os.fsync(file.fileno())
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
