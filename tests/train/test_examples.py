"""The examples run as they are; pretrain.py and lora.py are run by test_pretrain.py and test_lora.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from haina.checkpoint.adapter import Adapter

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sft(little: Path, talks: list[tuple[str, str]], lines: Callable[..., Path], tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for asked, said in talks
    ]
    assert str(tmp_path / "run" / "adapter") in run("sft.py", little, lines(*rows), tmp_path / "run")
    assert Adapter.read(tmp_path / "run" / "adapter").rank == 8


def test_corpus(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    words, chance = (
        "的 在 是 和 海 船 港口 灯塔 渔民 清晨 码头 书信 远山 雨水 老人 孩子 河流".split(),
        Random(0),
    )
    text = "\n".join("".join(chance.choices(words, k=16)) + "。" for _ in range(9))
    (tmp_path / "texts" / "sea.txt").write_text(text, "utf-8")
    assert "corpus: 1 documents" in run("corpus.py", tmp_path / "texts", tmp_path / "corpus")
    assert json.loads((tmp_path / "corpus" / "manifest.json").read_bytes())["may_ship"]
