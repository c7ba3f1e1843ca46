"""`haina search mcp`: the tools of tool.py over the Model Context Protocol, by its official SDK, on stdin and stdout.

It knows the protocol's words; what is done, tool.py knows.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

from haina import __version__
from haina.apps.search import tool
from haina.apps.search.desk import Search
from haina.apps.search.tool import TOOLS, WEB_TOOL

if TYPE_CHECKING:
    from haina.apps.search.web import Web


def server(search: Search, web: Web | None = None) -> Server[Any]:
    """A server of the tools over an index, and over the web if that is given."""

    async def listed(
        context: ServerRequestContext[Any], asked: PaginatedRequestParams | None
    ) -> ListToolsResult:
        functions = [each["function"] for each in ((*TOOLS, WEB_TOOL) if web else TOOLS)]
        return ListToolsResult(
            tools=[
                Tool(name=f["name"], description=f["description"], input_schema=f["parameters"])
                for f in functions
            ]
        )

    async def called(context: ServerRequestContext[Any], asked: CallToolRequestParams) -> CallToolResult:
        try:
            found = await asyncio.to_thread(tool.called, search, asked.name, asked.arguments or {}, web)
        except ValueError as error:
            return CallToolResult(content=[TextContent(type="text", text=str(error))], is_error=True)
        return CallToolResult(content=[TextContent(type="text", text=json.dumps(found, ensure_ascii=False))])

    return Server("haina-search", version=__version__, on_list_tools=listed, on_call_tool=called)


def serve(file: str, web: Web | None = None) -> None:
    """Until stdin ends. ValueError: there is no index."""
    made = server(Search(file), web)

    async def run() -> None:
        async with stdio_server() as (heard, said):
            await made.run(heard, said, made.create_initialization_options())

    asyncio.run(run())
