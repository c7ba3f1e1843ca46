"""Operations: the server as a process of its own. It ends politely, bears bad clients, and reaches out to nobody."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for other processes")
CHAT = "/v1/chat/completions"
SHORT = {"model": "haina-brook", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 4}
LONG = {  # without the token that ends an answer
    "model": "haina-brook",
    "prompt": "春眠不觉晓",
    "max_tokens": 480,
    "stream": True,
    "n": 16,
    "temperature": 2,
    "logit_bias": {"2": -100},
}

# Ends the process when it looks up, connects or sends to anything but this machine, or starts another program.
ALONE = """
import os, sys
def watch(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork"):
        os._exit(99)
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1")):
            os._exit(99)
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "0.0.0.0", "localhost", None):
        os._exit(99)
sys.addaudithook(watch)
from haina.cli.program import main
"""


def environment() -> dict[str, str]:
    """Conversations are kept in the test's own folder."""
    return {**os.environ, "HAINA_LANG": "en", "HAINA_HOME": str(Path.cwd() / "home")}


class Server:
    """`haina serve` on a free port, and what a client needs."""

    def __init__(self, *arguments: str, log: str = "json"):
        command = [sys.executable, "-c", ALONE + "main()", "serve", "--port", "0", "--log", log, *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment()
        )
        assert self.process.stdout and self.process.stderr
        self.banner = [self.process.stdout.readline()]
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.banner[0])
        assert found, self.process.stderr.read()
        self.port = int(found[1])
        self.lines: list[dict[str, Any]] = []  # of the log
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(json.loads(line) if line.startswith("{") else {"text": line})

    def ask(
        self,
        path: str,
        body: dict[str, Any] | bytes | None = None,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = json.dumps(body, ensure_ascii=False).encode() if isinstance(body, dict) else body
        line.request(method or ("GET" if body is None else "POST"), path, content, headers or {})
        answer = line.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        line.close()
        return found

    def begin(self, body: dict[str, Any] = LONG, path: str = "/v1/completions") -> socket.socket:
        """A stream, up to the first bytes of its answer."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n"
        line.sendall(head.encode() + content)
        assert line.recv(12) == b"HTTP/1.1 200"
        return line

    def metric(self, name: str) -> float:
        text = self.ask("/metrics")[2].decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))

    def idle(self) -> bool:
        return self.metric("haina_num_requests_running") == 0 == self.metric("haina_kv_cache_usage_perc")

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self, sign: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        status = self.process.wait(30)
        self._reader.join(10)
        self.close()
        return status

    def close(self) -> None:
        """Whatever it was doing."""
        assert self.process.stdout and self.process.stderr
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    assert running.end() == 0


@pytest.fixture
def own() -> Iterator[Callable[..., Server]]:
    """Servers for one test."""
    made: list[Server] = []

    def make(*arguments: str, **more: str) -> Server:
        made.append(Server(*arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait_for(condition: Callable[[], bool], within_s: float = 10) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def refused(*arguments: str) -> str:
    """The one line with which `haina serve` refuses to start."""
    command = [sys.executable, "-m", "haina", "serve", *arguments]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, check=False, env=environment()
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done
    return done.stderr


# -- the beginning and the end --------------------------------------------------------------------------------


def test_the_banner_has_all_that_is_pasted_into_a_shell(own: Callable[..., Server]) -> None:
    server = own()
    assert server.process.stdout
    text = "".join(server.process.stdout.readline() for _ in range(4))
    for word in (
        "/v1/messages",
        "/metrics",
        "OPENAI_BASE_URL=http",
        "ANTHROPIC_BASE_URL=http",
        "OLLAMA_HOST=",
    ):
        assert word in text


def test_others_are_not_let_in_without_keys() -> None:
    assert "--new-key" in refused("--host", "0.0.0.0", "--port", "0")


def test_a_port_in_use_is_one_line(server: Server) -> None:
    assert f"port {server.port} is in use" in refused("--port", str(server.port))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "999.1.1.1"], "no such address"),
        (["/nowhere/at/all"], "/nowhere/at/all"),
        (["--new-key", "x"], "--api-key-file"),
        (["--api-key-file", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: list[str], words: str) -> None:
    assert words in refused("--port", "0", *arguments)


def test_sigterm_lets_answers_finish(own: Callable[..., Server]) -> None:
    server = own()
    line = server.begin()
    server.process.send_signal(signal.SIGTERM)
    rest = b""
    while part := line.recv(1 << 16):
        rest += part
    line.close()
    assert b"data: [DONE]" in rest and rest.count(b"data: {") > 1000
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    assert server.end() == 0
    assert [line["answers"] for line in server.lines if line.get("event") == "stopping"] == [1]


def test_ctrl_c_ends_it_without_a_word(own: Callable[..., Server]) -> None:
    server = own()
    assert server.end(signal.SIGINT) == 130 and server.lines == []


# -- those who go, and those who stay -------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_pages(server: Server, stream: bool) -> None:
    aborted = server.metric('haina_request_success_total{finished_reason="abort",model_name="haina-brook"}')
    for _ in range(5):
        if stream:
            line = server.begin()
        else:
            line = socket.create_connection(("127.0.0.1", server.port))
            body = json.dumps({**LONG, "stream": False}).encode()
            line.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n")
            line.sendall(f"content-length: {len(body)}\r\n\r\n".encode() + body)
            assert wait_for(lambda: server.metric("haina_num_requests_running") > 0)
        line.close()
        assert wait_for(server.idle, within_s=2)
    ended = server.metric('haina_request_success_total{finished_reason="abort",model_name="haina-brook"}')
    assert ended - aborted == 5 * LONG["n"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_thousand_connections_that_say_nothing(server: Server) -> None:
    before = server.files()
    lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1000)]
    began = time.monotonic()
    status, _, answer = server.ask(CHAT, SHORT)
    assert status == 200 and json.loads(answer)["usage"]["completion_tokens"] and time.monotonic() - began < 5
    for line in lines:
        line.close()
    assert wait_for(lambda: server.files() <= before)


def test_beyond_the_queue_it_is_429_at_once(own: Callable[..., Server]) -> None:
    server = own("--queue", "2")
    lines = [server.begin(), server.begin()]
    began = time.monotonic()
    status, headers, answer = server.ask(CHAT, SHORT)
    assert time.monotonic() - began < 0.5
    assert status == 429 and int(headers["retry-after"]) > 0
    assert json.loads(answer)["error"]["type"] == "requests"
    assert server.ask("/v1/messages", SHORT)[0] == 429 and server.ask("/healthz")[0] == 200
    for line in lines:
        line.close()
    assert wait_for(lambda: server.ask(CHAT, SHORT)[0] == 200)


def test_time_is_up(own: Callable[..., Server]) -> None:
    server = own("--timeout", "1")
    slow = {**LONG, "stream": False, "n": 64}
    began = time.monotonic()
    status, headers, answer = server.ask("/v1/completions", slow)
    assert status == 503 and time.monotonic() - began < 3 and b"--timeout" in answer
    assert headers["x-should-retry"] == "false" and wait_for(server.idle, within_s=2)


# -- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        (CHAT, b"{", {}, 400),
        (CHAT, b"\xff{}", {}, 400),
        (CHAT, b"[" * 100_000, {}, 400),
        (CHAT, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, {}, 400),
        (CHAT, b" " * ((16 << 20) + 1), {}, 413),
        (CHAT, None, {"upgrade": "websocket", "connection": "upgrade"}, 400),
        ("/../../../../etc/passwd", None, {}, 404),
        ("/page/files/../../run.py", None, {}, 404),
        ("/page/files/%2e%2e/%2e%2e/run.py", None, {}, 404),
        ("/page/files//etc/passwd", None, {}, 404),
        ("/v1/models/../../../etc/passwd", None, {}, 404),
        ("/v1/models", None, {"host": "evil.example"}, 403),
        ("/v1/models", None, {"host": "127.0.0.1.evil.example"}, 403),
        ("/v1/models", None, {"host": "["}, 403),
        (CHAT, b"{}", {"origin": "https://evil.example"}, 403),
        (CHAT, b"{}", {"origin": "null"}, 403),
        ("/v1/models", None, {"origin": "http://localhost:3000"}, 403),  # another program of this machine
        (
            "/page/model?name=haina-brook",
            None,
            {"sec-fetch-site": "cross-site"},
            403,
        ),  # an image of some page
        ("/", None, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),  # a link to us
        (CHAT + "?stream=true", b"{}", {}, 400),
        ("/detokenize", b'{"tokens": [99999999]}', {}, 400),
        ("/v1/models", None, {"host": "[::1]:8080"}, 200),
        ("/v1/models", None, {"x-many": "a" * 60_000}, 431),
    ],
)
def test_bad_input_is_4xx_and_quick(
    server: Server, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    began = time.monotonic()
    found, _, answer = server.ask(path, body, headers=headers)
    assert found == status and time.monotonic() - began < 3, answer
    assert b"root:" not in answer and server.ask("/readyz")[0] == 200


def test_a_huge_body_is_refused_by_its_length(server: Server) -> None:
    line = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    line.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000000\r\n\r\n{")
    assert line.recv(12) == b"HTTP/1.1 413"
    line.close()


def test_errors_have_the_shape_of_their_dialect(server: Server) -> None:
    bodies = [json.loads(server.ask(path, b"\xff")[2]) for path in (CHAT, "/v1/messages", "/api/chat")]
    assert bodies[0]["error"]["type"] == "invalid_request_error"
    assert bodies[1]["type"] == "error" and bodies[1]["error"]["type"] == "invalid_request_error"
    assert isinstance(bodies[2]["error"], str)


def test_an_allowed_host_is_let_in(own: Callable[..., Server]) -> None:
    server = own("--allow-host", "llm.example")
    assert server.ask("/v1/models", headers={"host": "llm.example"})[0] == 200
    assert server.ask("/v1/models", headers={"host": "other.example"})[0] == 403


# -- what it tells --------------------------------------------------------------------------------------------


def test_health_and_metrics(server: Server) -> None:
    assert [server.ask(path)[0] for path in ("/healthz", "/health", "/readyz")] == [200, 200, 200]
    before = [server.metric(name) for name in ("haina_prompt_tokens_total", "haina_generation_tokens_total")]
    usage = json.loads(server.ask(CHAT, SHORT)[2])["usage"]
    after = [server.metric(name) for name in ("haina_prompt_tokens_total", "haina_generation_tokens_total")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [
        usage["prompt_tokens"],
        usage["completion_tokens"],
    ]
    assert server.metric("haina_time_to_first_token_seconds_count") > 0
    assert server.metric("haina_inter_token_latency_seconds_count") > 0


def test_a_refusal_is_no_success(server: Server) -> None:
    name = 'haina_request_success_total{finished_reason="stop",model_name="haina-brook"}'
    before, read = server.metric(name), server.metric('haina_prompt_tokens_total{model_name="haina-brook"}')
    body = {"messages": [{"role": "user", "content": "你好"}], "logit_bias": {"99999999": 1}}
    assert server.ask(CHAT, json.dumps(body).encode())[0] == 400
    assert server.metric(name) == before
    assert server.metric('haina_prompt_tokens_total{model_name="haina-brook"}') == read


def test_keys_open_the_door_to_others(own: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    command = [sys.executable, "-m", "haina", "serve", "--new-key", "alice", "--api-key-file", str(file)]
    made = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment())
    key = made.stdout.strip()
    assert key.startswith("haina-") and key not in made.stderr + file.read_text("utf-8")
    file.write_text(
        file.read_text("utf-8").strip() + " metrics\n" + f"bob sha256:{sha256(b'b').hexdigest()}\n"
    )
    server = own("--host", "0.0.0.0", "--api-key-file", str(file))
    assert server.ask("/metrics", headers={"authorization": "Bearer b"})[0] == 403
    bearer = {"authorization": f"Bearer {key}", "host": "llm.example"}
    assert [
        server.ask(path)[0] for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/openapi.json")
    ] == [
        200,
        200,
        401,
        401,
        401,
    ]
    assert server.ask(CHAT, SHORT)[0] == 401 and server.ask(CHAT, SHORT, headers=bearer)[0] == 200
    metrics = server.ask("/metrics", headers=bearer)[2].decode()
    assert re.search(r'^haina_key_tokens_total{key="alice",kind="generation".*} [1-4]\.0$', metrics, re.M)
    assert wait_for(lambda: any(line.get("key") == "alice" for line in server.lines))


@pytest.mark.parametrize("asked", [False, True])
def test_the_log_has_no_prompt_unless_asked(own: Callable[..., Server], asked: bool) -> None:
    server = own(*(["--log-prompts"] if asked else []))
    _, headers, _ = server.ask(CHAT, SHORT, headers={"x-request-id": "abc123"})
    assert headers["x-request-id"] == headers["request-id"] == "abc123"
    assert wait_for(lambda: any(line.get("event") == "request" for line in server.lines))
    server.end()
    (line,) = [line for line in server.lines if line.get("event") == "request"]
    assert (line["path"], line["status"], line["id"], line["model"]) == (CHAT, 200, "abc123", "haina-brook")
    assert line["prompt_tokens"] > 0 and line["new_tokens"] > 0
    assert ("你好" in json.dumps(server.lines, ensure_ascii=False)) is asked


def test_it_connects_to_nobody(own: Callable[..., Server]) -> None:
    """The hook of every server here ends it at the first connection out; this one shows that it would."""
    for way in (
        "socket.create_connection(('192.0.2.1', 9), timeout=0.1)",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
        "os.system('true')",
    ):
        code = ALONE.replace("from haina", "import socket\n" + way + "\nfrom haina")
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 99, way
    server = own()
    for path in (CHAT, "/v1/completions", "/v1/messages", "/api/chat", "/api/generate"):
        server.ask(path, SHORT)
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/api/tags", "/v1/models"):
        server.ask(path)
    assert server.end() == 0
