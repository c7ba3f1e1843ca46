"""From tokens to a checkpoint: the verb, the library, the ladder, and what is refused before hours are spent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.data.encode import Encoding, write
from haina.data.tokens import Tokens
from haina.engine.engine import Engine
from haina.engine.request import Request
from haina.options.training import PretrainOptions
from haina.text.vocabulary import learn
from haina.train.ladder import Rung, climb, fit, report, rungs
from haina.train.plan import SIZES, flops_per_token, memory_bytes, shape
from haina.train.pretrain import prepare, run
from haina.train.text import held_out

ROOT = Path(__file__).parents[2]
VERSES = [
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "红豆生南国，春来发几枝。愿君多采撷，此物最相思。",
]
PROSE = ["The sea takes in a hundred rivers; it is great because it gives way.", "Rivers end in the sea."]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tokenizer.model and tokens/."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "tokenizer.model").write_bytes(learn([*VERSES, *PROSE] * 9, pieces=560))
    rows = [{"text": t * 4, "domain": d} for d, ts in (("zh", VERSES), ("en", PROSE)) for t in ts * 30]
    write(iter(rows), folder / "tokens", Encoding(str(folder / "tokenizer.model")))
    return folder


@pytest.fixture
def options(given: Path, tmp_path: Path) -> PretrainOptions:
    return PretrainOptions(
        tokenizer=str(given / "tokenizer.model"), size="xs", out=str(tmp_path / "run"), tokens=10_000, length=32,
        batch=512, valid_every=10, matrix_lr=2e-2,
    )  # fmt: skip


def test_tokens_become_a_model_that_the_engine_runs(given: Path, options: PretrainOptions) -> None:
    first = prepare(given / "tokens", replace(options, stop_after=8))
    assert run(first) is None
    model = run(prepare(given / "tokens", replace(options, tokenizer=None)))
    assert model is not None
    checkpoint = Checkpoint.open(model)
    assert checkpoint.config == first.task.decoder.config and checkpoint.config.vocab_size % 64 == 0
    ids = checkpoint.tokenizer.encode("白日依山尽，黄河")
    said = [t.id for t in Engine.open(checkpoint).generate([Request(tuple(ids), max_new_tokens=3)])]
    assert len(said) == 3
    log = [json.loads(line) for line in (model.parent / "log.jsonl").read_text().splitlines()]
    bits = [line["valid"]["zh"]["bits_per_byte"] for line in log if "valid" in line]
    assert bits[-1] < 0.8 * bits[0] and set(log[-1]["valid"]) == {"zh", "en"} and log[-1]["mfu"] > 0
    card = (model / "README.md").read_text("utf-8")
    assert first.tokenizer.sha256 in card and "| zh |" in card and str(log[-1]["valid"]["zh"]["nats"]) in card
    assert (model / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "‖" in (model.parent / "samples" / "00000001.md").read_text("utf-8")
    assert list((model.parent / "tensorboard").iterdir())


def test_a_corpus_is_encoded_once(given: Path, options: PretrainOptions, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus" / "documents"
    corpus.mkdir(parents=True)
    rows = [{"text": t * 4, "source": "verse"} for t in VERSES * 20]
    (corpus / "0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    job = prepare(corpus.parent, options)
    made = (tmp_path / "run" / "tokens" / "tokens.json").stat().st_mtime_ns
    assert list(job.tokens.domains) == ["verse"]
    prepare(corpus.parent, options)
    assert (tmp_path / "run" / "tokens" / "tokens.json").stat().st_mtime_ns == made


def test_held_out_text_is_never_shown(given: Path) -> None:
    tokens = Tokens.open(given / "tokens")
    training, held = held_out(tokens)
    parts = [training, *held.values()]
    places = [set(zip(p.documents["shard"], p.documents["start"], strict=True)) for p in parts]
    assert sum(map(len, places)) == len(tokens.documents) == len(set.union(*places))
    assert set(held) == {"zh", "en"} and all(len(p.documents) >= 1 for p in held.values())


def test_what_is_amiss_is_said_before_anything_is_computed(
    given: Path, options: PretrainOptions, tmp_path: Path
) -> None:
    def refused(words: str, source: Path = given / "tokens", **changes: Any) -> None:
        with pytest.raises(ValueError, match=words):
            run(prepare(source, replace(options, **changes), available=lambda device: 10**9))

    refused("which vocabulary", tokenizer=None)
    other = tmp_path / "other.model"
    other.write_bytes(learn(PROSE * 9, pieces=540))
    refused("encoded with another vocabulary", tokenizer=str(other), out=str(tmp_path / "b"))
    refused("neither a token folder", source=tmp_path)
    refused(
        "needs .* GB of memory, 1.0 GB are available; --size [sml] fits", size="7b", out=str(tmp_path / "c")
    )
    assert run(prepare(given / "tokens", replace(options, stop_after=1))) is None
    refused("another vocabulary than", tokenizer=str(other))
    refused("matrix_lr = 0.02, not 0.5", matrix_lr=0.5)
    refused("z_loss = logsumexp, not max", z_loss="max")


@pytest.mark.parametrize(("size", "parameters"), [("7b", 7_000_559_616), ("13b", 13_264_901_120)])
def test_the_largest_sizes_are_the_published_ones(size: Any, parameters: int) -> None:
    position = "alibi" if size == "13b" else "rope"
    assert shape(SIZES[size], 64000, length=4096, position=position, head="plain").parameters == parameters


def test_the_plan_counts_flops_and_memory(options: PretrainOptions, given: Path) -> None:
    job = prepare(given / "tokens", options)
    c = job.plan.config
    products = 2 * (4 * 128**2 + 3 * 128 * 384) + 128 * c.vocab_size
    assert flops_per_token(c, 32) == 6 * products + 6 * 2 * 128 * 32
    assert job.plan.tokens == 20 * 512 and f"{job.plan.options.steps} of 512 tokens" in job.plan.text()
    more = memory_bytes(c, replace(job.options, recompute="block", rows=64))
    assert 12 * c.parameters < more < memory_bytes(c, replace(job.options, rows=64))


def test_a_law_is_found_again() -> None:
    found = [
        Rung(f"d{n}", flops, 1.5 + 2.0 * (flops / 1e12) ** -0.2)
        for n, flops in enumerate((1e12, 4e12, 2e13, 1e14, 5e14))
    ]
    law = fit(found)
    assert law.floor == pytest.approx(1.5, abs=0.02) and law.b == pytest.approx(-0.2, abs=0.01)
    assert law.nats(1e16) == pytest.approx(1.5 + 2.0 * 1e4**-0.2, abs=0.01)
    with pytest.raises(ValueError, match="3 rungs are too few"):
        fit(found[:3])
    with pytest.raises(ValueError, match="do not fall"):
        fit([replace(rung, nats=10 - rung.nats) for rung in found])


def test_a_ladder_of_toys(given: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((given / "tokenizer.model").read_bytes())
    sizes = rungs([(16, 1, 1), (24, 1, 1), (32, 2, 2), (48, 2, 2)], 560, 32, 0.05)
    found = climb(given / "tokens", tmp_path, sizes)
    assert [rung.name for rung in found] == ["d16", "d24", "d32", "d48"]
    assert climb(given / "tokens", tmp_path, sizes) == found  # nothing is trained twice
    flops = np.array([rung.flops for rung in found])
    assert (np.diff(flops) > 0).all()
    falling = [replace(rung, nats=9.0 - number) for number, rung in enumerate(found)]
    report(tmp_path, falling, law := fit(falling), Rung("next", 1e13, law.nats(1e13)))
    assert json.loads((tmp_path / "ladder.json").read_text())["law"]["b"] == law.b
    assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG")


def test_a_ladder_asks_before_it_begins(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from haina.cli.training import ladder
    from haina.options.training import LadderOptions

    asked = LadderOptions(tokenizer=str(given / "tokenizer.model"), out=str(tmp_path / "ladder"), length=32)
    with pytest.raises(ValueError, match="too little text for a ladder"):
        ladder(text=given / "tokens", **vars(asked))
    asked = replace(asked, tokens_per_weight=0.02)
    for _ in range(2):  # that the vocabulary lies there does not mean yes
        with pytest.raises(ValueError, match="add --yes to begin"):
            ladder(text=given / "tokens", **vars(asked))
        assert "the law is one of fresh text" in capsys.readouterr().out


def test_the_example_runs(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join([*VERSES, *PROSE] * 20), "utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "examples" / "pretrain.py", text, tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert Checkpoint.open(tmp_path / "run" / "model").config.hidden_size == 128
