"""A folder that appears whole or not at all.

It is filled under another name beside its place, brought to the disk and renamed. After an exception nothing
is left; after a kill or a power cut a folder with a telling name may be left, which the next attempt at the
same place removes. Two processes must not write one place at the same time: who works for long holds `alone`.
It knows nothing of models.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from haina.wording import say, system_reason


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
        why = system_reason(error)
        en, zh = ("make room or ", "请腾出空间或") if disk_full(error) else ("", "请")
        raise ValueError(
            say(
                f"{place}: not written: {why}; {en}choose another place",
                f"{place}：未能写入：{why}；{zh}换个位置",
            )
        ) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextmanager
def alone(lock: Path, busy: str) -> Iterator[None]:
    """Hold the file `lock` as the only process: ValueError(busy) while another does. Its folder must be there.

    Whoever holds it may delete it, with its folder: who opened the old file meanwhile is refused. The system lets
    go of it when the process ends, however it ends. Windows: nothing is held.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    with ExitStack() as stack:
        try:
            file = stack.enter_context(lock.open("w"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(file.fileno()), lock.stat())
        except (BlockingIOError, FileNotFoundError):  # not found: just deleted by who held it
            held = False
        if not held:
            raise ValueError(busy)
        yield


def put_in_place(part: Path, place: Path) -> None:
    """Bring all files to the disk, then rename: the one step after which the folder is there."""
    for path in part.iterdir():
        to_disk(path)
    if place.exists():
        place.rmdir()
    part.rename(place)
    if os.name == "posix":
        to_disk(place.parent, os.O_RDONLY)


def refuse_occupied(place: Path, *, source: Path | None = None) -> None:
    """ValueError if something other than an empty folder is at the place; `source`: what it is to be made from."""
    if source and source.resolve().is_relative_to(place.resolve()):
        raise ValueError(
            say(
                f"{place}: that is the source itself; choose another name",
                f"{place}：这正是源模型所在之处；请换个名字",
            )
        )
    if place.is_symlink():
        raise ValueError(
            say(
                f"{place}: is a link; give the folder that it points to, or another name",
                f"{place}：是一个链接；请给出它指向的目录，或换个名字",
            )
        )
    if place.exists() and not (place.is_dir() and next(place.iterdir(), None) is None):
        raise ValueError(
            say(
                f"{place}: already exists and is not an empty folder; choose another name or remove it first",
                f"{place}：已经存在且不是空目录；请换个名字，或先移走它",
            )
        )


def require_room(place: Path, needed_bytes: int) -> None:
    """ValueError if the disk, where the folder of the place lies, has less room than that."""
    free = shutil.disk_usage(place.parent).free
    if needed_bytes > free:
        raise ValueError(
            say(
                f"{place}: {needed_bytes / 1e9:.1f} GB more are needed on this disk, {free / 1e9:.1f} GB are free; "
                "make room or choose another place",
                f"{place}：此磁盘还需 {needed_bytes / 1e9:.1f} GB，可用 {free / 1e9:.1f} GB；请腾出空间或换个位置",
            )
        )


def disk_full(error: OSError) -> bool:
    """Whether making room would help."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def to_disk(path: Path, flags: int = os.O_RDWR) -> None:
    """Return when what was written to the file would survive a power cut."""
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
