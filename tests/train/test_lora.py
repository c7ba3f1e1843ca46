"""LoRA: the gradient through packed weights, merging and back, and the same numbers as Hugging Face's PEFT."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import haina
from haina.checkpoint.adapter import Adapter, Pair
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.model.linear import Packed, PackedLinear
from haina.native.packing import PACKED, pack, unpack
from haina.text.vocabulary import learn
from haina.train.lora import Lora, fresh, open_decoder
from haina.train.objectives import next_token

CONFIG = ModelConfig(
    architecture="BaiChuanForCausalLM",
    vocab_size=600,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=16,
    rotary_dim=16,
    max_position_embeddings=64,
)
LLAMA = replace(CONFIG, architecture="LlamaForCausalLM", num_key_value_heads=2)
EVERYWHERE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IDS = torch.tensor(np.random.default_rng(1).integers(3, 540, (2, 24)))
BATCH = {"ids_BT": IDS, "targets_BT": IDS.roll(-1, 1)}


def noisy(adapter: Adapter, size: float = 0.1) -> Adapter:
    """As after training: B is not zero any more."""
    random = np.random.default_rng(2)
    pairs = {
        name: Pair(a, (random.standard_normal(b.shape) * size).astype(np.float32))
        for name, (a, b) in adapter.pairs.items()
    }
    return replace(adapter, pairs=pairs)


def decoder_of(config: ModelConfig) -> Decoder:
    decoder, random = Decoder(config), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random) * 0.1 + (weight.dim() == 1))
    return decoder


@pytest.fixture(scope="module", params=[False, True], ids=["own head", "tied"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = replace(LLAMA, tie_word_embeddings=request.param)
    tensors = ((name, weight.detach().numpy()) for name, weight in decoder_of(config).named_parameters())
    wire = learn(["海纳百川，有容乃大。", "the sea takes in a hundred rivers"] * 20, pieces=520)
    folder = tmp_path_factory.mktemp("packed") / "model"
    save(folder, config, tensors, tokenizer=wire, generation={}, source={})
    return Checkpoint.open(folder)


@pytest.mark.parametrize("dtype", PACKED)
def test_a_packed_layer_is_the_dense_one(dtype: str) -> None:
    """More rows than a tile, sizes that fill no block: y and dx of the dequantised matrix."""
    rows, cols = 1100, 72
    data = pack(dtype, np.random.default_rng(0).standard_normal((rows, cols), np.float32))
    dense = torch.from_numpy(unpack(dtype, data, rows, cols))
    layer = PackedLinear(Packed(dtype, data, rows, cols))
    x, dy = torch.randn(3, 5, cols, requires_grad=True), torch.randn(3, 5, rows)
    y = layer(x)
    y.backward(dy)
    torch.testing.assert_close(y, x @ dense.T, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(x.grad, dy @ dense, rtol=1e-5, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize("bits", [8, 4])
def test_gradients_through_packed_weights_equal_dense_ones(checkpoint: Checkpoint, bits: int) -> None:
    """Of every A and B, against a Decoder whose float32 weights are what the packed ones stand for."""
    packed = open_decoder(checkpoint, bits=bits)
    assert sum(p.numel() for p in packed.parameters()) == 5 * 64  # of matrices, none is left
    tensors = [(name, checkpoint.tensor(name, bits=bits).float32()) for name in checkpoint.names()]
    dense = Decoder.load(checkpoint.config, tensors)
    adapter = noisy(fresh(LLAMA, rank=4, targets=EVERYWHERE))
    gradients, losses = [], []
    for decoder in (packed, dense):
        lora = Lora(decoder, adapter)
        nats, loss = next_token(decoder, BATCH)
        loss.backward()
        losses.append(nats.item())
        gradients.append({n: p.grad for n, p in decoder.named_parameters() if p.requires_grad})
        assert all(p.grad is None for p in decoder.parameters() if not p.requires_grad)
        assert lora.parameters == sum(g.numel() for g in gradients[-1].values())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(gradients[0]) == 2 * 2 * len(EVERYWHERE)
    for name, gradient in gradients[0].items():
        expected = gradients[1][name]
        assert (gradient - expected).norm() <= 1e-3 * expected.norm() > 0, name


@pytest.mark.parametrize("targets", [("W_pack",), ("W_pack", "o_proj", "down_proj"), ("q_proj", "gate_proj")])
def test_merged_is_wrapped_and_unmerged_is_what_it_was(targets: tuple[str, ...]) -> None:
    decoder = decoder_of(CONFIG)
    before = {name: weight.detach().clone() for name, weight in decoder.named_parameters()}
    plain = decoder(IDS)
    lora = Lora(decoder, fresh(CONFIG, rank=3, targets=targets))
    assert torch.equal(decoder(IDS), plain)  # B is zero
    lora = Lora(decoder_of(CONFIG), noisy(fresh(CONFIG, rank=3, targets=targets)))
    wrapped = lora.decoder(IDS)
    assert (wrapped - plain).abs().max() > 0.1
    lora.merge()
    assert dict(lora.decoder.named_parameters()).keys() == before.keys()
    torch.testing.assert_close(lora.decoder(IDS), wrapped, rtol=1e-4, atol=1e-4)
    lora.unmerge()
    torch.testing.assert_close(lora.decoder(IDS), wrapped, rtol=1e-4, atol=1e-4)
    for name, layer in lora.layers.items():
        torch.testing.assert_close(layer.base.weight, before[f"{name}.weight"], rtol=0, atol=1e-6)


def test_packed_weights_cannot_take_it_up(checkpoint: Checkpoint) -> None:
    lora = Lora(open_decoder(checkpoint, bits=4), fresh(LLAMA))
    with pytest.raises(ValueError, match="haina merge"):
        lora.merge()


def test_w_pack_is_one_a_for_q_k_and_v(tmp_path: Path) -> None:
    """As Baichuan's own code has it: one product with A, one B of three times the width; trained, written, read."""
    adapter = noisy(
        fresh(CONFIG, rank=2, alpha=8, dropout=0.1, targets=["W_pack"], base="baichuan-inc/Baichuan-7B")
    )
    assert adapter.pairs["model.layers.1.self_attn.W_pack"].b_OR.shape == (3 * 64, 2)
    lora = Lora(decoder_of(CONFIG), adapter)
    trained = [p for p in lora.decoder.parameters() if p.requires_grad]
    assert len(trained) == 2 * (1 + 3) and lora.parameters == sum(p.numel() for p in trained) == 2 * 2 * 256
    torch.optim.SGD(trained, 0.1).zero_grad()
    next_token(lora.decoder.eval(), BATCH)[1].backward()
    torch.optim.SGD(trained, 0.1).step()
    lora.adapter().write(tmp_path / "adapter")
    found = Adapter.read(tmp_path / "adapter")
    assert (found.rank, found.alpha, found.dropout, found.base) == (2, 8, 0.1, "baichuan-inc/Baichuan-7B")
    again = Lora(decoder_of(CONFIG), found).decoder.eval()
    assert torch.equal(again(IDS), lora.decoder(IDS))


def test_training_lowers_the_loss_and_leaves_the_base() -> None:
    decoder = decoder_of(CONFIG)
    before = {name: weight.detach().clone() for name, weight in decoder.named_parameters()}
    lora = Lora(decoder, fresh(CONFIG, rank=8, dropout=0.05))
    optimiser = torch.optim.AdamW([p for p in decoder.parameters() if p.requires_grad], 0.03)
    nats = []
    for _ in range(12):
        loss, _ = next_token(decoder, BATCH)
        nats.append(loss.item())
        next_token(decoder, BATCH)[1].backward()
        optimiser.step()
        optimiser.zero_grad()
    assert nats[-1] < 0.8 * nats[0]
    for name, layer in lora.layers.items():
        assert torch.equal(layer.base.weight, before[f"{name}.weight"])


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's, of transformers
@pytest.mark.parametrize("rslora", [False, True])
def test_peft_computes_the_same(rslora: bool, tmp_path: Path) -> None:
    """PEFT loads what we write, we load what it writes, and both give the logits of the other."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    decoder = decoder_of(LLAMA)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA.to_hf())).eval()
    theirs.load_state_dict(dict(decoder.named_parameters()), strict=False)
    torch.testing.assert_close(theirs(IDS).logits, decoder(IDS), rtol=1e-4, atol=1e-4)

    adapter = replace(noisy(fresh(LLAMA, rank=4, alpha=6, targets=EVERYWHERE)), rslora=rslora)
    adapter.write(tmp_path / "ours")
    ours = Lora(decoder, adapter).decoder(IDS)
    wrapped = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours")
    torch.testing.assert_close(wrapped(IDS).logits, ours, rtol=1e-4, atol=1e-4)

    wrapped.save_pretrained(tmp_path / "theirs")
    found = Adapter.read(tmp_path / "theirs")
    torch.testing.assert_close(Lora(decoder_of(LLAMA), found).decoder(IDS), ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"targets": ["q_prog"]}, "q_prog"),
        ({"targets": ["W_pack", "k_proj"]}, "together"),
        ({"targets": []}, "none"),
        ({"rank": 0}, "rank 0"),
        ({"rank": 257}, "rank 257"),
    ],
)
def test_what_cannot_be_trained_is_named(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fresh(CONFIG, **asked)


def test_the_example_teaches_the_embedded_model(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    text, weights = tmp_path / "text.txt", Path(haina.__file__).with_name("weights")
    text.write_text("白日依山尽，黄河入海流。欲穷千里目，更上一层楼。" * 60, "utf-8")
    command = [sys.executable, root / "examples" / "lora.py", weights, text, tmp_path / "adapter"]
    alone = os.environ | {
        "OMP_NUM_THREADS": "1"
    }  # for a network so small two threads only wait for each other
    said = subprocess.run(command, env=alone, capture_output=True, text=True, check=True).stdout.splitlines()
    first, last = (float(line.split()[0]) for line in (said[0], said[-1]))
    assert len(said) == 20 and last < 0.8 * first
    adapter = Adapter.read(tmp_path / "adapter")
    assert adapter.rank == 8 and len(adapter.changes(Checkpoint.open(weights).config)) > 0
