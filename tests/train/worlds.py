"""One run in worlds of several processes, for test_distributed.py. A program of its own: torch is imported once, and
every process is forked from here, which is safe as long as this process computes nothing itself.

usage: worlds.py FOLDER TEXT     prints a line of JSON: what the log and the last state of each run hold; TEXT has
                                 tokens/ and tokenizer.model
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
from haina.options.training import PretrainOptions, TrainOptions
from haina.train.checkpoint_dcp import METADATA, read, shapes
from haina.train.distributed import ALONE, World, joined
from haina.train.loop import Held, Task, train
from haina.train.objectives import next_token
from haina.train.pretrain import prepare, run
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
    steps=4, rows=2, accumulate=4, length=16, log_every=1, valid_every=9, save_every=2, keep=9, warm_up=2
)


@dataclass(frozen=True)
class Part:
    ids_BT: np.ndarray
    targets_BT: np.ndarray


class Uneven:
    """Rows that count upwards; the parts of a step have different numbers of learned tokens.

    blow: a signal that this process gets at the last part of step 2.
    """

    def __init__(self, blow: signal.Signals | None = None):
        self.blow = blow

    def batch(self, number: int, rows: int) -> Part:
        if number == 2 * OPTIONS.accumulate + 3 and self.blow:
            os.kill(os.getpid(), self.blow)
        chance = np.random.default_rng(number)
        ids = chance.integers(3, 40, rows)[:, None] + np.arange(17)
        return Part(ids[:, :-1], np.where(chance.random((rows, 16)) < chance.random(), ids[:, 1:], -100))


def learn(folder: Path, config: ModelConfig, options: TrainOptions, world: World, blow: Any = None) -> None:
    decoder = spread(config, options, world.mesh) if world.mesh else Decoder(config).initialise()
    held = Held([Uneven().batch(900 + n, 2) for n in range(3)])
    train(Task(decoder, Uneven(blow), {"all": held}, next_token, world=world), options, folder)


def struck(
    folder: Path, config: ModelConfig, options: TrainOptions, blow: signal.Signals | None, world: World
) -> None:
    """The last process gets a signal."""
    learn(folder, config, options, world, blow if world.reader == world.readers - 1 else None)


def apart(folder: Path, config: ModelConfig, options: TrainOptions, world: World) -> None:
    """Each process has a folder of its own, as on machines that share none."""
    try:
        learn(folder / f"{world.reader}", config, options, world)
    except ValueError as error:
        sys.exit(3 * ("is not one folder for all machines" in str(error)))


def pretrained(folder: Path, text: Path, world: World) -> None:
    """From tokens to a model folder, as the verb does it."""
    asked = PretrainOptions(
        tokenizer=str(text / "tokenizer.model"), out=str(folder), size="xs", tokens=500, length=32, batch=512,
        rows=4, yes=True,
    )  # fmt: skip
    run(prepare(text / "tokens", asked, world=world))


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
            except SystemExit as end:
                status = int(str(end.code))
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
    root, text, exits = Path(sys.argv[1]), Path(sys.argv[2]), {}
    alibi, long = replace(OPTIONS, optimiser="adamw", steps=2), replace(OPTIONS, save_every=99)

    def go(name: str, after: str | None, count: int, work: Any, *given: Any, **split: int) -> None:
        """A run from its beginning, or from step 2 of another."""
        if after:
            later = shutil.ignore_patterns("0000000[34]")
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
    go("killed", "two", 2, struck, CONFIG, OPTIONS, signal.SIGKILL)
    shutil.copytree(root / "killed", root / "mended")
    go("mended", None, 2, learn, CONFIG, OPTIONS)
    shutil.copytree(root / "two", root / "torn")  # whole but for a share of the newest state
    torn = root / "torn" / "states" / "00000004" / "__1_0.distcp"
    torn.write_bytes(torn.read_bytes()[:-99])
    go("torn", None, 2, learn, CONFIG, OPTIONS)
    go("asked", "two", 2, struck, CONFIG, long, signal.SIGTERM)
    go("pretrained", None, 2, pretrained, text, tensor=2)
    found = {name: told(root / name, codes) for name, codes in exits.items()}
    print(json.dumps(found | {"apart": {"exits": processes(2, apart, root / "apart", CONFIG, OPTIONS)}}))


def process() -> None:
    torch.set_num_threads(1)
    blow = signal.SIGKILL if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" else None
    with joined("cpu") as world:
        struck(Path(sys.argv[1]), CONFIG, OPTIONS, blow, world)


if __name__ == "__main__":
    match sys.argv[2:]:
        case ["process"]:
            process()
        case ["alone"]:
            learn(Path(sys.argv[1]) / "alone", CONFIG, OPTIONS, ALONE)
        case _:
            main()
