"""One run in worlds of several processes, for test_distributed.py. A program of its own: torch is imported once, and
every process is forked from here, which is safe as long as this process computes nothing itself.

usage: worlds.py FOLDER          prints a line of JSON: what the log and the last state of each run hold
       worlds.py FOLDER alone    only the run in one process
       worlds.py FOLDER process  one process of a world that torchrun started; in its first life the last one is killed
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo
import torch.utils.tensorboard

from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.train.checkpoint_dcp import METADATA, read, shapes
from haina.train.distributed import ALONE, World, joined
from haina.train.loop import Held, Task, train
from haina.train.objectives import next_token
from haina.train.sharding import spread
from haina.train.state import States

CONFIG = ModelConfig(
    architecture="BaichuanForCausalLM",
    vocab_size=64,
    hidden_size=48,
    intermediate_size=72,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=6,
    head_dim=8,
    rotary_dim=8,
    max_position_embeddings=16,
)
ALIBI = replace(CONFIG, position="alibi", rotary_dim=0)
OPTIONS = TrainOptions(
    steps=6, rows=2, accumulate=4, length=16, log_every=1, valid_every=3, save_every=1, keep=9, warm_up=2
)


@dataclass(frozen=True)
class Part:
    ids_BT: np.ndarray
    targets_BT: np.ndarray


class Uneven:
    """Rows that count upwards; the parts of a step have different numbers of learned tokens. At `last` all is over."""

    def __init__(self, last: int | None = None):
        self.last = last

    def batch(self, number: int, rows: int) -> Part:
        if number == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        chance = np.random.default_rng(number)
        ids = chance.integers(3, 40, rows)[:, None] + np.arange(17)
        return Part(ids[:, :-1], np.where(chance.random((rows, 16)) < chance.random(), ids[:, 1:], -100))


def task(config: ModelConfig, options: TrainOptions, world: World, last: int | None = None) -> Task:
    decoder = spread(config, options, world.mesh) if world.mesh else Decoder(config).initialise()
    held = Held([Uneven().batch(900 + n, 2) for n in range(3)])
    return Task(decoder, Uneven(last), {"all": held}, next_token, world=world)


def learn(folder: Path, config: ModelConfig, options: TrainOptions, world: World) -> None:
    train(task(config, options, world), options, folder)


def killed(folder: Path, config: ModelConfig, options: TrainOptions, world: World) -> None:
    """The last process is killed in step 4, as by the system when it runs out of memory."""
    last = 4 * 4 + 3 if world.reader == world.readers - 1 else None
    train(task(config, options, world, last), options, folder)


def processes(
    count: int, work: Callable[..., Any], *given: Any, replicas: int = 1, tensor: int = 1
) -> list[int]:
    """Do the work in `count` processes of one world; their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{count}"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
            status = 1
            try:
                os.dup2(2, 1)
                with joined("cpu", replicas=replicas, tensor=tensor) as world:
                    work(*given, world)
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def told(folder: Path, exits: list[int]) -> dict[str, Any]:
    """How it ended; the losses; the last state's step and the fingerprint of its tensors."""
    last = States(folder / "states", 9).found()[0]
    found: dict[str, Any] = {"exits": exits, "nats": nats(folder), "step": int(last.name)}
    if (last / METADATA).exists():
        tensors = {name: torch.zeros(shape) for name, shape in shapes(last).items()}
        read(last, tensors)
        wire = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))
        found["state"] = hashlib.sha256(wire).hexdigest()
    return found


def nats(folder: Path) -> list[float]:
    return [json.loads(line)["nats"] for line in (folder / "log.jsonl").read_text().splitlines()]


def main() -> None:
    torch.set_num_threads(1)
    root, exits = Path(sys.argv[1]), {}
    alibi = replace(OPTIONS, optimiser="adamw", steps=3)

    def go(name: str, after: str | None, count: int, work: Any, *given: Any, **split: int) -> None:
        """A run from its beginning, or from step 3 of another."""
        if after:
            later = shutil.ignore_patterns("0000000[456]")
            shutil.copytree(root / after, root / name, ignore=later)
        exits[name] = processes(count, work, root / name, *given, **split)

    go("alone", None, 1, learn, CONFIG, OPTIONS)
    go("two", None, 2, learn, CONFIG, OPTIONS)
    go("four", "two", 4, learn, CONFIG, OPTIONS, replicas=2)
    go("one", "two", 1, learn, CONFIG, OPTIONS)
    go("three", "alone", 3, learn, CONFIG, OPTIONS, replicas=3)
    go("tensor", "alone", 2, learn, CONFIG, OPTIONS, tensor=2)
    go("alibi", None, 1, learn, ALIBI, alibi)
    go("alibi four", None, 4, learn, ALIBI, alibi, tensor=2)
    go("killed", "two", 2, killed, CONFIG, OPTIONS)
    shutil.copytree(root / "killed", root / "mended")
    exits["mended"] = processes(2, learn, root / "mended", CONFIG, OPTIONS)
    print(json.dumps({name: told(root / name, codes) for name, codes in exits.items()}))


def process() -> None:
    torch.set_num_threads(1)
    with joined("cpu") as world:
        work = killed if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" else learn
        work(Path(sys.argv[1]), CONFIG, OPTIONS, world)


if __name__ == "__main__":
    match sys.argv[2:]:
        case ["process"]:
            process()
        case ["alone"]:
            learn(Path(sys.argv[1]) / "alone", CONFIG, OPTIONS, ALONE)
        case _:
            main()
