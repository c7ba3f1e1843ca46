"""haina data fetch: repositories at their commit, and nothing that strangers put into them comes alive."""

import os
import subprocess
from pathlib import Path

import pytest

from haina.data import recipe as recipes
from haina.data.fetch import OURS, fetch
from haina.data.files import files_of
from haina.options.data import FetchOptions


def git(folder: Path, *arguments: str) -> str:
    names = {
        f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    command = ["git", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **names}, check=True, capture_output=True, encoding="utf-8"
    ).stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A repository with two commits; the second holds a link, a submodule and a pointer into LFS."""
    (server := tmp_path / "server").mkdir()
    git(server, "init", "-q")
    (server / "docs").mkdir()
    (server / "docs" / "a.md").write_text("# one\n")
    (server / "big.bin").write_bytes(b"x" * 1000)
    git(server, "add", ".")
    git(server, "commit", "-q", "-m", "one")
    (server / "docs" / "a.md").write_text("# two\n")
    (server / "docs" / "link.md").symlink_to("/etc/passwd")
    (server / "lfs.md").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (server / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = file:///etc\n')
    git(server, "add", ".")
    git(server, "commit", "-q", "-m", "two")
    git(server, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(server, "config", "uploadpack.allowFilter", "true")
    return server


def recipe(folder: Path, server: Path, commit: str, path: str = "docs/*.md") -> Path:
    file = folder / "recipe.toml"
    source = f'name = "a"\ngit = "{server.as_uri()}"\ncommit = "{commit}"\npath = "{path}"\nlicence = "MIT"\n'
    file.write_text(f"[[source]]\n{source}", "utf-8")
    return file


def fetched(file: Path) -> dict[str, str]:
    fetch(file, FetchOptions(), lambda text: None)
    place = file.parent / "fetched" / "a"
    files = [
        path for path in place.rglob("*") if path.is_file() and ".git" not in path.relative_to(place).parts
    ]
    return {path.relative_to(place).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize("digits", [40, 10])
def test_a_commit_by_its_whole_or_short_name(tmp_path: Path, server: Path, digits: int) -> None:
    file = recipe(tmp_path, server, git(server, "rev-parse", "HEAD~1")[:digits])
    assert fetched(file) == {"docs/a.md": "# one\n"}
    before = (tmp_path / "fetched" / "a" / "docs" / "a.md").stat().st_mtime_ns
    assert fetched(file) == {"docs/a.md": "# one\n"}  # it is there: nothing is done
    assert (tmp_path / "fetched" / "a" / "docs" / "a.md").stat().st_mtime_ns == before
    (source,) = recipes.read(file).source
    assert [found.name for found in files_of(source, tmp_path)] == ["a.md"]


def test_links_are_plain_files_and_submodules_stay_away(tmp_path: Path, server: Path) -> None:
    found = fetched(recipe(tmp_path, server, git(server, "rev-parse", "HEAD")))
    assert found == {"docs/a.md": "# two\n", "docs/link.md": "/etc/passwd"}


def test_no_hook_and_no_setting_of_the_person_runs(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hooks := tmp_path / "home" / "hooks").mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-checkout").chmod(0o755)
    (tmp_path / "home" / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fetched(recipe(tmp_path, server, git(server, "rev-parse", "HEAD~1")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("file://", "ext::sh -c ", "is no https:// address"),
        ('git = "', 'git = "--upload-pack=x ', "is no https:// address"),
        ("docs/*.md", "../*.md", "out of the repository"),
        ("docs/*.md", "lfs.md", "Git LFS"),
        ("server", "nowhere", "not fetched"),
    ],
)
def test_what_cannot_be_had_is_told_in_a_line(
    tmp_path: Path, server: Path, old: str, new: str, words: str
) -> None:
    file = recipe(tmp_path, server, git(server, "rev-parse", "HEAD"))
    file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(ValueError) as error:
        fetched(file)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "fetched" / "a").exists()


def test_a_server_that_cannot_be_reached_is_told_once_and_leaves_nothing(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens
    file = recipe(tmp_path, server, "0" * 40)
    file.write_text(file.read_text("utf-8").replace(server.as_uri(), "https://code.example/a"), "utf-8")
    with pytest.raises(ValueError) as error:
        fetch(file, FetchOptions(out=str(tmp_path / "new" / "out")), lambda text: None)
    assert str(error.value).startswith("cannot reach code.example (") and "\n" not in str(error.value)
    assert "insteadOf https://code.example/" in str(error.value) and not (tmp_path / "new").exists()


def test_a_mirror_of_the_person_is_asked(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recipe(tmp_path, server, git(server, "rev-parse", "HEAD~1"))
    file.write_text(file.read_text("utf-8").replace(server.as_uri(), "https://code.example/server"), "utf-8")
    (tmp_path / "home").mkdir()
    mirror = f'[url "{tmp_path.as_uri()}/"]\n\tinsteadOf = https://code.example/\n'
    (tmp_path / "home" / ".gitconfig").write_text(mirror)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fetched(file) == {"docs/a.md": "# one\n"}


def test_a_recipe_without_repositories_is_told_so(tmp_path: Path) -> None:
    (file := tmp_path / "recipe.toml").write_text('[[source]]\nname = "a"\npath = "a.txt"\n', "utf-8")
    with pytest.raises(ValueError, match="nothing to fetch"):
        fetch(file, FetchOptions(), lambda text: None)
    assert [one.name for one in tmp_path.iterdir()] == ["recipe.toml"]


def test_a_commit_that_is_not_there(tmp_path: Path, server: Path) -> None:
    for commit in ("0" * 40, "0" * 10, "HEAD"):
        with pytest.raises(ValueError, match="a: not fetched"):
            fetched(recipe(tmp_path, server, commit))


def test_our_own_table_is_a_recipe_of_open_sources() -> None:
    assert all(source.git.startswith("https://") and source.commit for source in recipes.read(OURS).source)
