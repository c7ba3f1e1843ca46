"""`haina run` and a piped `haina chat`: stdout is the answer; what is wrong is one line and exit status 2."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from haina.cli.program import main

SAYS = "你好，我在这里。"
Speaker = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def haina(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """haina("run", folder, …, stdin=b"…") → exit status, stdout, stderr."""

    def run(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["haina", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def folder(speaker: Speaker) -> Path:
    return speaker(SAYS)


def test_one_answer(haina: Run, folder: Path) -> None:
    assert haina("run", folder, "你好") == (0, SAYS + "\n", "")
    assert haina("run", folder, "-", stdin="你好\n".encode()) == (0, SAYS + "\n", "")
    assert haina("run", folder, stdin=b"\xef\xbb\xbfhello\r\n") == (0, SAYS + "\n", "")
    assert haina("chat", folder, stdin="你好\n再见\n".encode()) == (0, SAYS + "\n", "")


def test_nothing_on_stdin_is_a_greeting(haina: Run, folder: Path) -> None:
    assert haina("chat", folder) == (0, SAYS + "\n", "")
    status, answer, err = haina()  # the embedded model
    assert (status, err) == (0, "") and len(answer) > 5
    assert haina() == (0, answer, "")


def test_flags(haina: Run, folder: Path) -> None:
    assert haina("run", folder, "你好", "--bits", "8") == (0, SAYS + "\n", "")
    assert haina("run", folder, "你好", "--stop", "。", "--stop", "这") == (0, "你好，我在\n", "")
    assert haina("run", folder, "你好，", "--raw") == (0, "我在这里。\n", "")
    status, out, err = haina("run", folder, "你好", "--stats", "--max-new-tokens", "2")
    assert (status, out) == (0, "你好，\n") and err.startswith("[2 tokens, ")
    drawn = [haina("run", folder, "你好", "--temperature", "9", "--seed", "5") for _ in range(2)]
    assert drawn[0] == drawn[1] and drawn[0][1] != SAYS + "\n"


def test_an_answer_that_ends_with_the_context_says_so(haina: Run, speaker: Speaker) -> None:
    """Wherever stderr goes; one that is as long as was asked for says nothing."""
    endless = speaker("春眠不觉晓，", loop=True)
    status, _, err = haina("run", endless, "x", "--context", "16")
    assert status == 0 and err.startswith("(cut off after ") and err.count("\n") == 1
    assert haina("run", endless, "x", "--context", "16", "--max-new-tokens", "3")[2] == ""


def test_a_closed_stdout_is_refused(haina: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        status, out, err = haina("run", folder, "你好")
    assert (status, out) == (2, "") and "stdout is closed" in err


@pytest.mark.parametrize("name", ["haina-brook", "海纳·溪"])
def test_the_embedded_model_has_a_name(haina: Run, name: str) -> None:
    greedy = ("--temperature", "0", "--max-new-tokens", "4")
    status, answer, err = haina("run", name, "你好", *greedy)
    assert (status, err) == (0, "") and answer
    assert haina("chat", name, *greedy, stdin="你好".encode()) == (0, answer, "")
    assert haina("show", name)[1].split()[1] == "haina-brook"


def test_a_base_model(haina: Run, speaker: Speaker) -> None:
    base = speaker(SAYS, chat=False)
    assert haina("run", base, "你好，") == (0, "我在这里。\n", "")
    status, out, err = haina("chat", base, stdin=b"hello")
    assert (status, out) == (2, "") and f'haina run {base} "text"' in err


def test_control_characters_pass_through_a_pipe(haina: Run, speaker: Speaker, vocabulary: bytes) -> None:
    from haina.text.tokenizer import Tokenizer

    hostile = speaker(Tokenizer(vocabulary).encode("a\x1b[。"))
    assert haina("run", hostile, "x") == (0, "a\x1b[。\n", "")


@pytest.mark.parametrize(
    ("arguments", "stdin", "reason"),
    [
        (["run", "{}", "-"], b"\xff\xfe", "stdin: not UTF-8 (byte 1 is 0xFF)"),
        (["run", "{}", "a\udcff"], b"", "the prompt: not UTF-8 (byte 2 is 0xFF)"),
        (["run", "{}", "夜" * 300], b"", "room for 128: shorten it\n"),
        (["run", "{}", "夜" * 300, "--raw"], b"", "the context is 256; shorten it"),
        (["run", "{}", ""], b"", "is empty"),
        (["run", "{}", "x", "--temperature", "-1"], b"", "temperature = -1.0 is out of range"),
        (["run", "{}", "x", "--context", "999"], b"", "the context of {} ends at 256 tokens"),
        (["run", "{}", "x", "--raw", "--system", "y"], b"", "leave out --system"),
        (["run", "{}", "x", "--stop", ""], b"", "a stop string is empty"),
        (["run", "{}/none", "x"], b"", "{}/none: no such folder"),
        (["run", "{}/none"], b"", "{}/none: no such folder"),
        (["run", "你好"], b"", "你好: no such folder"),
        (["show", "{}/config.json"], b"", "this is a file"),
    ],
)
def test_what_is_wrong_is_one_line(
    haina: Run, folder: Path, arguments: list[str], stdin: bytes, reason: str
) -> None:
    status, out, err = haina(*(part.replace("{}", str(folder)) for part in arguments), stdin=stdin)
    assert (status, out) == (2, "")
    assert err.startswith("haina: ") and err.count("\n") == 1 and reason.replace("{}", str(folder)) in err


def test_names_with_escape_sequences_are_harmless(haina: Run, tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b[31mb\nc"
    evil.mkdir()
    status, _, err = haina("show", evil)
    assert status == 2 and "\x1b" not in err and err.count("\n") == 1


def test_errors_are_chinese_in_chinese(haina: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_LANG", "zh")
    assert "标准输入" not in haina("run", folder, "夜" * 300)[2]
    assert "请缩短内容" in haina("run", folder, "夜" * 300)[2]
    assert "不是 UTF-8" in haina("run", folder, stdin=b"\xff")[2]


def test_show(haina: Run, folder: Path) -> None:
    import json

    status, out, err = haina("show", folder, "--json", "--context", "100")
    assert (status, err) == (0, "")
    assert json.loads(out)["memory"]["context_tokens"] == 100
    assert "none needed" in haina("show", folder)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")
@pytest.mark.parametrize(("leave", "status"), [("close", 1), ("interrupt", 130)])
def test_an_answer_cut_short_ends_quietly(speaker: Speaker, leave: str, status: int) -> None:
    """`haina run … | head -c 3`, and Ctrl-C: it ends at once and says nothing."""
    command = [
        sys.executable,
        "-m",
        "haina",
        "run",
        str(speaker("春眠不觉晓，", loop=True, context=4096)),
        "x",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout and child.stderr
        assert child.stdout.read(3).decode() == "春"
        if leave == "close":
            child.stdout.close()
        else:
            child.send_signal(signal.SIGINT)
        assert child.stderr.read() == b"" and child.wait(20) == status


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full")
def test_a_full_disk(haina: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert haina("run", folder, "你好") == (2, "", "haina: the disk is full\n")


@pytest.mark.parametrize("style", ["7b-style", "13b-style"])
def test_published_folders_continue_as_published(haina: Run, data: Path, style: str) -> None:
    import json

    import numpy as np

    from haina.text.tokenizer import Tokenizer

    folder = data / "baichuan-fixtures" / style
    prompt = json.loads((folder / "reference.json").read_text("utf-8"))["prompts"][0]
    with np.load(folder / "reference.npz") as reference:
        new = reference["greedy_ids"][len(reference["ids_0"]) :].tolist()
    published = Tokenizer.open(folder / "tokenizer.model").decode(new)
    flags = ["--raw", "--temperature", "0", "--repetition-penalty", "1.1", "--max-new-tokens", "24"]
    assert haina("run", folder, prompt, *flags) == (0, published + "\n", "")
