"""Servers to be measured, as processes of their own: ours, and llama.cpp's `llama-server` where it is built.

llama-server is built from the sources inside the sdist of llama-cpp-python, for this machine (the Makefile says how).
It knows how they are started and what of the CPU they use; it does not know what is asked of them.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import haina

START_S = 120.0
SAMPLING = {"temperature": 0.8, "top_k": 50, "top_p": 0.9}
END = 2  # the id that ends a text, in every model here


class Used(NamedTuple):
    """CPU seconds: of a whole process, and of its first thread, which is our server without the engine."""

    whole_s: float
    first_thread_s: float


class Server:
    """A process that listens on `port`; ends with its context."""

    def __init__(self, process: subprocess.Popen[str], port: int):
        self.process, self.port = process, port

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def used(self) -> Used:
        own = Path(f"/proc/{self.process.pid}")
        return Used(_cpu_s(own / "stat"), _cpu_s(own / "task" / own.name / "stat"))

    def body(self, ids: tuple[int, ...], tokens: int) -> dict[str, Any]:
        """A request for exactly so many tokens: what ends a text is never chosen."""
        raise NotImplementedError


class Ours(Server):
    """`haina serve`."""

    def __init__(self, model: Path, folder: Path, threads: int, *, tokens: int, queue: int = 128):
        """`tokens`: room of a conversation; `queue`: of how many is nobody turned away."""
        command = [sys.executable, "-m", "haina", "serve", f"model={model}", "--port", "0", "--log", "off"]
        command += ["--threads", str(threads), "--context", str(tokens), "--conversations", "64"]
        command += ["--queue", str(queue)]
        root = str(Path(haina.__file__).parents[1])
        environment = {**os.environ, "HAINA_HOME": str(folder / "home"), "PYTHONPATH": root}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found, "haina serve did not start"
        super().__init__(process, int(found[1]))

    def body(self, ids: tuple[int, ...], tokens: int) -> dict[str, Any]:
        return {**_asked(ids, tokens), "repetition_penalty": 1.05, "logit_bias": {str(END): -100}}


class Theirs(Server):
    """`llama-server`, with continuous batching and no memory of earlier prompts, which our clients never repeat."""

    def __init__(self, program: Path, file: Path, threads: int, *, at_once: int, tokens: int):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [
            str(program),
            "-m",
            str(file),
            "--port",
            str(port),
            "-np",
            str(at_once),
            "-cb",
            "--no-webui",
        ]
        command += ["-c", str(at_once * tokens), "-t", str(threads), "-tb", str(threads), "-cram", "0"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        super().__init__(process, port)
        _wait_for(f"http://127.0.0.1:{port}/health", process)

    def body(self, ids: tuple[int, ...], tokens: int) -> dict[str, Any]:
        own = {"repeat_penalty": 1.05, "min_p": 0, "ignore_eos": True, "cache_prompt": False}
        return _asked(ids, tokens) | own


def _asked(ids: tuple[int, ...], tokens: int) -> dict[str, Any]:
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    return {"prompt": list(ids), "max_tokens": tokens, **SAMPLING, **stream}


def _wait_for(url: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (URLError, ConnectionError):
            time.sleep(0.1)
    process.kill()
    raise ValueError(f"{process.args}: it does not start")


def _cpu_s(stat: Path) -> float:
    """proc(5): utime and stime of a process or thread."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
