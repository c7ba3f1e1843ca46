"""The desk of verse in a real browser: written, marked, changed, taken along; by keyboard, on a phone, in print."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haina.apps.poem import check

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
Open = Callable[..., Any]


@pytest.fixture
def open_page(open_at: Open, server: str) -> Open:
    def open(**options: Any) -> Any:
        page = open_at(server, "/poem", **options)
        page.locator("#forms option").first.wait_for(state="attached")
        return page

    return open


def written(page: Any) -> str:
    """Press the button, and wait for the poem: its text."""
    page.click("#write")
    page.wait_for_selector("#desk[aria-busy=false]")
    return text(page)


def text(page: Any) -> str:
    return "".join(re.findall("[一-鿿]", "".join(page.locator("#verse ruby").evaluate_all(CHARACTERS))))


CHARACTERS = "rubies => rubies.map(ruby => ruby.firstChild.textContent)"


def test_verse_is_written_marked_and_changed(open_page: Open) -> None:
    page = open_page()
    assert page.locator("#forms option").count() > 800
    page.fill("#about", "autumn river")
    poem = written(page)
    assert check.regulated("，".join(re.findall(".{5}", poem)), 5) == []
    assert page.locator("#sheet").evaluate("e => getComputedStyle(e).writingMode") == "vertical-rl"
    assert not page.locator("rt").first.is_visible()
    page.check("#tones")
    assert page.locator("rt").first.is_visible() and page.locator(".rhyme").count() >= 2
    page.check("#across")
    assert page.locator("#sheet").evaluate("e => getComputedStyle(e).writingMode") == "horizontal-tb"
    assert page.locator("#why tbody tr").count() == 4 and page.locator("#like dt").count() == 4
    page.locator("#drafts button").nth(1).click()
    other = text(page)
    assert other != poem and page.locator("#drafts [aria-current]").inner_text().startswith(other[:5])

    page.select_option("#unit", "line")
    page.locator("#verse [role=option]").nth(6).click()
    assert page.locator("#verse [aria-selected=true]").count() == 5
    page.click("#rewrite")
    page.wait_for_selector("#desk[aria-busy=false]")
    changed = text(page)
    assert changed[:5] + changed[10:] == other[:5] + other[10:] and len(changed) == 20
    page.click("#back")
    assert text(page) == other


def test_a_character_of_ones_own(open_page: Open) -> None:
    page = open_page()
    poem = written(page)
    page.locator("#verse [role=option]").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    page.fill("#instead", "山" if poem[0] != "山" else "江")
    page.select_option("#scope", "line")
    page.keyboard.press("Tab")
    page.click("#rewrite")
    page.wait_for_selector("#desk[aria-busy=false]")
    assert text(page)[0] in "山江" and text(page)[5:] == poem[5:]


def test_tunes_couplets_and_lines_of_poets(open_page: Open) -> None:
    page = open_page(lang="zh-CN")
    page.click("summary")
    page.fill("#form", "如梦令")
    assert page.locator("[name=number] option").count() > 1 and not page.is_visible("[name=pattern]")
    assert check.tune(written(page), "如梦令") == []
    page.check("[value=couplet]")
    page.fill("#upper", "春风春雨花经眼")
    assert len(written(page)) == 7 and not page.is_visible("#change")


def test_what_cannot_be_met_is_one_line(open_page: Open) -> None:
    page = open_page()
    page.fill("#form", "菩萨")
    page.click("#write")
    page.locator("#alert", has_text="near it: 菩萨蛮").wait_for()
    page.fill("#form", "五言绝句")
    page.click("summary")
    page.fill("[name=acrostic]", "一")
    page.select_option("[name=pattern]", "平起首句入韵")
    page.click("#write")
    page.locator("#alert", has_text="leave out “Pattern”").wait_for()
    assert not page.is_visible("#work")


def test_it_is_taken_along(open_page: Open, tmp_path: Path) -> None:
    page = open_page(accept_downloads=True)
    page.fill("#about", "秋江")
    written(page)
    with page.expect_download() as saved:
        page.click("#picture")
    assert saved.value.suggested_filename == "秋江.png"
    saved.value.save_as(tmp_path / "poem.png")
    assert (tmp_path / "poem.png").read_bytes().startswith(b"\x89PNG")
    page.emulate_media(media="print")
    assert page.is_visible("#verse") and not page.is_visible("#wish") and not page.is_visible("#why")


def test_everybody_can_use_it(open_page: Open) -> None:
    for scheme, width in (("light", 1200), ("dark", 390)):
        page = open_page(
            color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
        )  # axe is put into the page
        written(page)
        page.check("#tones")
        page.click("summary >> nth=0")
        found = axe.Axe().run(page).response["violations"]
        assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
