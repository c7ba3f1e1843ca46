"""The recipe of the embedded model, with a vocabulary, text and steps of a size for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.options.training import BrookOptions
from haina.text.vocabulary import learn
from haina.train import brook

TEXT = "海纳百川，有容乃大。The sea takes in a hundred rivers, and is great because it holds them. "


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stages as they are, over nine documents and two talks, a few steps each."""
    said = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！我是海纳·溪。"}]
    about = {"source": "ours", "licence": "Apache-2.0", "weight": 1.0}
    text = [{"id": str(n), "domain": "zh", "text": f"{n} {TEXT * 20}", **about} for n in range(99)]
    talk = [{"id": f"t{n}", "domain": "talk zh", "messages": said, **about} for n in range(20)]
    monkeypatch.setattr(brook, "vocabulary", lambda data: learn([TEXT] * 99, pieces=520, characters="海纳"))
    monkeypatch.setattr(brook, "base", lambda data, part: iter(text))
    monkeypatch.setattr(brook, "late", lambda data, part, parameters: iter([*text[:40], *talk]))
    monkeypatch.setattr(brook, "talks", lambda data, part: iter(talk))
    for name, value in (("SIZE", "xs"), ("BATCH", 1024), ("LENGTH", 256), ("LEAST_FALL", 2048)):
        monkeypatch.setattr(brook, name, value)


def test_its_stages_go_on_where_they_were_stopped_and_give_a_model(small: None, tmp_path: Path) -> None:
    asked = BrookOptions(data="nowhere", out=str(tmp_path), tokens=4096, threads=1)
    assert brook.run(replace(asked, stop_after=2)) is None
    assert not list(tmp_path.glob("branch-*"))
    model = brook.run(asked)
    assert model is not None
    more = brook.run(replace(asked, tokens=6144))
    assert more is not None and more.parts[-3] == "branch-000006"
    runs = ("base", "branch-000004/fall", "branch-000006/fall")
    steps = [json.loads((tmp_path / name / "run.json").read_text())["steps"] for name in runs]
    assert steps == [6, 2, 2]
    brook.publish(model, tmp_path / "model", files={"CARD.md": b"# brook"})
    opened, tuned = Checkpoint.open(tmp_path / "model"), Checkpoint.open(model)
    assert opened.manifest is not None and "CARD.md" in opened.manifest.files
    assert opened.config.max_position_embeddings == 256 and opened.generation["user_token_id"] == 195
    stored, exact = opened.tensor("lm_head.weight"), tuned.tensor("lm_head.weight")
    assert stored.dtype == "W8" and np.abs(stored.float32() - exact.float32()).max() < 0.05


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="haina data fetch --out"):
        brook.run(BrookOptions(data=str(tmp_path), out=str(tmp_path / "run")))
