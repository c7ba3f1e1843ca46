"""Checkpoint and Decoder against numbers that the published code computed: Baichuan 1 and 2, 7B and 13B made tiny.

Baichuan 1 is in the data folder, Baichuan 2 in tests/golden (its README says how the numbers were made).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from haina.checkpoint.checkpoint import Checkpoint
from haina.model.cache import PlainCache
from haina.model.decoder import Decoder
from haina.text.messages import Message, assemble_published, template_for

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4  # absolute, on logits whose standard deviation is 1.6; measured: 1.1e-5


@dataclass(frozen=True)
class Published:
    """A folder as we read it, and what the published code answered."""

    checkpoint: Checkpoint
    decoder: Decoder
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    def ids(self, prompt: int) -> list[int]:
        return self.arrays[f"ids_{prompt}"].tolist()


@pytest.fixture(scope="module", params=["7b-style", "13b-style", "baichuan2-7b-style", "baichuan2-13b-style"])
def published(request: pytest.FixtureRequest) -> Published:
    folder = GOLDEN / request.param
    if not folder.is_dir():
        folder = request.getfixturevalue("data") / "baichuan-fixtures" / request.param
    checkpoint = Checkpoint.open(folder)
    decoder = Decoder.load(checkpoint.config, ((name, raw.float32()) for name, raw in checkpoint.tensors()))
    facts = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    return Published(checkpoint, decoder.eval(), dict(np.load(folder / "reference.npz")), facts)


def assert_equal(ours: Tensor, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_logits_of_every_token(published: Published) -> None:
    for prompt, _ in enumerate(published.facts["prompts"]):
        logits_TV = published.decoder(torch.tensor([published.ids(prompt)]))[0]
        assert_equal(logits_TV, published.arrays[f"logits_{prompt}"])


@torch.no_grad()
def test_hidden_state_after_the_last_norm(published: Published) -> None:
    assert_equal(
        published.decoder.hidden(torch.tensor([published.ids(0)]))[0], published.arrays["hidden_0"][-1]
    )


@torch.no_grad()
def test_token_by_token_through_a_cache(published: Published) -> None:
    tokens = published.arrays["decode_tokens"].tolist()
    feed = published.ids(published.facts["decode"]["prompt"])
    cache, at, rows = PlainCache(published.decoder.config, rows=1, capacity=len(feed) + len(tokens)), 0, []
    for token in tokens:
        at_BT = torch.arange(at, at + len(feed))[None]
        rows.append(published.decoder(torch.tensor([feed]), at_BT, cache.reach(at_BT))[0, -1])
        feed, at = [token], at + len(feed)
    assert_equal(torch.stack(rows), published.arrays["decode_logits"])
    assert torch.stack(rows).argmax(1).tolist() == tokens


def test_prompts_and_conversations_have_the_published_ids(published: Published) -> None:
    checkpoint, tokenizer = published.checkpoint, published.checkpoint.tokenizer
    template = template_for(checkpoint.config.architecture, checkpoint.generation)
    assert template is not None
    for prompt, text in enumerate(published.facts["prompts"]):
        assert tokenizer.encode(text) == published.ids(prompt)
    for case in published.facts["chat"]:
        ids = assemble_published(
            [Message(**message) for message in case["messages"]],
            tokenizer,
            template,
            context_tokens=checkpoint.config.max_position_embeddings,
            max_new_tokens=case["max_new_tokens"],
        )
        assert ids == case["ids"], case["note"]


def test_alibi_slopes_of_twelve_heads_and_of_the_released_forty(data: Path) -> None:
    folder = data / "baichuan-fixtures" / "13b-style"
    config, arrays = Checkpoint.open(folder).config, np.load(folder / "reference.npz")
    released = replace(config, num_attention_heads=40, num_key_value_heads=40)
    np.testing.assert_allclose(config.alibi_slopes(), arrays["alibi_slopes"], rtol=1e-6)
    np.testing.assert_allclose(released.alibi_slopes(), arrays["alibi_slopes_40"], rtol=1e-6)
