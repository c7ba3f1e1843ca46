"""A hub on the loopback interface: speaks Hugging Face's and ModelScope's protocol, and breaks when it is told to.

It serves one repository, made of a folder of tests/golden and of files that must not be fetched. Large files lie
behind a redirect, as behind a hub's content network.
"""

import hashlib
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from haina.checkpoint.web import Web
from haina.cli.program import main

NAME = "baichuan-inc/Baichuan2-Tiny"
OLD_NAME = "baichuan-inc/Renamed"
GOLDEN = Path(__file__).parents[1] / "golden" / "baichuan2-7b-style"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".bin", ".safetensors", ".model")
WANTED = """Community License for Tiny.pdf|README.md|config.json|generation_config.json|modeling_baichuan.py|
pytorch_model-00001-of-00002.bin|pytorch_model-00002-of-00002.bin|pytorch_model.bin.index.json|tokenizer.model"""


@dataclass
class Hub:
    """What is served, how it breaks, and what was asked for."""

    files: dict[str, bytes]
    url: str = ""
    content_url: str = ""  # of large files
    name: str = NAME
    wanted: frozenset[str] = frozenset(WANTED.replace("\n", "").split("|"))
    statuses: list[int] = field(default_factory=list)  # of the next answers, before any good one
    cuts: list[int] = field(default_factory=list)  # bytes after which the next large files are cut off
    document_cuts: list[int] = field(default_factory=list)  # the same of lists and small files
    ranges: bool = True  # whether Range is honoured
    silent: threading.Event = field(default_factory=threading.Event)  # set: a large file stops in the middle
    over: threading.Event = field(default_factory=threading.Event)
    lies: dict[str, bytes] = field(default_factory=dict)  # sent instead of what the list promises
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # path, Range, Authorization

    def sent(self, name: str) -> list[str]:
        """The ranges with which a file was asked for."""
        digest = hashlib.sha256(self.files[name]).hexdigest()
        return [range_ for path, range_, _ in self.asked if digest in path or path.endswith(f"/{name}")]

    def huggingface(self) -> dict[str, object]:
        siblings = []
        for name, content in self.files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
            if name.endswith(LARGE):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            siblings.append(entry)
        card = {"license": "other", "license_name": "tiny-licence"}
        return {"id": self.name, "sha": COMMIT, "siblings": siblings, "cardData": card}

    def modelscope(self) -> dict[str, object]:
        files = [
            {
                "Path": name,
                "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest(),
                "Type": "blob",
            }
            for name, content in self.files.items()
        ]
        return {"Code": 200, "Data": {"Files": files}}


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        hub.asked.append((path, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        if hub.statuses and (status := hub.statuses.pop(0)) != 200:
            self.answer(status, b"{}")
        elif OLD_NAME in path:
            self.send_response(308)
            self.send_header("Location", self.path.replace(OLD_NAME, hub.name))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith(f"/api/models/{hub.name}/revision/") and path.rsplit("/", 1)[1] in (
            "main",
            COMMIT,
        ):
            self.answer(200, json.dumps(hub.huggingface()).encode())
        elif path == f"/api/v1/models/{hub.name}/repo/files":
            self.answer(200, json.dumps(hub.modelscope()).encode())
        elif path == f"/api/v1/models/{hub.name}/repo":
            self.content(query["FilePath"][0])
        elif path == f"/api/v1/models/{hub.name}":
            self.answer(200, b'{"Code": 200, "Data": {"License": "tiny-licence"}}')
        elif path.startswith(f"/{hub.name}/resolve/{COMMIT}/"):
            self.resolve(path.split("/", 5)[5])
        elif path.startswith("/cdn/"):
            names = {hashlib.sha256(content).hexdigest(): name for name, content in hub.files.items()}
            self.content(names[path.removeprefix("/cdn/")])
        else:
            self.answer(404, b"{}")

    def resolve(self, name: str) -> None:
        content = self.hub.files[name]
        if not name.endswith(LARGE):
            return self.content(name)
        digest = hashlib.sha256(content).hexdigest()
        self.send_response(302)
        self.send_header("Location", f"{self.hub.content_url}/cdn/{digest}")
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def content(self, name: str) -> None:
        content, start = self.hub.lies.get(name, self.hub.files[name]), 0
        asked = self.headers.get("Range")
        if asked and self.hub.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        large = name.endswith(LARGE)
        cuts = self.hub.cuts if large else self.hub.document_cuts
        cut = cuts.pop(0) if cuts else None
        body = content[start:]
        self.send_response(206 if asked and self.hub.ranges else 200)
        if asked and self.hub.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if large and self.hub.silent.is_set():
            self.wfile.write(b"" if start else body[: len(body) // 2])
            self.wfile.flush()
            self.hub.over.wait(30)
            cut = 0
        else:
            self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = cut is not None

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.hub.document_cuts.pop(0) if self.hub.document_cuts else None
        self.wfile.write(body[:cut])
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, *_: object) -> None:
        return None


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, address: object) -> None:
        """A client that hung up is what we test: no traceback."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that both endpoints' variables name, and an empty library."""
    files = {path.name: path.read_bytes() for path in GOLDEN.iterdir() if path.suffix != ".npz"}
    files |= {
        "modeling_baichuan.py": b"class NormHead: ...\n",
        "Community License for Tiny.pdf": b"%PDF-1.4 be kind",
        "README.md": b"---\nlicense: other\n---\n",
        "tokenization_baichuan.py": b"raise SystemExit('never run')\n",
        "flax_model.msgpack": b"not for us",
        "../../escaped.bin": b"out of the folder",
        "onnx/model.safetensors": b"another format",
    }
    hub = Hub(files)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = hub.content_url = f"http://127.0.0.1:{server.server_address[1]}"
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, hub.url)
    for variable in ("HF_TOKEN", "http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HAINA_HOME", str(tmp_path / "home"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def web() -> Web:
    """Impatient: three tries, hardly a pause."""
    return Web(timeout_s=0.3, wait_s=0.001, tries=3)


@pytest.fixture
def haina(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """haina("pull", name, …) → exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["haina", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
