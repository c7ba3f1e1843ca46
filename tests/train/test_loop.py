"""The training loop: it learns, it resumes exactly, and its parts do what their sources say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from haina.data.pack import IGNORE, Rows, pack
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options import TrainOptions
from haina.train.loop import train
from haina.train.objectives import next_token
from haina.train.optim import orthogonal, schedule

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
OPTIONS = TrainOptions(steps=12, rows=4, length=16, log_every=1, valid_every=6, save_every_s=0, warm_up=2)


def counting(count: int = 40) -> Rows:
    """Rows that count upwards from anywhere: easy to learn."""
    starts = np.random.default_rng(0).integers(3, 40, count)
    documents = [(np.arange(s, s + 16, dtype=np.uint16), np.arange(s + 1, s + 17)) for s in starts]
    return pack(documents, 16)


def run(folder: Path, *steps: int) -> dict[str, torch.Tensor]:
    """Train to each of `steps` in turn, a new process's worth of objects each time."""
    for number in steps:
        decoder = Decoder(CONFIG).initialise()
        train(decoder, counting(), counting(4), next_token, replace(OPTIONS, stop_after=number), folder)
    return {name: p.detach().clone() for name, p in decoder.named_parameters()}


def test_it_learns_and_resume_is_uninterrupted(tmp_path: Path) -> None:
    whole, broken = run(tmp_path / "whole", 12), run(tmp_path / "broken", 5, 9, 12)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "broken")]
    lines, again = ([json.loads(line) for line in log] for log in logs)
    assert [(a["step"], a["nats"]) for a in lines] == [(b["step"], b["nats"]) for b in again]
    assert lines[-1]["nats"] < 0.8 * lines[0]["nats"]
    assert lines[-1]["valid_nats"] < lines[0]["valid_nats"]


def test_loss_is_cross_entropy_over_learned_tokens() -> None:
    torch.manual_seed(0)
    decoder = Decoder(CONFIG)
    ids, targets = torch.randint(0, 64, (3, 16)), torch.randint(0, 64, (3, 16))
    targets[0, 3:] = IGNORE
    nats, loss = next_token(decoder, ids, targets, z_loss=0.1)
    logits = decoder(ids).flatten(0, 1)
    assert nats.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, targets.flatten()).item(), rel=1e-5
    )
    squares = logits.logsumexp(-1)[targets.flatten() != IGNORE].square().mean()
    assert loss.item() == pytest.approx((nats + 0.1 * squares).item(), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 8, 24), (2, 24, 8)])
def test_newton_schulz_flattens_singular_values(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5 and values.max() < 1.3


def test_schedule_warms_up_stays_and_falls() -> None:
    share = [schedule(step, 100, warm_up=10) for step in range(100)]
    assert share[0] == 0.1 and share[10] == share[39] == 1.0
    assert share[-1] == pytest.approx(0.05, abs=0.02) and sorted(share[40:], reverse=True) == share[40:]


def test_packing_loses_nothing() -> None:
    random = np.random.default_rng(0)
    documents = [np.arange(1, 1 + n, dtype=np.uint16) for n in random.integers(1, 40, 60)]
    rows = pack([(ids, ids.astype(np.int32)) for ids in documents], 16)
    packed = sorted(rows.ids_NT[rows.targets_NT != IGNORE].tolist())
    assert packed == sorted(np.concatenate(documents).tolist())
    assert (rows.targets_NT != IGNORE).mean() > 0.95


def test_every_epoch_visits_each_row_once() -> None:
    rows = Rows(np.arange(10, dtype=np.uint16)[:, None], np.zeros((10, 1), np.int32))
    first, second = (
        [int(i) for step in steps for i in rows.batch(step, 5)[0][:, 0]] for steps in ((0, 1), (2, 3))
    )
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
