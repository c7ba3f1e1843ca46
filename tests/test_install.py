"""What the wheel carries and what it asks for; what start-up imports."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

HEAVY = ["numpy", "torch", "rich", "prompt_toolkit", "sentencepiece", "fastapi", "uvicorn", "pydantic"]


@pytest.fixture
def wheel() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("haina")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("haina is not installed; `make test` installs it")


def test_one_wheel_serves_every_python(wheel: importlib.metadata.Distribution) -> None:
    assert re.search(r"^Tag: py3-none-\w+$", wheel.read_text("WHEEL") or "", re.M)


def test_it_carries_the_library_and_the_model_and_no_source(wheel: importlib.metadata.Distribution) -> None:
    names = [str(path) for path in wheel.files or []]
    assert any(re.fullmatch(r"haina/native/(lib)?haina\.(so|dylib|dll)", name) for name in names)
    assert "haina/weights/model.safetensors" in names and not [n for n in names if n.endswith((".cpp", ".h"))]
    size_bytes = sum(Path(str(path.locate())).stat().st_size for path in wheel.files or [])
    assert size_bytes < 100e6


def test_the_base_asks_for_little(wheel: importlib.metadata.Distribution) -> None:
    asked = [Requirement(line) for line in wheel.requires or []]
    base = [
        r.name
        for r in asked
        if r.marker is None or r.marker.evaluate({"extra": "", "python_version": "3.13"})
    ]
    assert "numpy" in base and len(base) <= 10 and not {"torch", "safetensors"} & set(base)


def test_start_up_imports_nothing_heavy() -> None:
    code = "import json, sys, haina.cli.program; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not set(HEAVY) & set(loaded)


def test_what_asks_a_model_needs_no_extra() -> None:
    """The verbs and the server are imported where only the base is installed."""
    extras = "torch safetensors matplotlib zstandard datatrove charset_normalizer ftfy lxml opencc pyarrow pypdf yaml"
    code = (
        f"import sys; sys.modules |= dict.fromkeys({extras.split()!r})\n"
        "import haina.serve.app, haina.apps.chat, haina.apps.poem.desk, haina.apps.words.desk, haina.apps.search.desk\n"
        "import haina.apps.pinyin.method, haina.cli.program"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
