"""A network so small that a step takes milliseconds, and rows that count upwards from anywhere: easy to learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.checkpoint.checkpoint import save
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.text.vocabulary import FIXED, learn
from haina.train.loop import Held, Task, train
from haina.train.objectives import next_token

CONFIG = ModelConfig(
    architecture="BaiChuanForCausalLM",
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=16,
    rotary_dim=16,
    max_position_embeddings=16,
)
OPTIONS = TrainOptions(
    steps=12, rows=4, length=16, log_every=1, valid_every=6, save_every=1, warm_up=2, spike_sigma=0.0
)


@dataclass(frozen=True)
class Part:
    ids_BT: np.ndarray
    targets_BT: np.ndarray


class Counting:
    """Rows start, start + 1, …; `asked` remembers the numbers of the parts."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def batch(self, number: int, rows: int) -> Part:
        self.asked.append(number)
        starts = np.random.default_rng(number).integers(3, 40, rows)[:, None]
        return Part(starts + np.arange(16), starts + np.arange(1, 17))


@dataclass(frozen=True)
class Toy:
    """A run of the small network: `toy(folder, steps=…)` goes on in it to each of the steps in turn."""

    config: ModelConfig
    options: TrainOptions

    def task(self, **changes: Any) -> Task:
        rows = Counting()
        held = Held([Counting().batch(999, 4)])
        task = Task(Decoder(self.config).initialise(), rows, {"all": held}, next_token)
        return replace(task, **changes)

    def __call__(self, folder: Path, *stops: int, **changes: Any) -> dict[str, Any]:
        """The weights after training to each stop, a new process's worth of objects each time."""
        for stop in stops:
            task = self.task()
            train(task, replace(self.options, stop_after=stop, **changes), folder)
        return {name: p.detach().clone() for name, p in task.decoder.named_parameters()}


@pytest.fixture
def toy() -> Toy:
    return Toy(CONFIG, OPTIONS)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def same() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    return lambda a, b: all(torch.equal(a[name], b[name]) for name in a)


TALKS = [
    ("你好", "你好！今天想聊什么？"),
    ("春眠不觉晓", "处处闻啼鸟。"),
    ("hello", "hello there, friend"),
    ("1+1", "2"),
    ("what is the sea", "all rivers end in the sea"),
    ("海纳百川", "有容乃大。"),
    ("friend", "hello again"),
    ("今天", "春天。"),
]


@pytest.fixture(scope="session")
def talks() -> list[tuple[str, str]]:
    """Questions with their answers."""
    return TALKS


@pytest.fixture(scope="session")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model that knows nothing, with a vocabulary in which the talks are short."""
    wire = learn([text for talk in TALKS for text in talk] * 9, pieces=FIXED + 120)
    config = replace(
        CONFIG, vocab_size=FIXED + 120, hidden_size=64, intermediate_size=128, head_dim=32, rotary_dim=32
    )
    decoder = Decoder(replace(config, max_position_embeddings=48)).initialise()
    folder = tmp_path_factory.mktemp("models") / "little"
    weights = ((name, p.detach().numpy()) for name, p in decoder.named_parameters())
    save(
        folder,
        decoder.config,
        weights,
        tokenizer=wire,
        generation={"eos_token_id": 2},
        source={"licence": "CC0"},
    )
    return folder


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Rows as a .jsonl file."""

    def write(*rows: dict[str, Any]) -> Path:
        file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        return file

    return write
