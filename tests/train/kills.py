"""A run that is killed again and again, beside one that is not. A program of its own: children are forked, which
is cheap once torch is there and safe as long as this process computes nothing itself.

usage: kills.py FOLDER KILLS SEED; prints {"kills": …, "same": …, "steps": …, "nats": …}
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch.utils.tensorboard

from haina.data.encode import Encoding, write
from haina.data.pack import Samples
from haina.data.tokens import Tokens
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.train.loop import Held, Task, train
from haina.train.objectives import next_token
from haina.train.state import States

CONFIG = ModelConfig(
    architecture="BaiChuanForCausalLM",
    vocab_size=512,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=16,
    rotary_dim=16,
    max_position_embeddings=32,
)
TEXT = ["白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "hello from the sea, where all rivers end"]


def options(kills: int) -> TrainOptions:
    """Long enough that a run is killed so often before it ends."""
    return TrainOptions(
        steps=20 + 5 * kills,
        rows=2,
        length=32,
        accumulate=2,
        log_every=1,
        valid_every=7,
        save_every=2,
        warm_up=2,
    )


def learn(tokens: Tokens, folder: Path, kills: int) -> None:
    """One session of the run, in a child."""
    samples = Samples(tokens, 32)
    held = Held([samples.at(range(2))], 3.0)
    train(Task(Decoder(CONFIG).initialise(), samples, {"text": held}, next_token), options(kills), folder)


def session(tokens: Tokens, folder: Path, kills: int, limit_s: float | None) -> bool:
    """Whether the session ended by itself; after `limit_s` it is killed."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        learn(tokens, folder, kills)
        os._exit(0)
    if limit_s is not None:
        time.sleep(limit_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def weights(folder: Path) -> dict[str, bytes]:
    newest = States(folder / "states", 2).found()[0]
    return {f.name: f.read_bytes() for f in newest.iterdir()}


def log(folder: Path) -> list[list[float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [[line["step"], line["nats"], line["norm"]] for line in lines]


def main() -> None:
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    tokens = write(({"text": t * 9} for t in TEXT * 9), folder / "tokens", Encoding(sys.argv[4]))
    began = time.monotonic()
    assert session(tokens, folder / "whole", kills, None)
    whole_s, chance, done = time.monotonic() - began, random.Random(seed), 0
    while done < kills:  # anything may be hit: a step, a log line, a state half written
        if session(tokens, folder / "killed", kills, chance.uniform(0.05, 0.1 + 1.5 * whole_s / kills)):
            break
        done += 1
    session(tokens, folder / "killed", kills, None)
    same = weights(folder / "whole") == weights(folder / "killed")
    nats = log(folder / "whole") == log(folder / "killed")
    steps = [int(step) for step, *_ in log(folder / "killed")] == list(range(options(kills).steps))
    print(
        json.dumps({"kills": done, "same": same, "nats": nats, "steps": steps, "whole_s": round(whole_s, 1)})
    )


main()
