"""The weight files of one folder: which they are, and every tensor in them by the name in the file.

It knows file names, shards and index files as Hugging Face folders have them (safetensors are preferred, a
single file before an index, as transformers does). It does not know what the tensors mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from haina.checkpoint.raw import Stored
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.read_nf4 import join_flat
from haina.checkpoint.read_pickle import read_pickle
from haina.checkpoint.read_safetensors import read_safetensors
from haina.wording import say

# Stem and suffix of the weight files, in order of preference, and what reads them.
FORMATS: dict[tuple[str, str], Callable[[Path], dict[str, Stored]]] = {
    ("model", ".safetensors"): read_safetensors,
    ("pytorch_model", ".bin"): read_pickle,
}


def read_weights(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder by its name there; only headers are read. ValueError names the file.

    The parts of a 4-bit matrix of bitsandbytes are joined (`read_nf4`).
    """
    return join_flat(folder, _read_files(folder))


def _read_files(folder: Path) -> dict[str, Stored]:
    for (stem, suffix), read in FORMATS.items():
        single, index = folder / f"{stem}{suffix}", folder / f"{stem}{suffix}.index.json"
        if single.exists():
            return read(single)
        if index.exists():
            return _read_indexed(index, read)
        shards = [folder / name for name in numbered((path.name for path in folder.iterdir()), stem, suffix)]
        if missing := [shard.name for shard in shards if not shard.exists()]:
            raise _missing(folder, missing)
        if shards:
            return _union(shards, read)[0]
    raise ValueError(
        say(
            f"{folder}: no weights; add model.safetensors or pytorch_model.bin (or their numbered shards)",
            f"{folder}：没有权重文件；请放入 model.safetensors 或 pytorch_model.bin（或其编号分片）",
        )
    )


def plain_name(name: str) -> bool:
    """Whether a name is that of a file in the folder itself: no path, nothing that file systems refuse."""
    usable = name.isprintable() and len(name.encode()) <= 255
    return usable and name not in ("", ".", "..") and not re.search(r"[/\\:]", name)


def _read_indexed(index: Path, read: Callable[[Path], dict[str, Stored]]) -> dict[str, Stored]:
    """The tensors of all shards that an index names; `metadata.total_size` is not reliable and not used."""
    weight_map = _weight_map(index, read_json_object(index))
    shards = [index.parent / name for name in sorted(set(weight_map.values()))]
    missing = [shard.name for shard in shards if not shard.exists()]
    if missing:
        raise _missing(index, missing)
    found, where = _union(shards, read)
    absent = [name for name, shard in weight_map.items() if where.get(name) != shard]
    if absent:
        name, shard = absent[0], weight_map[absent[0]]
        raise ValueError(
            say(
                f"{index}: tensor {name[:200]!r} is not in {shard}, as the index says; download both again",
                f"{index}：索引称张量 {name[:200]!r} 在 {shard} 中，实际没有；请重新下载这两个文件",
            )
        )
    return found


def _weight_map(index: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """The index's map from tensor to shard, checked to name only files of this folder."""
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(
            say(
                f"{index}: weight_map is missing; download it again", f"{index}：缺少 weight_map；请重新下载"
            ),
        )
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not plain_name(shard):
            raise ValueError(
                say(
                    f"{index}: tensor {name[:200]!r} is said to be in {str(shard)[:200]!r}, which is no file "
                    "of this folder; take the index again from where the model came from",
                    f"{index}：张量 {name[:200]!r} 的分片 {str(shard)[:200]!r} 不是本目录内的文件名；"
                    "请从模型来源处重新取得索引",
                )
            )
    return weight_map


def numbered(names: Iterable[str], stem: str, suffix: str) -> list[str]:
    """All shards of which some are among the names, like model-00001-of-00003.safetensors; none if none is."""
    pattern = re.compile(rf"{stem}-[0-9]{{5}}-of-([0-9]{{5}}){re.escape(suffix)}")
    total = max((match[1] for name in names if (match := pattern.fullmatch(name))), default="0")
    return [f"{stem}-{n:05}-of-{total}{suffix}" for n in range(1, int(total) + 1)]


def _missing(where: Path, names: list[str]) -> ValueError:
    shown = ", ".join(names[:3]) + (f" (+{len(names) - 3})" if len(names) > 3 else "")
    return ValueError(
        say(
            f"{where}: missing shard {shown}; download it into the same folder",
            f"{where}：缺少分片 {shown}；请下载到同一目录",
        )
    )


def _union(
    shards: list[Path], read: Callable[[Path], dict[str, Stored]]
) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of all shards, and the shard of each; a name in two of them is refused."""
    found: dict[str, Stored] = {}
    where: dict[str, str] = {}
    for shard in shards:
        for name, stored in read(shard).items():
            if name in found:
                raise ValueError(
                    say(
                        f"{shard}: tensor {name[:200]!r} is also in {where[name]}; remove the wrong shard",
                        f"{shard}：张量 {name[:200]!r} 也在 {where[name]} 中；请移走多余的分片",
                    )
                )
            found[name], where[name] = stored, shard.name
    return found, where
