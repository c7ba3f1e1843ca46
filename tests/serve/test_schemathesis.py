"""Requests that nobody thought of, made by Schemathesis of the OpenAPI document: what it allows, and what it forbids.

Nothing may fail on the server's side, what is forbidden must be refused, and every answer must be one that the document
promises. For CI there are 6,000 that try the limits of every field, the same each time, and a few at random; HAINA_FUZZ
is how many at random, others each time (`make fuzz`: 50,000).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

import haina
from haina.options.serving import ServeOptions
from haina.serve.app import create_app
from haina.serve.document import examples
from haina.serve.history import History
from haina.serve.logs import Log
from haina.serve.metrics import Metrics
from haina.serve.run import operated
from haina.serve.shelf import Shelf

NAME = "haina-brook"
AT_RANDOM = int(os.environ.get("HAINA_FUZZ", 400))
LEAST = 5000
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
LENGTHS = {  # the field for it, where it may be missing
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
    "/api/chat": "num_predict",
    "/api/generate": "num_predict",
}
OPTIONS = ServeOptions(log="off")


def documented() -> schemathesis.BaseSchema:
    """The document, of a server that has loaded nothing."""
    shelf = Shelf({NAME: Path(haina.__file__).with_name("weights")}, OPTIONS)
    schema = schemathesis.openapi.from_dict(create_app(shelf, OPTIONS, History(Path(":memory:"))).openapi())
    schema.config.phases.update(phases=["coverage", "fuzzing"])
    operations = len(list(schema.get_all_operations()))
    schema.config.generation.update(
        max_examples=-(-AT_RANDOM // operations),
        deterministic="HAINA_FUZZ" not in os.environ,
        database="none",
    )
    return schema


SCHEMA = documented()
answered: Counter[tuple[str, bool]] = Counter()  # (path, whether it was answered as asked) → how often


@pytest.fixture(scope="module")
def address(shelf: Shelf, running_app: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with all that stands around it."""
    history = History(tmp_path_factory.mktemp("fuzz") / "conversations.sqlite")
    app = operated(create_app(shelf, OPTIONS, history), shelf, Metrics(), Log("off"), OPTIONS)
    with running_app(app) as found:
        yield found


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


@pytest.fixture(scope="module")
def conversation(address: str, session: requests.Session) -> str:
    """One that is there, so that not all that is asked about conversations is 404."""
    made = session.post(f"{address}/page/conversations", json={}).json()["id"]
    assert isinstance(made, str)
    return made


def steered(case: Case, conversation: str) -> None:
    """Towards the model that is there and a conversation that is there, if the request is a proper one."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if "id" in case.path_parameters and case.method != "DELETE":
        case.path_parameters["id"] = conversation
    if isinstance(case.body, dict) and "model" in examples(NAME).get(case.path, ()):
        case.body["model"] = NAME


def shortened(case: Case) -> None:
    """An answer of a token, where the request leaves its length open: the model is not what is tested."""
    length = LENGTHS.get(case.path)
    if length is None or not isinstance(case.body, dict):
        return
    where = case.body
    if length == "num_predict":
        if not isinstance(where.get("options") or {}, dict):
            return
        where = case.body["options"] = case.body.get("options") or {}
    if where.get(length) is None:
        where[length] = 1


@SCHEMA.parametrize()
def test_requests_that_nobody_thought_of(
    case: Case, address: str, session: requests.Session, conversation: str
) -> None:
    steered(case, conversation)
    shortened(case)
    answer = case.call(base_url=address, session=session, timeout=60)
    answered[case.path, answer.status_code == 200] += 1
    case.validate_response(answer, checks=CHECKS)


def test_they_were_many_and_not_all_refused() -> None:
    assert sum(answered.values()) >= LEAST
    refused = [path for path in examples(NAME) if not answered[path, True]]
    assert set(refused) <= {"/v1/search"}  # it takes an index of documents
