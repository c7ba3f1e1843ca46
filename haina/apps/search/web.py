"""A question to the web, through the search engine that the operator names, and only when asked to.

The engine is a URL: SearXNG's …/search, to which the question is added, or any with {q} in it whose answer is JSON,
with the names that lead to the pages behind a #, as in https://api.search.brave.com/res/v1/web/search?q={q}#web.results.url.
It is the operator's word, so it may stand anywhere; the pages that it names are fetched as fetch.py allows. Their
texts become an index that lives as long as the answer, and the answer quotes them as it quotes files, by URL.

It knows where pages come from; how they are read, ranked and quoted, the rest of search does.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urldefrag, urlencode

from haina.apps.search.answer import Answer
from haina.apps.search.desk import Search
from haina.apps.search.extract import text_of
from haina.apps.search.fetch import Page, fetch
from haina.apps.search.problem import Unreadable
from haina.apps.search.store import Store
from haina.options.search import SearchOptions
from haina.wording import say

PAGES = 6  # that are fetched for a question
LONGEST = 400  # characters of a question that are sent
URLS = "results.url"  # where SearXNG has them
KEY, KEY_FILE = "HAINA_WEB_KEY", "HAINA_WEB_KEY_FILE"
JSON = ("application/json", "text/json")
SUFFIX = {"text/plain": ".txt", "text/markdown": ".md", "application/pdf": ".pdf"}  # all others: HTML
CHARSETS = re.compile(  # not whatever Python decodes: punycode takes the square of the time
    r"utf-?8|utf-16(le|be)?|gb(k|2312|18030)|big5(-hkscs)?|us-ascii|iso-8859-(1[013-6]?|[2-9])|windows-125[0-8]|koi8-[ru]|shift_jis"
    r"|euc-(jp|kr)"
)
Problems = Callable[[str, str], None]


class Engine:
    """A search engine on the web. Its key, from HAINA_WEB_KEY or the file HAINA_WEB_KEY_FILE: what stands for {key} in
    the URL; or a header, "X-Subscription-Token: …"; or else a bearer token. It is sent to the engine alone."""

    def __init__(self, url: str):
        """ValueError: the URL is none."""
        self._url, names = urldefrag(url)
        self._names = (names or URLS).split(".")
        if not self._url.startswith(("http://", "https://")):
            raise ValueError(
                say(
                    "--web wants the URL of a search engine: https://HOST/search, or one with {q} in it",
                    "--web 应为搜索引擎的网址：https://主机/search，或带 {q} 的网址",
                )
            )

    def find(self, question: str) -> list[str]:
        """The URLs of pages, best first. ValueError: the engine does not answer as it should."""
        key = _key()
        try:
            answer = fetch(
                self._asking(question[:LONGEST], key),
                private=True,
                redirects=0,
                kinds=JSON,
                headers=self._headers(key),
            )
            found = list(_at(json.loads(answer.data), self._names))
        except (Unreadable, ValueError, RecursionError) as error:
            why = str(error) if isinstance(error, Unreadable) else say("no JSON", "返回的不是 JSON")
            raise ValueError(
                say(f"the search engine: {why}; see to --web", f"搜索引擎：{why}；请检查 --web")
            ) from None
        return list(dict.fromkeys(url for url in found if isinstance(url, str)))

    def _asking(self, question: str, key: str) -> str:
        if "{q}" in self._url:
            return self._url.replace("{q}", quote(question, safe="")).replace("{key}", quote(key, safe=""))
        joint = "&" if "?" in self._url else "?"
        return f"{self._url}{joint}{urlencode({'q': question, 'format': 'json'})}"

    def _headers(self, key: str) -> dict[str, str]:
        name, colon, value = key.partition(":")
        if not key or "{key}" in self._url:
            return {}
        return {name.strip(): value.strip()} if colon else {"Authorization": f"Bearer {key}"}


class Web:
    """Asks the web as desk.Search asks files. private: pages on addresses that are not public, too."""

    def __init__(self, engine: str, *, private: bool = False, problem: Problems = lambda url, why: None):
        """problem: told of each page that cannot be read. ValueError: the engine is no URL."""
        self._engine, self._private, self._problem = Engine(engine), private, problem

    def ask(self, text: str, asked: SearchOptions | None = None, before: Sequence[str] = ()) -> Answer:
        """The answer to a question, out of pages. ValueError: nothing to look for, or no engine."""
        wanted = " ".join((*before[-1:], text))
        urls = self._engine.find(wanted)[:PAGES] if any(map(str.isalnum, text)) else []
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "web.db")
            store = Store(file, new=True)
            with store.writing():
                for url, said in self._pages(urls, Path(folder)):
                    store.put(url, "", said)
            store.close()
            search = Search(str(file))
            try:
                return search.ask(text, asked, before)
            finally:
                search.store.close()

    def _pages(self, urls: list[str], folder: Path) -> Iterator[tuple[str, str]]:
        """The pages that can be read, as (where it was in the end, its text), in the order of the engine."""
        with ThreadPoolExecutor(PAGES) as several:
            fetched = [several.submit(fetch, url, private=self._private) for url in urls]
            for number, (url, page) in enumerate(zip(urls, fetched, strict=True)):
                try:
                    yield page.result().url, text(page.result(), folder / str(number))
                except Unreadable as why:
                    self._problem(url, str(why))


def text(page: Page, file: Path) -> str:
    """The text of a page, read as a file of its kind. Unreadable."""
    file = file.with_suffix(SUFFIX.get(page.kind, ".html"))
    known = CHARSETS.fullmatch(page.charset)
    file.write_bytes(page.data.decode(page.charset, "replace").encode() if known else page.data)
    return text_of(file)


def _at(value: Any, names: Sequence[str]) -> Iterator[Any]:
    """What lies where the names lead, through every element of a list."""
    if isinstance(value, list):
        for each in value:
            yield from _at(each, names)
    elif not names:
        yield value
    elif isinstance(value, dict) and names[0] in value:
        yield from _at(value[names[0]], names[1:])


def _key() -> str:
    """The operator's key. ValueError: its file cannot be read."""
    if not (file := os.environ.get(KEY_FILE)):
        return os.environ.get(KEY, "").strip()
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError:
        raise ValueError(say(f"{KEY_FILE}: {file} cannot be read", f"{KEY_FILE}：无法读取 {file}")) from None
