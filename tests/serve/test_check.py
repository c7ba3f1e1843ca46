"""The checks of `haina serve --check`, one by one, and the command's own answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from haina.options.serving import ServeOptions
from haina.serve.check import CHECKS, check_server, table, with_table
from haina.serve.checks import Check, Target
from haina.serve.keys import new_key

Serving = Callable[[ServeOptions], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def target(server: str) -> Iterator[Target]:
    made = Target(server, "haina-brook")
    yield made
    made.close()


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_official_clients(check: Check, target: Target) -> None:
    check.run(target)


def test_a_line_for_each_and_the_sum(server: str) -> None:
    lines: list[str] = []
    assert check_server(server, told=lines.append) == 0
    assert len(lines) == len(CHECKS) + 1 and lines[-1] == f"{len(CHECKS)} of {len(CHECKS)} checks passed"


def test_a_failure_is_counted_and_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(target: Target) -> None:
        raise AssertionError("as it should")

    monkeypatch.setattr("haina.serve.check.CHECKS", [Check("any", "GET /", "nothing", fails)])
    lines: list[str] = []
    assert check_server(server, told=lines.append) == 1 and "as it should" in lines[0]


def test_a_limited_key_ends_it(serving: Serving, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = new_key("alice", file)
    file.write_text(file.read_text().strip() + " per-minute=2\n")
    with serving(ServeOptions(api_key_file=str(file))) as address:
        with pytest.raises(ValueError, match="this key is limited"):
            check_server(address, key, told=lambda line: None)
        with pytest.raises(ValueError, match="HAINA_API_KEY"):
            check_server(address, "wrong")


def test_no_server_is_said() -> None:
    with pytest.raises(ValueError, match="haina serve"):
        check_server("http://127.0.0.1:9")


@pytest.mark.parametrize("page", ["api.md", "api.zh.md"])
def test_the_docs_have_the_table_as_it_is_now(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
    assert with_table(text) == text, "python -m haina.serve.check docs/api.md docs/api.zh.md"
    assert with_table(text.replace("openai", "nobody")) != text.replace("openai", "nobody")


def test_the_table_has_every_endpoint() -> None:
    text = table()
    assert all(f"`{check.endpoint}`" in text and check.feature in text for check in CHECKS)
