"""/v1/search: answers that quote, and no index where none is served."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from httpx import Client

from haina.options.serving import ServeOptions

Serving = Callable[[ServeOptions], AbstractContextManager[str]]


def test_an_answer_with_its_citations(server: str) -> None:
    with Client(base_url=server) as client:
        found = client.post("/v1/search", json={"question": "海纳由几位开发者写成？"}).json()
        follows = client.post(
            "/v1/search", json={"question": "住在哪？", "before": ["海纳的开发者是谁"]}
        ).json()
    assert found["found"] and found["citations"][0]["quote"] == "海纳由四位开发者写成。"
    assert "杭州" in follows["answer"]


@pytest.mark.parametrize(
    "body", [{"question": "?"}, {"question": "a", "index": "/etc/passwd"}, {"question": 1}, {}]
)
def test_what_cannot_be_asked(server: str, body: dict[str, object]) -> None:
    with Client(base_url=server) as client:
        assert client.post("/v1/search", json=body).status_code == 400


def test_without_an_index(serving: Serving) -> None:
    with serving(ServeOptions()) as address, Client(base_url=address) as client:
        refused = client.post("/v1/search", json={"question": "海纳"})
    assert refused.status_code == 404 and "--search" in refused.json()["error"]["message"]
