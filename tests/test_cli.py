"""The command line by itself: help in two languages and in little time, usage errors, nothing heavy imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from haina import __version__

HEAVY = ("numpy", "torch", "rich", "sentencepiece", "prompt_toolkit", "pydantic")
MOST_CPU_S = 0.3  # twice what it takes on a quiet machine


def haina(*arguments: str, language: str = "en") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HAINA_LANG": language}
    command = [sys.executable, "-m", "haina", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=env, stdin=subprocess.DEVNULL)


def test_help_is_light() -> None:
    """One process tells what --help imported, and the CPU time that it took (best of three)."""
    code = (
        "import os, sys, contextlib\nsys.argv = ['haina', '--help']\nfrom haina.cli.program import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        f"print([m for m in {HEAVY} if m in sys.modules], sum(os.times()[:2]), file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
        heavy, _, cpu_s = done.stderr.rpartition(" ")
        assert heavy == "[]" and "Usage: haina" in done.stdout
        times.append(float(cpu_s))
    assert min(times) <= MOST_CPU_S


def test_ctrl_c_before_it_has_begun_says_nothing() -> None:
    code = """
import sys

class Interrupted:
    def find_spec(self, name, *rest):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from haina.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("language", "words", "foreign"),
    [
        ("en", ["Usage: haina chat", "Options:", "--temperature T", "likeliest"], ["选项"]),
        (
            "zh",
            ["用法：haina chat", "选项：", "--temperature T", "温度"],
            ["Usage", "Options", "default", "exit"],
        ),
    ],
)
def test_help_speaks_both_languages(language: str, words: list[str], foreign: list[str]) -> None:
    done = haina("chat", "--help", language=language)
    assert done.returncode == 0 and done.stderr == ""
    assert all(word in done.stdout for word in words)
    assert not any(word in done.stdout for word in foreign)


@pytest.mark.parametrize(
    ("arguments", "english", "chinese"),
    [
        (["cht"], "Did you mean 'chat'?", "是否想用 'chat'？"),
        (
            ["run"],
            "Missing argument 'PATH'. (help: haina run --help)",
            "缺少参数 '路径'。（用法：haina run --help）",
        ),
        (["--stats"], "No such option: --stats; with the command: haina chat --stats", "haina chat --stats"),
        (["chat", "--stats=1"], "'--stats' does not take a value.", "选项 '--stats' 不带值。"),
        (["chat", "--max-new-tokens", "0"], "'--max-new-tokens': at least 1 (", "不得小于 1"),
        (["chat", "--threads", "9999"], "at most 1024", "不得大于 1024"),
        (["chat", "--top-k", "x"], "Invalid value for '--top-k'", "'--top-k' 的值无效"),
        (["chat", os.getcwd(), "x"], "unexpected extra argument(s) (x)", "多余的参数：x"),
        ([os.getcwd()], f"To talk with this folder: haina chat {os.getcwd()}", f"haina chat {os.getcwd()}"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], english: str, chinese: str) -> None:
    for language, words in (("en", english), ("zh", chinese)):
        done = haina(*arguments, language=language)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("haina: ") and done.stderr.count("\n") == 1 and words in done.stderr


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    assert f"没有权限读取 '{tmp_path}'" in haina("show", str(tmp_path), language="zh").stderr


def test_version() -> None:
    assert haina("--version").stdout == f"haina {__version__}\n"
