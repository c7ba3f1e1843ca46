"""A folder that is no model but close to one: what was meant is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from haina.cli.app import named


def test_the_model_of_a_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    assert named(tmp_path / "run") == tmp_path / "run"  # nothing is made yet
    (tmp_path / "run" / "model" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"did you mean .*run/model\?"):
        named(tmp_path / "run")


def test_an_adapter_wants_its_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=f"haina chat MODEL --adapter {tmp_path}"):
        named(tmp_path)
