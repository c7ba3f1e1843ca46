"""The page without a browser: its files, the policy that comes with them, and the interface to its conversations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from haina.serve.page import FOLDER, assets

BROWSER = {"Accept": "text/html,*/*;q=0.8"}
OURS = [path for path in FOLDER.iterdir() if path.is_file()]


@pytest.fixture
def client(server: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server) as made:
        made.delete("/page/conversations")
        yield made


def made(client: httpx2.Client, title: str = "春") -> str:
    return str(client.post("/page/conversations", json={"title": title}).json()["id"])


def said(client: httpx2.Client, id: str, content: str, parent: int | None = None, role: str = "user") -> Any:
    body = {"parent": parent, "role": role, "content": content}
    return client.post(f"/page/conversations/{id}/messages", json=body)


# -- files ----------------------------------------------------------------------------------------------------


def test_the_policy_lets_nothing_foreign_and_nothing_inline_run(client: httpx2.Client) -> None:
    policy = client.get("/", headers=BROWSER).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (
        rules["default-src"]
        == rules["base-uri"]
        == rules["form-action"]
        == rules["frame-ancestors"]
        == "'none'"
    )
    assert {rules[f"{kind}-src"] for kind in ("script", "style", "img", "font", "connect")} == {"'self'"}
    assert rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policy


def test_every_file_has_the_policy_its_type_and_a_tag(client: httpx2.Client) -> None:
    for name in assets():
        got = client.get(f"/page/files/{name}")
        assert got.status_code == 200
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in got.headers["content-security-policy"]
        again = client.get(f"/page/files/{name}", headers={"If-None-Match": got.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/files/app.js").headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "name", ["../page.py", "..%2fpage.py", "%2e%2e/page.py", "vendor", "/etc/passwd", "", "a\0b"]
)
def test_no_path_leads_out_of_the_folder(client: httpx2.Client, name: str) -> None:
    got = client.get(f"/page/files/{name}".replace("\0", "%00"))
    assert got.status_code == 404
    assert b"FOLDER" not in got.content


def test_the_root_is_a_page_for_browsers_and_alive_for_ollamas_clients(client: httpx2.Client) -> None:
    assert client.get("/", headers=BROWSER).text.startswith("<!doctype html>")
    assert client.get("/").text == "Ollama is running"
    assert client.head("/").status_code == 200


def test_the_markup_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:|https?:", html)
    for path in re.findall(r'(?:src|href)="page/files/([^"]+)"', html):
        assert path in assets()
    for path in OURS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()
        )


def test_every_word_is_there_in_both_languages_and_used() -> None:
    everything = "".join(path.read_text() for path in OURS)
    words = re.findall(r'^  (\w+): \["(.+?)", "(.+?)"\],$', everything, re.M)
    assert len(words) > 80
    for name, en, zh in words:
        assert re.findall(r"\{\d\}", en) == re.findall(r"\{\d\}", zh), name
        assert not re.search("[\u3400-\u9fff]", en) or name in ("other_language", "try_3"), name
    knobs = re.findall(r"^  (\w+): \[.*\],$", (FOLDER / "settings.js").read_text(), re.M)
    spoken = set(
        re.findall(r'say\((?:\w+ \? )?"(\w+)"|data-say(?:-\w+)?="(\w+)"|"(\w+_branch|try_\d)"', everything)
    )
    named = {name for names in spoken for name in names if name}
    assert named <= {name for name, _, _ in words}
    assert len(words) == len({name for name, _, _ in words}), "one name, one meaning"
    assert {f"{knob}_why" for knob in knobs} | set(knobs) <= {name for name, _, _ in words}


def test_files_of_others_are_as_they_were_published() -> None:
    vendor = FOLDER / "vendor"
    sums = dict(reversed(line.split()) for line in (vendor / "SHA256").read_text().splitlines())
    there = {path.relative_to(vendor).as_posix() for path in vendor.rglob("*") if path.is_file()}
    assert there == {*sums, "SHA256", "README.md"}
    for name, digest in sums.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
    assert sum(name.startswith("LICENSE.") for name in sums) == 4


def test_it_stays_small() -> None:
    assert sum(len(asset.content) for asset in assets().values()) < 1_000_000
    assert max(len(path.read_text().splitlines()) for path in OURS) <= 400


# -- conversations --------------------------------------------------------------------------------------------


def test_a_conversation_from_its_beginning_to_its_end(client: httpx2.Client) -> None:
    id = made(client)
    assert said(client, id, "你好").json()["number"] == 1
    said(client, id, "您好！", 1, "assistant")
    said(client, id, "嗨", 1, "assistant")
    got = client.get(f"/page/conversations/{id}").json()
    assert [(m["parent"], m["content"]) for m in got["messages"]] == [
        (None, "你好"),
        (1, "您好！"),
        (1, "嗨"),
    ]
    assert got["leaf"] == 3
    settings = {"system": "客气些", "temperature": 0.5, "seed": 7}
    changed = client.patch(
        f"/page/conversations/{id}", json={"title": "问候", "settings": settings, "leaf": 2}
    )
    assert [changed.json()[name] for name in ("title", "settings", "leaf")] == ["问候", settings, 2]
    assert changed.headers["cache-control"] == "no-store"
    assert [one["title"] for one in client.get("/page/conversations").json()] == ["问候"]
    assert client.delete(f"/page/conversations/{id}").json() == {"deleted": 1}
    assert client.get("/page/conversations").json() == []


def test_export_is_a_file_to_keep(client: httpx2.Client) -> None:
    id = made(client, 'a/b "春"')
    said(client, id, "你好")
    text = client.get(f"/page/conversations/{id}/export", params={"form": "md"})
    assert text.text == '# a/b "春"\n\n**Q**\n\n你好\n'
    assert text.headers["content-disposition"] == "attachment; filename*=UTF-8''a-b-%E6%98%A5.md"
    whole = client.get("/page/export").json()["conversations"]
    assert whole == [client.get(f"/page/conversations/{id}/export").json()]
    assert whole[0]["messages"][0]["content"] == "你好"


def test_the_model_tells_its_context_and_its_own_settings(client: httpx2.Client) -> None:
    name = client.get("/page/models").json()["models"][0]
    model = client.get("/page/model", params={"name": name}).json()
    assert (model["context"], model["chat"]) == (512, True)
    assert model["defaults"]["temperature"] == 0.3
    assert client.get("/page/model", params={"name": "no such"}).status_code == 404
    assert "海纳·溪" in client.get("/page/card").json()["card"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"parent": None, "role": "system", "content": "x"}, "role"),
        ({"parent": None, "role": "user"}, "content"),
        ({"parent": -1, "role": "user", "content": "x"}, "parent"),
        ({"parent": 1 << 70, "role": "user", "content": "x"}, "parent"),
        ({"parent": None, "role": "user", "content": "x", "html": "y"}, "html"),
        ({"parent": None, "role": "user", "content": "x", "about": {"tokens_per_s": -1}}, "tokens_per_s"),
        ([], "body"),
    ],
)
def test_a_wrong_field_is_named(client: httpx2.Client, body: Any, named: str) -> None:
    got = client.post(f"/page/conversations/{made(client)}/messages", json=body)
    assert got.status_code == 400
    assert named in got.text


@pytest.mark.parametrize(
    "content", [b'{"role":"user","content":"\\ud800"}', b"{", b"\xff", b'{"parent":NaN}']
)
def test_what_is_no_text_is_refused(client: httpx2.Client, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    got = client.post(f"/page/conversations/{made(client)}/messages", content=content, headers=headers)
    assert got.status_code == 400


def test_what_is_not_there_is_404(client: httpx2.Client) -> None:
    gone, id = "/page/conversations/0123456789abcdef", made(client)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/export")):
        assert client.request(method, gone + path).status_code == 404
    assert said(client, id, "x", 5).status_code == 404
    assert client.patch(f"/page/conversations/{id}", json={"leaf": 5}).status_code == 404
    assert client.get("/page/conversations/'; DROP TABLE messages").status_code == 400


def test_a_form_of_another_site_changes_nothing(client: httpx2.Client) -> None:
    """A page of another site may post text without asking first; JSON it may not."""
    id = made(client)
    got = client.post(
        f"/page/conversations/{id}/messages",
        content='{"parent":null,"role":"user","content":"x"}',
        headers={"Content-Type": "text/plain"},
    )
    assert got.status_code == 400
    assert client.get(f"/page/conversations/{id}").json()["messages"] == []
