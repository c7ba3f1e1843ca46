"""Metrics: what happens between models and those who ask, counted in Prometheus' form.

Names and meanings follow vLLM's (vllm/v1/metrics/loggers.py) with `haina_` before them, so that its dashboards need
only that change. Labels are names of models and keys, nothing that a client can make up. It does not know HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from haina.engine.request import Asked, Embed, Event, Request, Score, Token
from haina.serve.engine_thread import Progress
from haina.serve.logs import about
from haina.serve.shelf import Shelf

FIRST_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
BETWEEN_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
WHOLE_S = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_MODEL = ("model_name",)


class Metrics:
    """The counts of one server; a Shelf's watcher."""

    kind = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._first = Histogram(
            "haina_time_to_first_token_seconds",
            "From asking the engine to the first token",
            _MODEL,
            registry=registry,
            buckets=FIRST_S,
        )
        self._between = Histogram(
            "haina_inter_token_latency_seconds",
            "Between two tokens of an answer",
            _MODEL,
            registry=registry,
            buckets=BETWEEN_S,
        )
        self._whole = Histogram(
            "haina_e2e_request_latency_seconds",
            "From asking the engine to the end",
            _MODEL,
            registry=registry,
            buckets=WHOLE_S,
        )
        self._ended = Counter(
            "haina_request_success",
            "Answers that ended, by reason; abort: nobody listened any more",
            (*_MODEL, "finished_reason"),
            registry=registry,
        )
        self._tokens = {
            "prompt": Counter("haina_prompt_tokens", "Tokens of prompts", _MODEL, registry=registry),
            "generation": Counter("haina_generation_tokens", "New tokens", _MODEL, registry=registry),
        }
        self._of_keys = Counter(
            "haina_key_tokens", "Tokens by key", (*_MODEL, "key", "kind"), registry=registry
        )
        self._queries = Counter(
            "haina_prefix_cache_queries", "Tokens looked for in the cache", _MODEL, registry=registry
        )
        self._hits = Counter("haina_prefix_cache_hits", "Tokens found there", _MODEL, registry=registry)
        self._running = Gauge(
            "haina_num_requests_running", "Sequences that the next step serves", _MODEL, registry=registry
        )
        self._waiting = Gauge(
            "haina_num_requests_waiting", "Sequences that wait for pages", _MODEL, registry=registry
        )
        self._used = Gauge(
            "haina_kv_cache_usage_perc", "Share of the pages in use", _MODEL, registry=registry
        )
        self._preempted = Gauge(
            "haina_num_preemptions", "How often a sequence gave up its pages", _MODEL, registry=registry
        )

    def text(self, shelf: Shelf) -> bytes:
        """All of it, with how the loaded models are at this moment."""
        for gauge in (self._running, self._waiting, self._used, self._preempted):
            gauge.clear()
        for served in shelf.loaded:
            engine = served.thread.engine
            self._running.labels(served.name).set(len(engine.scheduler.running))
            self._waiting.labels(served.name).set(len(engine.scheduler.waiting))
            self._used.labels(served.name).set(1 - engine.pages.free / engine.pages.count)
            self._preempted.labels(served.name).set(engine.counts.preempted)
        return generate_latest(self.registry)

    async def watch(
        self, name: str, asked: Asked, events: AsyncGenerator[Event | Progress, None]
    ) -> AsyncGenerator[Event | Progress, None]:
        """The same events. Whoever stops listening here stops those, too."""
        seen, reason = _Seen(self, name, asked), "stop"  # a stop string closes the generator
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Token):
                        seen.token(event)
                    elif not isinstance(event, Progress):
                        seen.whole(event.error)
                    yield event
        except asyncio.CancelledError:
            reason = "abort"
            raise
        except ValueError:
            reason = "refused"
            raise
        except Exception:
            reason = "error"
            raise
        finally:
            seen.end(reason)


class _Seen:
    """What has been seen of one request."""

    def __init__(self, metrics: Metrics, name: str, asked: Asked):
        self._metrics, self._name, self._asked = metrics, name, asked
        self._began, self._first_s, self._shared, self._new = time.perf_counter(), 0.0, 0, 0
        self._last: dict[int, float] = {}  # choice → when its last token came
        self._open = asked.n if isinstance(asked, Request) else 1
        self._between = metrics._between.labels(name)

    def token(self, token: Token) -> None:
        now = time.perf_counter()
        if not self._last:
            self._first_s, self._shared = now - self._began, token.shared_tokens
        if token.choice in self._last:
            self._between.observe(now - self._last[token.choice])
        self._last[token.choice] = now
        self._new += token.id >= 0
        if token.finish:
            self._finish(token.finish)

    def whole(self, error: str) -> None:
        self._finish("error" if error else "stop")

    def _finish(self, reason: str) -> None:
        self._open -= 1
        self._metrics._ended.labels(self._name, reason).inc()

    def end(self, reason: str) -> None:
        """Nothing more is heard. `reason`: of what had not ended by itself."""
        metrics, line = self._metrics, about.get()
        prompt = 0 if reason == "refused" else _prompt_tokens(self._asked)
        key = line.get("key", "") if line else ""
        metrics._whole.labels(self._name).observe(time.perf_counter() - self._began)
        if self._last:
            metrics._first.labels(self._name).observe(self._first_s)
        if self._open:
            metrics._ended.labels(self._name, reason).inc(self._open)
        metrics._queries.labels(self._name).inc(prompt)
        metrics._hits.labels(self._name).inc(self._shared)
        for kind, count in (("prompt", prompt), ("generation", self._new)):
            metrics._tokens[kind].labels(self._name).inc(count)
            if key:
                metrics._of_keys.labels(self._name, key, kind).inc(count)
        if line is not None:
            line["model"] = self._name
            figures = {"prompt_tokens": prompt, "cached_tokens": self._shared, "new_tokens": self._new}
            line.update({name: line.get(name, 0) + count for name, count in figures.items()})
            line.setdefault("first_s", round(self._first_s, 4))


def _prompt_tokens(asked: Asked) -> int:
    if isinstance(asked, Score):
        return len(asked.prompt) + sum(map(len, asked.answers))
    assert isinstance(asked, Request | Embed)
    return len(asked.ids)
