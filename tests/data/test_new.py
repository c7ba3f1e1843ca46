"""haina new: the project of its README, from text to a model that answers."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from haina.data.new import PROJECT, new

SMALLER = ["--tokens", "2000", "--batch", "512", "--length", "64"]


def steps(readme: str) -> list[list[str]]:
    """The commands of a README, without the first, which installs."""
    text = (PROJECT / readme).read_text("utf-8")
    lines = text.split("```sh\n")[1].split("```")[0].splitlines()[1:]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_both_readmes_say_the_same_commands() -> None:
    assert steps("README.md") == steps("README.zh.md")


def test_from_text_to_a_model_that_answers(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    new(tmp_path / "my-llm")
    with pytest.raises(ValueError, match="already exists"):
        new(tmp_path / "my-llm")

    def haina(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "haina", *arguments],
            cwd=tmp_path / "my-llm",
            env={**os.environ, "HAINA_LANG": "en"},
            input="",
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout

    build, learn, train, run, tune, ask = steps("README.md")
    told = haina(*build, "--workers", "1")
    assert "38 documents" in told and "; 0 dropped" in told
    assert "1,000 pieces" in haina(*learn)
    tokens = train.index("--tokens")
    assert "run/model: done" in haina(*train[:tokens], *train[tokens + 2 :], *SMALLER)
    haina(*run, "--max-new-tokens", "4")
    epochs = tune.index("--epochs")
    assert "tuned/model: done" in haina(
        *tune[:epochs], *tune[epochs + 2 :], "--epochs", "1", "--batch", "512"
    )
    haina(*ask, "--max-new-tokens", "4")
