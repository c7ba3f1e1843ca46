"""haina new NAME: a small project that runs: text of our own, a recipe, and how to train on it, in both languages.

Its files lie in haina/data/project and are copied as they are. It does not know what the recipe says.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from haina.wording import say

PROJECT = Path(__file__).with_name("project")


def new(place: Path) -> str:
    """Make the folder; returns what to tell. ValueError: something is already there."""
    if place.exists() or place.is_symlink():
        raise ValueError(
            say(f"{place}: already exists; choose another name", f"{place}：已经存在；请换个名字")
        )
    shutil.copytree(PROJECT, place)
    return say(
        f"{place}: read {place / 'README.md'}; first: cd {place} && haina data build recipe.toml",
        f"{place}：请看 {place / 'README.zh.md'}；第一步：cd {place} && haina data build recipe.toml",
    )
