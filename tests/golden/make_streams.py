"""Writes tests/golden/streams/: what one fixed question to each dialect gives on the wire, byte for byte.

    python tests/golden/make_streams.py

Only what must differ each time is put out of the way (ids, times, comments while a prompt is read). tests/serve/
test_golden_streams.py compares; run this again after a change that was meant, and read the difference.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2

FOLDER = Path(__file__).with_name("streams")
MODEL = "haina-brook"
HELLO = [{"role": "user", "content": "你好"}]
FUNCTION = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["北京"]}},
        "required": ["city"],
    },
}
CALLS = {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"}
SHORT = {"model": MODEL, "stream": True, "temperature": 0, "seed": 1}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": (
        "/v1/chat/completions",
        {**SHORT, "messages": HELLO, "max_tokens": 6, "stream_options": {"include_usage": True}},
    ),
    "openai-chat-tools": (
        "/v1/chat/completions",
        {**SHORT, **CALLS, "messages": HELLO, "max_tokens": 60, "parallel_tool_calls": False},
    ),
    "openai-completions": (
        "/v1/completions",
        {**SHORT, "prompt": "床前明月光", "max_tokens": 6, "echo": True},
    ),
    "openai-responses": (
        "/v1/responses",
        {"model": MODEL, "stream": True, "temperature": 0, "input": "你好", "max_output_tokens": 6},
    ),
    "anthropic-messages": ("/v1/messages", {**SHORT, "messages": HELLO, "max_tokens": 6}),
    "anthropic-tools": (
        "/v1/messages",
        {
            **SHORT,
            "messages": HELLO,
            "max_tokens": 60,
            "tools": [{"name": "weather", "input_schema": FUNCTION["parameters"]}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        },
    ),
    "ollama-chat": (
        "/api/chat",
        {"model": MODEL, "messages": HELLO, "options": {"temperature": 0, "seed": 1, "num_predict": 6}},
    ),
    "ollama-generate": (
        "/api/generate",
        {
            "model": MODEL,
            "prompt": "床前明月光",
            "raw": True,
            "options": {"temperature": 0, "num_predict": 6},
        },
    ),
}
CHANGING = (  # what must differ, and what stands for it
    (rb"^: prompt .*\n\n", b""),
    (rb'"((?:chatcmpl|cmpl)-|(?:resp|msg|fc|call|toolu)_)[0-9a-f]{24}"', rb'"\1ID"'),
    (rb'"(created|created_at|completed_at)":\d+', rb'"\1":TIME'),
    (rb'"created_at":"[^"]*"', b'"created_at":"TIME"'),
    (rb'"(\w+_duration)":\d+', rb'"\1":NANOSECONDS'),
    (
        rb'"(cached_tokens|cache_read_input_tokens|input_tokens)":\d+',
        rb'"\1":TOKENS',
    ),  # by what was asked before
)


def stream(address: str, name: str) -> bytes:
    """What a server at this address answers, with what must differ put out of the way."""
    path, body = REQUESTS[name]
    answer = httpx2.post(address + path, content=json.dumps(body), timeout=60)
    assert answer.status_code == 200, answer.text
    wire = answer.content
    for changing, still in CHANGING:
        wire = re.sub(changing, still, wire, flags=re.M)
    return wire


def main() -> None:
    import socket
    import threading

    import uvicorn

    import haina
    from haina.options.serving import ServeOptions
    from haina.serve.app import create_app
    from haina.serve.history import History
    from haina.serve.shelf import Shelf

    shelf = Shelf(
        {MODEL: Path(haina.__file__).with_name("weights")}, ServeOptions(threads=1, conversations=2)
    )
    shelf.load()
    app = create_app(shelf, ServeOptions(), History(Path(":memory:")))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()  # whoever connects before it listens, waits
        for name in REQUESTS:
            wire = stream(f"http://127.0.0.1:{listener.getsockname()[1]}", name)
            (FOLDER / f"{name}.txt").write_bytes(wire)
        server.should_exit = True
        thread.join()
    shelf.close()


if __name__ == "__main__":
    main()
