"""The card: its numbers are the run's, its answers the model's, and the manifest of the folder covers it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import haina
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.manifest import Manifest
from haina.evaluate.card import card, minutes, samples
from haina.options.training import TrainOptions
from haina.text.vocabulary import learn
from haina.train import brook

WEIGHTS = Path(haina.__file__).parent / "weights"


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random network most of whose output rows belong to no piece of its tokenizer."""
    wire = learn([f"{i} 海纳百川有容乃大 the sea takes in a hundred rivers" for i in range(99)], pieces=500)
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("padded") / "model"
    shapes = brook.CONFIG.tensor_shapes().items()
    tensors = ((name, random.standard_normal(shape, np.float32) * 0.3) for name, shape in shapes)
    save(folder, brook.CONFIG, tensors, tokenizer=wire, generation=brook.GENERATION, source={})
    return Checkpoint.open(folder)


def test_rows_that_mean_nothing_are_never_answers(padded: Checkpoint) -> None:
    # Such a row adds nothing to the text: with them all ten answers have 200 characters, without them 800.
    assert len(samples(padded)) > 500


def test_the_card_is_made_of_the_logs(padded: Checkpoint, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "tune"):
        folder.mkdir(exist_ok=True)
        line = {"step": 9, "tokens": 1e6, "nats": 4.5, "seconds": 1800.0, "cpu_s": 2760.0, "valid_nats": 4.6}
        (folder / "log.jsonl").write_text(json.dumps(line) + "\n")
        (folder / "run.json").write_text(json.dumps(asdict(TrainOptions())))
    files = card(padded, tmp_path)
    text = files["README.md"].decode()
    assert "60 minutes beside other work, 92 CPU minutes on two cores" in text and "2.0 M tokens" in text
    assert files["loss.png"].startswith(b"\x89PNG")


def test_minutes_are_of_all_phases() -> None:
    assert minutes([[{"seconds": 60.0, "cpu_s": 120.0}], [{"seconds": 120.0, "cpu_s": 240.0}]]).startswith(
        "3 minutes"
    )


def test_the_manifest_covers_everything_that_is_shipped() -> None:
    manifest = Manifest.read(WEIGHTS)
    assert manifest is not None and {"README.md", "loss.png", "LICENSE"} <= manifest.files.keys()
    assert {file.name for file in WEIGHTS.iterdir()} == {*manifest.files, "manifest.json"}
    manifest.verify(WEIGHTS)
