"""The page in a real browser, with the embedded model behind it: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client

from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.asgi import App
from haina.serve.history import History
from haina.serve.keys import new_key
from haina.serve.shelf import Shelf

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
Open = Callable[..., Any]
Serving = Callable[[ServeOptions], AbstractContextManager[str]]

ANSWERED = "article.a:last-of-type:not(.draft) .figures"
HOSTILE = """<script>window.ran = 1</script><img src=x onerror="window.ran = 2">
<svg onload="window.ran=3"><iframe srcdoc="<script>parent.ran=4</script>"></iframe><style>body{display:none}</style>
[a](javascript:window.ran=5) [b](data:text/html,<script>opener.ran=6</script>) [c](https://example.com/"onclick="x)
![picture](https://example.com/spy.png) <https://example.com/ok>
$\\href{javascript:window.ran=7}{x} \\includegraphics{https://example.com/spy2.png} \\htmlClass{x}{y}$
```html"><script>window.ran=8</script>
<b onclick="window.ran=9">code</b>
```
| a |
|:-:|
| <b>cell</b> |
"""
RICH = """# 标题

`x` 与 $a^2+b^2=c^2$，另有 \\(n\\)；价格 $5 至 $10。

$$
\\sum_{k=1}^n k
$$

```python
def f(x):
    return x  # 注
```

| 左 | 右 |
|---|--:|
| 1 | 2 |
"""


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(base_url=server) as made:
        made.delete("/page/conversations")
        yield made


@pytest.fixture
def open_page(open_at: Open, server: str, client: Client) -> Open:
    def open(id: str = "", **options: Any) -> Any:
        size = {"width": 1200, "height": 800}
        page = open_at(server, f"/#{id}" if id else "", **{"viewport": size, **options})
        page.wait_for_selector("#ask:focus")
        return page

    return open


def kept(client: Client, *said: str, **settings: Any) -> str:
    """The id of a conversation in which this was said in turn."""
    body = {"title": said[0][:20] if said else "", "settings": settings}
    id = client.post("/page/conversations", json=body).json()["id"]
    for number, content in enumerate(said):
        role, about = ("assistant", {"finish": "stop"}) if number % 2 else ("user", {})
        message = {"parent": number or None, "role": role, "content": content, "about": about}
        assert client.post(f"/page/conversations/{id}/messages", json=message).status_code == 200
    return str(id)


def ask(page: Any, text: str) -> None:
    page.fill("#ask", text)
    page.press("#ask", "Enter")
    page.wait_for_selector(ANSWERED)


def texts(page: Any) -> list[str]:
    return [one.strip() for one in page.locator("article .text").all_inner_texts()]


def test_an_answer_comes_and_stays(open_page: Open, client: Client) -> None:
    page = open_page()
    ask(page, "你好")
    question, answer = texts(page)
    assert question == "你好"
    assert re.search("你好|海纳", answer)
    assert re.fullmatch(r"\d+ tokens( · [\d,.]+ tokens/s)?", page.inner_text("article.a .figures"))
    assert re.fullmatch(r"context \d+ / 512", page.inner_text("#gauge .figures"))
    assert page.title() == "你好 · 海纳"
    page.reload()
    page.wait_for_selector(ANSWERED)
    assert texts(page) == [question, answer]
    talk = client.get(f"/page/conversations/{page.url.split('#')[1]}").json()
    assert [m["role"] for m in talk["messages"]] == ["user", "assistant"]
    assert talk["messages"][1]["about"]["finish"] == "stop"


def test_the_answer_is_heard_once_sentence_by_sentence(open_page: Open) -> None:
    page = open_page()
    ask(page, "你好")
    heard = page.locator("#live p").all_inner_texts()
    assert "".join(heard).replace("\n", "") == texts(page)[1].replace("\n", "")
    assert page.get_attribute("#live", "aria-live") == "polite"
    assert page.get_attribute("#thread", "aria-busy") == "false"


def test_a_long_question_shows_how_much_of_it_has_been_read(
    open_page: Open, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, steps, go_on = shelf.loaded[0].model.engine, iter(range(1_000_000)), threading.Event()
    step = engine.step

    def halting() -> Any:
        if next(steps) == 1:  # half of the prompt is read in the first one
            go_on.wait(30)
        return step()

    page = open_page()
    monkeypatch.setattr(engine, "step", halting)
    page.fill("#ask", "雨" * 400)
    page.press("#ask", "Enter")
    bar = page.wait_for_selector("article.draft progress")
    done, total = (int(bar.get_attribute(name)) for name in ("value", "max"))
    assert 0 < done < total == 402
    assert re.fullmatch(rf"\D*{done}\D*{total}\D*", bar.get_attribute("aria-label"))
    assert str(total) in page.inner_text("article.draft .prefill .figures")
    go_on.set()
    page.wait_for_selector(ANSWERED)
    assert page.query_selector("article progress") is None


def test_escape_stops_and_keeps_what_came(open_page: Open, client: Client) -> None:
    for _ in range(8):  # a short answer may be over before the key is pressed
        page = open_page(kept(client, temperature=2, top_k=0, top_p=1, max_tokens=480))
        page.fill("#ask", "写一首很长的诗")
        page.press("#ask", "Enter")
        page.wait_for_selector("article.draft .text p:not(.note), article.a:not(.draft)")
        page.keyboard.press("Escape")
        page.wait_for_selector("article.a:not(.draft)")
        if page.query_selector("text=Stopped here."):
            break
    assert page.inner_text("#send") == "Send"
    about = client.get(f"/page/conversations/{page.url.split('#')[1]}").json()["messages"][1]["about"]
    assert about["finish"] == "stopped"
    assert about["new_tokens"] < 480


def test_again_and_edit_make_branches_that_can_be_turned(open_page: Open) -> None:
    page = open_page()
    ask(page, "你好")
    page.click("article.a button:text-is('Regenerate')")
    page.wait_for_selector("article.a:not(.draft) :text('2/2')")
    first = texts(page)
    page.click("article.a [aria-label='Previous version']")
    page.wait_for_selector("article.a :text('1/2')")
    page.hover("article.q")
    page.click("article.q button:text-is('Edit')")
    page.fill("article.q textarea", "你是谁？")
    page.press("article.q textarea", "Enter")
    page.wait_for_selector("article.q :text('2/2')")
    page.wait_for_selector(ANSWERED)
    assert texts(page)[0] == "你是谁？"
    page.click("article.q [aria-label='Previous version']")
    page.wait_for_selector("article.q :text('1/2')")
    assert texts(page)[0] == "你好"
    assert texts(page) == first
    page.wait_for_load_state("networkidle")
    page.reload()
    page.wait_for_selector("article.q :text('1/2')")
    assert texts(page) == first


def test_enter_of_an_input_method_never_sends(open_page: Open, client: Client) -> None:
    page = open_page(kept(client, "问", "答"))
    page.fill("#ask", "zhong")
    composing = """(at, kind) => document.querySelector(at).dispatchEvent(new KeyboardEvent("keydown",
        { key: "Enter", bubbles: true, cancelable: true, ...kind }))"""
    page.hover("article.q")
    page.click("article.q button:text-is('Edit')")
    for kind in ({"isComposing": True}, {"keyCode": 229}):  # everybody else; Safari
        for at in ("#ask", "article.q textarea"):
            page.evaluate(f"([at, kind]) => ({composing})(at, kind)", [at, kind])
    page.click("#talk-acts button:text-is('Rename')")
    for kind in ({"isComposing": True}, {"keyCode": 229}):
        page.evaluate(f"([at, kind]) => ({composing})(at, kind)", ["#question-text", kind])
    assert page.is_visible("#question")
    page.keyboard.press("Escape")
    assert page.input_value("#ask") == "zhong"
    assert page.is_visible("article.q textarea")
    protocol = page.context.new_cdp_session(page)  # and a composition as the system makes it
    page.fill("#ask", "")
    protocol.send("Input.imeSetComposition", {"text": "zhong", "selectionStart": 5, "selectionEnd": 5})
    pressed = {"type": "rawKeyDown", "key": "Enter", "windowsVirtualKeyCode": 229}
    protocol.send("Input.dispatchKeyEvent", pressed)
    protocol.send("Input.insertText", {"text": "中"})
    page.press("#ask", "Shift+Enter")
    assert page.input_value("#ask") == "中\n"
    assert len(client.get(f"/page/conversations/{page.url.split('#')[1]}").json()["messages"]) == 2


def test_nothing_of_a_hostile_answer_runs_or_loads(open_page: Open, client: Client) -> None:
    page = open_page(kept(client, "x", HOSTILE, HOSTILE, "ok", HOSTILE[:20]))
    page.wait_for_selector("article.a .code")
    assert page.evaluate("() => window.ran") is None
    tags = set(page.evaluate("() => [...document.querySelectorAll('#thread *')].map((one) => one.localName)"))
    assert not tags & set("script img iframe style object embed form input link meta b".split())
    hrefs = page.evaluate("() => [...document.querySelectorAll('#thread a')].map((one) => one.href)")
    assert hrefs
    assert all(href.startswith("https://example.com/") for href in hrefs)
    names = page.evaluate(
        "() => [...document.querySelectorAll('#thread *')].flatMap((one) => one.getAttributeNames())"
    )
    assert not [name for name in names if name.startswith("on") or name == "srcdoc"]


def test_markdown_code_and_formulas_are_set(open_page: Open, client: Client) -> None:
    page = open_page(kept(client, "x", RICH))
    page.wait_for_selector(".katex")
    assert page.inner_text("article.a .text h1") == "标题"
    assert page.locator("article.a span.math .katex").count() == 2
    assert page.locator("article.a div.math .katex-display").count() == 1
    assert "$5 至 $10" in page.inner_text("article.a .text")
    assert page.inner_text("pre .hljs-keyword >> nth=0") == "def"
    assert page.get_attribute("td >> nth=1", "align") == "right"
    faces = page.evaluate(
        "() => document.fonts.ready.then(() => [...document.fonts].filter((f) => f.status === 'loaded').length)"
    )
    assert faces > 1


def test_settings_go_into_the_request_and_stay_with_the_conversation(open_page: Open) -> None:
    page = open_page()
    asked: list[Any] = []
    page.on(
        "request", lambda one: asked.append(one.post_data) if one.url.endswith("/chat/completions") else None
    )
    page.click("#open-settings")
    assert page.get_attribute("#knob-temperature", "placeholder") == "0.3"
    page.fill("#settings textarea", "Be brief.")
    page.fill("#knob-temperature", "0")
    page.fill("#knob-max_tokens", "5")
    page.click("#settings header button")
    ask(page, "你好")
    body = json.loads(asked[0])
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 5, "haina-brook")
    assert "seed" not in body
    assert page.is_visible("text=The answer reached its length limit")
    page.reload()
    page.wait_for_selector(ANSWERED)
    page.click("#open-settings")
    assert page.input_value("#knob-max_tokens") == "5"


def test_conversations_are_apart_and_an_answer_goes_on_unseen(open_page: Open) -> None:
    page = open_page()
    page.fill("#ask", "你是谁？")
    page.press("#ask", "Enter")
    page.click("#new")
    page.wait_for_selector(".suggestions")
    ask(page, "你好")
    assert texts(page)[0] == "你好"
    page.click("#talks a:text-is('你是谁？')")
    page.wait_for_selector("h1:text-is('你是谁？')")
    page.wait_for_selector(ANSWERED)
    assert texts(page)[0] == "你是谁？"
    assert "海纳" in texts(page)[1]


def test_rename_save_and_delete(open_page: Open, client: Client, tmp_path: Path) -> None:
    id = kept(client, "问", "答")
    kept(client, "另一")
    page = open_page(id)
    page.click("#talk-acts button:text-is('Rename')")
    page.fill("#question-text", "新名")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text-is('新名')")
    with page.expect_download() as download:
        page.click("#talk-acts button:text-is('Export Markdown')")
    download.value.save_as(tmp_path / "saved.md")
    assert download.value.suggested_filename == "新名.md"
    assert (tmp_path / "saved.md").read_text() == "# 新名\n\n**Q**\n\n问\n\n**A**\n\n答\n"
    page.click("#talk-acts button:text-is('Delete')")
    page.click("#question button:text-is('Cancel')")
    assert client.get(f"/page/conversations/{id}").status_code == 200
    page.click("#talk-acts button:text-is('Delete')")
    page.click("#question-yes")
    page.wait_for_selector(".suggestions")
    assert client.get(f"/page/conversations/{id}").status_code == 404
    page.click("#delete-all")
    page.click("#question-yes")
    page.wait_for_selector("text=Nothing yet.")
    assert client.get("/page/conversations").json() == []


def test_a_refusal_is_told_and_nothing_is_lost(open_page: Open) -> None:
    page = open_page()
    page.fill("#ask", "长" * 2000)
    page.press("#ask", "Enter")
    page.wait_for_selector("[role=alert]")
    assert "512" in page.inner_text("[role=alert]")
    assert texts(page)[0] == "长" * 2000
    assert page.is_visible("button:text-is('Try again')")


def test_a_refusal_is_told_in_the_language_of_the_page(open_page: Open) -> None:
    page = open_page(lang="zh-CN")
    page.fill("#ask", "长" * 2000)
    page.press("#ask", "Enter")
    told = page.wait_for_selector("[role=alert]").inner_text()
    assert "512" in told and not re.search("[A-Za-z]", told)
    page.click("#language")
    assert "the model's context holds 512" in page.inner_text("[role=alert]")


def test_a_full_conversation_goes_on_without_its_oldest_turns(open_page: Open, client: Client) -> None:
    page = open_page(kept(client, "雨" * 300, "雪" * 220))
    for text in ("你好", "你是谁？"):  # the second takes the place of the first, which has no answer
        page.fill("#ask", text)
        page.press("#ask", "Enter")
        page.wait_for_selector(f"article.q:has-text('{text}') ~ article [role=alert]")
        assert page.locator("article.q").count() == 2
    page.click(".full button:text-is('Continue without the oldest turns')")
    page.wait_for_selector(ANSWERED)
    assert texts(page)[-1] and page.query_selector(".full") is None
    page.click("#open-settings")
    assert page.is_checked("#truncation")


def test_a_long_question_is_folded(open_page: Open, client: Client) -> None:
    page = open_page(kept(client, "一行\n" * 40, "答"))
    height = "() => document.querySelector('article.q .text').clientHeight"
    folded = page.evaluate(height)
    page.hover("article.q")
    page.click("article.q button:text-is('Show all')")
    assert page.evaluate(height) > 2 * folded


def test_a_wrong_key_is_told(browser: Any, serving: Serving, tmp_path: Path) -> None:
    key = new_key("alice", tmp_path / "keys")
    with serving(ServeOptions(api_key_file=str(tmp_path / "keys"))) as address:
        page = browser.new_page(locale="en-US")
        page.goto(address)
        for given, told in (("wrong", "asks for an API key"), (key, "This key is not known here")):
            page.wait_for_selector(f"#question-title:has-text('{told}')")
            page.fill("#question-text", given)
            page.keyboard.press("Enter")
        page.wait_for_selector("#ask:focus")
        page.close()


def test_where_nothing_can_be_saved_the_page_says_so(
    browser: Any, shelf: Shelf, running_app: Callable[[App], AbstractContextManager[str]], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    history = History(tmp_path / "file" / "conversations.sqlite")
    assert history.begin()
    with running_app(create_app(shelf, ServeOptions(), history)) as address:
        page = browser.new_page(locale="en-US")
        page.goto(address)
        page.wait_for_selector("#unsaved:has-text('cannot be saved')")
        ask(page, "你好")
        assert re.search("你好|海纳", texts(page)[1])
        page.close()
    history.close()


def test_both_languages_are_whole(open_page: Open, client: Client) -> None:
    id = kept(client, "question", "answer")
    page = open_page(id)
    shown = """() => [document.body.innerText,
        ...[...document.querySelectorAll("[aria-label]")].map((one) => one.ariaLabel)].join(" ")"""
    latin = page.evaluate(shown)
    assert not re.search("[\u3400-\u9fff]", re.sub("海纳|中文", "", latin))
    page.click("#language")
    chinese = page.evaluate(shown)
    left = set(re.findall(r"[A-Za-z]{2,}", chinese)) - {
        "haina",
        "brook",
        "English",
        "question",
        "answer",
        "Markdown",
        "JSON",
    }
    assert not left
    page.click("#open-settings")
    assert page.inner_text("#settings h2") == "设置"
    page.reload()  # it is remembered
    page.wait_for_selector("text=新对话")
    assert open_page(lang="zh-CN").inner_text("#new") == "新对话"


def test_colours_follow_the_system_or_the_reader(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.click("#theme")
    light = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) == dark != light
    page.reload()
    page.wait_for_selector("#theme:text-is('Dark')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_it_is_accessible(open_page: Open, client: Client, scheme: str, width: int) -> None:
    view = {"width": width, "height": 844}
    for id in ("", kept(client, "问题", RICH, "question", "*answer*\n\n> quoted")):
        page = open_page(id, color_scheme=scheme, viewport=view, bypass_csp=True)  # axe is put into the page
        for where in (None, "#open-settings"):
            if where:
                page.click(where)
            found = axe.Axe().run(page).response["violations"]
            assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []


def test_a_phone_has_it_all(open_page: Open, client: Client) -> None:
    id = kept(client, "问", RICH + "\n\n" + "x" * 300 + "\n\n$$" + "a+" * 100 + "b$$")
    page = open_page(id, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.wait_for_selector(".katex")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert not page.is_visible("#new")
    page.tap("#open-contents")
    page.wait_for_selector("#contents.open #new")
    page.keyboard.press("Escape")
    page.wait_for_selector("#new", state="hidden")
    for needed in ("#model", "#open-settings", "#theme", "#language", "#send", "article.q button >> nth=0"):
        box = page.locator(needed).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_the_keyboard_is_enough(open_page: Open, client: Client) -> None:
    page = open_page(kept(client, "问", "答"))
    focused = "() => document.activeElement.textContent || document.activeElement.id"
    assert page.evaluate(focused) == "ask"
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "ask"
    names = []
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        names.append(page.evaluate(focused))
    assert {"Regenerate", "Copy", "Edit", "Delete", "Rename"} <= set(names)
    page.focus("article.a button:text-is('Regenerate')")
    page.keyboard.press("Enter")
    page.wait_for_selector("article.a:not(.draft) :text('2/2')")
    assert page.evaluate("() => document.querySelector('#thread').contains(document.activeElement)")
