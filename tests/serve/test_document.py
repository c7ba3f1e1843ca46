"""The reference: for programs whole, with examples that work; for people a page that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from haina.serve.document import ANSWERS, examples, schema_of

NAME = "haina-brook"


@pytest.fixture(scope="module")
def document(server: str) -> Any:
    return httpx2.get(f"{server}/openapi.json").json()


@pytest.mark.parametrize(("path", "body"), examples(NAME).items(), ids=examples(NAME))
def test_every_example_is_answered(path: str, body: dict[str, Any], server: str) -> None:
    answer = httpx2.post(server + path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text


def test_every_endpoint_says_what_it_takes_and_answers(document: dict[str, Any]) -> None:
    refused = {"/api/push", "/api/create", "/api/copy", "/api/delete"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["tags"] and operation["responses"]["4XX"]["content"], path
            assert ("200" in operation["responses"]) is (path not in refused), path
            if "requestBody" in operation and method == "post" and "{" not in path:
                assert operation["requestBody"]["content"]["application/json"]["example"], path
    known = {f"{method} {path}" for path, methods in document["paths"].items() for method in methods}
    assert all(name in known or name in document["paths"] for name in ANSWERS)


def test_a_shape_is_a_schema() -> None:
    assert schema_of({"a": int, "b?": [(str, None)], "c": "x"}) == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "c": {"const": "x"},
        },
        "required": ["a", "c"],
    }


def test_the_page_of_it_is_whole_and_stays_at_home(open_at: Callable[..., Any], server: str) -> None:
    page = open_at(server, "/docs", lang="zh-CN")
    chat = page.locator("details", has=page.locator("summary", has_text="POST /v1/chat/completions"))
    chat.locator("summary").first.click()
    chat.get_by_role("button", name="试一试").click()
    chat.locator("pre.told", has_text="chat.completion").wait_for()
    assert chat.locator("pre.told").inner_text().startswith("200")
    assert chat.locator("dt", has_text="messages").count() == 1
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.is_visible("nav a[aria-current]:text-is('接口文档')") and page.is_visible("#theme")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert not [words for words in page.locator("summary > span").all_inner_texts() if words.isascii()]
    page.click("#language")
    page.wait_for_selector("h2:text-is('Operations')")
