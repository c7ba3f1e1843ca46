"""A run that begins with a state of another: the same bits with the same rates, a decay of its own, other text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from haina.checkpoint.checkpoint import Checkpoint
from haina.data.encode import Encoding, write
from haina.data.tokens import Tokens, joined
from haina.options.training import PretrainOptions
from haina.text.vocabulary import learn
from haina.train.pretrain import Pretraining, prepare, run

BATCH = 256  # tokens of a step
VERSES = [
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "红豆生南国，春来发几枝。愿君多采撷，此物最相思。",
]
PROSE = ["The sea takes in a hundred rivers; it is great because it gives way.", "Rivers end in the sea."]

Train = Callable[..., Pretraining]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tokenizer.model, the token folders verse and prose, and run: eight steps with flat rates."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "tokenizer.model").write_bytes(learn([*VERSES, *PROSE] * 9, pieces=560))
    for name, texts in (("verse", VERSES), ("prose", PROSE)):
        rows = ({"text": text * 4, "domain": name} for text in texts * 30)
        write(rows, folder / name, Encoding(str(folder / "tokenizer.model")))
    asked = PretrainOptions(
        tokenizer=str(folder / "tokenizer.model"), size="xs", out=str(folder / "run"), tokens=8 * BATCH, length=32,
        batch=BATCH, schedule="constant", warm_up=2, save_every=4, keep=9, log_every=1, valid_every=99, seed=3,
        precision="fp32", beta2=0.9,
    )  # fmt: skip
    assert run(prepare(folder / "verse", asked))
    return folder


@pytest.fixture
def branch(given: Path, tmp_path: Path) -> Train:
    def train(text: str = "verse", **asked: Any) -> Pretraining:
        own = {"from_": str(given / "run" / "states" / "00000004"), "out": str(tmp_path / "branch")} | asked
        job = prepare(given / text, PretrainOptions(precision="fp32", log_every=1, save_every=4, **own))
        run(job)
        return job

    return train


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def state(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "states" / f"{step:08}" / "state.safetensors")


def test_with_the_same_rates_it_goes_on_bitwise(given: Path, branch: Train, same: Any) -> None:
    job = branch(tokens=4 * BATCH, schedule="constant")
    for step in (0, 4):
        mine, theirs = state(job.folder, step), state(given / "run", step + 4)
        assert mine.keys() == theirs.keys() and same(mine, theirs)
    assert [line["nats"] for line in log(job.folder)] == [line["nats"] for line in log(given / "run")[4:]]


def test_killed_before_its_first_state_it_begins_with_the_parent_again(given: Path, branch: Train) -> None:
    folder = branch(tokens=BATCH).folder
    for left in (folder / "states").iterdir():
        shutil.rmtree(left)
    branch(tokens=BATCH)
    weight = "model.lm_head.weight"
    assert torch.equal(state(folder, 0)[weight], state(given / "run", 4)[weight])


def test_without_being_asked_its_rates_fall_and_all_else_is_as_there(given: Path, branch: Train) -> None:
    job = branch(tokens=4 * BATCH)
    now, before = log(job.folder), log(given / "run")
    assert [line["nats"] for line in now[:2]] == [
        line["nats"] for line in before[4:6]
    ]  # the first rate is the peak
    assert now[2]["nats"] != before[6]["nats"]
    assert [line["lr"] for line in now] == pytest.approx([1, 0.7625, 0.525, 0.2875], abs=1e-3)
    assert (job.options.beta2, job.options.seed, job.options.warm_up) == (0.9, 3, 0)
    assert "from: run after step 4" in job.plan.text()
    card = (job.folder / "model" / "README.md").read_text("utf-8")
    assert "run, step 4" in card and "--from run/states/00000004 --tokens 1024" in card


def test_other_text_in_longer_rows_and_the_parent_may_go(given: Path, branch: Train, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(given / "run", parent)
    asked = {
        "from_": str(parent),
        "mix": f"{given / 'prose'}=3",
        "weights": "prose=2",
        "length": 64,
        "tokens": 6 * BATCH,
    }
    first = branch(stop_after=2, **asked)
    shutil.rmtree(parent)
    job = branch(**asked)
    assert job.options == replace(first.options, stop_after=None) and job.options.rows * 64 == BATCH
    assert set(job.task.valid) == {"verse", "prose"} and job.task.about["from"]["step"] == 8
    assert Checkpoint.open(job.folder / "model").config.max_position_embeddings == 64
    sizes = job.tokens.domains
    assert sizes["verse"]["documents"] == sizes["prose"]["documents"] == 60
    shown = sizes["verse"]["tokens"] + 3 * 2 * sizes["prose"]["tokens"]
    assert 0.9 * shown < job.plan.unique_tokens < shown  # but for what is held out


def test_folders_that_are_joined_hold_what_each_holds(given: Path) -> None:
    parts = [Tokens.open(given / "verse"), Tokens.open(given / "prose")]
    both = joined([*parts, parts[0]])
    assert list(both.domains) == ["verse", "prose"] and both.domains["verse"]["documents"] == 120
    for number, (part, own) in {3: (parts[0], 3), 63: (parts[1], 3), 125: (parts[0], 5)}.items():
        assert (both.piece(number, 2, 9)[0] == part.piece(own, 2, 9)[0]).all()


def test_a_run_is_made_longer_while_its_rates_are_flat(given: Path, tmp_path: Path) -> None:
    shutil.copytree(given / "run", tmp_path / "run")
    again = PretrainOptions(
        out=str(tmp_path / "run"), tokens=10 * BATCH, schedule="wsd", flat=0.8, log_every=1
    )
    assert (
        run(prepare(given / "verse", again)) == tmp_path / "run" / "model"
    )  # of ten steps: the old one is gone
    told = log(tmp_path / "run")
    assert len(told) == 10 and [line["lr"] for line in told[6:]] == [1.0, 1.0, 1.0, 0.525]
    assert Checkpoint.open(tmp_path / "run" / "model").manifest.source["steps"] == 10
    with pytest.raises(ValueError, match=r"steps = 10, not 20 .*; choose another folder"):
        run(prepare(given / "verse", replace(again, tokens=20 * BATCH)))


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("position = rope, not alibi; leave --position out", {"position": "alibi"}),
        ("optimiser = muon, not adamw", {"optimiser": "adamw"}),
        ("no run with a state; give RUN or RUN/states/N", {"from_": "nowhere"}),
        ("--mix here=-1: a number from 0", {"mix": "here=-1"}),
        ("--weights verse=: a number from 0", {"weights": "verse="}),
        ("no domain prose; there are: verse", {"weights": "prose=2"}),
        ("neither a token folder", {"mix": "nowhere"}),
    ],
)
def test_what_a_branch_cannot_be(words: str, asked: dict[str, Any], branch: Train) -> None:
    with pytest.raises(ValueError, match=words):
        branch(tokens=BATCH, **asked)


def test_a_run_that_was_no_branch_does_not_become_one(given: Path, branch: Train, tmp_path: Path) -> None:
    shutil.copytree(given / "run", tmp_path / "branch")
    with pytest.raises(ValueError, match="begun without --from; choose another --out"):
        branch(tokens=BATCH)
