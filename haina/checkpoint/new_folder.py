"""A folder that appears whole or not at all.

It is filled under another name beside its place, brought to the disk and renamed. After an exception nothing
is left; after a kill or a power cut a folder with a telling name may be left, which the next attempt at the
same place removes. Two processes must not write one place at the same time. It knows nothing of models.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haina.wording import say


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; it is at `place` when the block ends without an exception.

    ValueError if something other than an empty folder is already there, or it cannot be made.
    """
    place = Path(os.path.abspath(place))
    refuse_occupied(place)
    unfinished = f".{place.name}.unfinished-"
    part = place.parent / f"{unfinished}{os.getpid()}"
    try:
        for left in place.parent.glob(glob.escape(unfinished) + "*"):
            shutil.rmtree(left)
        part.mkdir(parents=True)
        yield part
        put_in_place(part, place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        why = error.strerror or type(error).__name__
        raise ValueError(
            say(
                f"{place}: not written: {why}; make room or choose another place",
                f"{place}：未能写入：{why}；请腾出空间或换个位置",
            )
        ) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def put_in_place(part: Path, place: Path) -> None:
    """Bring all files to the disk, then rename: the one step after which the folder is there."""
    for path in part.iterdir():
        to_disk(path)
    if place.exists():
        place.rmdir()
    part.rename(place)
    if os.name == "posix":
        to_disk(place.parent, os.O_RDONLY)


def refuse_occupied(place: Path) -> None:
    """ValueError if something other than an empty folder is at the place."""
    if place.exists() and not (place.is_dir() and next(place.iterdir(), None) is None):
        raise ValueError(
            say(
                f"{place}: already exists and is not an empty folder; choose another name or remove it first",
                f"{place}：已经存在且不是空目录；请换个名字，或先移走它",
            )
        )


def to_disk(path: Path, flags: int = os.O_RDWR) -> None:
    """Return when what was written to the file would survive a power cut."""
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
