"""A ds_config.json of DeepSpeed, which Baichuan was trained with, read as options of ours: a help for moving over.

What it says of rates, batches, precision and ZeRO becomes options, unless a flag says otherwise; what only tunes
DeepSpeed itself is named and left out; what we do not know is an error. Nothing of DeepSpeed is imported.
Keys: deepspeed.ai/docs/config-json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from haina.checkpoint.read_json import read_json_object
from haina.options.training import PretrainOptions
from haina.train.plan import SIZES
from haina.wording import say

OPTIMISERS = {name: "adamw" for name in ("adam", "adamw", "fusedadam", "deepspeedcpuadam")} | {"muon": "muon"}
# The rates after the warm-up: flat, falling in a line, half a wave.
SCHEDULES: dict[str, dict[str, Any]] = {
    "WarmupLR": {"schedule": "constant"},
    "WarmupDecayLR": {"schedule": "wsd", "flat": 0.0},
    "WarmupCosineLR": {"schedule": "cosine"},
}
# What it says, as options.
TAKEN: dict[str, Callable[[Any], dict[str, Any]]] = {
    "optimizer.type": lambda name: {"optimiser": OPTIMISERS[name.lower()]},
    "optimizer.params.lr": lambda lr: {"matrix_lr": lr + 0.0, "other_lr": lr + 0.0},
    "optimizer.params.betas": lambda betas: {"beta1": betas[0] + 0.0, "beta2": betas[1] + 0.0},
    "optimizer.params.momentum": lambda momentum: {"momentum": momentum + 0.0},
    "optimizer.params.weight_decay": lambda decay: {"weight_decay": decay + 0.0},
    "scheduler.type": SCHEDULES.__getitem__,
    "scheduler.params.warmup_num_steps": lambda steps: {"warm_up": int(steps)},
    "gradient_clipping": lambda norm: {"clip": norm + 0.0},
    "bf16.enabled": lambda on: {"precision": "bf16" if on else "fp32"},
    "fp16.enabled": {False: dict[str, Any]()}.__getitem__,
    "train_micro_batch_size_per_gpu": lambda rows: {"rows": int(rows)},
    "train_batch_size": lambda rows: {},  # these three by _batch and _replicas
    "gradient_accumulation_steps": lambda parts: {},
    "zero_optimization.stage": lambda stage: {},
}
# How DeepSpeed does its work, with which nobody has to bother here.
ITS_OWN = set(
    "optimizer scheduler zero_optimization bf16 fp16 amp zero_allow_untested_optimizer zero_force_ds_cpu_optimizer "
    "steps_per_print wall_clock_breakdown memory_breakdown dump_state prescale_gradients gradient_predivide_factor "
    "sparse_gradients communication_data_type seq_parallel_communication_data_type data_types disable_allgather "
    "activation_checkpointing dataloader_drop_last checkpoint aio elasticity autotuning flops_profiler comms_logger "
    "tensorboard wandb csv_monitor".split()
)


def migrated(asked: PretrainOptions, processes: int) -> tuple[PretrainOptions, list[str]]:
    """The options, with what the file of `asked.deepspeed` says where no flag does, and a line about what became of it.

    ValueError: a key that nobody knows, or a value that we cannot follow, such as fp16 or another optimiser.
    """
    if asked.deepspeed is None:
        return asked, []
    file = Path(asked.deepspeed)
    said = dict(_flat(read_json_object(file)))
    found: dict[str, Any] = {}
    for name, value in said.items():
        found |= _option(name, value, file)
    found |= _batch(said, asked, processes) | _replicas(said, asked, processes)
    plain = {field.name: field.default for field in fields(asked)}
    found = {name: value for name, value in found.items() if getattr(asked, name) == plain[name]}
    taken = ", ".join(f"{name} {value}" for name, value in found.items()) or "–"
    left = ", ".join(name for name in said if name not in TAKEN) or "–"
    return replace(asked, **found), [
        say(f"{file}: taken: {taken}; ignored: {left}", f"{file}：采用 {taken}；忽略 {left}")
    ]


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its keys, joined by dots; what says "auto" is left to us."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        elif value != "auto":
            yield f"{before}{key}", value


def _option(name: str, value: Any, file: Path) -> dict[str, Any]:
    """The options that a value becomes."""
    if name not in TAKEN:
        if name.split(".")[0] in ITS_OWN:
            return {}
        raise ValueError(
            say(
                f"{file}: {name} is no key that haina knows of DeepSpeed; remove it",
                f"{file}：海纳不认识 DeepSpeed 的键 {name}；请删去",
            )
        )
    try:
        return TAKEN[name](value)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise ValueError(
            say(
                f"{file}: {name} {value!r} cannot be followed; take bf16, AdamW or Muon, a Warmup…LR, "
                "and numbers where they belong",
                f"{file}：无法采用 {name} {value!r}；请用 bf16、AdamW 或 Muon、Warmup…LR，数值项须为数",
            )
        ) from None


def _batch(said: Mapping[str, Any], asked: PretrainOptions, processes: int) -> dict[str, int]:
    """Tokens of a step. A sample of DeepSpeed is a row."""
    rows = said.get("train_batch_size")
    if rows is None and "train_micro_batch_size_per_gpu" in said:
        parts = said.get("gradient_accumulation_steps", 1) * (processes // asked.tensor_parallel)
        rows = said["train_micro_batch_size_per_gpu"] * parts
    return {} if rows is None else {"batch": rows * (asked.length or SIZES[asked.size or "m"].length)}


def _replicas(said: Mapping[str, Any], asked: PretrainOptions, processes: int) -> dict[str, int]:
    """ZeRO 0: every process holds all. 1 to 3: everything is split; the weights, too, whatever it says of them."""
    stage = said.get("zero_optimization.stage", 3)
    return {"replicas": processes // asked.tensor_parallel} if stage == 0 else {}
