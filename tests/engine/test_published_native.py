"""Engine and native forward against numbers that the published code computed (see tests/model/test_published.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Request
from haina.engine.runner import Step
from haina.engine.sampling import Sampling

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4  # absolute, on logits whose standard deviation is 1.6; measured: 1.3e-5

Reference = tuple[Engine, dict[str, np.ndarray], dict[str, Any]]


@pytest.fixture(scope="module", params=["7b-style", "13b-style", "baichuan2-7b-style", "baichuan2-13b-style"])
def reference(request: pytest.FixtureRequest) -> Reference:
    """The engine on a folder, and what the published code answered: arrays, and the facts about them."""
    folder = GOLDEN / request.param
    if not folder.is_dir():
        folder = request.getfixturevalue("data") / "baichuan-fixtures" / request.param
    facts = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    engine = Engine.open(Checkpoint.open(folder), cache_dtype="F32", cache_bytes=1 << 20, threads=2)
    return engine, dict(np.load(folder / "reference.npz")), facts


def step_of(engine: Engine, prompts: list[np.ndarray]) -> Step:
    """All tokens of all prompts in one batch, from position 0, each prompt on pages of its own."""
    lengths = [len(ids) for ids in prompts]
    page_start_B1 = np.cumsum([0] + [engine.pages.needed(length) for length in lengths], dtype=np.int32)
    return Step(
        ids_N=np.concatenate(prompts).astype(np.int32),
        at_N=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        row_start_B1=np.cumsum([0, *lengths], dtype=np.int32),
        pages=np.arange(page_start_B1[-1], dtype=np.int32),
        page_start_B1=page_start_B1,
        want_M=np.arange(sum(lengths), dtype=np.int32),
        hidden_M=np.arange(sum(lengths), dtype=np.int32),
    )


def test_logits_of_every_prompt_in_one_ragged_batch(reference: Reference) -> None:
    engine, arrays, facts = reference
    count = len(facts["prompts"])
    logits_NV = engine.runner.step(step_of(engine, [arrays[f"ids_{i}"] for i in range(count)])).logits_MV
    theirs_NV = np.concatenate([arrays[f"logits_{i}"] for i in range(count)])
    np.testing.assert_allclose(logits_NV, theirs_NV, rtol=0, atol=TOLERANCE)


def test_hidden_state_after_the_last_norm(reference: Reference) -> None:
    engine, arrays, _ = reference
    hidden_ND = engine.runner.step(step_of(engine, [arrays["ids_0"]])).hidden_MD
    np.testing.assert_allclose(hidden_ND, arrays["hidden_0"][-1], rtol=0, atol=TOLERANCE)


def test_greedy_answers_with_and_without_penalty_side_by_side(reference: Reference) -> None:
    engine, arrays, facts = reference
    decode, greedy = facts["decode"], facts["greedy"]
    penalty = Sampling(temperature=0, repetition_penalty=greedy["repetition_penalty"])
    asked = [
        Request(tuple(arrays[f"ids_{decode['prompt']}"]), decode["steps"], Sampling(temperature=0)),
        Request(tuple(arrays[f"ids_{greedy['prompt']}"]), greedy["max_new_tokens"], penalty),
    ]
    answers: dict[int, list[int]] = {}
    for token in engine.generate(asked):
        answers.setdefault(token.request, []).append(token.id)
    plain, penalised = (answers[number] for number in sorted(answers))
    assert plain == arrays["decode_tokens"].tolist()
    assert penalised == arrays["greedy_ids"][len(arrays[f"ids_{greedy['prompt']}"]) :].tolist()
