"""The page of the reverse dictionary in a real browser: entries, filters, groups, looking further, going back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
Open = Callable[..., Any]


@pytest.fixture
def open_page(open_at: Open, server: str) -> Open:
    def open(asked: str = "", **options: Any) -> Any:
        return open_at(server, f"/words{asked}", **options)

    return open


def headwords(page: Any) -> list[str]:
    page.locator(".headword").first.wait_for()
    return list(page.locator(".headword").all_inner_texts())


def test_words_are_found_narrowed_and_looked_up_further(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Describe the word").fill("a doctor who looks after teeth")
    page.keyboard.press("Enter")
    assert "dentist" in headwords(page)
    entry = page.locator(".entries li", has=page.get_by_role("button", name="dentist", exact=True))
    assert "CC BY" in entry.inner_text() and "noun" in entry.inner_text()
    page.locator("summary").click()
    page.get_by_label("Begins with").fill("d")
    page.get_by_label("Begins with").press("Enter")
    page.locator(".headword", has_text=re.compile("^[^Dd]")).first.wait_for(state="detached")
    assert "dentist" in headwords(page)
    page.get_by_role("button", name="dentist", exact=True).click()
    page.wait_for_url("**description=dentist**")
    page.go_back()
    assert page.get_by_label("Describe the word").input_value() == "a doctor who looks after teeth"


def test_what_cannot_be_read_is_said_and_groups_are_shown(open_page: Open) -> None:
    page = open_page("?description=rain&length=many")
    page.get_by_role("alert").filter(has_text="many").wait_for()
    page = open_page("?description=rain&clusters=true")
    headwords(page)
    assert page.get_by_role("heading", name="Meaning 1").is_visible()
    page.locator(".headword").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".headword").nth(1).evaluate("word => word === document.activeElement")


def test_in_chinese_on_a_phone_for_everyone(open_page: Open) -> None:
    page = open_page(
        "?description=下雨天撑在头上的东西&pos=noun", lang="zh-CN", viewport={"width": 390, "height": 800}
    )
    headwords(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".about").first.inner_text()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
