"""Decoder against LlamaForCausalLM of transformers, an independent implementation, on random weights."""

from __future__ import annotations

import pytest
import torch

from haina.model.config import ModelConfig
from haina.model.decoder import Decoder

transformers = pytest.importorskip("transformers")

SHAPE = {
    "vocab_size": 131,
    "hidden_size": 72,
    "intermediate_size": 100,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param({"num_key_value_heads": 2}, id="grouped heads"),
        pytest.param({"num_key_value_heads": 1, "tie_word_embeddings": True}, id="tied"),
        pytest.param({"num_key_value_heads": 6, "head_dim": 20}, id="wide heads"),
    ],
)
@torch.no_grad()
def test_logits_equal_those_of_transformers(switches: dict[str, int]) -> None:
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, **switches)).eval()
    for name, weight in theirs.named_parameters():
        weight.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.1 if weight.dim() == 1 else 0.2)
    hf = {**theirs.config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    ours = Decoder.load(ModelConfig.from_hf(hf), ((n, p.numpy()) for n, p in theirs.named_parameters()))
    ids_BT = torch.randint(0, SHAPE["vocab_size"], (2, 40))
    assert torch.allclose(ours(ids_BT), theirs(ids_BT).logits, rtol=0, atol=1e-4)
