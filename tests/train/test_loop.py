"""The training loop: it learns, it resumes exactly, and its parts do what their sources say."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from haina.model.decoder import Decoder
from haina.train.loop import Task, beside, train
from haina.train.optim import CautiousAdamW, orthogonal, schedule
from haina.train.spikes import FEWEST, spike

Same = Callable[[dict[str, Any], dict[str, Any]], bool]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_it_learns_and_resume_is_uninterrupted(optimiser: str, toy: Any, same: Same, tmp_path: Path) -> None:
    whole = toy(tmp_path / "whole", 12, optimiser=optimiser)
    broken = toy(tmp_path / "broken", 5, 9, 12, optimiser=optimiser)
    assert same(whole, broken)
    logs = [lines(tmp_path / name) for name in ("whole", "broken")]
    numbers = [[(line["step"], line["nats"], line["norm"]) for line in log] for log in logs]
    assert numbers[0] == numbers[1]
    assert logs[0][-1]["nats"] < 0.8 * logs[0][0]["nats"]
    assert logs[0][-1]["valid_nats"] < logs[0][0]["valid_nats"]


def test_every_part_is_shown_once_whatever_the_cuts(toy: Any, tmp_path: Path) -> None:
    asked = []
    for stop in (5, 12):
        task = toy.task()
        task.shown.asked.clear()
        train(task, replace(toy.options, accumulate=2, stop_after=stop), tmp_path)
        asked += task.shown.asked
    assert asked == list(range(24))


def test_a_batch_may_be_cut_in_any_way(toy: Any, tmp_path: Path) -> None:
    """The gradient of two parts is that of the whole: here the mean of theirs, since both have as many tokens."""
    from haina.train.loop import Trainer
    from haina.train.state import States

    def gradient(number: int, accumulate: int) -> tuple[float, torch.Tensor]:
        task = toy.task()
        trainer = Trainer(task, replace(toy.options, accumulate=accumulate), States(tmp_path, 1))
        return trainer.gradient(number)[0], task.decoder.lm_head.weight.grad

    nats, whole = gradient(0, 2)
    halves = [gradient(0, 1), gradient(1, 1)]
    assert nats == pytest.approx(sum(n for n, _ in halves) / 2, rel=1e-6)
    assert torch.allclose(whole, (halves[0][1] + halves[1][1]) / 2, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 8, 24), (2, 24, 8)])
def test_newton_schulz_flattens_singular_values(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5 and values.max() < 1.3


def test_weight_decay_is_cautious() -> None:
    """Of two equal weights only the one that the step shrinks anyway is decayed."""
    weight = torch.nn.Parameter(torch.tensor([[1.0, 1.0]]))
    optimiser = CautiousAdamW([weight], lr=0.1, betas=(0.9, 0.95), weight_decay=0.5)
    weight.grad = torch.tensor([[1.0, -1.0]])
    optimiser.step()
    shrunk, grown = weight[0].tolist()
    assert grown == pytest.approx(1.1) and shrunk == pytest.approx(0.9 - 0.1 * 0.5 * 0.9, abs=1e-6)


def test_schedules_warm_up_and_fall(toy: Any) -> None:
    wsd = replace(toy.options, steps=100, warm_up=10)
    share = [schedule(step, wsd) for step in range(100)]
    assert share[0] == 0.1 and share[10] == share[39] == 1.0
    assert share[-1] == pytest.approx(0.05, abs=0.02) and sorted(share[40:], reverse=True) == share[40:]
    wave = [schedule(step, replace(wsd, schedule="cosine")) for step in range(100)]
    assert wave[10] == 1.0 and wave[55] == pytest.approx(0.525, abs=0.01) and wave[99] < 0.06


def test_recomputed_activations_give_the_same_weights(toy: Any, same: Same, tmp_path: Path) -> None:
    assert same(toy(tmp_path / "kept", 3), toy(tmp_path / "again", 3, recompute="block"))


def test_a_run_goes_on_with_its_own_options_only(toy: Any, tmp_path: Path) -> None:
    toy(tmp_path, 2)
    for change in ({"seed": 1}, {"matrix_lr": 0.5}, {"steps": 20, "warm_up": 3}, {"steps": 1}):
        name, value = next(iter(change.items()))
        with pytest.raises(
            ValueError, match=rf"run.json: .* {name} = .*, not {value} \(--.*\); choose another folder"
        ):
            toy(tmp_path, 3, **change)
    with pytest.raises(ValueError, match="tokens = None, not another"):
        train(toy.task(about={"tokens": "another"}), toy.options, tmp_path)
    written = json.loads((tmp_path / "run.json").read_text())
    assert (written["seed"], written["steps"]) == (toy.options.seed, toy.options.steps)


def test_a_run_of_an_older_version_goes_on(toy: Any, tmp_path: Path) -> None:
    toy(tmp_path, 2)
    written: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    del written["clip"]  # a field that came later
    (tmp_path / "run.json").write_text(json.dumps(written))
    toy(tmp_path, 3, log_every=2, save_every=9)  # of the session, not of the run
    assert json.loads((tmp_path / "run.json").read_text())["clip"] == toy.options.clip


def test_a_log_line_cut_short_is_dropped_and_a_damaged_one_is_named(toy: Any, tmp_path: Path) -> None:
    toy(tmp_path, 3)
    log = tmp_path / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 3, "tok')
    toy(tmp_path, 4)
    assert [line["step"] for line in lines(tmp_path)] == [0, 1, 2, 3]
    log.write_text('{"step": 0, "tok\n' + whole)
    with pytest.raises(ValueError, match=r"log\.jsonl:1: "):
        toy(tmp_path, 5)


@pytest.mark.parametrize("damage", ["cut", "changed", "no manifest"])
def test_a_damaged_state_is_named_and_the_one_before_is_taken(
    damage: str, toy: Any, same: Same, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = toy(tmp_path / "whole", 12)
    toy(tmp_path / "broken", 6)
    newest = tmp_path / "broken" / "states" / "00000006"
    file = newest / "state.safetensors"
    wire = file.read_bytes()
    if damage == "cut":
        file.write_bytes(wire[:-100])
    elif damage == "changed":
        file.write_bytes(wire[:-1] + bytes([wire[-1] ^ 1]))
    else:
        (newest / "manifest.json").unlink()
    assert same(whole, toy(tmp_path / "broken", 12))
    assert "going on from 00000005" in capsys.readouterr().out
    for state in (tmp_path / "broken" / "states").iterdir():
        (state / "progress.json").write_text("{}")
    with pytest.raises(ValueError, match="no state is whole"):
        toy(tmp_path / "broken", 12)


def test_only_the_last_states_stay_and_leftovers_go(toy: Any, tmp_path: Path) -> None:
    toy(tmp_path, 3, keep=2)
    left = tmp_path / "states" / ".00000004.unfinished-1"
    left.mkdir()
    toy(tmp_path, 5, keep=2)
    assert sorted(p.name for p in (tmp_path / "states").iterdir()) == ["00000004", "00000005"]


@pytest.mark.skipif(os.name != "posix", reason="RLIMIT_FSIZE")
def test_a_full_disk_is_one_line_and_nothing_is_lost(toy: Any, same: Same, tmp_path: Path) -> None:
    whole = toy(tmp_path / "whole", 12)
    toy(tmp_path / "full", 6)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # the system then refuses to write more
    try:
        with pytest.raises(ValueError, match=r"states/00000007: not written: .*choose another place"):
            toy(tmp_path / "full", 12)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(p.name for p in (tmp_path / "full" / "states").iterdir()) == ["00000005", "00000006"]
    assert same(whole, toy(tmp_path / "full", 12))


def test_two_processes_do_not_train_one_run(toy: Any, tmp_path: Path) -> None:
    from haina.checkpoint.new_folder import alone

    toy(tmp_path, 1)
    with alone(tmp_path / ".lock", ""), pytest.raises(ValueError, match="another process trains here"):
        toy(tmp_path, 2)


def test_a_signal_saves_and_the_same_call_goes_on(
    toy: Any, same: Same, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = toy(tmp_path / "whole", 12)

    def ask(decoder: Decoder, step: int) -> None:
        for _ in range(2 * (step == 7)):  # Slurm and torchrun each send one
            os.kill(os.getpid(), signal.SIGTERM)

    task = toy.task(watch=ask)
    assert not train(task, replace(toy.options, save_every=100), tmp_path / "asked")
    assert "stopped after step 7" in capsys.readouterr().out
    assert same(whole, toy(tmp_path / "asked", 12, save_every=100))


def spoilt(toy: Any, bad: set[int], **changes: Any) -> Task:
    """A task whose loss is no number in some batches, by their number."""
    task = toy.task(**changes)

    def loss(decoder: Decoder, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        nats, loss = task.objective(decoder, batch)
        factor = float("nan") if task.shown.asked[-1] in bad else 1.0
        return nats * factor, loss * factor

    return replace(task, objective=loss)


def test_a_spoilt_batch_is_left_out(toy: Any, tmp_path: Path) -> None:
    task = spoilt(toy, {4})
    assert train(task, toy.options, tmp_path)
    log = lines(tmp_path)
    assert [line["step"] for line in log if line.get("skipped")] == [4]
    assert log[-1]["nats"] < log[0]["nats"] and all(p.isfinite().all() for p in task.decoder.parameters())


@pytest.mark.parametrize(("save_every", "back"), [(4, 12), (1, 13)])
def test_after_many_the_run_goes_back_and_leaves_them_out(
    save_every: int, back: int, toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = spoilt(toy, set(range(6, 14)))
    task.shown.asked.clear()
    options = replace(toy.options, steps=16, save_every=save_every)
    assert train(task, options, tmp_path)
    assert f"back to step {back} without these batches" in capsys.readouterr().out
    assert task.shown.asked == list(
        range(14 + 16 - back)
    )  # the steps from there on have the batches from 14 on
    assert [line["step"] for line in lines(tmp_path)] == list(range(16))


@pytest.mark.parametrize(
    ("language", "words"), [("en", "step 0: the loss is nan"), ("zh", "第 0 步：损失为 nan")]
)
def test_a_loss_that_is_no_number_from_the_start_is_an_error_of_one_line(
    language: str, words: str, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAINA_LANG", language)
    with pytest.raises(ValueError, match=words):
        train(spoilt(toy, {0}), toy.options, tmp_path)


def test_a_loss_that_stays_none_ends_the_run(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower learning rates"):
        train(spoilt(toy, set(range(2, 200))), replace(toy.options, steps=99), tmp_path)


def test_a_spike_is_far_above_the_last_steps() -> None:
    recent = [(3.0 + 0.01 * (n % 5), 1.0 + 0.1 * (n % 3)) for n in range(FEWEST)]
    assert not spike(recent, 3.05, 1.5, 6.0)
    assert spike(recent, 4.0, 1.0, 6.0) and spike(recent, 3.0, 9.0, 6.0)
    assert not spike(recent[1:], 4.0, 1.0, 6.0) and not spike(recent, 4.0, 1.0, 0.0)
    assert spike([], float("nan"), 1.0, 0.0) and spike([], 1.0, float("inf"), 6.0)


def test_a_batch_goes_where_the_weights_are(toy: Any) -> None:
    with torch.device("meta"):
        decoder = Decoder(toy.config)
    batch = beside(decoder, toy.task().shown.batch(0, 4))
    assert {t.device.type for t in batch.values()} == {"meta"}
    assert {t.dtype for t in batch.values()} == {torch.int64}
