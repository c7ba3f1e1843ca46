"""Scale-out: N replicas of haina's server behind Ray Serve, and a question goes where its beginning is already known.

    PYTHONPATH=$PWD/deploy serve run ray_serve:app models=/srv/models/Baichuan2-7B-Chat replicas=4 cpus=8

Ray starts, watches, replaces and finds the processes, on one machine or many. One Door stands before all replicas with
what `haina serve` has around its application: keys and their limits, queue, bounds, log. A Replica is that application
with models of its own. Between them stands prefix_router.py.

It does not know models, dialects, or how an answer is made.
"""
# no `from __future__ import annotations`: Ray reads the type of app's argument to check what people write

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from prefix_router import PrefixRouter, beginnings
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.asgi import App, Message, Receive, Scope, Send, answer, answer_json, refuse, tenant_of
from haina.serve.errors import ApiError
from haina.serve.health import HEALTH, Health
from haina.serve.limits import is_loopback
from haina.serve.logs import Log, about
from haina.serve.metrics import Metrics
from haina.serve.run import DRAIN_S, bounded, guarded
from haina.serve.shelf import Shelf, named_folders
from haina.wording import say

HEALTH_S = 5.0  # a replica that does not say for so long that it is well is not
TRIES = 3  # of a request that nothing has been answered to, when its replica ends
# what a replica needs to know of a request
PLAIN = "type method path raw_path query_string headers scheme http_version client server".split()


class Fleet(BaseModel):
    """What may be given to `serve run ray_serve:app`, as NAME=VALUE, or as `args` in ray_serve.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: str  # folders, .gguf files, NAME=PATH; several with commas; the same on every machine
    replicas: int = Field(2, ge=1)
    cpus: int = Field(1, ge=1)  # of each replica: what Ray keeps for it, and its threads
    gpus: float = Field(0, ge=0)
    spread: int = Field(4, ge=1)  # a replica with so many more requests than the idlest is not preferred
    queue: int = Field(128, ge=1)  # requests of all replicas together
    timeout: float = Field(1800, ge=1)  # seconds
    api_key_file: str | None = None  # on the machine of the Door; without it only this machine may ask
    allow_host: str = ""  # names by which browsers reach the server when there are no keys, with commas
    context: int | None = Field(None, ge=16)
    conversations: int | None = Field(None, ge=1, le=64)  # of each replica

    def options(self) -> ServeOptions:
        """As `haina serve` would have them, for one replica."""
        return ServeOptions(
            api_key_file=self.api_key_file,
            allow_host=[name for name in self.allow_host.split(",") if name],
            context=self.context,
            conversations=self.conversations,
            device="auto" if self.gpus else "cpu",
            queue=self.queue,
            threads=self.cpus,
            timeout=self.timeout,
            log="json",
        )


# -- a replica ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """The whole answer has been given; `line`: what the log should say of it."""

    line: dict[str, Any]


class Replica:
    """haina's application in a process of its own, with its own models. It trusts the Door."""

    def __init__(self, models: Sequence[str], options: ServeOptions):
        metrics = Metrics()
        self._shelf = Shelf(named_folders(models), options, watcher=metrics)
        self._shelf.load()
        self._app: App = Health(create_app(self._shelf, options), self._shelf, metrics)
        self._metrics = metrics
        self._name = serve.get_replica_context().replica_id.unique_id

    def check_health(self) -> None:
        """Ray asks; a replica that raises is replaced."""
        if any(not served.thread.alive for served in self._shelf.loaded):
            raise RuntimeError("an engine has stopped")

    async def metrics(self, number: int) -> tuple[str, str]:
        """Who this is, and its counts in Prometheus' form. `number` is the router's."""
        return self._name, self._metrics.text(self._shelf).decode()

    async def answer(
        self, scope: Scope, body: bytes, begins: Sequence[str]
    ) -> AsyncGenerator[list[Message] | Ended, None]:
        """ASGI's messages as they come, all that are there at once. Whoever stops listening ends the work."""
        line: dict[str, Any] = {"key": tenant_of(scope)} if tenant_of(scope) else {}
        about.set(line)
        said: asyncio.Queue[Message | None] = asyncio.Queue()
        work = asyncio.create_task(self._work(scope, body, said))
        try:
            more = True
            while more:
                messages = [await said.get()]
                while not said.empty():
                    messages.append(said.get_nowait())
                more = messages[-1] is not None
                yield [message for message in messages if message is not None]
            await work
            yield Ended({**line, "replica": self._name})
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _work(self, scope: Scope, body: bytes, said: "asyncio.Queue[Message | None]") -> None:
        """None when there is no more, also when it went wrong."""
        rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if not rest:
                await asyncio.Event().wait()  # that a client has gone is heard at the Door
            return rest.pop()

        try:
            await self._app(scope, receive, said.put)
        finally:
            said.put_nowait(None)


# -- the door -------------------------------------------------------------------------------------------------


class Door:
    """All requests come in here: the guards of `haina serve`, then a replica's answer."""

    def __init__(self, replicas: DeploymentHandle, fleet: Fleet):
        self._replicas, self._fleet = replicas, fleet
        self._answers = replicas.options(stream=True).answer

    def __serve_build_asgi_app__(self) -> App:
        options = self._fleet.options()
        inside = guarded(self._watched(bounded(self._forward, options)), Log("json"), options)
        return _named_once(inside if options.api_key_file else _local(inside))

    def _watched(self, app: App) -> App:
        """Answers for the fleet when machines ask how it is; they need not wait in the queue."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
                await app(scope, receive, send)
            elif scope["path"] == "/metrics":
                await answer(send, 200, await self._metrics(), CONTENT_TYPE_LATEST)
            elif scope["path"] in HEALTH:
                await self._health(scope, send)
            else:
                await app(scope, receive, send)

        return watched

    async def _health(self, scope: Scope, send: Send) -> None:
        """What a replica says of itself; 503 when none says anything."""
        try:
            messages = await asyncio.wait_for(self._whole(scope), HEALTH_S)
        except (asyncio.TimeoutError, RayActorError):
            await answer_json(send, 503, {"status": "no replica answers"})
        else:
            for message in messages:
                await send(message)

    async def _whole(self, scope: Scope) -> list[Message]:
        return [message async for message in self._said(scope, b"")]

    async def _metrics(self) -> bytes:
        """Those of all replicas. While some start, others may be asked twice; their names tell."""
        texts = {}
        for number in range(self._fleet.replicas):  # not at once: Ray 2.60 confuses what one request asks
            name, text = await self._replicas.metrics.remote(number=number)
            texts[name] = text
        return together(texts)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request whose body is here already (limits.Attended), to a replica and back."""
        if scope["type"] != "http":  # Ray tells that it starts and ends; nothing to do
            return
        body = (await receive())["body"]
        for left in reversed(range(TRIES)):
            begun = False
            try:
                async with aclosing(self._said(scope, body)) as messages:
                    async for message in messages:
                        begun = True
                        await send(message)
                return
            except RayActorError:  # its replica has ended
                if begun or not left:
                    raise

    async def _said(self, scope: Scope, body: bytes) -> AsyncGenerator[Message, None]:
        """A replica's answer. Whoever stops listening ends the replica's work, too."""
        plain = {name: scope[name] for name in PLAIN if name in scope}
        tenant = tenant_of(scope)
        plain.update(root_path="", state={"tenant": tenant})
        said = self._answers.remote(plain, body, begins=beginnings(tenant, body))
        try:
            async for part in said:
                if isinstance(part, Ended):
                    if (line := about.get()) is not None:
                        line.update(part.line)
                else:
                    for message in part:
                        yield message
        finally:
            said.cancel()  # of one that has ended nothing is left to cancel


def _named_once(app: App) -> App:
    """Ray gives every answer the id of its request, so the one in our log is not said a second time."""

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name != b"x-request-id"]
                message = {**message, "headers": kept}
            await send(message)

        await app(scope, receive, sent)

    return named


def _local(app: App) -> App:
    """Without keys only this machine may ask, whatever address Ray listens on; a proxy here asks for others."""

    async def local(scope: Scope, receive: Receive, send: Send) -> None:
        client = (scope.get("client") or ("",))[0]
        if scope["type"] != "http" or is_loopback(client):
            await app(scope, receive, send)
            return
        message = say(
            f"{client} would need a key, and this server has none; start it with api_key_file=FILE",
            f"来自 {client} 的请求需要密钥，而此服务没有密钥；请以 api_key_file=文件 启动",
        )
        await refuse(scope, send, ApiError(403, message, "permission", code="no_keys"))

    return local


def together(texts: Mapping[str, str]) -> bytes:
    """The counts of several processes in Prometheus' form, each with the label `replica`, as one text."""
    families: dict[str, Metric] = {}
    for replica, text in texts.items():
        for family in text_string_to_metric_families(text):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)

    class Families(Collector):
        def collect(self) -> Iterable[Metric]:
            return families.values()

    registry = CollectorRegistry()
    registry.register(Families())
    return generate_latest(registry)


# -- the application ------------------------------------------------------------------------------------------


def app(fleet: Fleet) -> serve.Application:
    """What `serve run` and `serve deploy` start."""
    named_folders(fleet.models.split(","))  # what is no model is said before anything starts
    router = RequestRouterConfig(
        request_router_class=PrefixRouter, request_router_kwargs={"spread": fleet.spread}
    )
    quiet = {"enable_access_log": False}  # the Door has a log of its own
    replicas = serve.deployment(
        Replica,
        num_replicas=fleet.replicas,
        max_ongoing_requests=fleet.queue + 8,  # health and the page pass by the Door's queue
        ray_actor_options={"num_cpus": fleet.cpus, "num_gpus": fleet.gpus},
        graceful_shutdown_timeout_s=DRAIN_S,
        health_check_period_s=2,
        request_router_config=router,
        logging_config=quiet,
    )
    door = serve.deployment(
        serve.ingress()(Door),
        name="Door",
        max_ongoing_requests=1 << 16,  # to refuse is its own work
        ray_actor_options={"num_cpus": 0},  # whatever it needs is left
        graceful_shutdown_timeout_s=DRAIN_S,
        logging_config=quiet,
    )
    return door.bind(replicas.bind(fleet.models.split(","), fleet.options()), fleet)
