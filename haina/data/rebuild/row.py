"""What the modules of this folder give: a row, and the key by which train and valid are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Row = dict[str, Any]
Keyed = tuple[str, Row]


def sorted_files(folder: Path, pattern: str, *, folders: bool = False) -> list[Path]:
    """Files, or folders, that a glob finds, in the order of their names on every system; nothing hidden."""
    found = (one for one in folder.glob(pattern) if (one.is_dir() if folders else one.is_file()))
    visible = (
        one for one in found if not any(part.startswith(".") for part in one.relative_to(folder).parts)
    )
    return sorted(visible, key=lambda one: one.relative_to(folder).as_posix())
