"""What a check of the server is: a function over a Target that raises when something is not as a client wants it.

The official clients are imported here alone, when they are needed. It does not know the server's code.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

HELLO: list[Any] = [{"role": "user", "content": "你好"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"good": {"type": "boolean"}, "kind": {"enum": ["诗", "prose"]}},
    "required": ["good", "kind"],
    "additionalProperties": False,
}
SHORT, LONG = 24, 100  # new tokens: of a text; of JSON


@dataclass(frozen=True)
class Target:
    """A running server, one of its models, and the clients that talk to it."""

    address: str
    model: str
    key: str = "none"

    @cached_property
    def openai(self) -> Any:
        import openai

        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=self.key, max_retries=0)

    @cached_property
    def anthropic(self) -> Any:
        import anthropic

        return anthropic.Anthropic(base_url=self.address, api_key=self.key, max_retries=0)

    @cached_property
    def ollama(self) -> Any:
        import ollama

        return ollama.Client(self.address, headers={"authorization": f"Bearer {self.key}"})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the server itself answers, without a client."""
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Close the clients that were opened."""
        for name in ("openai", "anthropic", "ollama"):
            if name in self.__dict__:
                self.__dict__[name].close()


@dataclass(frozen=True)
class Check:
    """One feature of one endpoint, as one client uses it."""

    dialect: str
    endpoint: str
    feature: str
    run: Callable[[Target], None]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.feature}"


Function = Callable[[Target], None]


def listed(checks: list[Check]) -> Callable[[str, str, str], Callable[[Function], Function]]:
    """A decorator (dialect, endpoint, feature) that puts a function on a list of checks."""

    def check(dialect: str, endpoint: str, feature: str) -> Callable[[Function], Function]:
        def put(run: Function) -> Function:
            checks.append(Check(dialect, endpoint, feature, run))
            return run

        return put

    return check


def must(right: object, what: str) -> None:
    """Raise what was expected, unless it is so."""
    if not right:
        raise AssertionError(what)


def refused(call: Callable[[], Any], status: int, told: str) -> None:
    """The call must be refused with this status, and with a message or a code that has this in it."""
    try:
        call()
    except Exception as error:  # each client has its own
        if getattr(error, "status_code", None) == 429 != status:
            raise
        text = f"{error} {getattr(error, 'code', '')}"
        must(getattr(error, "status_code", None) == status and told in text, f"{status} {told}: {text}")
        return
    raise AssertionError(f"not refused: {told}")


def must_fit(text: str) -> None:
    value = json.loads(text)
    must(
        isinstance(value["good"], bool) and value["kind"] in ("诗", "prose") and len(value) == 2, "the schema"
    )
