"""Manifest: what every file of a folder must be, where the weights come from and how they were made.

`manifest.json` lies in every folder that we write. It detects change and damage; it does not prove origin:
whoever can change a file can change the manifest, too. It does not know formats of weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from haina.checkpoint.raw import give_back, map_file
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.shards import plain_name
from haina.wording import say

FILE = "manifest.json"
FORMAT = 1
# Files that decide what a folder computes: none may lie there that the manifest does not list.
USED = ("*.safetensors", "*.bin", "*.json", "*.model", "modeling_*.py")

Progress = Callable[[str, int, int], None]  # what is being done, bytes done, bytes in all

_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class FileRecord:
    bytes: int
    sha256: str  # hex


@dataclass(frozen=True)
class Manifest:
    """files: by name, without manifest.json. source: free form; "licence" and "made" are shown to people."""

    files: dict[str, FileRecord]
    source: dict[str, Any]

    @property
    def licence(self) -> str:
        return str(self.source.get("licence", ""))

    @classmethod
    def of(cls, folder: Path, source: dict[str, Any], *, known: Mapping[str, FileRecord] = {}) -> Manifest:
        """The manifest of a folder as it is now. known: files that need not be read again, by name."""
        paths = sorted(path for path in folder.iterdir() if path.name != FILE)
        return cls({path.name: known.get(path.name) or _record_of(path) for path in paths}, source)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest that lies in the folder; None if there is none."""
        path = folder / FILE
        if not path.exists():
            return None
        content = read_json_object(path)
        files, source = content.get("files"), content.get("source")
        if content.get("format") != FORMAT or not isinstance(files, dict) or not isinstance(source, dict):
            raise _malformed(path)
        return cls({name: _record(path, name, entry) for name, entry in files.items()}, source)

    def write(self, folder: Path) -> None:
        """Write manifest.json into the folder."""
        content = {"format": FORMAT, **asdict(self)}
        (folder / FILE).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def verify(self, folder: Path, progress: Progress | None = None) -> None:
        """Read every listed file once. ValueError names the first that is changed, missing or not listed."""
        for pattern in USED:
            for path in sorted(folder.glob(pattern)):
                if path.name not in self.files and path.name != FILE:
                    raise self._broken(path, "not listed in manifest.json", "未列入 manifest.json")
        total, done = sum(record.bytes for record in self.files.values()), 0
        for name, record in self.files.items():
            self._verify_file(folder / name, record, _shifted(progress, name, done, total))
            done += record.bytes

    def _verify_file(self, path: Path, record: FileRecord, report: Callable[[int], None]) -> None:
        if not path.exists():
            raise self._broken(path, "listed in manifest.json, but missing", "manifest.json 中有，目录中没有")
        n_bytes = path.stat().st_size
        if n_bytes != record.bytes:
            en = f"{n_bytes:,} bytes instead of {record.bytes:,}"
            raise self._broken(path, en, f"{n_bytes:,} 字节，应为 {record.bytes:,} 字节")
        if _sha256(path, report) != record.sha256:
            raise self._broken(path, "changed since it was written (sha256)", "写入后被改动过（sha256 不符）")

    def _broken(self, path: Path, en: str, zh: str) -> ValueError:
        if made_from := self.source.get("from"):  # as convert.py writes it
            cure = say(f"convert {made_from} again", f"请重新转换 {made_from}")
        elif str(self.source.get("name", "")).startswith("haina-brook"):
            cure = say("reinstall haina, or train it again", "请重新安装海纳，或重新训练")
        else:
            cure = say("take it again from where it came from", "请从来源处重新取得")
        return ValueError(
            say(
                f"{path}: {en}; {cure}, or delete manifest.json if this is your own change",
                f"{path}：{zh}；{cure}；若是您有意改动，请删除 manifest.json",
            )
        )


def _record_of(path: Path) -> FileRecord:
    return FileRecord(path.stat().st_size, _sha256(path, lambda done: None))


def _shifted(progress: Progress | None, name: str, before: int, total: int) -> Callable[[int], None]:
    """Progress inside one file as progress in all of them."""
    return lambda done: progress(name, before + done, total) if progress else None


def _record(path: Path, name: str, entry: Any) -> FileRecord:
    if not isinstance(entry, dict) or not plain_name(name) or set(entry) != {"bytes", "sha256"}:
        raise _malformed(path)
    n_bytes, digest = entry["bytes"], entry["sha256"]
    if type(n_bytes) is not int or n_bytes < 0 or not isinstance(digest, str):
        raise _malformed(path)
    return FileRecord(n_bytes, digest)


def _sha256(path: Path, report: Callable[[int], None]) -> str:
    """The hash of a file, read in pieces; `report` hears the bytes done after each."""
    digest = hashlib.sha256()
    if path.stat().st_size == 0:
        return digest.hexdigest()
    data = map_file(path)
    for start in range(0, len(data), _CHUNK_BYTES):
        piece = data[start : start + _CHUNK_BYTES]
        digest.update(piece.data)
        give_back(piece)
        report(start + len(piece))
    return digest.hexdigest()


def _malformed(path: Path) -> ValueError:
    return ValueError(
        say(
            f"{path}: not a manifest of format {FORMAT}; take it again from where the model came from",
            f"{path}：不是格式 {FORMAT} 的清单；请从模型来源处重新取得",
        )
    )
