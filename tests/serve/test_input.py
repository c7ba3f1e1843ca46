"""/v1/input: keys in, texts out; words that one key taught are met by that key alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client

from haina.options.serving import ServeOptions
from haina.serve.keys import new_key

Serving = Callable[[ServeOptions], AbstractContextManager[str]]


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(base_url=server) as made:
        yield made


def texts(client: Client, **body: Any) -> list[str]:
    answer = client.post("/v1/input", json=body)
    assert answer.status_code == 200, answer.text
    return [candidate["text"] for candidate in answer.json()["candidates"]]


@pytest.mark.parametrize("quick", [True, False])
def test_keys_become_texts_and_their_first_words(client: Client, quick: bool) -> None:
    found = client.post("/v1/input", json={"keys": "nihaoshijie", "top": 20, "quick": quick}).json()[
        "candidates"
    ]
    assert found[0]["text"] == "你好世界" and found[0]["keys"] == len("nihaoshijie")
    first = next(candidate for candidate in found if candidate["text"] == "你好")
    assert first["keys"] == len("nihao")
    assert len(found) == len({candidate["text"] for candidate in found}) == 20


def test_the_trigram_answers_alone_where_the_model_takes_too_long(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = texts(client, keys="womenmingtianzaiqu", quick=True)
    monkeypatch.setattr("haina.serve.input.PATIENCE_S", 0.0)
    assert texts(client, keys="womenmingtianzaiqu") == quick


def test_double_pinyin_fuzzy_sounds_and_what_comes_next(client: Client) -> None:
    assert texts(client, keys="nihcuijp", scheme="xiaohe", quick=True)[0] == "你好世界"
    assert "中国" in texts(client, keys="zongguo", fuzzy=["zh/z"], quick=True)
    assert texts(client, context="我们") and not texts(client, keys="", context="")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"keys": "ni\x00hao"}, "control character"),
        ({"keys": "ni", "fuzzy": ["x/y"]}, "no pair of sounds"),
        ({"keys": "ni", "scheme": "wubi"}, "scheme"),
        ({"keys": "n" * 1001}, "keys"),
        ({"key": "ni"}, "key"),
    ],
)
def test_what_is_refused(client: Client, body: dict[str, Any], told: str) -> None:
    answer = client.post("/v1/input", json=body)
    assert answer.status_code == 400 and told in answer.json()["error"]["message"]


def test_words_that_are_taught_come_first_and_can_be_forgotten(client: Client) -> None:
    client.delete("/v1/input/words")
    assert "郝思稼" not in texts(client, keys="haosijia", quick=True)
    for _ in range(3):
        assert client.post("/v1/input/words", json={"words": ["郝思稼", "no pinyin"]}).json() == {"learnt": 1}
    assert texts(client, keys="haosijia", quick=True)[0] == "郝思稼"
    row = {"text": "郝思稼", "reading": "hao si jia", "times": 3}
    assert client.get("/v1/input/words").json() == {"words": [row]}
    assert client.delete("/v1/input/words").json() == {"forgotten": 1}
    assert "郝思稼" not in texts(client, keys="haosijia", quick=True)


def test_a_key_meets_its_own_words_alone(serving: Serving, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys = [new_key(name, file) for name in ("ann", "ben")]
    with serving(ServeOptions(api_key_file=str(file))) as address, ExitStack() as held:
        headers = [{"Authorization": f"Bearer {key}"} for key in keys]
        ann, ben = (held.enter_context(Client(base_url=address, headers=each)) for each in headers)
        for _ in range(3):
            ann.post("/v1/input/words", json={"words": ["郝思稼"]})
        assert texts(ann, keys="haosijia", quick=True)[0] == "郝思稼"
        assert "郝思稼" not in texts(ben, keys="haosijia", quick=True)
        assert ben.get("/v1/input/words").json() == {"words": []}
        assert ben.delete("/v1/input/words").json() == {"forgotten": 0}
        assert ann.delete("/v1/input/words").json() == {"forgotten": 1}
