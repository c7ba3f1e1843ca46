"""Two machines, played by two network namespaces with a cable between them: torchrun brings their processes together,
one is killed, and both go on from the last state. Needs root. HAINA_TORTURE: it takes half a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not os.environ.get("HAINA_TORTURE") or not shutil.which("ip"), reason="needs HAINA_TORTURE, and ip"
)
WORLDS = Path(__file__).with_name("worlds.py")
ENDS = {"hainaA": "10.213.7.1", "hainaB": "10.213.7.2"}  # a namespace, its end of the cable, and its address


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[None]:
    try:
        ip("netns", "add", "hainaA")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        ip("netns", "add", "hainaB")
        ip(
            "-n",
            "hainaA",
            "link",
            "add",
            "hainaA",
            "type",
            "veth",
            "peer",
            "name",
            "hainaB",
            "netns",
            "hainaB",
        )
        for name, address in ENDS.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            for device in ("lo", name):
                ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in ENDS:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def node(name: str, folder: Path) -> subprocess.Popen[str]:
    """torchrun on one of the machines; the first of them keeps the list of who is there."""
    words = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
    words += ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "2", "--rdzv-backend", "c10d"]
    words += ["--rdzv-id", "haina", "--rdzv-endpoint", f"{ENDS['hainaA']}:29517", "--local-addr", ENDS[name]]
    words += ["--rdzv-conf", f"is_host={str(name == 'hainaA').lower()}", str(WORLDS), str(folder), "process"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": name, "OMP_NUM_THREADS": "1", "HAINA_LANG": "en"}
    return subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    )


def losses(folder: Path) -> list[tuple[int, float]]:
    lines = (json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines())
    return [(line["step"], line["nats"]) for line in lines]


@pytest.mark.usefixtures("cable")
def test_two_machines_meet_again_after_a_worker_is_killed(tmp_path: Path) -> None:
    nodes = [node(name, tmp_path / "run") for name in ENDS]
    told = [process.communicate(timeout=300)[1] for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0], told
    assert "Signal 9" in "".join(told) or "exitcode: -9" in "".join(told)
    alone = [sys.executable, WORLDS, tmp_path / "worlds", "alone"]
    subprocess.run(alone, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found, expected = losses(tmp_path / "run"), losses(tmp_path / "worlds" / "alone")
    assert [step for step, _ in found] == [step for step, _ in expected] == list(range(4))
    assert [nats for _, nats in found] == pytest.approx([nats for _, nats in expected], abs=1e-5)
