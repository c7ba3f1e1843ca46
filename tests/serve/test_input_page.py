"""The page where one types pinyin, in a real browser: keys, candidates, parts chosen, words that come next."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
Open = Callable[..., Any]


@pytest.fixture
def open_page(open_at: Open, server: str) -> Open:
    def open(**options: Any) -> Any:
        page = open_at(server, "/input", **options)
        page.wait_for_selector("#written:focus")
        return page

    return open


def typed(page: Any, keys: str, first: str) -> None:
    """Type letters and wait until the first candidate is this one."""
    page.keyboard.type(keys)
    page.wait_for_selector(f"#candidates li[aria-selected=true]:has-text('{first}')")


def wrote(page: Any, text: str) -> None:
    playwright.expect(page.locator("#written")).to_have_value(text)


def test_letters_become_text_and_bring_up_what_may_come_next(open_page: Open) -> None:
    page = open_page()
    typed(page, "nihaoshijie", "你好世界")
    assert page.inner_text("#told") == "你好世界"  # what a screen reader says
    page.keyboard.press("ArrowRight")
    second = page.locator("#candidates li").nth(1)
    assert second.get_attribute("aria-selected") == "true" and page.inner_text("#told") in second.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    wrote(page, "你好世界")
    page.wait_for_selector("#candidates.next li")
    page.keyboard.press("ArrowDown")
    following = page.inner_text("#told")
    page.keyboard.press("Enter")
    wrote(page, f"你好世界{following}")
    page.keyboard.type(",")
    wrote(page, f"你好世界{following}，")


def test_keys_typed_faster_than_answers_come_wait_for_them(open_page: Open) -> None:
    page = open_page()
    page.keyboard.type("nihao shijie,women ")
    wrote(page, "你好世界，我们")


def test_a_part_is_chosen_and_the_rest_ranked_behind_it(open_page: Open) -> None:
    page = open_page()
    typed(page, "beijingshijian", "北京时间")
    page.get_by_role("option", name=re.compile("北京$")).click()
    page.wait_for_selector("#spelled:has-text('北京shijian')")
    page.wait_for_selector("#candidates li[aria-selected=true]:has-text('时间')")
    page.keyboard.press("Backspace")
    assert page.inner_text("#spelled") == "北京shijia"
    page.keyboard.press("Escape")
    wrote(page, "")
    page.keyboard.type("nihao")
    page.keyboard.press("Enter")
    wrote(page, "nihao")


def test_double_pinyin(open_page: Open) -> None:
    page = open_page()
    page.select_option("#scheme", "xiaohe")
    page.focus("#written")
    typed(page, "nihc", "你好")


def test_what_is_chosen_is_learnt_and_can_be_forgotten(open_page: Open, server: str) -> None:
    page = open_page()
    with page.expect_response("**/v1/input/words"):
        page.keyboard.type("nihao ")
    words = httpx2.get(f"{server}/v1/input/words").json()["words"]
    assert "你好" in [word["text"] for word in words]
    page.locator("summary").last.click()
    page.click("#forget")
    page.click("#question-yes")
    page.wait_for_selector(f"#told:has-text('{len(words)} words forgotten')", state="attached")
    assert httpx2.get(f"{server}/v1/input/words").json() == {"words": []}


def test_what_is_refused_is_told(open_page: Open) -> None:
    page = open_page()
    page.route("**/v1/input", lambda route: route.abort())
    page.keyboard.type("ni")
    page.wait_for_selector("#refused:has-text('haina serve')")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_it_is_accessible_and_fits(open_page: Open, scheme: str, width: int) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 844}, bypass_csp=True)
    typed(page, "womenmingtianqubeijing", "我们明天去北京")
    for summary in page.locator("summary").all():
        summary.click()
    found = axe.Axe().run(page).response["violations"]
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_it_speaks_chinese(open_page: Open) -> None:
    page = open_page(lang="zh-CN")
    assert page.inner_text("h1") == "拼音" and page.locator("#scheme option").first.inner_text() == "全拼"
