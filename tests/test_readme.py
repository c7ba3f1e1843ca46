"""The READMEs are true: same commands in both languages, every command and flag exists, the tree is the tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import haina

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.zh.md"]


def blocks(readme: str) -> list[str]:
    """The fenced blocks, comments and quoted texts blanked."""
    text = (ROOT / readme).read_text("utf-8")
    found = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    return [re.sub(r" +#.*", "", block) for block in found]


def commands() -> list[str]:
    return [
        line
        for block in blocks("README.md")
        for line in block.splitlines()
        if re.match(r"haina\b(?!/)", line)
    ]


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "haina", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


GROUPS = ("data", "tokenizer", "train")  # verbs of verbs


def test_both_languages_show_the_same_commands() -> None:
    english, chinese = (
        [line for block in blocks(readme) if "├──" not in block for line in block.splitlines()]
        for readme in READMES
    )
    assert english == chinese


@pytest.mark.parametrize("command", [line for line in commands() if len(line.split()) > 1])
def test_every_command_and_flag_exists(command: str) -> None:
    verb, *rest = command.split("#")[0].split()[1:]
    verbs = [verb, rest[0]] if verb in GROUPS else [verb]
    help_text = run(*verbs, "--help").stdout
    assert help_text, command
    for flag in [word for word in rest if word.startswith("--")]:
        assert flag in help_text


def test_the_pipe_example_answers() -> None:
    answer = run(input="你好\n")
    assert answer.returncode == 0 and answer.stdout.strip() and not answer.stderr


@pytest.mark.parametrize("readme", READMES)
def test_the_tree_names_every_folder(readme: str) -> None:
    tree = next(block for block in blocks(readme) if "├──" in block)
    shown = set(re.findall(r"[├└]── (\w+(?:\.py)?)", tree))
    package = Path(haina.__file__).parent
    there = {
        p.name
        for p in package.iterdir()
        if (p.is_dir() and (p / "__init__.py").exists()) or p.suffix == ".py"
    }
    assert shown == there - {"__init__.py", "__main__.py"} | {"weights"}


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / readme).read_text("utf-8")):
        assert (ROOT / target).exists(), target
