"""The architecture as two lines of haina/__init__.py: who may import whom, and where torch may live."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import haina

ROOT = Path(haina.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def line(name: str) -> str:
    return re.search(rf"^{name}: (.*)$", haina.__doc__, re.M).group(1)


LAYER = {
    unit.strip(): rank for rank, group in enumerate(line("Layers").split("<")) for unit in group.split(",")
}
TORCH = [entry.strip() for entry in line("Torch").split(",")]


def unit(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def imports(file: str) -> list[str]:
    """Every module a file imports, inside functions too."""
    names = []
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def uses_torch(file: str) -> bool:
    return any(file == entry or (entry.endswith("/") and file.startswith(entry)) for entry in TORCH)


@pytest.mark.parametrize("file", FILES)
def test_a_module_imports_only_from_layers_to_its_left(file: str) -> None:
    if file in ("__init__.py", "__main__.py"):
        return
    assert unit(file) in LAYER, f"{unit(file)} is in no layer"
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "haina" and len(parts) > 1 and parts[1] in LAYER and parts[1] != unit(file):
            assert LAYER[parts[1]] < LAYER[unit(file)], f"{file} imports {name}"


@pytest.mark.parametrize("file", FILES)
def test_torch_stays_where_it_lives(file: str) -> None:
    if not uses_torch(file):
        assert not [name for name in imports(file) if name.split(".")[0] in ("torch", "safetensors")]


@pytest.mark.parametrize(
    "module", ["haina", "haina.cli.program", "haina.engine.engine", "haina.apps.chat", "haina.apps.terminal"]
)
def test_it_imports_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
