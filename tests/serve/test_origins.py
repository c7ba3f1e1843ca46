"""CORS: pages of the sites that were named may ask, their preflight needs no key, and no other site gets anything."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.history import History
from haina.serve.keys import new_key
from haina.serve.limits import shared
from haina.serve.logs import Log
from haina.serve.run import guarded
from haina.serve.shelf import Shelf

SITE = "https://example.org"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


@pytest.fixture(params=["keys", "no keys"])
def address(
    request: Any, shelf: Shelf, tmp_path: Path, running_app: Any
) -> Iterator[tuple[str, dict[str, str]]]:
    """A server that pages of SITE may ask, and the headers that it wants."""
    headers, file = {}, None
    if request.param == "keys":
        file = str(tmp_path / "keys")
        headers = {"authorization": f"Bearer {new_key('page', Path(file))}"}
    options = ServeOptions(allow_origin=[SITE], api_key_file=file)
    app = guarded(
        create_app(shelf, options, History(tmp_path / "h.sqlite")), Log("text", io.StringIO()), options
    )
    with running_app(app) as made:
        yield made, headers


def test_a_preflight_needs_no_key(address: tuple[str, dict[str, str]]) -> None:
    url = f"{address[0]}/v1/chat/completions"
    answer = httpx2.options(url, headers={"origin": SITE, **PREFLIGHT})
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == SITE
    assert "authorization" in answer.headers["access-control-allow-headers"]
    for other in ("https://example.org.evil", "http://example.org", "null"):
        answer = httpx2.options(url, headers={"origin": other, **PREFLIGHT})
        assert answer.status_code == 400 and "access-control-allow-origin" not in answer.headers


def test_answers_and_refusals_can_be_read_there(address: tuple[str, dict[str, str]]) -> None:
    url, key = address
    for path, status in (("/v1/models", 200), ("/v1/nothing", 404)):
        answer = httpx2.get(url + path, headers={"origin": SITE, **key})
        assert answer.status_code == status and answer.headers["access-control-allow-origin"] == SITE
    if key:
        answer = httpx2.get(url + "/v1/models", headers={"origin": SITE})
        assert answer.status_code == 401 and answer.headers["access-control-allow-origin"] == SITE
    else:
        assert httpx2.get(url + "/v1/models", headers={"origin": "https://other.org"}).status_code == 403


def test_without_the_option_there_is_nothing(server: str) -> None:
    answer = httpx2.get(f"{server}/v1/models", headers={"origin": SITE})
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "origin", ["*", "example.org", "https://example.org/", "https://Example.org", "https://a b"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    async def nothing(*_: Any) -> None: ...

    with pytest.raises(ValueError, match="--allow-origin"):
        shared(nothing, [origin])
