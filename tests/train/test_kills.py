"""Killed at any moment and started again, a run ends with the same bits. HAINA_TORTURE: times the usual kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from haina.text.vocabulary import learn

KILLS = 10 * int(os.environ.get("HAINA_TORTURE", "0")) or 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    vocabulary = tmp_path / "tokenizer.model"
    vocabulary.write_bytes(learn(["白日依山尽，黄河入海流。", "hello from the sea"] * 9, pieces=500))
    program = [sys.executable, Path(__file__).with_name("kills.py"), tmp_path, str(KILLS), "1", vocabulary]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HAINA_LANG": "en"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] >= KILLS // 2  # the rest of the run may be done before the last ones
    assert found["same"] and found["nats"] and found["steps"], found
