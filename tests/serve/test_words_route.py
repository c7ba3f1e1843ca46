"""/v1/words: the same as the verb, over HTTP; what cannot be read is 400 with one line."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest


def asked(server: str, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{server}/v1/words", json=body, timeout=60)


def test_a_description_is_answered(server: str) -> None:
    answer = asked(server, description="a doctor who looks after teeth", top=20)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert "dentist" in [found["word"] for found in results] and len(results) == 20
    assert set(results[0]) == {"word", "score", "why"}


def test_details_name_the_dictionary_and_its_licence(server: str) -> None:
    body = {"description": "water that falls from clouds", "to": "zh", "length": "1", "details": True}
    results = asked(server, **body).json()["results"]
    assert all(len(found["word"]) == 1 and found["licence"] and found["pinyin"] for found in results[:5])
    assert "雨" in [found["word"] for found in results]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"description": ""}, "description"),
        ({"description": "?!"}, "describe"),
        ({"description": "rain", "length": "many"}, "many"),
        ({"description": "rain", "rhymes": "ang"}, "rhymes"),
        ({"description": "rain", "top": 0}, "top"),
        ({"description": "x" * 2001}, "description"),
    ],
)
def test_what_cannot_be_read_is_named(server: str, body: dict[str, Any], named: str) -> None:
    answer = asked(server, **body)
    assert answer.status_code == 400 and named in answer.json()["error"]["message"]
