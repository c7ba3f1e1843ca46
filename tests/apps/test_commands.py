"""What /save may write to."""

import os
from pathlib import Path

import pytest

from haina.apps.commands import _write_whole


def test_a_pipe_or_a_folder_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        before = place.stat().st_mode
        with pytest.raises(ValueError, match="not a plain file"):
            _write_whole(place, "x")
        assert place.stat().st_mode == before


def test_a_link_is_followed_and_the_mode_stays(tmp_path: Path) -> None:
    file, link = tmp_path / "talk.json", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o644)
    link.symlink_to(file)
    _write_whole(link, "new")
    assert link.is_symlink() and file.read_text() == "new" and file.stat().st_mode & 0o777 == 0o644
    _write_whole(tmp_path / "fresh.json", "x")
    assert (tmp_path / "fresh.json").stat().st_mode & 0o777 == 0o600


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere/x\.json: cannot be written: no such file or folder"):
        _write_whole(tmp_path / "nowhere" / "x.json", "x")
    assert list(tmp_path.iterdir()) == []
