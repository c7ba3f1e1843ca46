"""The public repositories of a recipe, each at its commit, beside it: for people who have none of the texts yet.

Without a recipe, those of sources.toml, of which haina/data/rebuild then makes the text of haina-brook. What is
fetched was written by strangers: nothing of it is run (hooks, filters, submodules), links are written as plain files,
and only https, git and file are spoken. Of a repository only the files that the recipe reads are taken. It knows git's
commands; it does not know what the files hold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from haina.data import recipe as recipes
from haina.data.recipe import Source
from haina.options.data import FETCHED, FetchOptions
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
    "core.eol": "lf",  # the same bytes on Windows
    "http.lowSpeedLimit": "1000",  # bytes a second; a server that falls silent does not hold us for ever
    "http.lowSpeedTime": "60",
}
_MIRRORS = r"^(url\..*\.insteadof|http\.(.*\.)?proxy)$"  # what of the person's settings we keep to
_UNREACHABLE = re.compile(
    "could not resolve|couldn't resolve|unable to look up|failed to connect|couldn't connect|could not connect|"
    "connection refused|connection timed out|network is unreachable|no route to host|proxy",
    re.IGNORECASE,
)
_LFS = b"version https://git-lfs"


class Unreachable(ValueError):
    """The server, so that the next source need not be tried."""


def fetch(recipe: Path | None, options: FetchOptions, report: Callable[[str], None]) -> str:
    """Fetch what is not there yet; returns what to tell.

    ValueError names the source of a recipe that cannot be had. Of our own table what can be had is taken, and the rest
    is told: a repository that its owner removed must not keep anyone from all others.
    """
    if shutil.which("git") is None:
        raise ValueError(say("git is not installed; install it", "未安装 git；请先安装"))
    file = recipe or OURS
    sources = _sources(file)
    out = Path(options.out or (file.parent if recipe else "haina-data"))
    for source in sources:
        _check(source)
    failures: dict[str, str] = {}
    for number, source in enumerate(sources, 1):
        report(f"{source.name} ({number}/{len(sources)}) …")
        try:
            _fetch(source, out / FETCHED / source.name)
        except ValueError as error:
            none_had = number == len(failures) + 1 == len(sources)
            if recipe or none_had or isinstance(error, Unreachable):
                raise
            failures[source.name] = str(error)
    return _remade(out, len(sources), failures, report) if recipe is None else _told(out, file, len(sources))


def _sources(file: Path) -> list[Source]:
    """ValueError: there is nothing to fetch, or the recipe is wrong."""
    if not any(source.git for source in recipes.parsed(file).source):
        raise ValueError(
            say(
                f"{file}: no [[source]] names a repository (git = …), so there is nothing to fetch; "
                f"next: haina data build {file}",
                f"{file}：没有 [[source]] 写明仓库（git = …），无须获取；下一步：haina data build {file}",
            )
        )
    return [source for source in recipes.read(file).source if source.git]


def _told(out: Path, recipe: Path, count: int) -> str:
    own = out / "recipe.toml"
    if not own.exists():
        shutil.copyfile(recipe, own)
    return say(
        f"{out}: {count} repositories; next: haina data build {own}",
        f"{out}：{count} 个仓库；下一步：haina data build {own}",
    )


def _remade(out: Path, count: int, failures: dict[str, str], report: Callable[[str], None]) -> str:
    """The text of haina-brook made of what was fetched, and what is missing in it."""
    from haina.data.rebuild.pack import rebuild, repositories

    rows = rebuild(out / FETCHED, out, report)
    empty = sorted(name for name in repositories() - failures.keys() if not rows[name])
    lines = [
        say(
            f"{out}: {rows.total():,} rows of {len(+rows)} of {count} repositories; "
            f"next: haina train brook --data {out}",
            f"{out}：{count} 个仓库中的 {len(+rows)} 个，共 {rows.total():,} 条；"
            f"下一步：haina train brook --data {out}",
        ),
        *(say(f"missing: {why}", f"缺少：{why}") for why in failures.values()),
        *(say(f"missing: {name}: its files hold no rows", f"缺少：{name}：文件中没有数据") for name in empty),
        say(
            f"What of large sources is taken, and what is held out, is not what the published model saw: see {OURS}",
            f"大型来源的取舍与留出部分同已发布模型所见不尽相同，详见 {OURS}",
        ),
    ]
    return "\n".join(lines)


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
        if _git(place, "sparse-checkout", "list").split("\n") != _wanted(source):
            _asked(source, lambda: _git(place, "sparse-checkout", "set", "--no-cone", *_wanted(source)))
            _require_plain(source, place)
        return
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    new = [folder for folder in place.parents if not folder.exists()]
    part.mkdir(parents=True)
    try:
        _asked(source, lambda: _download(source, part))
        _require_plain(source, part)
        part.rename(place)
    except BaseException:  # nothing is left behind
        shutil.rmtree(part, ignore_errors=True)
        for folder in new:
            folder.rmdir()
        raise


def _asked(source: Source, work: Callable[[], object]) -> None:
    try:
        work()
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip().splitlines() or [str(error)])[-1]
        if _UNREACHABLE.search(why):
            raise Unreachable(_no_way(source.git, why)) from None
        raise _refused(source, f"{source.git}: {why}") from None


def _no_way(address: str, why: str) -> str:
    server = re.sub("(://[^/]*).*", r"\1/", address)
    host = server.split("://")[-1].rstrip("/")
    mirror = f"git config --global url.<mirror>.insteadOf {server}"
    return say(
        f"cannot reach {host} ({why.partition(': ')[2] or why}); connect to the network, set https_proxy, "
        f"or name a mirror: {mirror}",
        f"无法连接 {host}（{why.partition(': ')[2] or why}）；请检查网络，设置 https_proxy，"
        f"或指定镜像：{mirror}",
    )


def _wanted(source: Source) -> list[str]:
    """What of a repository is taken, as git's patterns."""
    return [f"/{source.path}", "/LICEN[CS]E*", "/COPYING*"]


def _download(source: Source, part: Path) -> None:
    _git(part, "init", "-q", "--template=")
    _git(part, "remote", "add", "origin", source.git)
    _git(part, "sparse-checkout", "set", "--no-cone", *_wanted(source))
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


@cache
def _mirrors(home: str | None) -> tuple[tuple[str, str], ...]:
    """Mirrors and proxies of the person at `home`, by the names of git's settings."""
    asked = ["git", "config", "--global", "--includes", "-z", "--get-regexp", _MIRRORS]
    done = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="replace", check=False)
    found = (line.partition("\n") for line in done.stdout.split("\0") if line)
    return tuple((name, value) for name, _, value in found)


def _git(folder: Path, *arguments: str) -> str:
    """What git says, without the person's settings, hooks and passwords, but for mirrors and proxies."""
    settings = [*_mirrors(os.environ.get("HOME")), *_STRANGERS.items()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "https:git:file",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (name, value) in enumerate(settings):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
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
