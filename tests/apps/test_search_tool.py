"""Search as other programs meet it: OpenAI's functions, and MCP with its official client over stdio."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from haina.apps.search.desk import Search, add_folders
from haina.apps.search.tool import TOOLS, call


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.txt").write_text("海纳由四位开发者写成。他们住在杭州。", "utf-8")
    file = str(tmp_path_factory.mktemp("index") / "search.db")
    add_folders([str(folder)], file)
    return file


def test_a_model_calls_it(index: str) -> None:
    search = Search(index)
    found = json.loads(call(search, "search_documents", '{"question": "海纳由几位开发者写成？", "top": 1}'))
    cited = found["citations"][0]
    assert cited["quote"] == "海纳由四位开发者写成。"
    place = {name: cited[name] for name in ("document", "start", "end")}
    assert json.loads(call(search, "read_document", place))["text"] == cited["quote"]


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("rm", {}),
        ("search_documents", {}),
        ("search_documents", {"question": 1}),
        ("search_documents", {"question": "a", "top": 0}),
        ("search_documents", {"question": "a", "before": [1]}),
        ("search_documents", {"question": "a", "index": "/etc"}),
        ("search_documents", "["),
        ("search_documents", "[]"),
        ("search_documents", {"question": "?"}),
        ("read_document", {"document": "/etc/passwd", "start": 0, "end": 9}),
    ],
)
def test_what_is_wrong_is_told_to_the_model(index: str, name: str, arguments: Any) -> None:
    assert list(json.loads(call(Search(index), name, arguments))) == ["error"]


def test_its_schemas_are_schemas() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for tool in TOOLS:
        jsonschema.Draft202012Validator.check_schema(tool["function"]["parameters"])


def test_an_mcp_client_searches(index: str) -> None:
    mcp = pytest.importorskip("mcp")
    from mcp.client.stdio import stdio_client

    asked = ["-m", "haina", "search", "mcp", "--index", index]
    server = mcp.StdioServerParameters(command=sys.executable, args=asked, env=dict(os.environ))

    async def talk() -> tuple[list[str], Any, Any]:
        async with stdio_client(server) as (heard, said), mcp.ClientSession(heard, said) as session:
            await session.initialize()
            names = [tool.name for tool in (await session.list_tools()).tools]
            found = await session.call_tool("search_documents", {"question": "海纳由几位开发者写成？"})
            refused = await session.call_tool("search_documents", {"question": 1})
            return names, found, refused

    names, found, refused = asyncio.run(talk())
    assert names == ["search_documents", "read_document"]
    assert json.loads(found.content[0].text)["citations"][0]["quote"] == "海纳由四位开发者写成。"
    assert refused.is_error
