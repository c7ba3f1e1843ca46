"""The public repositories of a recipe, each at its commit, beside it: for people who have none of the texts yet.

What is fetched was written by strangers: nothing of it is run (hooks, filters, submodules), links are written as plain
files, and only https, git and file are spoken. Of a repository only the files that the recipe reads are taken. It
knows git's commands; it does not know what the files hold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from haina.data import recipe as recipes
from haina.data.recipe import FETCHED, Source
from haina.options.data import FetchOptions
from haina.wording import say

OURS = Path(__file__).with_name("sources.toml")
COMMIT = re.compile("[0-9a-f]{7,40}")
ADDRESS = re.compile(r"(?:https|git|file)://[^\s]+")
_STRANGERS = {
    "core.hooksPath": os.devnull,
    "core.symlinks": "false",
    "core.fsmonitor": "false",
    "credential.helper": "",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.git.allow": "always",
    "protocol.file.allow": "always",
    "submodule.recurse": "false",
    "core.protectHFS": "true",  # no file that some system would take for .git
    "core.protectNTFS": "true",
    "advice.detachedHead": "false",
    "core.longpaths": "true",
}
_LFS = b"version https://git-lfs"


def fetch(recipe: Path | None, options: FetchOptions, report: Callable[[str], None]) -> str:
    """Fetch what is not there yet; returns what to tell. ValueError names the source that cannot be had."""
    if shutil.which("git") is None:
        raise ValueError(say("git is not installed; install it", "未安装 git；请先安装"))
    file = recipe or OURS
    sources = [source for source in recipes.read(file).source if source.git]
    out = Path(options.out or (file.parent if recipe else "haina-data"))
    for source in sources:
        _check(source)
    out.mkdir(parents=True, exist_ok=True)
    own = out / "recipe.toml"
    if not own.exists():
        shutil.copyfile(file, own)
    for number, source in enumerate(sources, 1):
        report(f"{source.name} ({number}/{len(sources)}) …")
        _fetch(source, out / FETCHED / source.name)
    return say(
        f"{out}: {len(sources)} repositories; next: haina data build {own}",
        f"{out}：{len(sources)} 个仓库；下一步：haina data build {own}",
    )


def _check(source: Source) -> None:
    if not ADDRESS.fullmatch(source.git):
        raise _refused(
            source,
            say(f"git = {source.git!r} is no https:// address", f"git = {source.git!r} 不是 https:// 地址"),
        )
    if not COMMIT.fullmatch(source.commit):
        raise _refused(
            source, say("commit must be 7 to 40 hexadecimal digits", "commit 应为 7 至 40 位十六进制数")
        )
    if ".." in Path(source.path).parts or Path(source.path).is_absolute():
        raise _refused(source, say("path leads out of the repository", "path 指向仓库之外"))


def _fetch(source: Source, place: Path) -> None:
    """The repository at its place, or as it already is there."""
    if place.exists():
        if not _git(place, "rev-parse", "HEAD").startswith(source.commit):
            raise _refused(
                source, say(f"{place} is at another commit; remove it", f"{place} 处于另一提交；请先移走")
            )
        return
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _download(source, part)
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip().splitlines() or [str(error)])[-1]
        raise _refused(source, f"{source.git}: {why}") from None
    _require_plain(source, part)
    part.rename(place)


def _download(source: Source, part: Path) -> None:
    _git(part, "init", "-q", "--template=")
    for name, value in _STRANGERS.items():
        _git(part, "config", name, value)
    _git(part, "remote", "add", "origin", source.git)
    _git(part, "sparse-checkout", "set", "--no-cone", f"/{source.path}", "/LICEN[CS]E*", "/COPYING*")
    _git(part, "checkout", "-q", "--detach", _commit(source, part))


def _commit(source: Source, part: Path) -> str:
    """The whole name of the commit, fetched. A short one is looked up in the history, without its files."""
    want = source.commit
    if len(want) == 40:
        _git(part, "fetch", "-q", "--no-tags", "--depth=1", "--filter=blob:none", "origin", want)
        return want
    _git(part, "fetch", "-q", "--no-tags", "--filter=tree:0", "origin", "+refs/heads/*:refs/remotes/origin/*")
    return _git(part, "rev-parse", "--verify", f"{want}^{{commit}}")


def _require_plain(source: Source, folder: Path) -> None:
    """ValueError: a link, or a file whose content is kept elsewhere."""
    for file in folder.rglob("*"):
        if file.is_symlink():
            raise _refused(
                source,
                say(f"{file.name} is a link; leave this source out", f"{file.name} 是链接；请不要使用此来源"),
            )
        if file.is_file() and file.stat().st_size < 1024 and file.read_bytes().startswith(_LFS):
            raise _refused(
                source,
                say(
                    f"{file.name} is kept in Git LFS, which is not fetched",
                    f"{file.name} 存于 Git LFS，无法取得",
                ),
            )


def _git(folder: Path, *arguments: str) -> str:
    """What git says, without the person's settings, hooks and passwords."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "https:git:file",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "LC_ALL": "C",
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    return done.stdout.strip()


def _refused(source: Source, why: str) -> ValueError:
    return ValueError(say(f"{source.name}: not fetched: {why}", f"{source.name}：未能取得：{why}"))
