"""What reaches a terminal: no control characters, and one line that goes without a trace."""

import os
import sys

import pytest

from haina.apps.screen import Status, columns, explained, one_line, padded, plain

pty = pytest.importorskip("pty")


def test_escape_sequences_lose_their_power() -> None:
    hostile = "一\x1b[31m红\x1b]0;title\x07\x9b2J\x7f\r\b二\n\t三"
    assert plain(hostile) == "一[31m红]0;title2J二\n\t三"
    assert one_line("a\n b\x1b[2J\t\u2028c") == "a b[2J c"


def test_width_counts_two_for_chinese() -> None:
    assert columns("模型 ab") == 7
    assert padded("模型", 6) + "|" == "模型  |"


def test_errors_of_the_system_name_the_file() -> None:
    assert explained(FileNotFoundError(2, "No such file", "x.json")) == "x.json: no such file or folder"
    assert explained(PermissionError(13, "Permission denied", "/x")) == "/x: no permission"
    assert explained(OSError(28, "No space left on device")) == "the disk is full"
    assert "--bits 8" in explained(MemoryError())


def test_a_status_waits_changes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal of 40 columns."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "40")
    now = 0.0
    with open(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with Status(clock=lambda: now) as status:
            status.progress("读取权重", 1, 4)
            now = 1.5
            status.progress("读取权重", 2, 4)
            status.show("x\x1b[2J" + "长" * 100)
            status.show("y")
        print("END", end="", file=terminal, flush=True)
        sent = b""
        while not sent.endswith(b"END"):  # a terminal may hand it out in parts
            sent += os.read(ours, 4096)
    os.close(ours)
    said = sent.decode().removesuffix("END")
    assert said.count("读取权重") == 1 and "50%" in said and "\x1b" not in said
    lines = said.split("\r")
    assert all(columns(line) < 40 for line in lines)
    assert lines[-1] == "" and lines[-2].isspace()


def test_a_transfer_tells_its_speed_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before it began does not count as fast."""
    now, shown = 0.0, []
    monkeypatch.setattr(Status, "show", lambda self, text: shown.append(text))
    status = Status(clock=lambda: now)
    status.transfer("a", 400_000_000, 2_000_000_000)
    now = 2.0
    status.transfer("a", 500_000_000, 2_000_000_000)
    now = 62.0
    status.transfer("a", 520_000_000, 20_000_000_000)
    assert [text.partition("% ")[2] for text in shown] == ["", "50 MB/s, 0:30 left", "2 MB/s, 2:47:44 left"]


def test_no_status_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with Status(clock=lambda: now) as status:
        now = 9.0
        status.show("something")
    assert capsys.readouterr().err == ""


def test_names_cannot_forge_lines() -> None:
    assert one_line("good\nhaina: ok\x1b[5m\u202e\u200b!") == "good haina: ok[5m!"
