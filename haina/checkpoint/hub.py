"""Hub: what a model on Hugging Face or ModelScope consists of, and its files on our disk, each compared with its hash.

Two hubs, two functions that give the same Listing. Of a repository we take what `Checkpoint.open` uses and what
states a licence, nothing else: no program but modeling_*.py, which is only read as text. The hubs' answers are
foreign input: names that are not plain files of the repository are passed over, hashes decide.
It does not know how bytes travel (web.py) nor where models live (library.py).

Protocols: huggingface/huggingface_hub 2.4 `HfApi.model_info(files_metadata=True)`, `hf_hub_url`; modelscope-hub 0.5.1
`_legacy_api.py` `list_repo_files`, `get_download_url`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from haina.checkpoint.manifest import FileRecord, Progress
from haina.checkpoint.read_json import parse_json_object
from haina.checkpoint.shards import FORMATS, numbered, plain_name
from haina.checkpoint.web import PIECE_BYTES, Web
from haina.model.config import ModelConfig
from haina.wording import say

Report = Callable[[int], None]  # bytes of one file done

DOCUMENT_BYTES = 16 << 20  # the longest list of files that we read
_LICENCE_WORDS = ("license", "licence", "许可", "copying")
_BESIDE = r"config\.json|generation_config\.json|tokenizer\.model|README\.md|modeling_\w+\.py"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, with the hash that the hub knows: sha256, or git's of a small file, or none ("")."""

    name: str
    bytes: int  # -1 if the hub does not say
    url: str
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Listing:
    """A model as a hub lists it: `name` is owner/name, `page` for people, `files` those that we use."""

    name: str
    page: str
    revision: str  # the commit, where the hub tells it
    licence: str  # as the hub says it; empty if it does not
    files: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def licence_files(self) -> list[str]:
        return [file.name for file in self.files if _states_licence(file.name)]

    def file(self, name: str) -> HubFile | None:
        return next((file for file in self.files if file.name == name), None)


def huggingface(name: str, revision: str | None, web: Web) -> Listing:
    """A model of huggingface.co, or of the mirror that HF_ENDPOINT names. ValueError: why it cannot be had."""
    endpoint = _endpoint("HF_ENDPOINT", "https://huggingface.co")
    page = f"{endpoint}/{name}"
    url = f"{endpoint}/api/models/{name}/revision/{quote(revision or 'main', safe='')}?blobs=true"
    answer = _answer(url, page, web)
    commit = _text(answer, "sha")
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise _malformed(page, "sha")
    files = []
    for entry in _objects(answer, "siblings", page):
        path, lfs = _text(entry, "rfilename"), entry.get("lfs")
        where = f"{page}/resolve/{commit}/{quote(path)}"
        sha256, git_sha1 = (
            (_text(lfs, "sha256"), "") if isinstance(lfs, dict) else ("", _text(entry, "blobId"))
        )
        files.append(HubFile(path, _size(entry, "size"), where, sha256, git_sha1))
    card = answer.get("cardData")
    said = (card.get("license_name") or card.get("license")) if isinstance(card, dict) else None
    licence = ", ".join(map(str, said)) if isinstance(said, list) else str(said or "")
    return Listing(name, page, commit, licence, _chosen(name, files))


def modelscope(name: str, revision: str | None, web: Web) -> Listing:
    """A model of modelscope.cn, or of the place that MODELSCOPE_ENDPOINT names. ValueError: why it cannot be had."""
    endpoint = _endpoint("MODELSCOPE_ENDPOINT", "https://modelscope.cn")
    revision = revision or "master"
    page, api = f"{endpoint}/models/{name}", f"{endpoint}/api/v1/models/{name}"
    about = _data(f"{api}?{urlencode({'Revision': revision})}", page, web)
    url = f"{api}/repo/files?{urlencode({'Revision': revision, 'Recursive': 'False'})}"
    files = []
    for entry in _objects(_data(url, page, web), "Files", page):
        path = _text(entry, "Path")
        where = f"{api}/repo?{urlencode({'Revision': revision, 'FilePath': path})}"
        files.append(HubFile(path, _size(entry, "Size"), where, _text(entry, "Sha256")))
    return Listing(name, page, revision, _text(about, "License"), _chosen(name, files))


HUBS: dict[str, Callable[[str, str | None, Web], Listing]] = {
    "huggingface": huggingface,
    "modelscope": modelscope,
}


def connect(source: str) -> Web:
    """How to ask a hub: HF_TOKEN goes to Hugging Face or the mirror that HF_ENDPOINT names, and to nobody else."""
    token = os.environ.get("HF_TOKEN", "").strip() if source == "huggingface" else ""
    if not re.fullmatch(r"[!-~]*", token):
        raise ValueError(
            say(
                "HF_TOKEN: not a token; copy it again from the hub's settings page",
                "HF_TOKEN：不是有效的令牌；请从站点的设置页重新复制",
            )
        )
    return Web(token=token)


def fetch(
    listing: Listing, folder: Path, web: Web, *, checking: Progress, arriving: Progress
) -> dict[str, FileRecord]:
    """Bring every file of a listing into `folder`, which may hold what an earlier attempt left: that is kept.

    One process at a time: whoever calls sees to it (`library.pulling`), else hashes vouch for what another wrote.
    Returns what each file is, as a manifest lists it; each was compared with the hub's hash. `checking` hears how far
    the reading of what is there has come, `arriving` the download: (what, bytes of all files done, bytes in all).
    ValueError: the hub cannot be reached or sends something else. OSError: the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if listing.file(path.name) is None:
            path.unlink()  # of another revision
    records: dict[str, FileRecord] = {}
    before = 0
    for file in listing.files:
        checked = _shifted(checking, say(f"checking {file.name}", f"校验 {file.name}"), before, listing.bytes)
        arrived = _shifted(arriving, file.name, before, listing.bytes)
        records[file.name] = FileRecord(file.bytes, _fetch(file, folder / file.name, web, checked, arrived))
        before += file.bytes
    return records


def left(listing: Listing, folder: Path) -> int:
    """Bytes that are still to come when `folder` holds what an earlier attempt left."""
    paths = ((file, folder / file.name) for file in listing.files)
    return sum(max(0, file.bytes - (path.stat().st_size if path.exists() else 0)) for file, path in paths)


def config(listing: Listing, web: Web) -> ModelConfig:
    """The network, from config.json alone. ValueError names what we cannot run, before anything large is fetched."""
    file = listing.file("config.json")
    assert file, "every listing has one"
    where = f"{listing.name}/config.json"
    return ModelConfig.from_hf(
        parse_json_object(web.read(file.url, where, limit_bytes=DOCUMENT_BYTES), where), file=where
    )


def _fetch(file: HubFile, path: Path, web: Web, checked: Report, arrived: Report) -> str:
    """One file; its sha256. What is there already is read for the hash, and taken from anew if that is wrong.

    A file that is whole is left untouched, so that a conversion which was interrupted knows it again.
    """
    with path.open("r+b" if path.exists() else "w+b") as out:
        while True:
            sha256 = hashlib.sha256()
            git = hashlib.sha1(b"blob %d\0" % file.bytes, usedforsecurity=False)
            hashes = [sha256, git] if file.git_sha1 else [sha256]
            kept = done = _rehash(out, file.bytes, hashes, checked)
            for piece in web.pieces(file.url, kept, file.bytes):
                out.write(piece)
                for each in hashes:
                    each.update(piece)
                done += len(piece)
                arrived(done)
            if file.sha256 in ("", sha256.hexdigest()) and file.git_sha1 in ("", git.hexdigest()):
                if path.stat().st_size > file.bytes:
                    out.truncate(file.bytes)
                return sha256.hexdigest()
            out.seek(0)
            out.truncate()
            if not kept:
                raise ValueError(
                    say(
                        f"{file.url}: what arrived is not what the hub lists (hash); try again, or another mirror",
                        f"{file.url}：收到的内容与站点所列不符（哈希不同）；请重试或换一个镜像",
                    )
                )


def _rehash(out: BinaryIO, limit: int, hashes: Iterable[Any], checked: Report) -> int:
    """Feed what the file holds, at most `limit` bytes, to the hashes; where it ends."""
    at = 0
    while piece := out.read(min(PIECE_BYTES, limit - at)):
        for each in hashes:
            each.update(piece)
        at += len(piece)
        checked(at)
    return at


def _shifted(progress: Progress, what: str, before: int, total: int) -> Report:
    """Progress inside one file as progress in all of them."""
    return lambda done: progress(what, before + done, total)


def _chosen(name: str, files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """The files that we use, the weights last. ValueError if it is no model of ours."""
    there = {file.name: file for file in files if plain_name(file.name)}
    weights = _weights(name, set(there))
    missing = [need for need in ("config.json", "tokenizer.model") if need not in there]
    if missing or not weights:
        what = ", ".join(missing + ([] if weights else ["model.safetensors"]))
        raise ValueError(
            say(
                f"{name}: no {what} there; haina reads Hugging Face folders with a SentencePiece tokenizer.model "
                "and safetensors or .bin weights",
                f"{name}：其中没有 {what}；海纳读取带 SentencePiece tokenizer.model、"
                "权重为 safetensors 或 .bin 的 Hugging Face 目录",
            )
        )
    beside = [n for n in there if re.fullmatch(_BESIDE, n) or _states_licence(n)]
    chosen = [there[n] for n in sorted(set(beside) - weights) + sorted(weights)]
    for file in chosen:
        if file.bytes < 0 or (file.name in weights and not file.sha256 and not file.git_sha1):
            raise _malformed(name, file.name)
    return tuple(chosen)


def _weights(name: str, names: set[str]) -> set[str]:
    """The weight files, by the order in which `read_weights` prefers them. ValueError if a shard is missing."""
    for stem, suffix in FORMATS:
        if stem + suffix in names:
            return {stem + suffix}
        index, shards = f"{stem}{suffix}.index.json", numbered(names, stem, suffix)
        missing = sorted(set(shards) - names)
        if missing and index not in names:
            raise ValueError(
                say(
                    f"{name}: {missing[0]} is missing there; try another revision with --revision, or another hub "
                    "with --from",
                    f"{name}：其中缺少 {missing[0]}；请用 --revision 换一个版本，或用 --from 换一个站点",
                )
            )
        if shards:
            return names & {*shards, index}
    return set()


def _states_licence(name: str) -> bool:
    return any(word in name.lower() for word in _LICENCE_WORDS)


def _endpoint(variable: str, default: str) -> str:
    """Where a hub is. ValueError if the variable holds no address."""
    address = os.environ.get(variable, "").strip().rstrip("/") or default
    if not re.match(r"https?://[^/]", address):
        raise ValueError(
            say(
                f"{variable}: {address} is not an address like https://...; set it right, or unset it",
                f"{variable}：{address} 不是 https://... 形式的地址；请改正，或取消这个环境变量",
            )
        )
    return address


def _data(url: str, page: str, web: Web) -> dict[str, Any]:
    """ModelScope's answers are wrapped."""
    data = _answer(url, page, web).get("Data")
    if not isinstance(data, dict):
        raise _malformed(page, "Data")
    return data


def _answer(url: str, page: str, web: Web) -> dict[str, Any]:
    content = web.read(url, page, limit_bytes=DOCUMENT_BYTES)
    try:
        return parse_json_object(content, page)
    except ValueError:
        raise ValueError(
            say(
                f"{page}: the answer is not a hub's, perhaps a login page of the network; check the connection, "
                "or HF_ENDPOINT",
                f"{page}：应答不是模型站点的内容，可能是网络的登录页；请检查网络连接或 HF_ENDPOINT",
            )
        ) from None


def _objects(answer: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    entries = answer.get(key)
    if not isinstance(entries, list):
        raise _malformed(where, key)
    return [entry for entry in entries if isinstance(entry, dict)]


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _size(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    return value if type(value) is int and value >= 0 else -1


def _malformed(where: str, what: str) -> ValueError:
    return ValueError(
        say(
            f"{where}: the hub's answer does not tell {what} as expected; try again, or another hub with --from",
            f"{where}：该站的应答中 {what} 缺失或异常；请重试，或用 --from 换一个站点",
        )
    )
