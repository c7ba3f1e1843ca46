"""One run in several worlds: sharded, replicated, split by heads, killed; losses are those of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from haina.checkpoint.checkpoint import Checkpoint
from haina.data.encode import Encoding, write
from haina.text.vocabulary import learn
from haina.train.checkpoint_dcp import read, shapes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")


TEXT = ["白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "The sea takes in a hundred rivers."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Any]:
    """What came of each run of worlds.py."""
    (folder / "tokenizer.model").write_bytes(learn(TEXT * 9, pieces=520))
    write(({"text": t * 4} for t in TEXT * 40), folder / "tokens", Encoding(str(folder / "tokenizer.model")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HAINA_LANG": "en", "GLOO_SOCKET_IFNAME": "lo"}
    program = [sys.executable, Path(__file__).with_name("worlds.py"), folder, folder]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    well = {name: set(run["exits"]) for name, run in found.items() if name not in ("killed", "apart")}
    assert all(exits == {0} for exits in well.values()), (well, done.stderr)
    return found


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("two", "alone"),  # FSDP2, Muon on shares
        ("four", "alone"),  # from two's state at step 2: two replicas of two shards
        ("one", "alone"),  # from the same, in one process
        ("three", "alone"),  # from a single process's state: three replicas share four parts
        ("tensor", "alone"),  # RoPE, three of six heads each
        ("alibi four", "alibi"),  # two shards × two of three heads' slopes, AdamW
    ],
)
def test_losses_are_those_of_one_process(runs: dict[str, Any], name: str, like: str) -> None:
    assert runs[name]["nats"] == pytest.approx(runs[like]["nats"], abs=1e-5)
    assert runs[like]["nats"][-1] < 0.95 * runs[like]["nats"][0]


def test_a_killed_run_goes_on_from_its_last_whole_state_with_the_same_bits(runs: dict[str, Any]) -> None:
    assert -9 in runs["killed"]["exits"] and 0 not in runs["killed"]["exits"]
    assert runs["killed"]["step"] == 2
    assert runs["mended"]["nats"] == runs["two"]["nats"]
    assert runs["mended"]["state"] == runs["two"]["state"]


def test_a_state_whose_share_is_cut_short_is_left_for_the_one_before_it(runs: dict[str, Any]) -> None:
    assert runs["torn"]["nats"] == runs["two"]["nats"]
    assert runs["torn"]["state"] == runs["two"]["state"]


def test_a_signal_to_one_process_stops_all_with_a_state(runs: dict[str, Any]) -> None:
    assert runs["asked"]["step"] == 3
    assert runs["asked"]["nats"] == runs["two"]["nats"][:3]


def test_machines_must_share_the_folder(runs: dict[str, Any]) -> None:
    assert runs["apart"]["exits"] == [3, 3]


def test_a_spread_run_ends_as_one_model(runs: dict[str, Any], folder: Path) -> None:
    checkpoint = Checkpoint.open(folder / "pretrained" / "model")
    state, lines = (
        folder / "pretrained" / "states" / f"{runs['pretrained']['step']:08}",
        runs["pretrained"]["nats"],
    )
    tensors = {name: torch.zeros(shape) for name, shape in shapes(state).items()}
    read(state, tensors)
    for name, raw in checkpoint.tensors():
        kept = tensors[f"model.{name}"]
        assert torch.allclose(torch.from_numpy(raw.float32()), kept, rtol=2**-8), name
    assert len(lines) == 1 and (folder / "pretrained" / "samples" / "00000001.md").exists()
