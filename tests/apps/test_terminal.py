"""The conversation at a real terminal: a pty on which Chinese is typed, an answer stopped, a file written and read."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pexpect = pytest.importorskip("pexpect")

SAYS = "你好，我在这里。"
Speaker = Callable[..., Path]


@contextmanager
def talking(folder: Path, *flags: str, language: str = "en", **environment: str) -> Iterator["pexpect.spawn"]:
    """`haina chat FOLDER` on a terminal; what it prints is read with escape sequences in it."""
    env = {**os.environ, "HAINA_LANG": language, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environment}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "haina", "chat", str(folder), "--threads", "1", *flags],
        env=env,
        encoding="utf-8",
        timeout=20,
        dimensions=(40, 100),
    )
    child.delaybeforesend = None
    try:
        yield child
    finally:
        child.close(force=True)


def leaves(child: "pexpect.spawn") -> None:
    child.expect(">>>")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, child.signalstatus) == (0, None)


def test_a_conversation_in_chinese(speaker: Speaker, tmp_path: Path) -> None:
    file = tmp_path / "对话.json"
    with talking(speaker(SAYS), language="zh") as child:
        child.expect("海纳.*模型：speaker.*数据不出本机.*>>>")
        child.send("你好错\x7f吗\r")  # backspace over a wide character
        child.expect(SAYS + "\r\n")
        child.send("/重答\r")
        child.expect(SAYS + "\r\n")
        child.send("/系统 你是诗人\r")
        child.expect("系统提示：你是诗人")
        child.send(f"/保存 {file}\r")
        child.expect("已保存到")
        child.send(f"/保存 {file}\r")
        child.expect("已经存在；覆盖请用 /保存!")
        child.send("、清空\r")  # the slash key under a Chinese input method
        child.expect("已清空")
        child.send(f"/读取 {file}\r")
        child.expect("读取了 1 轮")
        child.send("/保村 x\r")
        child.expect("是否想用 /保存")
        child.send("/退出\r")
        child.expect(pexpect.EOF)
    saved = json.loads(file.read_text("utf-8"))
    assert saved == {
        "model": "speaker",
        "messages": [
            {"role": "system", "content": "你是诗人"},
            {"role": "user", "content": "你好吗"},
            {"role": "assistant", "content": SAYS},
        ],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["对话.json"]


def test_ctrl_c_stops_the_answer_and_not_the_program(speaker: Speaker, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    with talking(speaker("春眠不觉晓，", loop=True, context=4096)) as child:
        child.expect(">>>")
        child.send("说\r")
        child.expect("春眠不觉晓，春眠")
        child.sendintr()
        child.expect(r"\(stopped; the answer is kept as far as it went\)")
        child.send("half a line\x03")  # Ctrl-C empties the line,
        child.send("\x03")  # and on an empty line says how to leave
        child.expect("Ctrl-D or /quit leaves")
        child.send(f"/save {file}\r")
        child.expect("saved to")
        leaves(child)
    question, answer = json.loads(file.read_text("utf-8"))["messages"]
    assert question["content"] == "说"
    assert answer["content"].startswith("春眠不觉晓，春眠") and len(answer["content"]) < 3000


def test_settings_and_refusals(speaker: Speaker, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"messages": [{"role": "user"}]}', "utf-8")
    with talking(speaker(SAYS), "--max-new-tokens", "3") as child:
        child.expect(">>>")
        for typed, expected in (
            ("/set temperature 0.5", "temperature 0.5"),
            ("/set temperature hot", "temperature takes a number, not hot"),
            ("/set top_p 7", "top_p = 7.0 is out of range"),
            ("/set temperatur 1", "cannot be set; there are: temperature, top_k"),
            ("/set", r"temperature 0.5\s+top_k 0\s+top_p 1.0.*max_new_tokens 3\s+seed random\s+stats off"),
            ("/set max-new-tokens default", "max_new_tokens 256"),
            ("/set stats on", "stats on"),
            ("/retry", "nothing has been asked yet"),
            (f"/load {bad}", "message 1 needs a role and a text"),
            (f"/load {tmp_path}", "not a regular file"),
            ("/save /no/such/folder/x", "no such file or folder"),
            (f"/load {__file__}", "not a saved conversation; choose a file that /save wrote"),
            (f"/save {tmp_path}", "not a plain file; choose another name"),
            ("/", "no command /; /help lists them all"),
            ("/甲", "/help lists them all"),
            ("夜" * 300, "there is room for 128: shorten it"),
            (" /quit", SAYS),  # a blank before the slash: a question
            ("", r"\[7 tokens, .* tokens/s; prompt \d+ tokens in .* s; context \d+/256\]"),
        ):
            child.send(typed + "\r" if typed else "")
            child.expect(expected)
        leaves(child)


def test_several_lines(speaker: Speaker, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    with talking(speaker(SAYS)) as child:
        child.expect(">>>")
        child.send('"""one\rtwo"""\r')
        child.expect(SAYS)
        child.send("three\x1b\rfour\r")
        child.expect(SAYS)
        child.send(f"/save {file}\r")
        child.expect("saved to")
        leaves(child)
    messages = json.loads(file.read_text("utf-8"))["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"] == ["one\ntwo", "three\nfour"]


def test_a_dumb_terminal_and_a_hostile_model(speaker: Speaker, vocabulary: bytes) -> None:
    """No escape sequence reaches the screen, ours or the model's."""
    from haina.text.tokenizer import Tokenizer

    with talking(speaker(Tokenizer(vocabulary).encode("a\x1bc\x07。")), TERM="dumb") as child:
        child.logfile_read = seen = io.StringIO()
        child.expect(">>>")
        child.send("你好\r")
        child.expect("ac。")
        child.send("/bye\r")
        child.expect(pexpect.EOF)
    assert "\x1b" not in seen.getvalue()
