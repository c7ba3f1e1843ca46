"""deploy/haina.service and deploy/Dockerfile: what can be told of them without a service manager and a registry."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import haina
from haina.serve.keys import new_key

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent
PR_SET_MDWE = 65  # Linux 6.3: what MemoryDenyWriteExecute= is about; EINVAL before
SYSTEMD = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


def unit() -> str:
    return (DEPLOY / "haina.service").read_text("utf-8")


@SYSTEMD
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    here = tmp_path / "haina.service"
    here.write_text(unit().replace("/opt/haina/bin/haina", sys.executable), "utf-8")
    found = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


@SYSTEMD
def test_it_exposes_little() -> None:
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--threshold=20",
        str(DEPLOY / "haina.service"),
    ]
    assert subprocess.run(command, capture_output=True).returncode == 0  # 2.0 of 10 at most


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_its_command_serves_without_writable_code_and_ends_politely(tmp_path: Path) -> None:
    new_key("alice", tmp_path / "keys")
    line = re.search(r"^ExecStart=(.*)$", unit(), re.M)
    assert line
    line = line[1].replace("$HAINA_MODEL ", "").replace("/etc/haina/keys", str(tmp_path / "keys"))
    program, *arguments = shlex.split(line.replace("--port 8080", "--port 0"))
    assert program == "/opt/haina/bin/haina"
    libc = ctypes.CDLL(None)
    process = subprocess.Popen(
        [sys.executable, "-m", "haina", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env={**os.environ, "HAINA_HOME": str(tmp_path), "PYTHONPATH": str(Path(haina.__file__).parents[1])},
        preexec_fn=lambda: libc.prctl(PR_SET_MDWE, 1, 0, 0, 0),
    )
    with process:
        assert process.stdout
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert address
        assert healthy(address[0]) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


def stages() -> list[list[tuple[str, str]]]:
    """What the Dockerfile says, an instruction and the rest of its line, stage by stage."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = [[]]
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found[1:]


def healthy(address: str) -> int:
    """The status of the container's HEALTHCHECK for a server at this address."""
    check = dict(stages()[-1])["HEALTHCHECK"]
    _, option, code = json.loads(check.partition("CMD ")[2])
    assert "http://127.0.0.1:8080" in code
    code = code.replace("http://127.0.0.1:8080", address)
    return subprocess.run([sys.executable, option, code], capture_output=True).returncode


def test_the_container_is_nobody_and_holds_no_secret() -> None:
    last = stages()[-1]
    assert dict(last)["USER"].split(":")[0] not in ("0", "root")
    assert not [
        rest for name, rest in last if name == "COPY" and not rest.startswith("--from=build /opt/haina ")
    ]
    assert not [
        rest for name, rest in last if name in ("ENV", "ARG") and re.search("key|token|secret", rest, re.I)
    ]
    assert healthy("http://127.0.0.1:1") != 0


def test_the_build_copies_what_is_there_and_the_ignore_file_lets_it() -> None:
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = [path for name, rest in stages()[0] if name == "COPY" for path in rest.split()[:-1]]
    assert "*" in kept and copied and all((ROOT / path).exists() for path in copied)
    assert {f"!{path}" for path in copied} == {line for line in kept if line.startswith("!")}


def test_the_container_s_command_is_one_of_haina_s() -> None:
    said = {name: json.loads(rest) for name, rest in stages()[-1] if name in ("ENTRYPOINT", "CMD")}
    command = [sys.executable, "-m", "haina", *said["CMD"][: said["CMD"].index("--log")], "--new-key", "a b"]
    assert said["ENTRYPOINT"] == ["haina"]
    refused = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert refused.returncode != 0 and "--new-key 'a b'" in refused.stderr
