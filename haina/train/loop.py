"""The only training loop: batches by index → gradient → step, with a log, exact resume and a clean stop.

An objective is a function; recipes choose the network, the rows and the numbers. The loop does not know what
the tokens mean, where they come from or what the weights are for. A run lives in a folder:
    run.json    the options and what the caller says the run is; a run goes on with the same ones only
    log.jsonl   a line every `log_every` steps, train/log.py
    states/     what the run resumes from, train/state.py
    best/       with patience: the weights with the best validation so far
Step n takes batch n: the parts n · accumulate …, a pure function of their number. Processes of a larger world share
the parts of a step among them (train/distributed.py); nothing else depends on how many there are.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from haina.checkpoint.new_folder import disk_full
from haina.checkpoint.read_json import read_json_object
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.text.messages import IGNORED
from haina.train.distributed import ALONE, World
from haina.train.log import Log, Measured, Pace, Silent, replace_file
from haina.train.objectives import Batch, Objective
from haina.train.optim import clip, optimisers, schedule, set_rates
from haina.train.sharding import at_rest, exchange_between_replicas
from haina.train.shared import alone_in, states_of
from haina.train.spikes import WINDOW, spike
from haina.train.state import Progress, States
from haina.train.verdict import since_best
from haina.wording import say, system_reason

# Options that may differ from one session of a run to the next: they do not change its numbers.
OF_A_SESSION = {
    "stop_after", "log_every", "valid_every", "save_every", "keep", "compile", "recompute", "threads", "patience",
}  # fmt: skip
# What makes the rates: they may change for the steps to come.
OF_THE_SCHEDULE = {"steps", "schedule", "warm_up", "flat", "floor"}
# What a person changed where a number of run.json has no flag of its own name.
FLAGS = {
    "steps": "--tokens, --epochs, --steps",
    "accumulate": "--batch, --rows",
    "matrix_lr": "--lr, --matrix-lr",
    "other_lr": "--lr, --other-lr",
    "config": "--size",
    "lora": "--lora, --qlora, --rank, --alpha, --targets",
    "data": "DATA, --length, --ignore, --skip-bad",
    "model": "MODEL",
    "tokens": "TEXT, --mix",
}
PATIENCE = 8  # steps in a row that change nothing, before the run goes back to its last state
MOST_ROLLBACKS = 5


class Shown(Protocol):
    """What a run is shown: a dataclass of arrays for each part of a batch, by number."""

    def batch(self, number: int, rows: int, /) -> Any: ...


@dataclass(frozen=True)
class Held:
    """Text of one domain that is never trained on, in batches."""

    batches: Sequence[Any]
    bytes_per_token: float | None = None  # of its text, for bits per byte


@dataclass(frozen=True)
class Task:
    """What is trained, on what, for what.

    about: what tells this run from another, kept in run.json. watch: called with (decoder, steps done) after each
    validation, by all processes of its world. weigh: how much a part of a batch counts; by default its learned
    tokens. also: names of the numbers that the objective tells after the nats. begin: called once with (decoder,
    optimisers) when a run has no state yet; what it leaves in them and gives is the first.
    """

    decoder: Decoder
    shown: Shown
    valid: Mapping[str, Held]
    objective: Objective
    about: Mapping[str, Any] = field(default_factory=dict)
    watch: Callable[[Decoder, int], None] = lambda decoder, step: None
    weigh: Callable[[Any], float] = lambda batch: float((batch.targets_BT != IGNORED).sum())
    also: Sequence[str] = ()
    world: World = ALONE
    begin: Callable[[Decoder, Sequence[torch.optim.Optimizer]], Progress] = lambda decoder, both: Progress()


def train(task: Task, options: TrainOptions, folder: Path, *, pace: Pace | None = None) -> bool:
    """Run `options.steps` steps from wherever the run in `folder` stands; the decoder holds the result.

    Whether the run is at its end: it also stops at `stop_after`, after Ctrl-C and SIGTERM, with its state saved. With
    `patience` the end may come sooner, and the decoder holds the weights with the best validation.
    The batches go where the decoder's weights are. ValueError: another process trains here, the run was begun with
    other options, a file of it is damaged, the disk is full, or the loss is no number and stays none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    with on_disk(folder), alone_in(folder, task.world), stop_when_asked() as stop:
        task.world.from_first(lambda: keep_options(options, task.about, folder))
        trainer = Trainer(task, options, states_of(task.world, folder / "states", options.keep))
        now = trainer.begin()
        log = (Log if task.world.first else Silent)(folder, options, now.step, pace or Pace())
        best = states_of(task.world, folder / "best", 1)
        end = min(options.steps, options.stop_after or options.steps)
        enough = task.world.from_first(lambda: out_of_patience(log, options))
        log.say(_finished(folder, now.step) if enough or now.step == options.steps else _first(now.step))
        while now.step < end and not enough:
            if task.world.any(stop.is_set()):
                trainer.save(now)
                log.say(_stopped(now.step))
                break
            before, (now, measured) = now, trainer.step(now)
            log.forget(now.step)
            log.step(before, now, measured)
            last = now.step == end
            with log.aside():
                if measured.good and (before.step % options.valid_every == 0 or last):
                    log.valid(now.step, trainer.scores())
                    if options.patience and task.world.from_first(lambda: since_best(log.lines) == 0):
                        best.save(now, task.decoder, ())
                    enough = task.world.from_first(lambda: out_of_patience(log, options))
                    task.watch(task.decoder, now.step)
                    at_rest(task.decoder)
                if last or enough or now.step % options.save_every == 0:
                    trainer.save(now)
        trainer.states.wait()
        done = enough or now.step == options.steps
        if done and options.patience:
            best.load(task.decoder, ())
    return done


def out_of_patience(log: Log, options: TrainOptions) -> bool:
    """Whether the last `patience` validations were no better than one before them."""
    return 0 < options.patience <= since_best(log.lines)


class Trainer:
    """A task with its optimisers: one step at a time, and back to the last state when nothing else helps."""

    def __init__(self, task: Task, options: TrainOptions, states: States):
        self.task, self.options, self.states = task, options, states
        self.optimisers = optimisers(task.decoder, options)
        self.loss_of = prepared(task.decoder, task.objective, options)

    def begin(self) -> Progress:
        """The newest state, or the weights as they are, which become the first."""
        now = self.states.load(self.task.decoder, self.optimisers)
        if now is None:
            now = self.task.begin(self.task.decoder, self.optimisers)
            self.save(now)
        return now

    def save(self, now: Progress) -> None:
        self.states.save(now, self.task.decoder, self.optimisers)

    def step(self, now: Progress) -> tuple[Progress, Measured]:
        """One batch and one clipped step of each optimiser, unless the batch is a spike: then it is left out."""
        set_rates(self.optimisers, schedule(now.step, self.options))
        nats, also = self.gradient(now.batch)
        norm = clip(self.optimisers, self.options.clip)
        good = not spike(now.recent, nats, norm, self.options.spike_sigma)
        for optimiser in self.optimisers:
            if good:
                optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        measured, after = (
            Measured(nats, norm, good, also),
            replace(now, step=now.step + 1, batch=now.batch + 1),
        )
        if good:
            return replace(after, recent=(*now.recent, (nats, norm))[-WINDOW:], skipped=0), measured
        return self.left_out(replace(after, skipped=now.skipped + 1), measured), measured

    def scores(self) -> dict[str, dict[str, float]]:
        """`score` of each domain's held-out text."""
        found = {name: score(self.task, held, self.loss_of) for name, held in self.task.valid.items()}
        at_rest(self.task.decoder)
        return found

    def gradient(self, number: int) -> tuple[float, dict[str, float]]:
        """Nats per learned token of batch `number`, and what the task tells also; the gradient is left in the weights.

        A token weighs the same in whichever part it lies, so that the parts may be cut in any way.
        """
        world, count = self.task.world, self.options.accumulate
        parts = world.parts(count)
        batches = [self.task.shown.batch(number * count + part % count, self.options.rows) for part in parts]
        weights = [self.task.weigh(b) * (part < count) for part, b in zip(parts, batches, strict=True)]
        learned = max(1.0, *world.total(sum(weights)))
        found = np.zeros(1 + len(self.task.also))
        for part, batch, weight in zip(parts, batches, weights, strict=True):
            exchange_between_replicas(self.task.decoder, part == parts[-1])
            told, loss = self.loss_of(self.task.decoder, beside(self.task.decoder, batch))
            (loss * (weight / learned * world.readers)).backward()  # the mean over readers is what is left
            shares = [weight / learned, *[(part < count) / count] * len(self.task.also)]
            found += np.array(told.flatten().tolist()) * shares
        nats, *others = world.total(*found.tolist())
        return nats, dict(zip(self.task.also, others, strict=True))

    def left_out(self, after: Progress, measured: Measured) -> Progress:
        """Where to go on after a step that was not taken. ValueError: going on makes no sense."""
        if not after.recent and after.step == 1:
            raise _no_number(0, measured)
        if after.skipped < PATIENCE:
            return after
        if after.rollbacks == MOST_ROLLBACKS:
            raise _no_number(after.step - 1, measured)
        back = self.states.load(self.task.decoder, self.optimisers)
        assert back is not None
        return replace(back, batch=after.batch, rollbacks=after.rollbacks + 1)


def prepared(decoder: Decoder, objective: Objective, options: TrainOptions) -> Objective:
    """The objective in the precision of the run; the decoder's blocks compiled or computed twice, as asked.

    Blocks are compiled one by one: all have one shape, so that one is compiled.
    """
    decoder.model.near = not options.compile
    for block in decoder.model.layers:
        if options.compile:
            block.compile()
        if options.recompute == "block":
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    device = next(decoder.parameters()).device.type

    def loss_of(decoder: Decoder, batch: Batch) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=options.precision == "bf16"):
            return objective(decoder, batch)

    return loss_of


def beside(decoder: Decoder, batch: Any) -> Batch:
    """The arrays of a batch as tensors on the device of the decoder's weights, integers as int64."""
    device = next(decoder.parameters()).device
    found = {
        name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in vars(batch).items()
    }
    return {name: tensor if tensor.is_floating_point() else tensor.long() for name, tensor in found.items()}


@torch.no_grad()
def score(task: Task, held: Held, loss_of: Objective) -> dict[str, float]:
    """Of held-out text: nats per learned token, what the task tells also, bits per byte if its bytes are known."""
    total, weight = np.zeros(1 + len(task.also)), 0.0
    for number in task.world.parts(len(held.batches)):
        batch = held.batches[number % len(held.batches)]
        count = task.weigh(batch) * (number < len(held.batches))
        total += np.array(loss_of(task.decoder, beside(task.decoder, batch))[0].flatten().tolist()) * count
        weight += count
    learned, *sums = task.world.total(weight, *total.tolist())
    means = (number / max(1.0, learned) for number in sums)
    found = dict(zip(("nats", *task.also), means, strict=True))
    if held.bytes_per_token:
        found["bits_per_byte"] = found["nats"] / math.log(2) / held.bytes_per_token
    return found


def keep_options(options: TrainOptions, about: Mapping[str, Any], folder: Path) -> None:
    """Write run.json. ValueError if the run goes on from a state that other options would not have made."""
    file, now = folder / "run.json", {**asdict(options), **about}
    if States(folder / "states", 1).found() and file.exists():
        before = {**asdict(TrainOptions()), **read_json_object(file)}  # an old run lacks the newest fields
        changed = [name for name in now if name not in OF_A_SESSION and before.get(name) != now[name]]
        if set(changed) <= OF_THE_SCHEDULE and same_rates(before, options, folder):
            changed = []
        if name := next(iter(changed), None):
            flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
            raise ValueError(
                say(
                    f"{file}: the run was begun with {name} = {before.get(name)}, not {now[name]} ({flag}); "
                    "choose another folder, or go on with the same options",
                    f"{file}：此次训练开始时 {name} = {before.get(name)}，现为 {now[name]}（{flag}）；"
                    "请换一个目录，或沿用原来的选项",
                )
            )
    replace_file(file, json.dumps(now, indent=1, ensure_ascii=False) + "\n")


def same_rates(before: Mapping[str, Any], options: TrainOptions, folder: Path) -> bool:
    """Whether every step that is done had the rate that `options` give it, and is one of theirs."""
    old = TrainOptions(**{each.name: before[each.name] for each in fields(TrainOptions)})
    done = max((int(state.name) for state in (folder / "states").glob("[0-9]" * 8)), default=0)
    rates = (schedule(step, old) == schedule(step, options) for step in range(done))
    return done <= options.steps and all(rates)


def keep_freed_memory() -> None:
    """Tell glibc to keep what a step frees for the next one, which frees and takes the same.

    Otherwise large tensors go back to the system and are zeroed anew, page by page: a tenth of a step on a CPU
    (docs/benchmarks-training.md). Elsewhere than with glibc nothing happens.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """ValueError for what the system refuses: which file or folder, why, and how to go on."""
    try:
        yield
    except OSError as error:
        why = system_reason(error)
        en, zh = ("make room", "请腾出空间") if disk_full(error) else ("mend that", "请先解决")
        raise ValueError(
            say(
                f"{error.filename or folder}: {why}; {en}, the same command goes on from the last state",
                f"{error.filename or folder}：{why}；{zh}，再次运行同一命令即可从上次保存处继续",
            )
        ) from error


@contextmanager
def stop_when_asked() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM. A second Ctrl-C ends the process as usual; a second SIGTERM changes nothing, since
    Slurm and torchrun both pass it on. Outside the main thread: never."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGTERM:
            return
        asked.set()
        if number == signal.SIGINT:
            signal.signal(number, before[number])
        os.write(2, say("\nfinishing this step …\n", "\n正在完成当前这一步……\n").encode())

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first(step: int) -> str:
    return say(f"step {step + 1} …", f"第 {step + 1} 步……")


def _finished(folder: Path, step: int) -> str:
    return say(
        f"{folder}: already finished, after step {step}; choose another --out to begin anew",
        f"{folder}：训练已完成，共 {step} 步；要重新开始请换一个 --out",
    )


def _stopped(step: int) -> str:
    return say(
        f"stopped after step {step}, everything is saved; the same command goes on",
        f"已停在第 {step} 步之后，进度已保存；再次运行同一命令即可继续",
    )


def _no_number(step: int, measured: Measured) -> ValueError:
    what = f"{measured.nats:.4g}"
    return ValueError(
        say(
            f"step {step}: the loss is {what}, its gradient {measured.norm:.4g}; "
            "begin again in another folder with lower learning rates",
            f"第 {step} 步：损失为 {what}，梯度范数为 {measured.norm:.4g}；请调低学习率，换一个目录重新训练",
        )
    )
