"""The network said twice: forward.cpp equals model/decoder.py on every combination of switches, in fp32.

The Decoder gives the logits of each row in one pass without a cache. The native forward must give the same for
one prefill, token by token, and as a ragged batch whose rows advance unevenly over shuffled pages.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haina.model.config import ModelConfig  # noqa: E402
from haina.model.decoder import Decoder  # noqa: E402
from haina.native.binding import NativeModel  # noqa: E402

TOLERANCE = 1e-4
VOCABULARY = 61
IDS = [list(np.random.default_rng(n).integers(0, VOCABULARY, n)) for n in (33, 9, 1)]

SIZES = {
    "architecture": "LlamaForCausalLM",
    "vocab_size": VOCABULARY,
    "hidden_size": 52,
    "intermediate_size": 76,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "head_dim": 12,
    "max_position_embeddings": 64,
}


def network(**switches: object) -> tuple[Decoder, NativeModel]:
    """A Decoder with weights large enough to matter, and the same weights in a NativeModel."""
    config = ModelConfig(**(SIZES | switches))
    decoder = Decoder(config)
    random = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in decoder.parameters():
            scale = weight.shape[-1] ** -0.5 if weight.dim() == 2 else 0.3
            weight.copy_(torch.randn(weight.shape, generator=random) * scale + (weight.dim() == 1))
    tensors = {name: weight.detach().numpy() for name, weight in decoder.named_parameters()}
    if config.head == "normed":
        head = torch.nn.functional.normalize(decoder.lm_head.weight.detach(), dim=1, eps=1e-12)
        tensors["lm_head.weight"] = head.numpy()
    model = NativeModel(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        rms_norm_eps=config.rms_norm_eps,
        rope_theta=config.rope_theta,
        rotary_dim=config.rotary_dim,
        slopes_H=np.array(config.alibi_slopes(), np.float32) if config.position == "alibi" else None,
        tensors=tensors,
    )
    return decoder, model


def true_logits(decoder: Decoder, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return decoder(torch.tensor([ids]))[0].numpy()


@pytest.mark.parametrize("tie_word_embeddings", [False, True], ids=["", "tied"])
@pytest.mark.parametrize("qk_norm", [False, True], ids=["", "qk_norm"])
@pytest.mark.parametrize("qkv_bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("num_key_value_heads", [6, 2], ids=["", "grouped"])
@pytest.mark.parametrize("position, rotary_dim", [("rope", 12), ("rope", 4), ("alibi", 0)])
def test_native_equals_decoder(
    position, rotary_dim, num_key_value_heads, qkv_bias, qk_norm, tie_word_embeddings, Rows
) -> None:
    decoder, model = network(
        position=position,
        rotary_dim=rotary_dim,
        num_key_value_heads=num_key_value_heads,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        tie_word_embeddings=tie_word_embeddings,
    )
    true = [true_logits(decoder, ids) for ids in IDS]

    prefill = Rows(model).feed({"a": IDS[0]})["a"]
    assert np.abs(prefill - true[0]).max() < TOLERANCE

    steps = Rows(model)
    one_by_one = np.concatenate([steps.feed({"a": [token]})["a"] for token in IDS[0]])
    assert np.abs(one_by_one - true[0]).max() < TOLERANCE

    ragged = Rows(model)
    parts = [
        ragged.feed({"x": IDS[0][:2], "y": IDS[1][:8]}),
        ragged.feed({"z": IDS[2], "y": IDS[1][8:], "x": IDS[0][2:30]}),
        ragged.feed({"x": IDS[0][30:]}),
    ]
    for name, expected in zip("xyz", true, strict=True):
        logits = np.concatenate([part[name] for part in parts if name in part])
        assert np.abs(logits - expected).max() < TOLERANCE


def test_normed_head(Rows) -> None:
    decoder, model = network(num_key_value_heads=6, position="alibi", head="normed")
    difference = Rows(model).feed({"a": IDS[0]})["a"] - true_logits(decoder, IDS[0])
    assert np.abs(difference).max() < TOLERANCE


@pytest.mark.parametrize("position, rotary", [("rope", 12), ("alibi", 0)])
def test_far_positions(position, rotary, Rows) -> None:
    """Beyond 4096 angles and slopes are still right: the last tokens of a long row."""
    one = {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    decoder, model = network(**one, position=position, rotary_dim=rotary)
    ids = list(np.random.default_rng(0).integers(0, VOCABULARY, 4200))
    rows = Rows(model, pages=132, page_tokens=32)
    logits = np.concatenate([rows.feed({"a": ids[i : i + 700]})["a"] for i in range(0, 4200, 700)])
    assert np.abs(logits[-50:] - true_logits(decoder, ids)[-50:]).max() < TOLERANCE
