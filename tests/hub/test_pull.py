"""`haina pull`, `ls`, `rm`: a model comes, is used by its name, and goes; nothing else is touched."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from haina.apps.library import pull
from haina.checkpoint import library
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.web import Web
from haina.options.models import PullOptions

NAME = "baichuan-inc/Baichuan2-Tiny"
SHARD = "pytorch_model-00001-of-00002.bin"
SHORT = ["--raw", "--max-new-tokens", "3", "--temperature", "0"]
Run = Callable[..., tuple[int, str, str]]


def test_a_model_comes_is_used_and_goes(hub: Any, haina: Run) -> None:
    status, out, err = haina("pull", NAME)
    assert (status, err) == (0, "") and out.endswith(f"done; talk with it: haina chat {NAME}\n")
    folder = library.models() / NAME
    assert {path.name for path in folder.iterdir()} == hub.wanted | {"manifest.json"}
    manifest = Checkpoint.open(folder).manifest
    assert manifest and manifest.licence == "tiny-licence" and manifest.source["name"] == NAME
    assert not (folder.parent / ".pulling").exists()

    (record,) = json.loads(haina("ls", "--json")[1])
    assert record["name"] == NAME and record["complete"] and record["licence"] == "tiny-licence"
    assert record["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert haina("ls")[1].splitlines()[1].split()[:3] == [NAME, "0.4", "MiB"]
    assert haina("run", NAME, "你好", *SHORT) == haina("run", "Baichuan2-Tiny", "你好", *SHORT)
    assert haina("run", NAME, "你好", *SHORT)[0] == 0 and "tiny-licence" in haina("show", NAME)[1]

    status, out, err = haina("pull", NAME)
    assert (status, out) == (2, "") and f"haina rm {NAME}" in err
    status, out, err = haina("rm", NAME)
    assert (status, out) == (2, "") and "0.4 MiB" in err and "add -y" in err and folder.exists()
    assert haina("rm", NAME, "-y")[0] == 0
    assert list(library.models().iterdir()) == [] and "no models in" in haina("ls")[1]


@pytest.mark.parametrize("keep", [False, True])
def test_converted_as_it_comes(hub: Any, haina: Run, keep: bool) -> None:
    assert haina("pull", NAME, "--to", "w4", *["--keep"] * keep)[0] == 0
    names = [entry.name for entry in library.entries()]
    assert names == ([NAME, f"{NAME}-w4"] if keep else [f"{NAME}-w4"])
    packed = Checkpoint.open(library.place(f"{NAME}-w4"))
    assert packed.dtype("model.layers.0.mlp.up_proj.weight") == "W4"
    assert packed.manifest and packed.manifest.licence == "tiny-licence"
    assert packed.manifest.source["page"] == f"{hub.url}/{NAME}"
    assert {record["precision"] for record in json.loads(haina("ls", "--json")[1])} >= {"w4"}


def test_what_is_there_is_converted_without_a_download(hub: Any, haina: Run) -> None:
    haina("pull", NAME)
    hub.asked.clear()
    assert haina("pull", NAME, "--to", "w8")[0] == 0 and hub.asked == []
    assert [entry.name for entry in library.entries()] == [NAME, f"{NAME}-w8"]


def test_the_licence_is_said_before_anything_large(hub: Any, web: Web) -> None:
    said: dict[str, bool] = {}
    pull(NAME, PullOptions(), web=web, tell=lambda line: said.update({line: bool(hub.sent(SHARD))}))
    assert said["licence: tiny-licence (Community License for Tiny.pdf)"] is False and hub.sent(SHARD)


def test_a_network_that_we_do_not_run_is_not_downloaded(hub: Any, haina: Run) -> None:
    hub.files["config.json"] = json.dumps({"architectures": ["MambaForCausalLM"]}).encode()
    status, _, err = haina("pull", NAME)
    assert (
        status == 2 and f"{NAME}/config.json: architecture 'MambaForCausalLM'" in err and not hub.sent(SHARD)
    )
    assert library.entries() == []


def test_a_disk_without_room(hub: Any, haina: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    status, _, err = haina("pull", NAME)
    assert status == 2 and "more are needed on this disk" in err and not hub.sent(SHARD)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full")
def test_a_disk_that_fills_up(hub: Any, haina: Run) -> None:
    part = library.unfinished(NAME)
    part.mkdir(parents=True)
    (part / SHARD).symlink_to("/dev/full")
    status, _, err = haina("pull", NAME)
    assert status == 2 and "what has arrived is kept" in err and err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_and_asked_again(hub: Any, haina: Run, how: signal.Signals) -> None:
    hub.silent.set()
    file = library.unfinished(NAME) / "tokenizer.model"
    command = [sys.executable, "-m", "haina", "pull", NAME]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        end = time.monotonic() + 20
        while len(hub.sent("tokenizer.model")) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        child.send_signal(how)
        assert child.stderr and child.stderr.read() == b""
        assert child.wait(20) == (130 if how == signal.SIGINT else -how)
    assert json.loads(haina("ls", "--json")[1])[0]["complete"] is False and file.exists()
    hub.silent.clear()
    status, out, _ = haina("pull", NAME)
    assert status == 0 and "an earlier download goes on" in out
    assert [entry.whole for entry in library.entries()] == [True]


@pytest.mark.skipif(os.name != "posix", reason="no flock")
def test_two_at_one_model_are_refused(hub: Any, haina: Run, web: Web) -> None:
    """Else the bytes of two revisions would meet in one file."""
    busy = "another haina is at work on this model; wait for it"

    def others(line: str) -> None:
        with pytest.raises(ValueError, match=busy):
            pull(NAME, PullOptions(to="w8"), web=web, tell=print)
        library.unfinished(NAME).mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=busy):
            library.remove(NAME)

    pull(NAME, PullOptions(), web=web, tell=others)
    assert Checkpoint.open(library.place(NAME)).manifest
    assert os.listdir(library.place(NAME).parent) == ["Baichuan2-Tiny"]


def test_unfinished_ones_are_listed_and_removed(hub: Any, haina: Run) -> None:
    for folder in (library.unfinished(NAME), library.place(NAME).with_name(".Baichuan2-Tiny-w4.converting")):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(1 << 20))
    out = haina("ls")[1]
    assert out.count("unfinished") == 2 and "Baichuan2-Tiny-w4" in out
    assert haina("rm", NAME, "-y")[1].startswith(f"deleted {NAME}: 1.0 MiB in ")
    assert haina("rm", f"{NAME}-w4", "-y")[0] == 0 and library.entries() == []


@pytest.mark.parametrize(("typed", "said", "kept"), [("\x04", "kept", True), ("y\r", "deleted a/b", False)])
def test_a_model_is_removed_when_the_person_says_so(
    hub: Any, typed: str, said: str, kept: bool, tmp_path: Path
) -> None:
    """Ctrl-D says no."""
    pexpect = pytest.importorskip("pexpect")
    library.place("a/b").mkdir(parents=True)
    child = pexpect.spawn(sys.executable, ["-m", "haina", "rm", "a/b"], encoding="utf-8", timeout=20)
    child.expect(r"delete\? \[y/N\] ")
    child.send(typed)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0 and said in child.before and "Traceback" not in child.before
    assert library.place("a/b").exists() == kept


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "a/..", "a/../b", "/etc/passwd", "a", "a/b/c", "", "a/.b", "a\\b/c", "a/b\n", "C:/b"],
)
def test_names_that_are_none(hub: Any, haina: Run, name: str) -> None:
    (library.models() / "a").mkdir(parents=True)
    for verb in (["pull"], ["rm", "-y"]):
        status, out, err = haina(*verb, name)
        assert (
            (status, out) == (2, "") and "not a model name; give owner/name" in err and err.count("\n") == 1
        )
    assert hub.asked == []


def test_only_what_is_in_the_library_is_removed(hub: Any, haina: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    (library.models() / "me").mkdir(parents=True)
    (library.models() / "me" / "link").symlink_to(mine)
    assert haina("rm", "me/link", "-y")[0] == 0 and (mine / "config.json").exists()
    assert "no such model in" in haina("rm", "me/link", "-y")[2]


def test_a_path_comes_before_a_name(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in ("a", "b"):
        (library.models() / owner / "same").mkdir(parents=True)
    assert library.find("a/same") == library.models() / "a" / "same"
    assert library.find("same") == Path("same")  # which of the two is not clear
    assert library.find("b/other") == Path("b/other")
    monkeypatch.chdir(tmp_path)
    Path("a/same").mkdir(parents=True)
    assert library.find("a/same") == Path("a/same")


def test_a_broken_model_is_listed(hub: Any, haina: Run) -> None:
    folder = library.place("a/b")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{")
    assert "damaged" in haina("ls")[1]


def test_errors_are_chinese_in_chinese(hub: Any, haina: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_LANG", "zh")
    hub.statuses = [404]
    assert "不存在；请核对名称与版本" in haina("pull", NAME)[2]
    assert "不是模型名" in haina("pull", "x")[2] and "还没有模型" in haina("ls")[1]


def test_fit_asks_for_little(hub: Any, haina: Run) -> None:
    status, out, err = haina("fit", NAME, "--json")
    record = json.loads(out)
    assert (status, err) == (0, "") and list(record["precisions"]) == ["bf16", "w8", "w4"]
    assert record["download_bytes"] == sum(len(hub.files[name]) for name in hub.wanted)
    assert len(hub.asked) == 2 and library.entries() == []
    assert haina("fit", NAME)[1].endswith(f"Fits as bf16: haina pull {NAME}\n")


def test_fit_says_that_float32_is_to_be_converted(hub: Any, haina: Run) -> None:
    for name in [name for name in hub.wanted if name.endswith(".bin")]:
        state, file = torch.load(io.BytesIO(hub.files[name])), io.BytesIO()
        torch.save({key: tensor.float() for key, tensor in state.items()}, file)
        hub.files[name] = file.getvalue()
    assert haina("fit", NAME)[1].endswith(f"Fits as bf16: haina pull {NAME} --to bf16\n")
