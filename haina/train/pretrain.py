"""Pre-training: a token folder and one dial → a run → a checkpoint folder.

`prepare` checks everything and says what will happen; `run` does it or goes on with it. It chooses what the one
loop (train/loop.py) is given and publishes the result. It does not know terminals, nor where the text comes from.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from haina.checkpoint.checkpoint import save
from haina.checkpoint.manifest import Manifest
from haina.checkpoint.new_folder import require_room
from haina.checkpoint.raw import Raw
from haina.data.pack import Samples
from haina.data.tokens import Tokens
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import PretrainOptions, TrainOptions
from haina.text.tokenizer import Tokenizer
from haina.train import branch
from haina.train.branch import Begin, Later, Parent, as_there, falling, parent, run_of
from haina.train.card import card
from haina.train.curves import curve
from haina.train.distributed import ALONE, World
from haina.train.log import Pace, read_log
from haina.train.loop import Shown, Task, beside, prepared, train
from haina.train.objectives import next_token_with
from haina.train.plan import (
    EPOCHS,
    SIZES,
    Plan,
    Size,
    bf16_pays,
    flops_per_token,
    matmul_peak,
    measured_speed,
    memory_bytes,
    remarks,
    shape,
    state_bytes,
)  # fmt: skip
from haina.train.sharding import spread, whole_weights
from haina.train.state import Progress, States
from haina.train.text import Text, held_batches, own_text, own_tokenizer
from haina.train.threads import choose
from haina.train.verdict import risen
from haina.train.watch import Watch
from haina.wording import say

PART_TOKENS = {"cpu": 4096, "cuda": 32768, "mps": 8192}  # of one part of a batch
FEWEST_STEPS = 256  # little text is shown in smaller batches
SAVE_S = 300.0
LONGEST_TRY_S = 20.0  # of a step that is only measured
Device = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Pretraining:
    """A run that can begin: everything about it was checked."""

    folder: Path
    tokens: Tokens
    tokenizer: Tokenizer
    task: Task
    options: TrainOptions
    plan: Plan
    pace: Pace


def prepare(
    source: Path,
    asked: PretrainOptions,
    *,
    available: Callable[[Device], int | None] = lambda device: None,
    size: Size | None = None,
    world: World = ALONE,
) -> Pretraining:
    """Open and check everything, and measure the speed. available: bytes of memory of a device; size: instead of
    the one that is asked for by name; world: the processes that do so together.

    ValueError names what is amiss: no such folder, another vocabulary, too little text, memory or disk.
    """
    folder, device = Path(asked.out), chosen_device(asked.device)
    before = run_of(folder) if States(folder / "states", 1).found() else {}
    origin = world.from_first(lambda: parent_of(asked, before))
    if before:
        asked = as_there(asked, before, folder)
    elif origin:
        asked = falling(asked, origin)
    name = before.get("size") or (f"d{size.hidden}" if size else asked.size or "m")
    size = size or SIZES[asked.size or "m"]
    file = asked.tokenizer or (str(origin.file("tokenizer.model")) if origin else None)
    opened = partial(own_text, source, asked.mix, asked.weights or "", folder)
    world.from_first(
        lambda: opened(own_tokenizer(folder, file)) and None
    )  # which may encode it, and checks it
    text = opened(tokenizer := own_tokenizer(folder, None), verify=False)
    readers = before.get("readers", world.readers)  # later sessions cut the batch as the first one did
    config, options, notes = world.from_first(
        lambda: settle(asked, size, tokenizer, text, device, before, origin, readers)
    )
    torch.set_num_threads(options.threads)  # each process its own
    same_text = origin is not None and origin.shows(text.sha256, options)
    about = before.get("from") or (origin.about(same_text=same_text) if origin else None)
    need, have = memory_bytes(config, options, world.shares), world.from_first(lambda: available(device))
    fits = have is None or need <= have or bool(before)
    task = Task(
        first_decoder(config, options, device, world, fits=fits),
        shown := Later(
            Samples(text.training, options.length, mixture=text.mixture, seed=options.seed),
            about["rows"] if about else 0,
        ),
        {name: held_batches(part, options) for name, part in text.held.items()},
        next_token_with(asked.z_loss or "logsumexp"),
        about={
            "size": name,
            "config": config.to_hf(),
            "z_loss": asked.z_loss or "logsumexp",
            "tokens": text.sha256,
            "weights": asked.weights or None,
            "readers": readers,
            "from": about,
        },
        watch=Watch(folder, tokenizer, text.held, world),
        world=world,
        begin=Begin(origin, recent=same_text) if origin else from_nothing,
    )
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    peak = world.from_first(lambda: matmul_peak(device, dtype))
    pace = Pace(flops_per_token(config, options.length), world.processes * peak)
    speed = try_speed(task, shown, options, pace, device)
    if asked.save_every is None:
        per_step = options.rows * options.accumulate * options.length / speed
        options = replace(options, save_every=max(1, min(options.steps, round(SAVE_S / per_step))))
    disk = (options.keep + 1) * state_bytes(config, options.optimiser) + 2 * config.parameters
    plan = Plan(
        name,
        config,
        options,
        int(text.learned_tokens),
        speed,
        need,
        have,
        disk,
        fits,
        notes,
    )
    return Pretraining(folder, text.whole, tokenizer, task, options, plan, pace)


def parent_of(asked: PretrainOptions, before: Mapping[str, Any]) -> Parent | None:
    """The state that a new run begins with, if it is another run's. before: of the run, if it was begun already.

    ValueError: it was begun otherwise.
    """
    if asked.from_ is None or not before:
        return parent(Path(asked.from_)) if asked.from_ else None
    if before.get("from") is None:
        raise ValueError(
            say(
                f"{asked.out}: this run was begun without --from; choose another --out",
                f"{asked.out}：此次训练开始时没有 --from；请换一个 --out",
            )
        )
    return None


def from_nothing(decoder: Decoder, optimisers: object) -> Progress:
    """The first weights, as they were drawn."""
    return Progress()


def first_decoder(
    config: ModelConfig, options: TrainOptions, device: Device, world: World, *, fits: bool
) -> Decoder:
    """The network with its first weights, drawn on the CPU: the same ones on every device and in every world."""
    if world.mesh is not None and fits:
        return spread(config, options, world.mesh)
    with torch.device("cpu" if fits else "meta"):
        decoder = Decoder(config)
    return decoder.initialise(seed=options.seed).to(device) if fits else decoder


def refuse(job: Pretraining) -> None:
    """ValueError if a new run would find too little memory or disk."""
    if not (job.folder / "states").exists():
        job.plan.refuse_memory()
        require_room(job.folder / "states", job.plan.disk_bytes)


def run(job: Pretraining) -> Path | None:
    """Train, or go on; the folder of the checkpoint, or None if the run was stopped before its end."""
    refuse(job)
    if not train(job.task, job.options, job.folder, pace=job.pace):
        return None
    for note in risen(read_log(job.folder / "log.jsonl"), kept_best=job.options.patience > 0):
        if job.task.world.first:
            print(note, flush=True)
    place = job.folder / "model"
    if job.task.world.from_first(lambda: wanted(place, job.options.steps)):
        publish(job, place)
    return place


def wanted(place: Path, steps: int) -> bool:
    """Whether a model is still to be written; one of a run that was made longer since is removed."""
    manifest = Manifest.read(place)
    if manifest is not None and manifest.source.get("steps", steps) != steps:
        shutil.rmtree(place)
    return not place.exists()


def publish(job: Pretraining, place: Path) -> None:
    """Write the weights in bf16 with the tokenizer and a card made from the run."""
    decoder, lines = job.task.decoder, read_log(job.folder / "log.jsonl")
    named = ((name, w.float().cpu().numpy()) for name, w in whole_weights(decoder))
    if not job.task.world.first:
        return deque(named, 0).clear()  # it takes all processes to put a weight together
    files = {
        "README.md": card(job.folder, job.plan, job.tokens, lines).encode(),
        "loss.png": curve(lines),
    }
    encoding = job.tokens.about["encoding"]
    save(
        place,
        decoder.config,
        ((name, weight if weight.ndim == 1 else Raw.of(weight).rounded("BF16")) for name, weight in named),
        tokenizer=(job.folder / "tokenizer.model").read_bytes(),
        generation={"bos_token_id": 1, "eos_token_id": job.tokens.about["eos_id"], "max_new_tokens": 256},
        source={
            "name": job.folder.resolve().name,
            "made": "haina train pretrain",
            "steps": job.options.steps,
            "tokens": job.task.about["tokens"],
            "by_character": encoding["by_character"],
            **licence_of(job.tokens),
        },
        files=files,
    )


def licence_of(tokens: Tokens) -> dict[str, str]:
    """The licences of the text, the commonest first, for a manifest; nothing if nobody told them."""
    counts: Mapping[str, int] = tokens.about.get("licences") or {}
    named = sorted(counts, key=lambda name: -counts[name])
    return {"licence": "text: " + ", ".join(named)} if named else {}


def settle(
    asked: PretrainOptions,
    size: Size,
    tokenizer: Tokenizer,
    text: Text,
    device: Device,
    before: dict[str, Any],
    origin: Parent | None,
    readers: int = 1,
) -> tuple[ModelConfig, TrainOptions, tuple[str, ...]]:
    """What was asked, filled up by the size: the network, the numbers of the loop, and what a person should know.

    before: run.json of the run, if it was begun already. readers: processes among which the parts of a batch are
    shared; each gets as many.
    """
    length = asked.length or size.length
    run = before or (origin.run if origin else {})
    config = network(asked, size, tokenizer, length, run)
    unique = text.learned_tokens
    total = asked.tokens or min(size.tokens, EPOCHS * unique)
    rows = asked.rows or max(1, PART_TOKENS[device] // length)
    batch = asked.batch or min(size.batch, max(total / FEWEST_STEPS, length))
    rows = max(1, min(rows, int(batch // (length * readers))))
    accumulate = readers * max(1, round(batch / (rows * length * readers)))
    steps = max(1, round(total / (rows * accumulate * length)))
    threads = choose(asked.threads, before.get("threads", 0), config, device, rows * length)
    bf16 = asked.precision == "bf16" if asked.precision != "auto" else faster_in_bf16(device, before)
    optimiser = asked.optimiser or size.optimiser
    plain = TrainOptions()
    options = TrainOptions(
        steps=steps,
        stop_after=asked.stop_after,
        rows=rows,
        accumulate=accumulate,
        length=length,
        optimiser=optimiser,
        matrix_lr=given(asked.matrix_lr, size.matrix_lr),
        other_lr=given(asked.other_lr, size.other_lr),
        momentum=given(asked.momentum, plain.momentum),
        beta1=given(asked.beta1, plain.beta1),
        beta2=given(asked.beta2, plain.beta2),
        weight_decay=given(asked.weight_decay, plain.weight_decay),
        schedule=asked.schedule or size.schedule,
        flat=given(asked.flat, plain.flat),
        warm_up=min(size.warm_up, steps // 10) if asked.warm_up is None else asked.warm_up,
        clip=asked.clip or size.clip,
        seed=asked.seed or 0,
        precision="bf16" if bf16 else "fp32",
        compile=asked.compile == "on" or (asked.compile == "auto" and bf16),
        recompute=asked.recompute,
        log_every=asked.log_every,
        valid_every=asked.valid_every or min(100, -(-steps // 10)),
        save_every=asked.save_every or 100,
        keep=asked.keep,
        threads=threads,
        patience=asked.patience,
    )
    if origin:
        return config, options, tuple(branch.remarks(origin, asked))
    return config, options, remarks(size, tokenizer.size, unique, total, chosen=asked.tokens is not None)


def given(asked: float | None, otherwise: float) -> float:
    """What was asked, 0 included."""
    return otherwise if asked is None else asked


def network(
    asked: PretrainOptions, size: Size, tokenizer: Tokenizer, length: int, run: Mapping[str, Any]
) -> ModelConfig:
    """Of the size, or of the run that is gone on from, perhaps in longer rows."""
    if run:
        config = ModelConfig.from_hf(run["config"])
        return replace(config, max_position_embeddings=max(length, config.max_position_embeddings))
    position = asked.position or ("alibi" if asked.size == "13b" else "rope")
    return shape(size, tokenizer.size, length=length, position=position, head=asked.head or "plain")


def try_speed(task: Task, shown: Shown, options: TrainOptions, pace: Pace, device: str) -> float:
    """Tokens a second: of one row forward and backward; for large sizes from the peak alone. Changes nothing."""
    expected_s = 2 * options.length * pace.flops_per_token / pace.peak_flops
    if expected_s > LONGEST_TRY_S or task.world.mesh is not None or next(task.decoder.parameters()).is_meta:
        return 0.5 * pace.peak_flops / pace.flops_per_token
    loss_of = prepared(task.decoder, task.objective, replace(options, compile=False, recompute="none"))

    def step() -> int:
        loss_of(task.decoder, beside(task.decoder, shown.batch(0, 1)))[1].backward()
        task.decoder.zero_grad(set_to_none=True)
        return options.length

    return measured_speed(step, device, expected_s)


def chosen_device(asked: Literal["auto", "cpu", "cuda", "mps"]) -> Device:
    """ValueError if torch has no such device."""
    there: dict[Device, bool] = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if asked == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[asked]:
        raise ValueError(
            say(
                f"torch finds no {asked} device here; leave --device out",
                f"torch 在本机找不到 {asked} 设备；请去掉 --device",
            )
        )
    return asked


def faster_in_bf16(device: Device, before: dict[str, Any]) -> bool:
    """What the run was begun with, or what the machine does faster."""
    return bool(before["precision"] == "bf16") if before else bf16_pays(device)
