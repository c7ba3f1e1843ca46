"""The files that a recipe names: which are read, which are passed over, and whether the disk bears what they become.

It knows names and sizes of files, not what is in them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from haina.data.readers import PACKED, format_of
from haina.data.recipe import Source, Texts
from haina.options.data import FETCHED
from haina.wording import say

_PACKED_BY = 4  # a guess of how much text packed files hold
_NEEDED = 2  # bytes on the disk per byte of text


def files_of(texts: Texts, root: Path) -> list[Path]:
    """The files of a glob in order, but for `unread`. ValueError: there are none."""
    found, named = _found(texts, root)
    left = set(_unknown_formats(texts, found))
    if not found:
        raise ValueError(_no_files(texts, named))
    if len(left) == len(found):
        ends = ", ".join(sorted({one.suffix or one.name for one in left})[:5])
        raise ValueError(
            say(
                f"{texts.name or texts.path}: none of the {len(found)} files at {named} is of a format that is read "
                f"({ends}); make text of them, or set format",
                f"{texts.name or texts.path}：{named} 处的 {len(found)} 个文件格式均无法读取（{ends}）；"
                "请先转成文本，或指定 format",
            )
        )
    return [one for one in found if one not in left]


def unread(texts: Texts, root: Path) -> list[Path]:
    """Files of the glob that are passed over, as nothing tells their format."""
    return _unknown_formats(texts, _found(texts, root)[0])


def _unknown_formats(texts: Texts, found: list[Path]) -> list[Path]:
    """A single file was meant, whatever it is called."""
    return [one for one in found if not format_of(one)] if texts.format == "auto" and len(found) > 1 else []


def _found(texts: Texts, root: Path) -> tuple[list[Path], Path]:
    """The files of a glob and where it looks; those that a link leads outside of a repository are left out."""
    git = isinstance(texts, Source) and texts.git
    folder = root / FETCHED / texts.name if git else root
    pattern = Path(texts.path)
    if pattern.is_absolute():
        folder, pattern = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
    named = folder / pattern
    found = sorted(named.rglob("*") if named.is_dir() else folder.glob(str(pattern)))
    found = [one for one in found if one.is_file() and not _hidden(one, folder)]
    if git:
        found = [one for one in found if one.resolve().is_relative_to(folder.resolve())]
    return found, named


def _no_files(texts: Texts, named: Path) -> str:
    git = isinstance(texts, Source) and texts.git
    en, zh = (
        ("haina data fetch gets it", "请用 haina data fetch 获取") if git else ("check path", "请核对 path")
    )
    return say(
        f"{texts.name or texts.path}: no files at {named}; {en}",
        f"{texts.name or texts.path}：{named} 处没有文件；{zh}",
    )


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def text_bytes(file: Path) -> int:
    """About how much text a file holds."""
    return file.stat().st_size * (_PACKED_BY if file.suffix in (*PACKED, ".parquet") else 1)


def require_room(out: Path, files: Iterable[Path]) -> None:
    """ValueError if the disk has less room than what is read will about need."""
    needed, free = _NEEDED * sum(map(text_bytes, files)), shutil.disk_usage(out.parent).free
    if needed > free:
        raise ValueError(
            say(
                f"{out}: about {needed / 1e9:.1f} GB are needed on this disk, {free / 1e9:.1f} GB are free; "
                "make room or choose another place",
                f"{out}：此磁盘约需 {needed / 1e9:.1f} GB，可用 {free / 1e9:.1f} GB；请腾出空间或换个位置",
            )
        )
