"""`haina bench`: a record, a table, on whichever device; figures of a test machine mean nothing, their relations do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from haina.apps import bench
from haina.apps import model as opening
from haina.apps.bench import measure, run, table
from haina.apps.model import open_model
from haina.options.models import BenchOptions, ModelOptions

Speaker = Callable[..., Path]
SHORT = {"prompt": 40, "tokens": 3, "conversations": 3}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ENOUGH_S", 0.0)


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_a_record_and_a_table(
    speaker: Speaker, device: str, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "torch":
        pytest.importorskip("torch")
    seen: list[str] = []
    options = BenchOptions(device=device, **SHORT)
    record = measure(speaker("你好"), options, progress=lambda what, *_: seen.append(what))
    assert record["model"] == "speaker" and record["device"] == device and record["precision"] == "F32"
    assert (record["threads"] is None) == (device == "torch")
    assert (record["prompt_tokens"], record["steps"]) == (40, 3)
    assert [speed["conversations"] for speed in record["speeds"]] == [1, 3]
    for speed in record["speeds"]:
        assert speed["runs"] == 1 and speed["decode_tokens_per_s"] > 0
    alone = record["speeds"][0]
    assert alone["first_token_s"] == pytest.approx(40 / alone["prefill_tokens_per_s"], rel=0.1)
    assert list(dict.fromkeys(seen)) == ["checking files", "loading weights", "measuring"]
    english = table(json.loads(json.dumps(record)))
    assert f"device {device}" in english and "prefill tokens/s" in english
    monkeypatch.setenv("HAINA_LANG", "zh")
    chinese = table(record)
    assert "词元/秒" in chinese and len(chinese.splitlines()) == len(english.splitlines())


def test_every_step_serves_everyone_and_leaves_nothing(speaker: Speaker) -> None:
    engine = open_model(speaker("你好"), ModelOptions(context=256, threads=1)).engine
    free, random = engine.pages.free, np.random.default_rng(0)
    for at_once in (1, 3):
        done = run(engine, random, at_once, 20, 5)
        assert done.decoded == 5 * at_once and 0 < done.first_s <= done.prefill_s
    assert engine.pages.free == free and not engine.busy


def test_runs_go_on_for_a_while(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ENOUGH_S", 0.05)
    record = measure(speaker("你好"), BenchOptions(threads=1, **{**SHORT, "tokens": 1}))
    assert record["speeds"][0]["runs"] > 1


def test_what_does_not_fit_into_the_context(speaker: Speaker) -> None:
    with pytest.raises(ValueError, match=r"--prompt 250 with --tokens 8 needs a context of 26\d tokens"):
        measure(speaker("你好"), BenchOptions(prompt=250, tokens=8))


def test_what_does_not_fit_with_torch(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """There weights are not packed, so nothing helps but another device or a shorter context."""
    pytest.importorskip("torch")
    monkeypatch.setattr(opening, "available_bytes", lambda: 1 << 20)
    with pytest.raises(
        ValueError, match=r"memory for device torch .*free; use --device cpu, or lower --context"
    ):
        open_model(speaker("你好"), ModelOptions(device="torch"))


def test_the_verb(speaker: Speaker) -> None:
    command = [sys.executable, "-m", "haina", "bench", str(speaker("你好")), "--json", "--tokens", "2"]
    done = subprocess.run([*command, "--threads", "1"], capture_output=True, encoding="utf-8", check=True)
    assert not done.stderr and json.loads(done.stdout)["prompt_tokens"] == 128
    refused = subprocess.run([*command, "--device", "abacus"], capture_output=True, encoding="utf-8")
    assert refused.returncode == 2 and "'--device'" in refused.stderr
