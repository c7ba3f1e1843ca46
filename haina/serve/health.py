"""Health: is the process alive, may it be sent requests, and what has it done, for machines that ask.

/healthz (and /health): 200 unless an engine has stopped. /readyz: 200 when requests are welcome. /metrics: Prometheus'
text. They are answered without the application, so that a busy one does not look dead.
"""

from __future__ import annotations

from haina.serve.asgi import App, Receive, Scope, Send, answer, answer_json, refuse
from haina.serve.errors import ApiError
from haina.serve.metrics import Metrics
from haina.serve.shelf import Shelf
from haina.wording import say

HEALTH = ("/healthz", "/health", "/readyz")  # need no key: they tell nothing


class Health:
    """Answers these paths itself and hands on all others."""

    def __init__(self, app: App, shelf: Shelf, metrics: Metrics):
        self._app, self._shelf, self._metrics = app, shelf, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if scope["type"] != "http" or path not in (*HEALTH, "/metrics"):
            await self._app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            message = say(f"{scope['method']} {path}: only GET", f"{scope['method']} {path}：只支持 GET")
            await refuse(scope, send, ApiError(405, message, headers={"allow": "GET, HEAD"}))
        elif path in HEALTH:
            await self._health(send, ready=path == "/readyz")
        else:
            await answer(send, 200, self._metrics.text(self._shelf), self._metrics.kind)

    async def _health(self, send: Send, *, ready: bool) -> None:
        if any(not served.thread.alive for served in self._shelf.loaded):
            await answer_json(send, 503, {"status": "an engine has stopped"})
        elif ready and self._shelf.loading:
            await answer_json(send, 503, {"status": "loading"})
        else:
            await answer_json(send, 200, {"status": "ok"})
