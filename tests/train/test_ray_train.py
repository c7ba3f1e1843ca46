"""The verb in two workers of Ray Train, on a real Ray of this machine. HAINA_TORTURE: Ray is slow to start."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import haina
from haina.data.encode import Encoding, write
from haina.text.vocabulary import learn

pytestmark = pytest.mark.skipif(
    not os.environ.get("HAINA_TORTURE") or importlib.util.find_spec("ray") is None,
    reason="needs HAINA_TORTURE, and Ray: pip install 'haina[cluster]'",
)
TEXT = ["白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "The sea takes in a hundred rivers."]


def test_two_workers_train_one_model(tmp_path: Path) -> None:
    vocabulary = tmp_path / "tokenizer.model"
    vocabulary.write_bytes(learn(TEXT * 9, pieces=520))
    write(({"text": t * 4} for t in TEXT * 40), tmp_path / "tokens", Encoding(str(vocabulary)))
    words = (
        "--tokenizer tokenizer.model --out run --size xs --tokens 5000 --length 32 --batch 256 --rows 4 --yes"
    )
    words += " --launch ray --workers 2"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(haina.__file__).parents[1]),
        "RAY_AUTH_MODE": "disabled",  # it would write a token into the person's home
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_server_request_timeout_seconds": "180",  # a busy machine is slow to start it
    }
    done = subprocess.run(
        [sys.executable, "-m", "haina", "train", "pretrain", "tokens", *words.split()],
        cwd=tmp_path,  # the workers are elsewhere
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["nats"] < 0.5 * lines[0]["nats"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["readers"] == 2
    assert (tmp_path / "run" / "model" / "manifest.json").exists()
    assert done.stdout.count("step 20/20") == 1
