"""Settings: a flag, the environment, a file, the default, in this order; nothing misspelt is passed over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from haina.options.serving import ServeOptions
from haina.serve.settings import files, settled, shown

DEFAULT = "/the/embedded/one"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests."""
    monkeypatch.setenv("HAINA_LANG", "en")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in os.environ:
        if name.startswith("HAINA_SERVE_"):
            monkeypatch.delenv(name)


def written(file: Path, text: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return str(file)


def test_each_is_heard_before_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = written(tmp_path / "s.toml", "port = 1\nqueue = 1\nidle = 1.5\nlog-prompts = true\n")
    monkeypatch.setenv("HAINA_SERVE_PORT", "2")
    monkeypatch.setenv("HAINA_SERVE_QUEUE", "2")
    settings = settled({"port": 3, "config": file}, DEFAULT)
    options = settings.options
    assert (options.port, options.queue, options.idle, options.timeout) == (3, 2, 1.5, 1800)
    assert options.log_prompts and settings.models == [DEFAULT]
    assert [settings.sources.get(name) for name in ("port", "queue", "idle", "timeout")] == [
        "--port", "HAINA_SERVE_QUEUE", file, None,
    ]  # fmt: skip


def test_a_flag_that_says_the_default_still_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_SERVE_PORT", "9")
    assert settled({"port": 8080}, DEFAULT).options.port == 8080


def test_files_are_found_where_they_belong(tmp_path: Path) -> None:
    own = written(tmp_path / "config/haina/serve.toml", "port = 7\n")
    assert settled({}, DEFAULT).options.port == 7
    other = written(tmp_path / "other.toml", "queue = 3\n")
    assert files(None)[0] == Path(own) and files(other) == [Path(other)]
    assert settled({"config": other}, DEFAULT).options.port == ServeOptions().port


@pytest.mark.parametrize("text", ["a.example, b.example", '["a.example", "b.example"]'])
def test_lists_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_SERVE_ALLOW_HOST", text)
    assert settled({}, DEFAULT).options.allow_host == ["a.example", "b.example"]


def test_several_models_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = written(tmp_path / "s.toml", '[models]\nbrook = "/a"\n"海 纳" = "owner/b"\n')
    assert settled({"config": file}, DEFAULT).models == ["brook=/a", "海 纳=owner/b"]
    monkeypatch.setenv("HAINA_SERVE_MODELS", '{"c": "/d"}')
    assert settled({"config": file}, DEFAULT).models == ["c=/d"]
    assert settled({"config": file, "models": ["/e"]}, DEFAULT).models == ["/e"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "s.toml: prot: no such setting; did you mean port?"),
        ("api-key-flie = 'x'", "did you mean api-key-file?"),
        ("check = true", "check: no such setting"),
        ("port = 70000", "s.toml: port = 70000"),
        ("bits = 5", "s.toml: bits = 5: should be 16, 8 or 4"),
        ('lenient = "perhaps"', 'lenient = "perhaps"'),
        ("models = 3", "models = 3"),
        ("port = ", "s.toml: not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text: str, told: str, tmp_path: Path) -> None:
    file = written(tmp_path / "s.toml", text)
    with pytest.raises(ValueError) as error:
        settled({"config": file}, DEFAULT)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PROT", "1", "HAINA_SERVE_PROT: no such setting; did you mean HAINA_SERVE_PORT?"),
        ("PORT", "x", 'HAINA_SERVE_PORT = "x"'),
        ("QUEUE", "0", 'HAINA_SERVE_QUEUE = "0"'),
        ("ALLOW_HOST", "[1", 'HAINA_SERVE_ALLOW_HOST = "[1"'),
        ("CONFIG", "/nowhere.toml", "/nowhere.toml: no such file"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HAINA_SERVE_{name}", value)
    with pytest.raises(ValueError) as error:
        settled({}, DEFAULT)
    assert told in str(error.value)


def test_no_password_of_an_address_is_shown() -> None:
    text = shown(settled({"search": "postgresql://me:s3@cret@host/texts"}, DEFAULT))
    assert 'search = "postgresql://me@host/texts"' in text


def test_what_is_shown_says_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    given = {
        "models": ["海=/a b", "/c"],
        "allow_host": ["x.example"],
        "idle": 2.5,
        "timeout": 9.0,
        "bits": 8,
        "lenient": True,
    }
    before = settled(given, DEFAULT)
    file = written(tmp_path / "again.toml", shown(before))
    again = shown(settled({"config": file}, DEFAULT))
    for old, new in zip(shown(before).splitlines(), again.splitlines(), strict=True):
        assert old.split(" # ")[0] == new.split(" # ")[0]
    assert again.count(file) == again.count(" = ") - again.count("# default")


def test_the_command_shows_them(tmp_path: Path) -> None:
    file = written(tmp_path / "s.toml", "queue = 5\n")
    command = [sys.executable, "-m", "haina", "serve", "--show-settings", "--port", "8080", "--config", file]
    environment = {**os.environ, "HAINA_SERVE_IDLE": "3"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment)
    lines = {line.split(" = ")[0]: line for line in done.stdout.splitlines()}
    for name, value, source in (
        ("port", "8080", "--port"),
        ("queue", "5", file),
        ("idle", "3.0", "HAINA_SERVE_IDLE"),
    ):
        assert lines[name].split(" # ")[1] == source and lines[name].split()[2] == value
    assert lines["timeout"].endswith("# default")


def test_help_does_not_import_it() -> None:
    code = """
import sys
from haina.cli.program import main
sys.argv = ["haina", "--help"]
try:
    main()
finally:
    assert "pydantic_settings" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and "serve" in done.stdout, done.stderr
