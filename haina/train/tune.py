"""What the ways of tuning share: which rows are used, the numbers of the loop, the plan, and what comes of it.

What is learnt from a row, and how, is the business of sft, dpo and grpo.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import haina
from haina.checkpoint.checkpoint import save
from haina.checkpoint.new_folder import require_room
from haina.checkpoint.raw import Raw
from haina.checkpoint.read_json import read_json_object
from haina.data.dialogues import Dialogue, Survey
from haina.data.tokens import sha256_of
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.options.tuning import TuneOptions
from haina.text.messages import IGNORED
from haina.train.base import Base
from haina.train.card import machine
from haina.train.curves import curve
from haina.train.distributed import started
from haina.train.log import Pace, clock, read_log
from haina.train.loop import Task, train
from haina.train.lora import Lora
from haina.train.plan import flops_per_token, matmul_peak, memory_bytes, state_bytes
from haina.train.pretrain import Device, faster_in_bf16, try_speed
from haina.train.rollout import answers
from haina.train.threads import choose
from haina.train.verdict import alike, risen, speechless, unmoved
from haina.wording import say, short

Available = Callable[[Device], "int | None"]  # bytes of memory of a device, None if nobody knows
WIDTH = 4096  # of the model for which the rates are given; a narrower one takes higher ones
LORA_RATE = 10  # times the rate of all weights (Schulman et al., "LoRA Without Regret", 2025)
LOOKED_AT = 4  # questions of which the answers are shown after each validation


@dataclass(frozen=True)
class Tuning:
    """A run that can begin: everything about it was checked. told: the plan, a line each."""

    folder: Path
    base: Base
    asked: TuneOptions
    task: Task
    options: TrainOptions
    told: tuple[str, ...]
    made: str  # the verb
    lora: Lora | None = None
    begin: Callable[[], None] = lambda: None  # what takes too long to be done before a person says yes


def require_single() -> None:
    """ValueError if torchrun or srun started several processes: here each would train a model of its own."""
    if started() > 1:
        raise ValueError(
            say(
                f"tuning runs in one process, {started()} were started; call it without torchrun or srun",
                f"微调只用单个进程，现已启动 {started()} 个；请不要通过 torchrun 或 srun 运行",
            )
        )


def whole(survey: Survey[Any], asked: TuneOptions) -> tuple[str, ...]:
    """A line about the rows left out. ValueError: there are some and nobody asked for that, or nothing is left."""
    if not asked.skip_bad:
        survey.refuse_bad()
    survey.refuse_empty()
    if not survey.bad:
        return ()
    count = sum(map(len, survey.bad.values()))
    return (say(f"left out: {count:,} rows: {survey.reasons()}", f"略过 {count:,} 行：{survey.reasons()}"),)


def ignored(asked: TuneOptions) -> frozenset[str]:
    return frozenset(key for key in asked.ignore.split(",") if key)


def origin(data: Path, asked: TuneOptions, **more: Any) -> str:
    """A fingerprint of the rows and of how they are read."""
    how = json.dumps([sha256_of(data), asked.ignore, asked.skip_bad, more], sort_keys=True)
    return hashlib.sha256(how.encode()).hexdigest()


def held_out(count: int, asked: TuneOptions) -> list[int]:
    """Which of so many rows are held out: the same ones every time."""
    held = 0 if asked.valid == 0 or count < 2 else max(1, int(asked.valid * count))
    return sorted(random.Random(asked.seed).sample(range(count), held))


def padded(rows: Sequence[tuple[list[int], list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    """(ids, targets), (B, T) each, of rows of a prompt and an answer, of which the answer is learnt."""
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids_BT = np.zeros((len(rows), longest), np.int32)
    targets_BT = np.full((len(rows), longest), IGNORED, np.int32)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids_BT[row, :end] = prompt + answer
        targets_BT[row, len(prompt) - 1 : end - 1] = answer
    return ids_BT, targets_BT


def drawn(count: int, number: int, rows: int, seed: int) -> list[int]:
    """Which of `count` rows batch `number` shows: each once in an epoch, in an order of its own."""
    places = [divmod(sample, count) for sample in range(number * rows, (number + 1) * rows)]
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(count) for epoch, _ in places}
    return [int(orders[epoch][place]) for epoch, place in places]


def settled(
    asked: TuneOptions,
    base: Base,
    *,
    rate: float,
    steps: int,
    rows: int,
    accumulate: int,
    length: int,
    flat: bool = False,
) -> TrainOptions:
    """The numbers of the loop. rate: the peak at the width of a 7B model; flat: it stays there after the warm-up."""
    lr = rate * LORA_RATE if asked.lora or asked.qlora else rate * WIDTH / base.config.hidden_size
    before = read_json_object(Path(asked.out) / "run.json") if (Path(asked.out) / "states").exists() else {}
    threads = choose(asked.threads, before.get("threads", 0), base.config, base.device, rows * length)
    bf16 = faster_in_bf16(base.device, before) if asked.precision == "auto" else asked.precision == "bf16"
    return TrainOptions(
        steps=steps,
        stop_after=asked.stop_after,
        rows=rows,
        accumulate=accumulate,
        length=length,
        optimiser="adamw",
        matrix_lr=asked.lr or lr,
        other_lr=asked.lr or lr,
        weight_decay=asked.weight_decay,
        schedule="wsd" if flat else "cosine",
        flat=1.0 if flat else TrainOptions.flat,
        warm_up=math.ceil(0.03 * steps) if asked.warm_up is None else asked.warm_up,
        floor=0.1,
        clip=asked.clip,
        seed=asked.seed,
        precision="bf16" if bf16 else "fp32",
        recompute=asked.recompute,
        log_every=asked.log_every,
        valid_every=asked.valid_every or min(50, -(-steps // 10)),
        save_every=asked.save_every,
        keep=asked.keep,
        threads=threads,
        patience=asked.patience,
    )


def require_memory(base: Base, asked: TuneOptions, options: TrainOptions, available: Available) -> str:
    """A line about memory and disk. ValueError: the machine has too little of one."""
    need, have = needed_bytes(base, asked, options), available(base.device)
    adapter = asked.lora or asked.qlora
    state = 0 if adapter else state_bytes(base.config, "adamw")  # an adapter's is small
    disk = (options.keep + 1) * state + (0 if adapter else 2 * base.config.parameters)
    if not (Path(asked.out) / "states").exists():
        if have is not None and need > have:
            raise _too_large(base, need, have)
        Path(asked.out).mkdir(parents=True, exist_ok=True)
        require_room(Path(asked.out) / "states", disk)
    free, needed, stored = "?" if have is None else short(have, "B"), short(need, "B"), short(disk, "B")
    return say(
        f"memory: {needed} of {free} available; disk: {stored}",
        f"内存：{needed}，可用 {free}；磁盘：{stored}",
    )


def needed_bytes(base: Base, asked: TuneOptions, options: TrainOptions) -> int:
    """Memory of a step. Beside an adapter weights have neither gradient nor moments, and about 5 bits if packed."""
    weights = base.config.parameters
    less = 3.4 if asked.qlora else 0.0
    less += 12 if asked.lora or asked.qlora else 0
    return memory_bytes(base.config, options) - int(less * weights)


def _too_large(base: Base, need: int, have: int) -> ValueError:
    folder = base.checkpoint.folder
    return ValueError(
        say(
            f"{folder}: tuning takes {short(need, 'B')} of memory, {short(have, 'B')} are available; "
            "try --qlora, --rows 1, --recompute block or a smaller --length",
            f"{folder}：微调需内存 {short(need, 'B')}，可用 {short(have, 'B')}；"
            "可用 --qlora、--rows 1、--recompute block，或减小 --length",
        )
    )


def plan(base: Base, task: Task, options: TrainOptions, *lines: str) -> tuple[str, ...]:
    """The plan of a run, for a person to say yes to."""
    pace = Pace(flops_per_token(base.config, options.length), matmul_peak(base.device, torch.float32))
    speed = try_speed(task, task.shown, replace(options, recompute="none"), pace, base.device)
    tokens = options.steps * options.accumulate * options.rows * options.length
    name, parameters = base.checkpoint.folder, short(base.config.parameters)
    trained = short(sum(p.numel() for p in task.decoder.parameters() if p.requires_grad))
    rates = f"adamw {options.matrix_lr:.3g}, {options.precision}"
    return (
        say(
            f"model: {name}, {parameters} parameters, {trained} trained",
            f"模型：{name}，{parameters} 参数，训练 {trained}",
        ),
        *lines,
        say(f"steps: {options.steps:,}; {rates}", f"步数：{options.steps:,}；{rates}"),
        say(
            f"time: {clock(tokens / speed)}, by what this machine did just now",
            f"时间：{clock(tokens / speed)}（按本机刚才的实测）",
        ),
    )


def run(job: Tuning) -> Path | None:
    """Train, or go on; the folder of the model or adapter, or None if the run was stopped before its end."""
    job.begin()
    if not train(job.task, job.options, job.folder):
        return None
    for line in remarks(job):
        print(line, flush=True)
    if job.lora is not None:
        place = job.folder / "adapter"
        if not place.exists():
            job.lora.adapter().write(place)
        return place
    place = job.folder / "model"
    if not (place / "manifest.json").exists():
        publish(job, place)
    return place


def remarks(job: Tuning) -> list[str]:
    """What went otherwise than one would wish, a line each."""
    lines = read_log(job.folder / "log.jsonl")
    said = job.task.watch.said if isinstance(job.task.watch, Watch) else []
    rose = risen(lines, kept_best=job.options.patience > 0)
    return [*alike(lines), *unmoved(lines), *rose, *speechless(said)]


def publish(job: Tuning, place: Path) -> None:
    """Write the weights in bf16 with the vocabulary, the settings of answers, the licence and a card."""
    old = job.base.checkpoint
    named = ((n, p.detach().float().cpu().numpy()) for n, p in job.task.decoder.named_parameters())
    origin = old.manifest.source if old.manifest else {}
    licence = {"licence": origin["licence"]} if "licence" in origin else {}
    files = {file.name: file.read_bytes() for file in old.license_files() if file.name != "README.md"}
    lines = read_log(job.folder / "log.jsonl")
    save(
        place,
        job.base.config,
        ((name, weight if weight.ndim == 1 else Raw.of(weight).rounded("BF16")) for name, weight in named),
        tokenizer=old.tokenizer_bytes(),
        generation=job.base.generation,
        source={
            "name": job.folder.resolve().name,
            "made": job.made,
            "from": old.folder.resolve().name,
            **licence,
        },
        files=files
        | {"README.md": card(job, lines).encode(), "loss.png": (job.folder / "curves.png").read_bytes()},
    )


def card(job: Tuning, lines: Sequence[Mapping[str, Any]]) -> str:
    """README.md in English and Chinese, from the run alone."""
    last, o = lines[-1], job.options
    told = "\n".join(
        f"- {line}" for line in job.told[:2]
    )  # the model and the data; the rest is of this machine
    valid = "".join(f", {name} {values['nats']}" for name, values in last.get("valid", {}).items())
    return f"""# {job.folder.resolve().name}

Tuned with haina {haina.__version__} (`{job.made}`) from {job.base.checkpoint.folder.resolve().name}.
由海纳 {haina.__version__} 微调（`{job.made}`），原模型 {job.base.checkpoint.folder.resolve().name}。

{told}
- adamw {o.matrix_lr:.3g}, warm-up {o.warm_up}, clip {o.clip:g}, seed {o.seed}; {machine()}
- loss 损失 {last["nats"]:.4f}{valid} ({clock(last["seconds"])})

![loss 损失](loss.png)

Every number of the run is in `run.json` beside this folder. 全部参数见训练目录中的 `run.json`。
"""


@dataclass(frozen=True)
class Watch:
    """After each validation: what the model answers to a few questions, and the curve so far."""

    folder: Path
    base: Base
    asked: Sequence[Dialogue]  # each ends with the user
    most_tokens: int = 64
    said: list[str] = field(default_factory=list)  # the last answers

    def __call__(self, decoder: Decoder, step: int) -> None:
        template, context = self.base.template, self.base.config.max_position_embeddings
        most = min(self.most_tokens, context // 2)
        prompts = [self.base.prompt_ids(messages)[most - context :] for messages in self.asked]
        found = answers(decoder, prompts, most_tokens=most, stop_ids=template.stop_ids)
        self.said[:] = [
            self.base.tokenizer.decode([id for id in ids if id not in template.stop_ids]) for ids in found
        ]
        told = [f"# {step}"]
        for messages, text in zip(self.asked, self.said, strict=True):
            told.append(f"**{messages[-1].content}**\n\n{text}")
        (self.folder / "samples").mkdir(exist_ok=True)
        (self.folder / "samples" / f"{step:08}.md").write_text("\n\n".join(told) + "\n", "utf-8")
        (self.folder / "curves.png").write_bytes(curve(read_log(self.folder / "log.jsonl")))
