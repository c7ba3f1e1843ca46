"""A folder and its index, kept alike: what is new or changed is read, what is gone is taken out.

A file's stamp is taken before it is read, so that one which changes meanwhile is read again the next time. Nothing
hidden is read, and no link to a folder is followed. It knows files and the index; texts, extract.py knows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from haina.apps.search.problem import Unreadable
from haina.apps.search.store import Index
from haina.wording import say, system_reason

COMMIT_S, COMMIT_CHARS = 5.0, 4_000_000  # what is read anew, at most, when the program is killed: few large
# transactions leave FTS5 half as much to merge
WATCH_S = 2.0

Progress = Callable[[str, int, int], None]


@dataclass
class Change:
    """What an update did. problems: (file, why nothing of it is found)."""

    read: int = 0
    removed: int = 0
    same: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.read or self.removed)


@dataclass
class _Seen:
    """What a folder holds: files by path with their stamps; folders in it that cannot be looked into."""

    files: dict[str, str] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)


def add(store: Index, folder: str | Path, progress: Progress | None = None) -> Change:
    """Put a folder, or one file, into the index, or bring it up to date. ValueError: there is none."""
    place = Path(folder).absolute()
    if not place.exists():
        raise ValueError(say(f"{place}: no such file or folder", f"{place}：没有这个文件或目录"))
    seen = _look(place, store.where)
    root = os.path.abspath(place)
    _name(root)
    with store.writing():
        store.add_folder(root)
    return _update(store, root, seen, progress)


def remove(store: Index, folder: str | Path) -> int:
    """Take a folder or a file out of the index; how many documents went. ValueError: nothing of it is there."""
    root = os.path.abspath(folder)
    known = store.documents(root)
    if not known and root not in store.folders:
        raise ValueError(
            say(
                f"{root}: not in the index; haina search lists what is",
                f"{root}：不在索引中；haina search 可列出",
            )
        )
    with store.writing():
        store.forget_folder(root)
        for document in known:
            store.drop(document.path)
    return len(known)


def refresh(store: Index, progress: Progress | None = None) -> Change:
    """Bring all folders up to date; one that is missing as a whole, a disk perhaps, is left as it was."""
    total = Change()
    for root in store.folders:
        if not os.path.exists(root):
            total.problems.append((root, say("is not there now; kept as it was", "现在不在；保留原有索引")))
            continue
        change = _update(store, root, _look(Path(root), store.where), progress)
        total = Change(
            total.read + change.read,
            total.removed + change.removed,
            total.same + change.same,
            total.problems + change.problems,
        )
    return total


def watch(
    store: Index, told: Callable[[Change], None], *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Bring all folders up to date again and again, until Ctrl-C."""
    while True:
        change = refresh(store)
        if change.any:
            told(change)
        sleep(WATCH_S)


def _update(store: Index, root: str, seen: _Seen, progress: Progress | None) -> Change:
    known = {document.path: document for document in store.documents(root)}
    change = Change()
    gone = [path for path in known if path not in seen.files and not _beneath(path, seen.closed)]
    new = [path for path, stamp in seen.files.items() if path not in known or known[path].stamp != stamp]
    change.same = len(seen.files) - len(new)
    change.problems += [(path, say("cannot be looked into", "无法查看")) for path in seen.closed]
    change.problems += [
        (p, d.problem) for p, d in known.items() if d.problem and p in seen.files and p not in new
    ]
    for paths in _batches(gone):
        with store.writing():
            for path in paths:
                store.drop(path)
                change.removed += 1
    for batch in _texts(new):
        with store.writing():
            for path, text, problem, passing in batch:
                store.put(path, "" if passing else seen.files[path], text, problem)
        change.read += len(batch)
        change.problems += [(path, problem) for path, _, problem, _ in batch if problem]
        if progress:
            progress(say("reading files", "读取文件"), change.read, len(new))
    return change


def _batches(paths: list[str], size: int = 256) -> Iterator[list[str]]:
    yield from (paths[at : at + size] for at in range(0, len(paths), size))


def _texts(paths: list[str]) -> Iterator[list[tuple[str, str, str, bool]]]:
    """Files as (path, text, problem, whether it may pass by itself), as many together as are written at once."""
    held, size, began = [], 0, time.monotonic()
    for path in paths:
        held.append((path, *_text(path)))
        size += len(held[-1][1])
        if size > COMMIT_CHARS or time.monotonic() - began > COMMIT_S:
            yield held
            held, size, began = [], 0, time.monotonic()
    if held:
        yield held


def _text(path: str) -> tuple[str, str, bool]:
    from haina.apps.search.extract import text_of  # haina[search], which asking does not need

    try:
        return text_of(Path(path)), "", False
    except Unreadable as why:
        return "", str(why), False
    except OSError as error:
        return "", system_reason(error), True


def _look(place: Path, index: str) -> _Seen:
    """Every file beneath a place that we can read, by its absolute path, but for the index itself."""
    from haina.apps.search.extract import READERS  # haina[search], too

    seen = _Seen()
    if place.is_file():
        _see(os.path.abspath(place), seen)
    walk = os.walk(os.path.abspath(place), onerror=lambda error: seen.closed.append(str(error.filename)))
    for folder, inside, names in walk:
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in READERS:
                _see(os.path.join(folder, name), seen)
    seen.files.pop(os.path.abspath(index), None)
    return seen


def _see(path: str, seen: _Seen) -> None:
    try:
        path.encode()
        about = os.stat(path)
    except UnicodeEncodeError:
        seen.closed.append(path.encode("utf-8", "backslashreplace").decode())
    except OSError:  # gone meanwhile, or a link that leads nowhere or round in circles
        return
    else:
        if os.path.isfile(path):
            seen.files[path] = f"{about.st_size} {about.st_mtime_ns}"


def _name(root: str) -> None:
    try:
        root.encode()
    except UnicodeEncodeError:
        raise ValueError(
            say(f"{root!r}: the name is not UTF-8; rename it", f"{root!r}：名称不是 UTF-8；请改名")
        ) from None


def _beneath(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
