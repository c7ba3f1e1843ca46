"""One run in several worlds: sharded, replicated, split by heads, killed; losses are those of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each run of worlds.py."""
    folder = tmp_path_factory.mktemp("worlds")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HAINA_LANG": "en", "GLOO_SOCKET_IFNAME": "lo"}
    program = [sys.executable, Path(__file__).with_name("worlds.py"), folder]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert all(set(run["exits"]) == {0} for name, run in found.items() if name != "killed"), done.stderr
    return found


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("two", "alone"),  # FSDP2, Muon on shares
        ("four", "alone"),  # from two's state at step 3: two replicas of two shards
        ("one", "alone"),  # from the same, in one process
        ("three", "alone"),  # from a single process's state: three replicas share four parts
        ("tensor", "alone"),  # RoPE, three of six heads each
        ("alibi four", "alibi"),  # two shards × two of three heads' slopes, AdamW
    ],
)
def test_losses_are_those_of_one_process(runs: dict[str, Any], name: str, like: str) -> None:
    assert runs[name]["nats"] == pytest.approx(runs[like]["nats"], abs=1e-5)
    assert runs[like]["nats"][-1] < 0.9 * runs[like]["nats"][0]


def test_a_killed_run_goes_on_from_its_last_whole_state_with_the_same_bits(runs: dict[str, Any]) -> None:
    assert -9 in runs["killed"]["exits"] and 0 not in runs["killed"]["exits"]
    assert runs["killed"]["step"] in (3, 4)  # the state of step 4 may have been half written
    assert runs["mended"]["nats"] == runs["two"]["nats"]
    assert runs["mended"]["state"] == runs["two"]["state"]
