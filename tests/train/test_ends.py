"""How a run ends: with the best weights if asked, with a word about what went wrong; and with how many threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.train.log import read_log
from haina.train.loop import Held, train
from haina.train.threads import choose
from haina.train.verdict import alike, risen, since_best, speechless, unmoved


def validated(*nats: float) -> list[dict[str, float]]:
    return [{"step": 10 * n, "valid_nats": value, "nats": value} for n, value in enumerate(nats)]


def test_validation_that_rises_is_said() -> None:
    lines = validated(5.0, 3.45, 4.0, 4.63)
    assert since_best(lines) == 2 and since_best([]) == 0
    (told,) = risen(lines, kept_best=False)
    assert "from 3.45 nats/token after step 11 to 4.63" in told and "--patience" in told
    assert "weights of step 11 are kept" in risen(lines, kept_best=True)[0]
    assert risen(validated(5.0, 3.45, 3.46), kept_best=False) == risen([], kept_best=False) == []


def test_a_loss_that_does_not_fall_is_said() -> None:
    assert "(4.00 → 4.00)" in unmoved(validated(*[4.0] * 12))[0]
    assert unmoved(validated(*np.linspace(4, 3, 12))) == unmoved(validated(4.0)) == []


@pytest.mark.parametrize(("answers", "said"), [(["", " \n"], True), (["", "你好"], False), ([], False)])
def test_answers_that_are_nothing_are_said(answers: list[str], said: bool) -> None:
    assert bool(speechless(answers)) == said


def test_rewards_that_do_not_differ_are_said() -> None:
    lines: list[dict[str, Any]] = [{"spread": 0.0, "reward": 0.0}] * 3
    assert "nothing could be learnt" in alike(lines)[0]
    assert alike([*lines, {"spread": 0.2}]) == alike([{"nats": 1.0}]) == []


def test_patience_stops_and_keeps_the_best(toy: Callable[..., Any], tmp_path: Path) -> None:
    """What is held out counts downwards, so that it is read worse and worse once counting upwards is learnt."""
    task = toy.task()  # type: ignore[attr-defined]
    up = task.shown.batch(999, 4)
    task = replace(task, valid={"down": Held([replace(up, targets_BT=up.ids_BT - 1)])})
    options = replace(toy.options, steps=40, valid_every=2, patience=2, matrix_lr=0.05)  # type: ignore[attr-defined]
    assert train(task, options, tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    assert since_best(lines) == 2 and lines[-1]["step"] < 39
    best = {name: weight.detach().clone() for name, weight in task.decoder.named_parameters()}
    (state,) = (tmp_path / "best").iterdir()
    nats = [(line["valid_nats"], line["step"] + 1) for line in lines if "valid_nats" in line]
    assert int(state.name) == min(nats)[1]
    again = replace(toy.task(), valid=task.valid)  # type: ignore[attr-defined]
    assert train(again, options, tmp_path)  # it stays at its end
    assert all(torch.equal(weight, best[name]) for name, weight in again.decoder.named_parameters())


def test_threads_are_as_asked_or_as_before_or_measured(toy: Any) -> None:
    had = torch.get_num_threads()
    try:
        assert choose(2, 1, toy.config, "cpu", 16) == torch.get_num_threads() == 2
        assert choose(None, 1, toy.config, "cpu", 16) == torch.get_num_threads() == 1
        torch.set_num_threads(2)
        assert choose(None, 0, toy.config, "cpu", 16) in (1, 2)
    finally:
        torch.set_num_threads(had)
