"""Files from a hub: only those that we use, each compared with its hash, whatever the connection does."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.hub import HUBS, config, connect, fetch, left
from haina.checkpoint.web import Web, _Redirects

SHARD = "pytorch_model-00001-of-00002.bin"
Bring = Callable[..., Path]


@pytest.fixture
def bring(hub: Any, tmp_path: Path, web: Web) -> Bring:
    """bring() → the folder into which everything was fetched."""

    def fetched(source: str = "huggingface", *, web: Web = web, steady: bool = True) -> Path:
        heard: list[tuple[int, int]] = []

        def hear(what: str, done: int, total: int) -> None:
            heard.append((done, total))

        listing, folder = HUBS[source](hub.name, None, web), tmp_path / "part"
        records = fetch(listing, folder, web, checking=hear, arriving=hear)
        assert left(listing, folder) == 0 and heard[-1] == (listing.bytes, listing.bytes)
        assert heard == sorted(heard) or not steady
        for name, record in records.items():
            content = (folder / name).read_bytes()
            assert content == hub.files[name]
            assert (record.bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        return folder

    return fetched


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_what_is_fetched_is_a_model(hub: Any, bring: Bring, source: str) -> None:
    folder = bring(source)
    assert {path.name for path in folder.iterdir()} == hub.wanted
    assert Checkpoint.open(folder).config.head == "normed"
    assert sorted(folder.parent.rglob("*escaped*")) == []
    assert not any(hub.sent(name) for name in hub.files.keys() - hub.wanted)


def test_a_listing_tells_the_licence_and_the_network(hub: Any, web: Web) -> None:
    listing = HUBS["huggingface"](hub.name, None, web)
    assert listing.licence == "tiny-licence" == HUBS["modelscope"](hub.name, None, web).licence
    assert listing.licence_files == ["Community License for Tiny.pdf"]
    assert config(listing, web).num_hidden_layers == json.loads(hub.files["config.json"])["num_hidden_layers"]
    assert not hub.sent(SHARD)


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_broken_connections_go_on(hub: Any, bring: Bring, ranges: bool) -> None:
    hub.ranges, hub.cuts = ranges, [100_000, 120_000, 0, 150_000]  # bytes of each answer; one is empty
    bring()
    asked = hub.sent(SHARD)
    assert asked[:2] == ["", ""] and all(one.startswith("bytes=") for one in asked[3::2])
    assert len(asked) > 4


def test_documents_that_are_cut_off_are_asked_for_again(hub: Any, web: Web) -> None:
    whole = HUBS["huggingface"](hub.name, None, web)
    network = config(whole, web)
    hub.document_cuts = [7, 0]
    assert HUBS["huggingface"](hub.name, None, web) == whole
    hub.document_cuts = [7, 0]
    assert config(whole, web) == network
    hub.document_cuts = [7] * web.tries
    with pytest.raises(ValueError, match="the connection ended early; try again later"):
        config(whole, web)


def test_what_is_there_is_kept(hub: Any, bring: Bring, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / SHARD).write_bytes(hub.files[SHARD][:1000])
    (tmp_path / "part" / "of_another_revision.bin").write_bytes(b"old")
    bring()
    assert set(hub.sent(SHARD)) == {"bytes=1000-"}
    before = (tmp_path / "part" / SHARD).stat().st_mtime_ns
    hub.asked.clear()
    bring()
    assert len(hub.asked) == 1 and (tmp_path / "part" / SHARD).stat().st_mtime_ns == before


@pytest.mark.parametrize("kept", [b"x" * 1000, b"x" * 10**6], ids=["short", "too long"])
def test_what_is_there_and_wrong_is_taken_anew(hub: Any, bring: Bring, tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / SHARD).write_bytes(kept)
    bring(steady=False)


@pytest.mark.parametrize("name", [SHARD, "generation_config.json"])
def test_other_bytes_than_listed(hub: Any, bring: Bring, tmp_path: Path, name: str) -> None:
    hub.lies[name] = bytes(len(hub.files[name]))
    with pytest.raises(ValueError, match=r"is not what the hub lists \(hash\); try again, or another mirror"):
        bring()
    assert (tmp_path / "part" / name).read_bytes() == b""


@pytest.mark.parametrize("kept", [0, 1000])
def test_another_length_than_listed(hub: Any, bring: Bring, tmp_path: Path, kept: int) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / SHARD).write_bytes(hub.files[SHARD][:kept])
    hub.lies[SHARD] = hub.files[SHARD][:-1]
    with pytest.raises(ValueError, match="another size than the hub listed"):
        bring()


def test_a_busy_hub_is_asked_again(hub: Any, bring: Bring) -> None:
    hub.statuses = [503, 429, 200, 500, 502]
    bring()
    hub.statuses = [500] * 3
    with pytest.raises(ValueError, match="it keeps answering 500; try again later"):
        bring()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "not there, or not public; check the name, or set HF_TOKEN"),
        (403, "access is not granted; accept its terms"),
        (404, "not there; check the name and the revision"),
        (418, "refused with status 418"),
    ],
)
def test_a_refusal_is_final(hub: Any, bring: Bring, status: int, reason: str) -> None:
    hub.statuses = [status]
    with pytest.raises(ValueError, match=reason):
        bring()
    assert len(hub.asked) == 1


def test_a_silent_hub(hub: Any, bring: Bring, tmp_path: Path) -> None:
    hub.silent.set()
    with pytest.raises(ValueError, match="no answer in time; try again later"):
        bring()
    half = (tmp_path / "part" / "tokenizer.model").stat().st_size
    hub.silent.clear()
    hub.asked.clear()
    bring()
    assert half and set(hub.sent("tokenizer.model")) == {f"bytes={half}-"}


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:1", r"127\.0\.0\.1:1: .*refused.*what has arrived is kept.*another mirror"),
        ("hf-mirror.com", "HF_ENDPOINT: hf-mirror.com is not an address like https://"),
        ("file:///etc", "HF_ENDPOINT: file:///etc is not an address like https://"),
        ("http://127.0.0.1:x", "nonnumeric port"),
    ],
)
def test_no_hub_there(
    hub: Any, bring: Bring, monkeypatch: pytest.MonkeyPatch, endpoint: str, reason: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ValueError, match=reason):
        bring()


@pytest.mark.parametrize(
    ("to", "reason"),
    [("ftp://127.0.0.1:1", "sends us to ftp://"), ("file:///etc", "refused with status 302")],
)
def test_nothing_but_http_is_followed(hub: Any, bring: Bring, to: str, reason: str) -> None:
    hub.content_url = to
    with pytest.raises(ValueError, match=reason):
        bring()


@pytest.mark.parametrize("token", [True, False])
def test_a_token_is_not_followed_from_https_to_http(token: bool) -> None:
    request = Request("https://hub.test/a")
    if token:
        request.add_unredirected_header("Authorization", "Bearer hf_secret")

    def follow(url: str) -> Request | None:
        return _Redirects().redirect_request(request, None, 302, "", {}, url)

    assert follow("https://cdn.test/a")
    if token:
        with pytest.raises(ValueError, match=r"https://hub\.test: it sends us to http://"):
            follow("http://hub.test/a")
    else:
        assert follow("http://hub.test/a")


def test_the_token_goes_to_hugging_face_alone(
    hub: Any, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to the content network, which is another host, and not to another hub."""
    hub.content_url = hub.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("HF_TOKEN", " hf_secret\n")
    bring(web=connect("huggingface"))
    secret = {path.startswith("/cdn/") for path, _, token in hub.asked if token == "Bearer hf_secret"}
    assert secret == {False} and any(path.startswith("/cdn/") for path, _, _ in hub.asked)
    assert connect("modelscope").token == ""
    monkeypatch.setenv("HF_TOKEN", "hf_\x1bsecret")
    with pytest.raises(ValueError, match="HF_TOKEN: not a token") as refused:
        connect("huggingface")
    assert "secret" not in str(refused.value)


def test_a_renamed_model(hub: Any, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 308 to the same host: the token goes along."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    listing = HUBS["huggingface"]("baichuan-inc/Renamed", None, connect("huggingface"))
    config(listing, connect("huggingface"))
    assert len(hub.asked) == 4 and {token for _, _, token in hub.asked} == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sha": "main"}, "does not tell sha"),
        ({"siblings": {}}, "does not tell siblings"),
        ({"siblings": [{"rfilename": "config.json"}]}, "no tokenizer.model, model.safetensors there"),
        ({"siblings": [{"rfilename": n} for n in ("config.json", "tokenizer.model", "model.safetensors")]}, "does not"),
        ({"siblings": ["config.json", None]}, "no config.json, tokenizer.model, model.safetensors there"),
    ],
)  # fmt: skip
def test_answers_that_make_no_sense(hub: Any, bring: Bring, change: dict[str, Any], reason: str) -> None:
    answer = hub.huggingface() | change
    hub.huggingface = lambda: answer
    with pytest.raises(ValueError, match=reason):
        bring()


def test_a_login_page(hub: Any, bring: Bring) -> None:
    hub.statuses = [203]  # answered with an object that is empty
    with pytest.raises(ValueError, match="does not tell sha"):
        bring()
    hub.huggingface = lambda: float("nan")
    with pytest.raises(ValueError, match="not a hub's, perhaps a login page"):
        bring()


def test_a_missing_shard_is_seen_before_the_download(hub: Any, web: Web) -> None:
    del hub.files["pytorch_model.bin.index.json"], hub.files[SHARD]
    with pytest.raises(ValueError, match=f"{SHARD} is missing there; try another revision"):
        HUBS["huggingface"](hub.name, None, web)


def test_safetensors_are_preferred(hub: Any, web: Web) -> None:
    hub.files["model-00001-of-00001.safetensors"] = b"x"
    names = {file.name for file in HUBS["huggingface"](hub.name, None, web).files}
    assert "model-00001-of-00001.safetensors" in names and not any(name.endswith(".bin") for name in names)
