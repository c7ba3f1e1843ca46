"""/v1/search: answers that quote, and no index where none is served."""

import json
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


def test_an_answer_as_it_is_found(server: str) -> None:
    body = {"question": "海纳由几位开发者写成？", "stream": True}
    with Client(base_url=server, timeout=60) as client:
        whole = client.post("/v1/search", json={**body, "stream": False}).json()
        streamed = events(client.post("/v1/search", json=body).text)
        by_model = events(client.post("/v1/search", json={**body, "model": "haina-brook"}).text)
        refused = client.post("/v1/search", json={**body, "model": "no such"})
    assert streamed[0][0] == "passages" and streamed[-1] == ("answer", whole)
    assert "".join(value["text"] for name, value in streamed if name == "text") == whole["answer"]
    said = "".join(value["text"] for name, value in by_model if name == "text")
    answer = by_model[-1][1]
    assert answer["found"] and answer["citations"][0]["quote"] in said and answer["answer"].startswith("“")
    assert "no such" in refused.text and "answer" not in dict(events(refused.text))


def events(text: str) -> list[tuple[str, dict[str, object]]]:
    parts = (part.split("\n") for part in text.strip().split("\n\n"))
    named = [(lines[0][7:], json.loads(lines[1][6:])) for lines in parts if len(lines) == 2]
    return named


def test_a_quote_opens_in_its_document(server: str) -> None:
    with Client(base_url=server) as client:
        cited = client.post("/v1/search", json={"question": "海纳由几位开发者写成？"}).json()["citations"][0]
        place = {"path": cited["document"], "start": cited["start"], "end": cited["end"]}
        found = client.get("/v1/search/document", params=place).json()
        gone = client.get("/v1/search/document", params={**place, "path": "/etc/passwd"})
        beyond = client.get("/v1/search/document", params={**place, "start": 10_000, "end": 5}).json()
        holds = client.get("/v1/search").json()
    assert found["text"] == cited["quote"]
    assert found["before"] + found["text"] + found["after"] == "海纳由四位开发者写成。他们住在杭州。"
    assert found["length"] == 18 and gone.status_code == 404 and beyond["text"] == ""
    assert (holds["documents"], holds["passages"], holds["unreadable"]) == (1, 1, 0)


def test_without_an_index(serving: Serving) -> None:
    with serving(ServeOptions()) as address, Client(base_url=address) as client:
        refused = client.post("/v1/search", json={"question": "海纳"})
    assert refused.status_code == 404 and "--search" in refused.json()["error"]["message"]
