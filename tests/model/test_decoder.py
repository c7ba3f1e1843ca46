"""Decoder: training and inference are one function, the switches do what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import haina.model.decoder
from haina.model.cache import PlainCache
from haina.model.config import SIZES, ModelConfig
from haina.model.decoder import Decoder, Place

BASE = ModelConfig(
    architecture="LlamaForCausalLM",
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=6,
    head_dim=8,
    rotary_dim=8,
    max_position_embeddings=64,
)
SWITCHES = {
    "rope": BASE,
    "alibi": replace(BASE, position="alibi", rotary_dim=0),
    "normed": replace(BASE, head="normed"),
    "grouped": replace(BASE, num_key_value_heads=2),
    "tied": replace(BASE, tie_word_embeddings=True),
    "bias, qk norm, half rotary": replace(BASE, qkv_bias=True, qk_norm=True, rotary_dim=4),
    "wide heads": replace(BASE, head_dim=16, rotary_dim=16),
}


def random_decoder(config: ModelConfig) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(config)
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.2)
    return decoder.eval()


@pytest.mark.parametrize("config", SWITCHES.values(), ids=SWITCHES)
def test_parameters_are_the_tensors_of_the_config(config: ModelConfig) -> None:
    assert {name: tuple(p.shape) for name, p in Decoder(config).named_parameters()} == config.tensor_shapes()


@pytest.mark.parametrize("config", SWITCHES.values(), ids=SWITCHES)
@torch.no_grad()
def test_token_by_token_equals_all_at_once(config: ModelConfig) -> None:
    decoder, ids_BT = random_decoder(config), torch.randint(0, 97, (3, 17))
    cache, parts = PlainCache(config, rows=3, capacity=20), []
    for at in torch.arange(17).expand(3, 17).split([5, 1, 1, 10], dim=1):
        parts.append(decoder(ids_BT[:, at[0, 0] : at[0, -1] + 1], at, cache.reach(at)))
    assert torch.allclose(torch.cat(parts, 1), decoder(ids_BT), atol=2e-5)


@pytest.mark.parametrize("config", SWITCHES.values(), ids=SWITCHES)
def test_a_few_tokens_at_a_time_gather_what_all_at_once_do(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits and gradients, of rows in which texts begin at different places."""
    monkeypatch.setattr(haina.model.decoder, "QUERIES", 5)
    decoder, ids_BT = random_decoder(config), torch.randint(0, 97, (2, 19))
    at_BT = torch.stack([torch.arange(19) % 7, torch.arange(19) % 12])
    decoder(ids_BT, at_BT).square().mean().backward()
    near, windows = (
        [w.grad for w in decoder.parameters()],
        Place(decoder.model.position, at_BT, None, near=True).windows,
    )
    decoder.zero_grad(set_to_none=True)
    decoder.model.near = False
    decoder(ids_BT, at_BT).square().mean().backward()
    for grad, weight in zip(near, decoder.parameters(), strict=True):
        torch.testing.assert_close(grad, weight.grad, rtol=1e-4, atol=1e-5 * float(weight.grad.abs().max()))
    assert [(first, end) for first, end, _ in windows] == [(0, 5), (0, 10), (0, 15), (12, 19)]


@torch.no_grad()
def test_rows_of_different_length_do_not_see_each_other() -> None:
    decoder = random_decoder(SWITCHES["alibi"])
    long, short = torch.randint(0, 97, (1, 9)), torch.randint(0, 97, (1, 4))
    cache = PlainCache(decoder.config, rows=2, capacity=16)
    for row, ids in ((0, long), (1, short)):  # fill the rows one by one through a batch of two
        at = torch.arange(ids.shape[1]).expand(2, -1)
        pair = torch.zeros(2, ids.shape[1], dtype=torch.long)
        pair[row] = ids[0]
        keep = cache.k_LBKSE[:, 1 - row].clone(), cache.v_LBKSE[:, 1 - row].clone()
        decoder(pair, at, cache.reach(at))
        cache.k_LBKSE[:, 1 - row], cache.v_LBKSE[:, 1 - row] = keep
    at = torch.tensor([[9], [4]])
    both = decoder(torch.tensor([[7], [8]]), at, cache.reach(at))
    assert torch.allclose(both[0, 0], decoder(torch.cat([long, torch.tensor([[7]])], 1))[0, -1], atol=2e-5)
    assert torch.allclose(both[1, 0], decoder(torch.cat([short, torch.tensor([[8]])], 1))[0, -1], atol=2e-5)


@torch.no_grad()
def test_neighbours_beyond_256_are_told_apart_in_bf16() -> None:
    """bf16 has no 4001 (Baichuan 2 report, section 2.5): angles must not be bf16."""
    decoder = random_decoder(BASE).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        cos, _ = decoder.model.position.angles(torch.tensor([[4000, 4001]]))
    assert cos.dtype == torch.float32
    assert cos[0, 0, :, 0].tolist() == pytest.approx([math.cos(4000), math.cos(4001)], abs=1e-6)


@pytest.mark.parametrize(("dtype", "autocast"), [("float32", False), ("bfloat16", False), ("float32", True)])
@pytest.mark.parametrize("cached", ["float32", "bfloat16"])
@torch.no_grad()
def test_alibi_tells_far_neighbours_apart_in_bf16(dtype: str, autocast: bool, cached: str) -> None:
    """The token at 4001 sees two equal keys, 4001 and 4000 back: the nearer wins by its head's slope, as in fp32."""
    config = replace(SWITCHES["alibi"], qkv_bias=True, num_hidden_layers=1)
    model = Decoder(config).model.to(getattr(torch, dtype))
    attention = model.layers[0].self_attn
    for weight in attention.parameters():
        weight.zero_()
    attention.q_proj.bias.fill_(32.0)
    attention.o_proj.weight.copy_(torch.eye(48))
    cache = PlainCache(config, rows=1, capacity=4002, dtype=getattr(torch, cached))
    cache.k_LBKSE[:, :, :, :2] = 32.0  # q·k / √8 = 2896, more than any slope takes away
    cache.v_LBKSE[:, :, :, 1] = 1.0
    at_BT = torch.tensor([[4001]])
    place = Place(model.position, at_BT, cache.reach(at_BT))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y_BTD = attention(torch.zeros(1, 1, 48, dtype=getattr(torch, dtype)), place)
    share_H = y_BTD.float().view(6, 8)[:, 0]
    assert torch.allclose(share_H, torch.sigmoid(torch.tensor(config.alibi_slopes())), atol=3e-3)


def test_published_sizes_without_memory() -> None:
    with torch.device("meta"):
        for config in (SIZES["baichuan-7b"], SIZES["baichuan-13b"]):
            assert sum(p.numel() for p in Decoder(config).parameters()) == config.parameters


@torch.no_grad()
def test_load_takes_arrays_by_name() -> None:
    decoder = random_decoder(SWITCHES["tied"])
    again = Decoder.load(decoder.config, ((n, p.numpy()) for n, p in decoder.named_parameters()))
    assert torch.equal(again(ids := torch.arange(8)[None]), decoder(ids))
