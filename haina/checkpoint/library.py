"""Library: the folder in which pulled models live, and their names.

A model is `owner/name`, as on the hubs, and lies in the folder of that name; while it is being pulled its files
gather in owner/.pulling/name, by one process alone, which holds owner/.pulling/.name.lock; convert.py keeps an
unfinished conversion in owner/.name.converting.
Nothing here reaches out of the folder. It knows no network.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from haina.checkpoint.new_folder import alone
from haina.wording import say

# The rule of both hubs, less names without an owner (huggingface_hub utils/_validators.py `validate_repo_id`).
_PART = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(f"{_PART}/{_PART}", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """A model in the library. `whole` is False while it is still being pulled or converted."""

    name: str
    folder: Path
    whole: bool

    @property
    def bytes(self) -> int:
        """What its files take on the disk; a link counts itself, not what it points to."""
        paths = self.folder.rglob("*") if not self.folder.is_symlink() else []
        return sum(path.lstat().st_size for path in paths if not path.is_dir() or path.is_symlink())


def models() -> Path:
    """Where models live: $HAINA_HOME/models, or the place that the system has for data of a program."""
    home = os.environ.get("HAINA_HOME")
    if home:
        return Path(home).expanduser() / "models"
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "haina" / "models"


def valid_name(name: str) -> bool:
    """Whether this is owner/name as the hubs have it; such a name cannot leave the folder."""
    return bool(_NAME.fullmatch(name)) and ".." not in name and "--" not in name


def place(name: str) -> Path:
    """The folder of a whole model. ValueError if the name is none."""
    if not valid_name(name):
        raise ValueError(
            say(
                f"{name}: not a model name; give owner/name, for example baichuan-inc/Baichuan2-7B-Chat",
                f"{name}：不是模型名；请给出“机构/名称”，例如 baichuan-inc/Baichuan2-7B-Chat",
            )
        )
    return models() / name


def unfinished(name: str) -> Path:
    """Where the files of a model gather until all are there."""
    whole = place(name)
    return whole.parent / ".pulling" / whole.name


@contextmanager
def pulling(name: str) -> Iterator[Path]:
    """The folder `unfinished(name)`, for one process alone: ValueError while another has it."""
    part = unfinished(name)
    lock = part.with_name(f".{part.name}.lock")
    busy = say(
        f"{name}: another haina is at work on this model; wait for it",
        f"{name}：另一个 haina 进程正在处理这个模型；请等待其完成",
    )
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with alone(lock, busy):
            try:
                yield part
            finally:
                lock.unlink(missing_ok=True)
    finally:
        _forget_empty(name)


def entries() -> list[Entry]:
    """Every model in the library by name, the unfinished ones after the whole ones."""
    found = []
    for folder in [*models().glob("*/*"), *models().glob("*/.pulling/*")]:
        owner = folder.relative_to(models()).parts[0]
        converting = re.fullmatch(r"\.(.+)\.converting", folder.name)
        name = f"{owner}/{converting[1] if converting else folder.name}"
        if folder.is_dir() and valid_name(name):
            found.append(Entry(name, folder, whole=folder.parent.name == owner and not converting))
    return sorted(found, key=lambda entry: (not entry.whole, entry.name.lower()))


def find(path: str | Path) -> Path:
    """The folder that a person means: one that exists, or a model of the library by its name.

    The name may lack its owner if one model alone has it. What is neither comes back as it is: whoever opens it
    says what is wrong.
    """
    path = Path(path)
    name = path.as_posix()
    if path.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        return path
    whole = [entry for entry in entries() if entry.whole]
    named = [e for e in whole if e.name == name] or [e for e in whole if e.name.partition("/")[2] == name]
    return named[0].folder if len(named) == 1 else path


def remove(name: str) -> None:
    """Delete a model of the library, and what an unfinished download of it has left.

    ValueError if it is not there, or is just being pulled.
    """
    named(name)
    with pulling(name):
        for entry in named(name):
            if entry.folder.is_symlink():
                entry.folder.unlink()
            else:
                shutil.rmtree(entry.folder)


def _forget_empty(name: str) -> None:
    """Take away what is empty of the folders around a model."""
    for folder in (unfinished(name).parent, place(name).parent):
        with suppress(OSError):  # not empty, or gone already
            folder.rmdir()


def named(name: str) -> list[Entry]:
    """The whole and the unfinished model of this name, of which there is at least one. ValueError otherwise."""
    place(name)
    found = [entry for entry in entries() if entry.name == name]
    if not found:
        raise ValueError(
            say(
                f"{name}: no such model in {models()}; haina ls shows what is there",
                f"{name}：{models()} 中没有这个模型；haina ls 可列出已有的模型",
            )
        )
    return found
