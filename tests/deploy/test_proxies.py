"""deploy/nginx.conf and deploy/Caddyfile in the real programs, with TLS, before `haina serve` with a key."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from openai import AuthenticationError, OpenAI

import haina
from haina.serve.keys import new_key

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("openssl"), reason="needs Linux and openssl"
)
DEPLOY = Path(__file__).parents[2] / "deploy"
ASKED = {"model": "haina-brook", "prompt": "春眠不觉晓", "max_tokens": 200, "logit_bias": {"2": -100}}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail(f"nothing listens; {process.args}")


def ended(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for localhost, as cert.pem and key.pem."""
    folder = tmp_path_factory.mktemp("proxies")
    kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", *kind.split(), "-keyout", "key.pem", "-out", "cert.pem", *named]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def behind(place: Path) -> Iterator[tuple[int, str]]:
    """`haina serve` as the recipes say: its port and a key."""
    key, port = new_key("alice", place / "keys"), free_port()
    with (place / "keys").open("r+") as keys:  # which may read the metrics, too
        line = keys.read().strip()
        keys.seek(0)
        keys.write(f"{line} metrics\n")
    command = [
        sys.executable,
        "-m",
        "haina",
        "serve",
        "--port",
        str(port),
        "--api-key-file",
        str(place / "keys"),
    ]
    environment = {
        **os.environ,
        "HAINA_HOME": str(place / "home"),
        "PYTHONPATH": str(Path(haina.__file__).parents[1]),
    }
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        listens(port, process)
        yield port, key
    finally:
        ended(process)


def nginx(place: Path, before: int, port: int) -> subprocess.Popen[bytes]:
    """With the recipe in the place of conf.d; only its ports and its certificate are other ones."""
    recipe = (DEPLOY / "nginx.conf").read_text("utf-8")
    recipe = recipe.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("haina.example", "localhost")
    recipe = recipe.replace("listen 443 ssl", f"listen 127.0.0.1:{before} ssl")
    recipe = recipe.replace("listen 80", f"listen 127.0.0.1:{free_port()}")
    for name, ours in (("fullchain", "cert"), ("privkey", "key")):
        recipe = recipe.replace(f"/etc/letsencrypt/live/localhost/{name}.pem", f"{place}/{ours}.pem")
    temporary = "".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root; " if os.geteuid() == 0 else ""  # who may write into this folder
    (place / "nginx.conf").write_text(
        f"{user}daemon off; pid {place}/pid; error_log stderr; events {{}} "
        f"http {{ access_log off; {temporary}\n{recipe}}}\n",
        "utf-8",
    )
    return subprocess.Popen(["nginx", "-c", str(place / "nginx.conf")], stderr=subprocess.DEVNULL)


def caddy(place: Path, before: int, port: int) -> subprocess.Popen[bytes]:
    """With the recipe; only the certificate is one that is there already."""
    recipe = (DEPLOY / "Caddyfile").read_text("utf-8")
    name, _, rest = recipe.partition("} {")
    recipe = (
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{name}}} {{\n\ttls cert.pem key.pem\n{rest}"
    )
    (place / "Caddyfile").write_text(recipe, "utf-8")
    environment = {
        **os.environ, "HOME": str(place), "XDG_DATA_HOME": str(place), "XDG_CONFIG_HOME": str(place),
        "HAINA_NAME": f"localhost:{before}", "HAINA_ADDRESS": f"127.0.0.1:{port}",
    }  # fmt: skip
    return subprocess.Popen(["caddy", "run"], cwd=place, env=environment, stderr=subprocess.DEVNULL)


PROXIES: dict[str, Callable[[Path, int, int], subprocess.Popen[bytes]]] = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module", params=PROXIES)
def client(request: pytest.FixtureRequest, place: Path, behind: tuple[int, str]) -> Iterator[httpx.Client]:
    """Over TLS through the proxy, with a key."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    port, key = behind
    before = free_port()
    process = PROXIES[request.param](place, before, port)
    try:
        listens(before, process)
        context = ssl.create_default_context(cafile=place / "cert.pem")
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(
            base_url=f"https://localhost:{before}", verify=context, headers=headers, timeout=30
        ) as made:
            yield made
    finally:
        ended(process)


def test_a_stream_comes_piece_by_piece(client: httpx.Client, behind: tuple[int, str]) -> None:
    came = []
    official = OpenAI(base_url=f"{client.base_url}/v1", api_key=behind[1], http_client=client)
    for part in official.completions.create(**ASKED, stream=True):
        came.append((time.monotonic(), part.choices[0].text))
    assert len({moment for moment, _ in came}) > 50
    assert came[-1][0] - came[0][0] > 0.02 and "".join(text for _, text in came)


def test_a_client_that_leaves_is_let_go_of(client: httpx.Client, behind: tuple[int, str]) -> None:
    asked = {**ASKED, "n": 16, "max_tokens": 400, "stream": True}
    with client.stream("POST", "/v1/completions", json=asked) as answer:
        next(answer.iter_bytes())
    end = time.monotonic() + 10
    direct = {"headers": dict(client.headers), "timeout": 30}
    while not re.search(r'^haina_request_success_total{finished_reason="abort".*} [1-9]',
                        httpx.get(f"http://127.0.0.1:{behind[0]}/metrics", **direct).text, re.M):  # fmt: skip
        assert time.monotonic() < end
        time.sleep(0.05)


def test_health_keys_and_what_is_not_shown(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/metrics").status_code == 404
    assert client.get("/").headers["strict-transport-security"]
    wrong = OpenAI(base_url=f"{client.base_url}/v1", api_key="haina-wrong", http_client=client, max_retries=0)
    with pytest.raises(AuthenticationError):
        wrong.models.list()


def test_what_is_too_large_is_said(client: httpx.Client) -> None:
    little = client.post("/v1/completions", content=b" " * ((16 << 20) + 1))
    assert little.status_code == 413 and "16 MiB" in little.json()["error"]["message"]
    with suppress(httpx.WriteError):  # the proxy may hang up on what it does not want to read
        assert client.post("/v1/completions", content=b" " * (20 << 20)).status_code == 413
    assert client.get("/v1/models", headers={"x-long": "x" * 40000}).status_code in (400, 431)
    assert client.get("/healthz").status_code == 200
