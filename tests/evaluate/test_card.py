"""The card: its numbers are the run's, its sources those of the recipe, and the manifest covers what is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import haina
from haina.checkpoint.checkpoint import save
from haina.checkpoint.manifest import Manifest
from haina.evaluate.card import card
from haina.text.vocabulary import learn
from haina.train import brook
from haina.train.plan import SIZES, shape
from haina.wording import short

WEIGHTS = Path(haina.__file__).parent / "weights"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three phases whose logs say an hour each, and the model that came of it."""
    wire = learn([f"{i} 海纳百川有容乃大 the sea takes in a hundred rivers" for i in range(99)], pieces=500)
    random, config = (
        np.random.default_rng(0),
        shape(SIZES["xs"], 500, length=64, position="rope", head="plain"),
    )
    tensors = ((name, random.standard_normal(s, np.float32)) for name, s in config.tensor_shapes().items())
    save(tmp_path / "model", config, tensors, tokenizer=wire, generation=brook.GENERATION, source={})
    for name in ("base", "branch-000020/fall", "branch-000020/sft"):
        (tmp_path / name).mkdir(parents=True)
        line = {"step": 9, "tokens": 1_000_000, "nats": 4.5, "seconds": 1800.0, "cpu_s": 2760.0}
        judged = {**line, "step": 19, "tokens": 3_000_000, "valid": {"verse": {"bits_per_byte": 2.5}}}
        (tmp_path / name / "log.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(judged)}\n")
    (tmp_path / "base" / "run.json").write_text('{"steps": 20}')
    for name in ("tokens", "late"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens.json").write_text("{}")
    return tmp_path


def test_the_card_is_made_of_the_logs(run: Path) -> None:
    files = card(run / "model", run)
    text = files["CARD.md"].decode()
    assert short(6e6) in text and "1:30:00" in text and text.count("verse 2.5") == 3
    assert "luoxuhai/chinese-novel@aecdc1a" in text and "haina train brook" in text
    assert files["loss.png"].startswith(b"\x89PNG")


def test_an_evaluation_that_was_made_is_in_it(run: Path) -> None:
    assert "haina evaluate brook`" in card(run / "model", run)["CARD.md"].decode()
    record = {
        "model": "brook", "parameters": 3, "seed": 7, "finished": True, "figures": [], "notes": [], "failed_checks": [],
        "machine": {"processor": "an abacus", "threads": 1, "load": None}, "samples": [{"prompt": "谁?", "text": "我"}],
    }  # fmt: skip
    (run / "evaluation").mkdir()
    (run / "evaluation" / "evaluation.json").write_text(json.dumps(record))
    text = card(run / "model", run)["CARD.md"].decode()
    assert "an abacus" in text and "| 谁? | 我 |" in text


def test_the_manifest_covers_everything_that_is_shipped() -> None:
    manifest = Manifest.read(WEIGHTS)
    assert manifest is not None and "LICENSE" in manifest.files
    assert {file.name for file in WEIGHTS.iterdir()} == {*manifest.files, "manifest.json"}
    manifest.verify(WEIGHTS)
