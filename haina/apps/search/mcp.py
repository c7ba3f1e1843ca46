"""`haina search mcp`: the tools of tool.py over the Model Context Protocol, by its official SDK, on stdin and stdout.

It knows the protocol's words; what is done, tool.py knows.
"""

from __future__ import annotations

import asyncio
from typing import Any

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
from haina.apps.search.desk import Search
from haina.apps.search.tool import TOOLS, call


def server(search: Search) -> Server[Any]:
    """A server of the two tools over an index."""

    async def listed(
        context: ServerRequestContext[Any], asked: PaginatedRequestParams | None
    ) -> ListToolsResult:
        functions = [tool["function"] for tool in TOOLS]
        return ListToolsResult(
            tools=[
                Tool(name=f["name"], description=f["description"], input_schema=f["parameters"])
                for f in functions
            ]
        )

    async def called(context: ServerRequestContext[Any], asked: CallToolRequestParams) -> CallToolResult:
        text = await asyncio.to_thread(call, search, asked.name, asked.arguments or {})
        return CallToolResult(
            content=[TextContent(type="text", text=text)], is_error=text.startswith('{"error"')
        )

    return Server("haina-search", version=__version__, on_list_tools=listed, on_call_tool=called)


def serve(file: str) -> None:
    """Until stdin ends. ValueError: there is no index."""
    made = server(Search(file))

    async def run() -> None:
        async with stdio_server() as (heard, said):
            await made.run(heard, said, made.create_initialization_options())

    asyncio.run(run())
