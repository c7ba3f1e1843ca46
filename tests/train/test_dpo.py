"""Preferences: the loss is its formula, the reference is asked once, and the better answers win."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.options.tuning import DpoOptions
from haina.train.dpo import preferred, prepare
from haina.train.loop import beside
from haina.train.tune import Tuning, run

Lines = Callable[..., Path]
REJECTED = ("处处", "hello", "friend", "有容", "2", "sea", "今天", "rivers")


@pytest.fixture
def pairs(talks: list[tuple[str, str]], lines: Lines) -> Path:
    rows = [
        {"prompt": asked, "chosen": said, "rejected": other}
        for (asked, said), other in zip(talks, REJECTED, strict=True)
    ]
    return lines(*rows)


def job(model: Path, data: Path, folder: Path, **changes: Any) -> Tuning:
    given = {
        "epochs": 12,
        "batch": 8,
        "rows": 4,
        "lr": 2e-3,
        "valid": 0,
        "valid_every": 999,
        "precision": "fp32",
    }
    return prepare(model, data, DpoOptions(out=str(folder), **given | changes))


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_margin_and_accuracy_rise(little: Path, pairs: Path, tmp_path: Path) -> None:
    assert run(job(little, pairs, tmp_path)) == tmp_path / "model"
    first, *_, last = log(tmp_path)
    assert first["nats"] == pytest.approx(math.log(2), abs=1e-5) and abs(first["margin"]) < 1e-5
    assert last["accuracy"] == 1.0 and last["margin"] > 0.5 and last["chosen"] > last["rejected"]


def test_the_reference_is_asked_once_and_a_stopped_run_ends_with_the_same_bits(
    little: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, stops in (("whole", (None,)), ("stopped", (2, None))):
        for stop in stops:
            run(job(little, pairs, tmp_path / name, epochs=4, valid=0.25, stop_after=stop))
    whole, stopped = (tmp_path / n / "model" / "model.safetensors" for n in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    assert capsys.readouterr().out.count("likelihood of 16 answers") == 2
    assert np.load(tmp_path / "whole" / "reference.npy").shape == (8, 2)
    assert set(log(tmp_path / "whole")[-1]["valid"]["pairs"]) >= {"nats", "margin", "accuracy"}


def test_the_loss_is_the_formula(little: Path, pairs: Path, tmp_path: Path) -> None:
    """Against log-softmax of all logits, row by row, for each of the variants."""
    task = job(little, pairs, tmp_path).task
    with torch.no_grad():
        for weight in task.decoder.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.05)
    task.shown.reference_P2[:] = np.linspace(-9, -5, 16).reshape(8, 2)
    batch = beside(task.decoder, task.shown.at(range(3)))
    logits = task.decoder(batch["ids_BT"]).log_softmax(-1)
    learnt = batch["targets_BT"] != -100
    nats = logits.gather(-1, batch["targets_BT"].clamp(min=0)[..., None])[..., 0] * learnt
    summed, tokens = nats.sum(-1).view(-1, 2), learnt.sum(-1).view(-1, 2)
    for by_length in (False, True):
        gain = (summed - batch["reference_P2"]) / (tokens if by_length else 1)
        margin = 0.3 * (gain[:, 0] - gain[:, 1])
        wrong = -torch.log(torch.sigmoid(-margin))
        expected = (-0.9 * torch.log(torch.sigmoid(margin)) + 0.1 * wrong).mean()
        sft = -summed[:, 0].sum() / tokens[:, 0].sum()
        told, loss = preferred(
            task.decoder, batch, beta=0.3, label_smoothing=0.1, by_length=by_length, sft=0.5
        )
        assert told[0].item() == pytest.approx(expected.item(), rel=1e-5)
        assert loss.item() == pytest.approx((expected + 0.5 * sft).item(), rel=1e-5)
        assert told[1].item() == pytest.approx(margin.mean().item(), rel=1e-4)
        assert told[2].item() == pytest.approx((margin > 0).float().mean().item())


def test_what_cannot_be_compared_is_named(little: Path, lines: Lines, tmp_path: Path) -> None:
    good = {"prompt": "hello", "chosen": "hello", "rejected": "sea"}
    for bad, words in (
        ({"prompt": "hello", "chosen": "sea", "rejected": "sea"}, "chosen and rejected are the same"),
        ({"prompt": "hello", "chosen": "sea"}, "no chosen or no rejected"),
        ({"prompt": "hello", "chosen": "sea", "rejected": ""}, "an answer is empty"),
        ({"prompt": [], "chosen": "sea", "rejected": "hello"}, "prompt is not a list of messages"),
    ):
        with pytest.raises(ValueError, match=rf"1 of 2 rows cannot be used: .*{words} \(row 2\)"):
            job(little, lines(good, bad), tmp_path / "run")
    long = good | {"prompt": "hello " * 60}
    made = job(little, lines(good, long), tmp_path / "run")
    assert "1 pairs of answers, 1 more are too long" in made.told[1]
    with pytest.raises(ValueError, match="no pair fits into 48 tokens"):
        job(little, lines(long), tmp_path / "run")
