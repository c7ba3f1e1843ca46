"""The bytes of a stream in each dialect, as they were when somebody last looked at them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "golden" / "make_streams.py"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_streams", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = script()


@pytest.mark.parametrize("name", GOLDEN.REQUESTS)
def test_a_stream_is_the_same_byte_for_byte(name: str, server: str) -> None:
    assert GOLDEN.stream(server, name).decode() == (GOLDEN.FOLDER / f"{name}.txt").read_text("utf-8")


def test_nothing_else_lies_there() -> None:
    assert {path.stem for path in GOLDEN.FOLDER.iterdir()} == set(GOLDEN.REQUESTS)
