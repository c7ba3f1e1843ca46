"""The training loop: it learns, it resumes exactly, and its parts do what their sources say."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.data.pack import Rows, pack
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.text.messages import IGNORED
from haina.train.loop import beside, train
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
    targets[0, 3:] = IGNORED
    nats, loss = next_token(decoder, ids, targets, z_loss=0.1)
    logits = decoder(ids).flatten(0, 1)
    assert nats.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, targets.flatten()).item(), rel=1e-5
    )
    squares = logits.logsumexp(-1)[targets.flatten() != IGNORED].square().mean()
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


def test_a_run_goes_on_with_its_own_options_only(tmp_path: Path) -> None:
    run(tmp_path, 2)
    for change in ({"seed": 1}, {"matrix_lr": 0.5}, {"steps": 20}):
        name, value = next(iter(change.items()))
        with pytest.raises(
            ValueError, match=rf"run.json: .* {name} = .*, not {value}; choose another folder"
        ):
            train(Decoder(CONFIG), counting(), counting(4), next_token, replace(OPTIONS, **change), tmp_path)
    written = json.loads((tmp_path / "run.json").read_text())
    assert (written["seed"], written["steps"]) == (OPTIONS.seed, OPTIONS.steps)


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    run(tmp_path, 2)
    written: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    del written["clip"]  # a field that came later
    (tmp_path / "run.json").write_text(json.dumps(written))
    other = replace(OPTIONS, stop_after=3, log_every=2, save_every_s=9.0)  # of the session, not of the run
    train(Decoder(CONFIG), counting(), counting(4), next_token, other, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["clip"] == OPTIONS.clip


def test_a_log_line_cut_short_is_dropped_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    run(tmp_path, 3)
    log = tmp_path / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 3, "tok')
    run(tmp_path, 4)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [0, 1, 2, 3]
    log.write_text('{"step": 0, "tok\n' + whole)
    with pytest.raises(ValueError, match=r"log\.jsonl:1: "):
        run(tmp_path, 5)


def test_the_state_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append(Path(new).name), rename(old, new))[1])
    run(tmp_path, 1)
    assert order[order.index("state.safetensors") - 1] == "fsync"


@pytest.mark.parametrize(
    ("language", "words"), [("en", "step 0: the loss is nan"), ("zh", "第 0 步：损失为 nan")]
)
def test_a_loss_that_is_no_number_is_an_error_of_one_line(
    language: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAINA_LANG", language)
    decoder = Decoder(CONFIG).initialise()
    with torch.no_grad():
        decoder.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=words):
        train(decoder, counting(), counting(4), next_token, OPTIONS, tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_a_batch_goes_where_the_weights_are() -> None:
    with torch.device("meta"):
        decoder = Decoder(CONFIG)
    ids, targets = beside(decoder, *counting().batch(0, 4))
    assert ids.device == targets.device == torch.device("meta") and ids.dtype == targets.dtype == torch.int64
