"""/v1/poems: the same as the verb, over HTTP; what cannot be met is 400 with one line."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from haina.apps.poem import check


def post(server: str, body: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{server}/v1/poems", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_poem(server: str) -> None:
    body = {
        "form": "七言绝句",
        "theme": "秋江",
        "acrostic": "春夏",
        "seed": 1,
        "poems": 2,
        "references": True,
    }
    status, answer = post(server, body)
    assert status == 200 and len(answer["poems"]) == 2
    for poem in answer["poems"]:
        assert check.regulated(poem["text"], 7) == [] and poem["text"][0] == "春" and len(poem["lines"]) == 4
        assert all(line["like"] for line in poem["lines"])
    assert post(server, body) == (200, answer)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"form": "菩萨"}, "no form or tune '菩萨'"),
        ({"keywords": "moon"}, "no Chinese character"),
        ({"theme": "春" * 300}, "up to 200"),
        ({"colour": "red"}, "colour"),
        ({"poems": 99}, "poems"),
    ],
)
def test_what_is_refused(server: str, body: dict[str, Any], told: str) -> None:
    status, answer = post(server, body)
    assert status == 400 and told in answer["error"]["message"]


def test_forms(server: str) -> None:
    with urllib.request.urlopen(f"{server}/v1/poems/forms") as answer:
        forms = json.load(answer)
    assert "五言绝句" in forms["shi"] and len(forms["tunes"]) == 817
