"""PrefixRouter: a question goes where its beginning is already known, by Ray Serve's public interface for routers.

In the cache of the replica that read a beginning last it need not be computed again: so that one is preferred,
unless it is much busier than the idlest. The idea is SGLang's (arXiv 2312.07104), the digests by blocks are vLLM's;
Ray's own router of this kind (ray.serve.llm) knows vLLM's requests only. It knows JSON, but no models or dialects.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

BLOCK_CHARACTERS = 32  # a page of the cache holds 32 tokens; a shorter beginning is not worth a detour
MOST_CHARACTERS = 1 << 16  # of a question that are looked at
MOST_BEGINNINGS = 1 << 18  # that the router remembers, about 50 MB
# what is asked, as OpenAI, Anthropic and Ollama name it
ASKED = ("system", "instructions", "tools", "messages", "prompt", "input")


def beginnings(tenant: str, body: bytes) -> list[str]:
    """A digest of every beginning of a question, a block of characters longer each; none of a body that asks nothing.

    The first ones of two questions are equal as far as the questions are. Tenants share no cache, so no digests.
    """
    try:
        asked = json.loads(body)
    except ValueError:
        return []
    if not isinstance(asked, dict):
        return []
    text = "\0".join(_strings([asked.get(name) for name in ASKED]))[:MOST_CHARACTERS]
    so_far = hashlib.blake2b(json.dumps([tenant, asked.get("model")]).encode(), digest_size=8)
    found = []
    for end in range(BLOCK_CHARACTERS, len(text) + 1, BLOCK_CHARACTERS):
        so_far.update(text[end - BLOCK_CHARACTERS : end].encode("utf-8", "surrogatepass"))
        found.append(so_far.hexdigest())
    return found


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


class PrefixRouter(RequestRouter):
    """Sends a question to the replica that read its beginning last, unless that one is much busier than the idlest.

    It knows what its Door has asked. How busy replicas are, Ray tells; one of which it has heard nothing for 10 s is
    taken to be idle, until its answer says how busy it is.
    """

    def initialize_state(self, spread: int) -> None:  # type: ignore[override]
        self._spread = spread
        self._readers: OrderedDict[str, ReplicaID] = OrderedDict()  # beginning → who read it; oldest first

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Replicas from the best on; the next is tried when one takes no more."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # if none takes it, wait before the next round
        wanted = pending_request.kwargs
        if "number" in wanted:  # each in turn
            by_name = sorted(candidate_replicas, key=lambda replica: replica.replica_id.unique_id)
            return [[by_name[wanted["number"] % len(by_name)]]]
        best = self._ranked({replica.replica_id: replica for replica in candidate_replicas}, wanted["begins"])
        return [[replica] for replica in best]

    def _ranked(
        self, replicas: Mapping[ReplicaID, RunningReplica], begins: Sequence[str]
    ) -> list[RunningReplica]:
        """The one that knows the beginning, if it may be; then the idlest, and chance among equals."""
        busy = {name: self.replica_queue_len_cache.get(name) or 0 for name in replicas}
        by_load = sorted(replicas, key=lambda name: (busy[name], random.random()))
        known = (self._readers[one] for one in reversed(begins) if self._readers.get(one) in replicas)
        reader = next(known, None)
        if reader is not None and busy[reader] - busy[by_load[0]] < self._spread:
            by_load.remove(reader)
            by_load.insert(0, reader)
        return [replicas[name] for name in by_load]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """Remember who reads this."""
        for one in pending_request.kwargs.get("begins", ()):
            self._readers[one] = replica_id
            self._readers.move_to_end(one)
        while len(self._readers) > MOST_BEGINNINGS:
            self._readers.popitem(last=False)
