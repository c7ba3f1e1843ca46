"""Rewards: answers that are worth more become likelier, a run resumes exactly, the loss is its formula."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.options.tuning import GrpoOptions
from haina.text.messages import Message
from haina.train.base import Base
from haina.train.grpo import advantages, improved, prepare
from haina.train.loop import beside
from haina.train.rewards import REWARDS, reward_by
from haina.train.rollout import answers
from haina.train.tune import Tuning, run

Lines = Callable[..., Path]


@pytest.fixture
def asked(lines: Lines) -> Path:
    return lines(*({"prompt": text, "length": 6} for text in ("hello", "你好", "sea")))


def job(model: Path, data: Path, folder: Path, **changes: Any) -> Tuning:
    given = {"reward": "length", "steps": 15, "prompts": 2, "generations": 8, "max_new_tokens": 6, "lr": 5e-3}
    given |= {"valid_every": 999, "save_every": 4, "warm_up": 0, "precision": "fp32"}
    return prepare(
        model, data, GrpoOptions(out=str(folder), **given | changes), available=lambda device: None
    )


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_reward_rises(little: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of Chinese characters among four: of a network that knows nothing, a few in a hundred."""
    (tmp_path / "chinese.py").write_text(
        "def share(answer, row): return sum('一' <= c <= '龥' for c in answer) / max(4, len(answer))\n",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    given = {"reward": "chinese:share", "steps": 20, "generations": 16, "max_new_tokens": 4, "lr": 2e-2}
    assert run(job(little, asked, tmp_path, **given)) == tmp_path / "model"
    found = [line["reward"] for line in log(tmp_path)]
    assert np.mean(found[:2]) < 0.2 and np.mean(found[-2:]) > 0.8
    assert all(line["clipped"] == 0 and line["spread"] >= 0 for line in log(tmp_path))


@pytest.mark.parametrize("more", [{}, {"reuse": 2, "rows": 1, "beta": 0.05}])
def test_a_stopped_run_ends_with_the_same_bits(
    more: dict[str, Any], little: Path, asked: Path, tmp_path: Path
) -> None:
    for name, stops in (("whole", (None,)), ("stopped", (1, None))):
        for stop in stops:
            run(job(little, asked, tmp_path / name, steps=4, stop_after=stop, **more))
    whole, stopped = (tmp_path / n / "model" / "model.safetensors" for n in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    if more:
        names = sorted(file.name for file in (tmp_path / "whole" / "rollouts").iterdir())
        assert names == [f"{n:08}-1.npz" for n in range(4)]  # two parts for each two of the steps
        assert any(line["clipped"] > 0 for line in log(tmp_path / "whole"))


def test_the_loss_is_the_formula(little: Path, asked: Path, tmp_path: Path) -> None:
    """At the weights that spoke, the gradient is that of advantage times log-probability; far from them it is cut."""
    task = job(little, asked, tmp_path).task
    batch = beside(task.decoder, task.shown.batch(0, 2))
    learnt = batch["targets_BT"] != -100
    worth = batch["reward_B"].view(2, 8)
    expected = ((worth - worth.mean(1, keepdim=True)) / (worth.std(1, keepdim=True) + 1e-4)).flatten()
    assert torch.allclose(advantages(batch["reward_B"], 8), expected)
    nats = task.decoder(batch["ids_BT"]).log_softmax(-1)
    nats = nats.gather(-1, batch["targets_BT"].clamp(min=0)[..., None])[..., 0]
    assert torch.allclose(nats[learnt], batch["nats_BT"][learnt], atol=1e-5)
    head = task.decoder.lm_head.weight
    (plain,) = torch.autograd.grad(-(nats * expected[:, None])[learnt].mean(), head)
    told, loss = improved(task.decoder, batch, generations=8)
    (found,) = torch.autograd.grad(loss, head)
    assert torch.allclose(found, plain, atol=1e-7) and plain.abs().max() > 1e-4
    assert told[1].item() == pytest.approx(worth.mean().item())
    batch["nats_BT"] = batch["nats_BT"] - 1.0  # as if every token had become e times as likely
    told, loss = improved(task.decoder, batch, generations=8)
    (found,) = torch.autograd.grad(loss, head)
    better = expected[:, None].expand(learnt.shape)[learnt] > 0
    assert told[4].item() == pytest.approx(better.float().mean().item())
    only_worse = torch.where(expected[:, None] > 0, 0, expected[:, None] * torch.e)
    (plain,) = torch.autograd.grad(
        -(task.decoder(batch["ids_BT"]).log_softmax(-1).gather(-1, batch["targets_BT"].clamp(min=0)[..., None])[..., 0]
          * only_worse)[learnt].mean(),
        head,
    )  # fmt: skip
    assert torch.allclose(found, plain, atol=1e-6)


def test_answers_of_a_batch_are_those_of_single_prompts(little: Path) -> None:
    """Prompts of different lengths together, by the cache, say what each says alone without one."""
    base = Base.open(little, "cpu")
    decoder = base.decoder().initialise(std=0.3, seed=3)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    prompts = [base.prompt_ids((Message("user", text),)) for text in ("hello there", "你好", "sea")]
    together = answers(decoder, prompts, most_tokens=8, stop_ids={2})
    for prompt, said in zip(prompts, together, strict=True):
        ids = list(prompt)
        for _ in said:
            ids.append(int(decoder(torch.tensor([ids]))[0, -1].argmax()))
        assert ids[len(prompt) :] == said
    drawn = [
        answers(decoder, prompts, most_tokens=8, stop_ids={2}, temperature=1.0, seed=(n,)) for n in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("name", "row", "good", "bad"),
    [
        ("verse", {"form": "五绝"}, "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "白日依山尽"),
        ("language", {"language": "zh"}, "海纳百川，有容乃大。", "the sea takes in all of the rivers"),
        ("contained", {"passage": "the sea"}, " sea", "river"),
        ("json", {}, '{"a": [1]}', "{a}"),
        ("length", {"length": 3}, "海纳百", "海纳百川有容"),
        ("arithmetic", {"answer": "1,002"}, "所以答案是 1002.0。", "1002 - 1 = 1001"),
    ],
)
def test_rewards(name: str, row: dict[str, Any], good: str, bad: str) -> None:
    assert REWARDS[name](good, row) == pytest.approx(1.0, abs=0.01)
    assert REWARDS[name](bad, row) < 0.3 and REWARDS[name]("", row) == 0.0


def test_rewards_of_the_operator_and_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours_rewards.py").write_text("def shouts(answer, row): return float(answer.isupper())\n")
    monkeypatch.chdir(tmp_path)
    both = reward_by("ours_rewards:shouts+json")
    assert (both("HELLO", {}), both("[]", {})) == (1.0, 1.0)
    for name in ("none", "ours_rewards:none", "nowhere:none"):
        with pytest.raises(ValueError, match=f"--reward {name}: no such reward .*there are verse"):
            reward_by(name)


def test_what_cannot_be_rewarded_is_named(little: Path, lines: Lines, asked: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 of 2 rows cannot be used: verse needs a form.* \(row 2\)"):
        job(
            little,
            lines({"prompt": "诗", "form": "五绝"}, {"prompt": "诗"}),
            tmp_path / "run",
            reward="verse",
        )
    with pytest.raises(ValueError, match=r"it asks nothing.*\(row 1\)"):
        job(little, lines({"text": "诗"}), tmp_path / "run")
    with pytest.raises(ValueError, match="Give --reward"):
        job(little, asked, tmp_path / "run", reward="")
    with pytest.raises(
        ValueError, match=r"reads 48 tokens, the longest question leaves 4.; lower --max-new-tokens"
    ):
        job(little, asked, tmp_path / "run", max_new_tokens=64)
    with pytest.raises(ValueError, match="--prompts 3 is no multiple of --rows 2"):
        job(little, asked, tmp_path / "run", prompts=3, rows=2)
    assert not (tmp_path / "run").exists()
