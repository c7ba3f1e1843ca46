"""deploy/ray_serve.py on a real Ray of this machine: two replicas of the embedded model, started as the guide says."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from openai import AuthenticationError, OpenAI

import haina
from haina.serve.keys import new_key

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or importlib.util.find_spec("ray") is None or (os.cpu_count() or 1) < 2,
    reason="needs Ray, Linux and two cores; pip install 'haina[cluster]'",
)
DEPLOY = Path(__file__).parents[2] / "deploy"
MODEL = "haina-brook"
POEM = "请接着写下去：春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。白日依山尽，黄河入海流。"
START_S = 240.0  # it takes 20 s where nothing else runs


class Fleet:
    """`serve run` with the folder's ray_serve.yaml, and what a client needs."""

    def __init__(self, folder: Path):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.key = new_key("alice", folder / "keys")
        keys = folder / "keys"
        keys.write_text(keys.read_text("utf-8").strip() + " metrics\n", "utf-8")
        recipe = (DEPLOY / "ray_serve.yaml").read_text("utf-8")
        weights = Path(haina.__file__).with_name("weights")
        for before, after in (
            ("port: 8080", f"port: {self.port}"),
            ("/srv/haina/models/Baichuan2-7B-Chat", f"{MODEL}={weights}"),
            ("cpus: 8", "cpus: 1"),
            ("# api_key_file: /etc/haina/keys", f"api_key_file: {folder}/keys"),
        ):
            assert before in recipe
            recipe = recipe.replace(before, after)
        (folder / "fleet.yaml").write_text(recipe, "utf-8")
        environment = {
            **os.environ,
            "HAINA_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(Path(haina.__file__).parents[1]), str(DEPLOY)]),
            "RAY_AUTH_MODE": "disabled",  # it would write a token into the person's home
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_gcs_server_request_timeout_seconds": "180",  # a busy machine is slow to start it
        }
        self.log = (folder / "log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(folder / "fleet.yaml")],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        self.client = OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=self.key, max_retries=0)

    def get(self, path: str, key: str | None = None) -> tuple[int, str]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def counts(self, name: str) -> dict[str, float]:
        """A figure of each replica."""
        status, text = self.get("/metrics", self.key)
        assert status == 200
        found = re.findall(rf'^{name}{{(?:.*,)?replica="(\w+)".*}} (\S+)$', text, re.M)
        return {replica: float(value) for replica, value in found}

    def whole(self) -> bool:
        """Whether both replicas answer."""
        with suppress(OSError):
            return self.get("/readyz")[0] == 200 and len(self.counts("haina_num_requests_running")) == 2
        return False

    def replicas(self) -> list[int]:
        """The processes of the replicas that are this fleet's."""
        parents, found = {}, []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if b"ServeReplica:haina:Replica" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return [process for process in found if self._mine(process, parents)]

    def _mine(self, process: int, parents: dict[int, int]) -> bool:
        while process > 1 and process != self.process.pid:
            process = parents.get(process, 0)
        return process == self.process.pid

    def end(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.log.close()


def wait_until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        wait_until(lambda: made.whole() or made.process.poll() is not None, START_S)
        made.log.seek(0)
        assert made.process.poll() is None, made.log.read().decode()
        yield made
    finally:
        made.end()


def asked(fleet: Fleet, *texts: str, tokens: int = 8) -> str:
    """The next answer of a conversation."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
    answer = fleet.client.chat.completions.create(
        model=MODEL, messages=messages, max_tokens=tokens, temperature=0
    )
    return answer.choices[0].message.content or ""


def test_a_conversation_stays_where_its_beginning_is_known(fleet: Fleet) -> None:
    before = fleet.counts("haina_prompt_tokens_total")
    texts = [POEM]
    for _ in range(4):
        texts += [asked(fleet, *texts), "再写一句。"]
    asked(fleet, *texts)
    after, hits = fleet.counts("haina_prompt_tokens_total"), fleet.counts("haina_prefix_cache_hits_total")
    (home,) = [name for name in after if after[name] > before.get(name, 0)]
    assert hits[home] >= 4 * 32  # a page at least, each time but the first


def test_a_stream_comes_piece_by_piece(fleet: Fleet) -> None:
    came = []
    with fleet.client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": POEM}], max_tokens=60, stream=True,
        logit_bias={"2": -100}, stream_options={"include_usage": True},
    ) as stream:  # fmt: skip
        for part in stream:
            came.append((time.monotonic(), part))
    assert came[-1][1].usage and came[-1][1].usage.completion_tokens == 60
    assert len({moment for moment, _ in came}) > 20 and came[-1][0] - came[0][0] > 0.02


def test_when_all_ask_the_same_at_once_both_replicas_work(fleet: Fleet) -> None:
    before = fleet.counts("haina_prompt_tokens_total")
    asks = {"model": MODEL, "prompt": POEM, "max_tokens": 300, "n": 2, "logit_bias": {"2": -100}}
    threads = [threading.Thread(target=fleet.client.completions.create, kwargs=asks) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    after = fleet.counts("haina_prompt_tokens_total")
    assert len(after) == 2 and all(after[name] > before.get(name, 0) for name in after)


def test_a_client_that_leaves_frees_its_replica(fleet: Fleet) -> None:
    stream = fleet.client.completions.create(
        model=MODEL, prompt=POEM, max_tokens=400, n=8, stream=True, logit_bias={"2": -100}
    )
    next(iter(stream))
    assert sum(fleet.counts("haina_num_requests_running").values()) > 0
    stream.close()
    wait_until(lambda: not any(fleet.counts("haina_num_requests_running").values()), 10)
    text = fleet.get("/metrics", fleet.key)[1]
    aborted = re.findall(r'^haina_request_success_total{finished_reason="abort".* (\S+)$', text, re.M)
    assert sum(map(float, aborted)) == 8


def test_keys_hold_and_are_counted(fleet: Fleet) -> None:
    assert fleet.get("/v1/models")[0] == 401 and fleet.get("/metrics")[0] == 401
    with pytest.raises(AuthenticationError):
        asked_by = OpenAI(base_url=fleet.client.base_url, api_key="haina-wrong", max_retries=0)
        asked_by.completions.create(model=MODEL, prompt="x")
    asked(fleet, "你好")
    assert 'key="alice"' in fleet.get("/metrics", fleet.key)[1]
    assert json.loads(fleet.get("/healthz")[1]) == {"status": "ok"}


def test_a_replica_that_dies_is_replaced_and_requests_go_on(fleet: Fleet) -> None:
    (one, other) = fleet.replicas()
    os.kill(one, signal.SIGKILL)
    for _ in range(6):
        asked(fleet, POEM)
    wait_until(lambda: len(set(fleet.replicas()) - {one, other}) == 1)
    wait_until(fleet.whole)
