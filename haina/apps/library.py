"""Library verbs: pull a model from a hub, list what was pulled, remove it.

A pull tells what it is about to do, under which licence, before the first large byte; it knows that the network is one
that haina runs and that the disk has room. A pull that ended early goes on when it is asked for again.
It does not know how bytes arrive (checkpoint/hub.py) nor how weights are packed (checkpoint/convert.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from haina.apps.model import size
from haina.apps.screen import Status, columns, one_line, padded
from haina.checkpoint import hub, library
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import BITS, Target, convert
from haina.checkpoint.manifest import Manifest
from haina.checkpoint.new_folder import put_in_place
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.web import Web
from haina.engine.memory import weight_bytes
from haina.options.models import PullOptions
from haina.wording import say, system_reason

YES = ("y", "yes", "是")

Tell = Callable[[str], None]


def pull(name: str, options: PullOptions, *, web: Web, tell: Tell) -> str:
    """Bring a model into the library; the name under which it is there then.

    `tell` hears what is about to come, line by line. ValueError, one line: no such model, none that haina runs, no
    room, no connection; what has arrived stays and the same call goes on with it.
    """
    target = f"{name}-{options.to}" if options.to else name
    whole = library.place(name)
    try:
        with library.pulling(name) as part:
            _require_new(target)
            if options.to and whole.exists():
                _convert(_opened(whole), target, options.to)
            else:
                _download(name, target, options, part, web, tell)
    except OSError as error:
        raise ValueError(
            say(
                f"{whole.parent}: {system_reason(error)}; what has arrived is kept, run the same command again",
                f"{whole.parent}：{system_reason(error)}；已下载的部分会保留，请重新运行同一命令",
            )
        ) from error
    return target


def _require_new(target: str) -> None:
    if library.place(target).exists():
        raise ValueError(
            say(
                f"{target}: is in the library already; to fetch it anew, first: haina rm {target}",
                f"{target}：已在本机；若要重新下载，请先运行 haina rm {target}",
            )
        )


def _download(name: str, target: str, options: PullOptions, part: Path, web: Web, tell: Tell) -> None:
    listing = hub.HUBS[options.from_](name, options.revision, web)
    config = replace(hub.config(listing, web), head="plain")
    converted = weight_bytes(config, item_bytes=2, bits=BITS[options.to]) if options.to else 0
    _announce(listing, part, target, tell)
    _require_room(part, hub.left(listing, part) + converted)
    with Status() as status:
        records = hub.fetch(listing, part, web, checking=status.progress, arriving=status.transfer)
    manifest = Manifest(records, _source(listing))
    if options.to:
        # every file was compared with its hash just now; a manifest.json there would have them read once more
        _convert(replace(_opened(part), manifest=manifest), target, options.to)
    if options.to and not options.keep:
        shutil.rmtree(part)
    else:
        manifest.write(part)
        put_in_place(part, library.place(name))


def _opened(folder: Path) -> Checkpoint:
    with Status() as status:
        reading = say("checking files", "校验文件")
        return Checkpoint.open(folder, progress=lambda _, done, total: status.progress(reading, done, total))


def _convert(checkpoint: Checkpoint, target: str, to: Target) -> None:
    with Status() as status:
        convert(checkpoint, library.place(target), to=to, progress=status.transfer, note=status.note)


def _source(listing: hub.Listing) -> dict[str, Any]:
    licence = {"licence": listing.licence} if listing.licence else {}
    about = {"name": listing.name, "page": listing.page, "revision": listing.revision}
    return {**about, **licence, "pulled": date.today().isoformat()}


def _announce(listing: hub.Listing, part: Path, target: str, tell: Tell) -> None:
    """What comes, from where, under which licence, and how much of it is there already."""
    left = hub.left(listing, part)
    licence = one_line(listing.licence) or say("not stated", "未注明")
    files = one_line(", ".join(listing.licence_files))
    tell(f"{listing.page} @ {one_line(listing.revision)[:12]}")
    tell(
        say(f"licence: {licence}", f"许可：{licence}") + (say(f" ({files})", f"（{files}）") if files else "")
    )
    count, whole = len(listing.files), size(listing.bytes)
    tell(say(f"{count} files, {whole}", f"{count} 个文件，共 {whole}"))
    if left < listing.bytes:
        tell(say(f"an earlier download goes on, {size(left)} to come", f"继续上次的下载，还剩 {size(left)}"))
    tell(say(f"into {library.place(target)}", f"存到 {library.place(target)}"))


def _require_room(folder: Path, needed: int) -> None:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            say(
                f"{there}: {size(needed)} more are needed on this disk, {size(free)} are free; make room, "
                "or set HAINA_HOME to a folder on another disk",
                f"{there}：此磁盘还需 {size(needed)}，可用 {size(free)}；请腾出空间，"
                "或将 HAINA_HOME 设为其他磁盘上的目录",
            )
        )


def listed() -> list[dict[str, Any]]:
    """A record for each model in the library, as `haina ls --json` prints them."""
    return [_record(entry) for entry in library.entries()]


def _record(entry: library.Entry) -> dict[str, Any]:
    """What the files beside the weights say; a broken one is shown, not hidden."""
    source: dict[str, Any] = {}
    precision = None
    if entry.whole:
        try:
            manifest = Manifest.read(entry.folder)
            source = manifest.source if manifest else {}
            precision = _precision(read_json_object(entry.folder / "config.json"))
        except ValueError:
            precision = "damaged"
    changed = datetime.fromtimestamp(entry.folder.stat().st_mtime)
    return {
        "name": entry.name,
        "bytes": entry.bytes,
        "precision": precision,
        "licence": source.get("licence"),
        "changed": changed.isoformat(timespec="seconds"),
        "complete": entry.whole,
        "folder": str(entry.folder),
    }


def _precision(hf: dict[str, Any]) -> str:
    """As config.json says it: ours, or the element type that transformers wrote there."""
    packing = hf.get("quantization_config")
    if isinstance(packing, dict):
        return str(packing.get("weights") or packing.get("quant_method"))
    return str(hf.get("dtype") or hf.get("torch_dtype") or "?").replace("bfloat", "bf").replace("float", "f")


def table(records: list[dict[str, Any]]) -> str:
    """The records for people, in their language."""
    if not records:
        return say(
            f"no models in {library.models()}; for example: haina pull baichuan-inc/Baichuan2-7B-Chat --to w4",
            f"{library.models()} 中还没有模型；例如：haina pull baichuan-inc/Baichuan2-7B-Chat --to w4",
        )
    rows = [
        [
            say("name", "名称"),
            say("size", "大小"),
            say("precision", "精度"),
            say("licence", "许可"),
            say("since", "时间"),
        ]
    ]
    for record in records:
        part = say("unfinished", "未完成")
        precision = (record["precision"] or "") if record["complete"] else part
        cells = [
            record["name"],
            size(record["bytes"]),
            precision,
            record["licence"] or "",
            record["changed"][:10],
        ]
        rows.append([one_line(cell) for cell in cells])
    widths = [2 + max(columns(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join("".join(map(padded, row, widths)).rstrip() for row in rows)


def removal(name: str) -> str:
    """What `haina rm NAME` would delete, as a sentence. ValueError if there is no such model."""
    found = library.named(name)
    freed = size(sum(entry.bytes for entry in found))
    folders = ", ".join(str(entry.folder) for entry in found)
    return say(f"{name}: {freed} in {folders}", f"{name}：{freed}，位于 {folders}")


def agreed(what: str) -> bool:
    """Whether the person at the terminal wants it deleted; Ctrl-D is no."""
    try:
        return input(say(f"{what}; delete? [y/N] ", f"{what}；删除？[y/N] ")).strip().lower() in YES
    except EOFError:
        print()
        return False
