"""Adapters per request: as if merged, side by side in one step, and never with the keys and values of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haina.checkpoint.adapter import Adapter, Pair
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.merge import merge
from haina.engine.engine import Engine
from haina.engine.request import Asked, Beams, Embed, Event, Request, Score, Scores, Token, Vector
from haina.engine.sampling import Sampling
from haina.model.config import ModelConfig
from haina.text.vocabulary import learn

ALIBI = ModelConfig(
    architecture="BaichuanForCausalLM",
    vocab_size=600,
    hidden_size=48,
    intermediate_size=72,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=6,
    head_dim=8,
    position="alibi",
    head="normed",
    max_position_embeddings=512,
)
ROPE = replace(
    ALIBI, architecture="LlamaForCausalLM", num_key_value_heads=2, position="rope", rotary_dim=8, head="plain"
)
RANDOM = np.random.default_rng(0)
IDS = tuple(RANDOM.integers(3, 540, 90).tolist())
ANSWERS = (tuple(RANDOM.integers(3, 540, 9).tolist()), (7, 8))
GREEDY = Sampling(temperature=0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32) * np.float32(0.3)


def adapter(config: ModelConfig, rank: int, targets: Sequence[str]) -> Adapter:
    """Its changes are as large as the weights: nothing can hide."""
    shapes = {name.removesuffix(".weight"): shape for name, shape in config.tensor_shapes().items()}
    shapes |= {f"model.layers.{i}.self_attn.W_pack": (3 * 48, 48) for i in range(2)}
    chosen = {name: shape for name, shape in shapes.items() if name.rpartition(".")[2] in targets}
    pairs = {name: Pair(normal(rank, cols), normal(rows, rank)) for name, (rows, cols) in chosen.items()}
    return Adapter(pairs, alpha=rank)


@pytest.fixture(scope="module", params=[ROPE, ALIBI], ids=["rope", "alibi"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    shapes = request.param.tensor_shapes().items()
    tensors = ((name, normal(*shape) + np.float32(len(shape) == 1)) for name, shape in shapes)
    folder = tmp_path_factory.mktemp("base") / "model"
    wire = learn(["海纳百川，有容乃大。", "the sea takes in a hundred rivers"] * 20, pieces=520)
    save(folder, request.param, tensors, tokenizer=wire, generation={}, source={})
    return Checkpoint.open(folder)


@pytest.fixture(scope="module")
def adapters(checkpoint: Checkpoint) -> dict[str, Adapter]:
    """One on every matrix, and one as Baichuan's are; of ranks that fill no vector."""
    everywhere = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    packed = checkpoint.config.architecture.startswith("Baichuan")
    few = ["W_pack"] if packed else ["q_proj", "v_proj"]
    return {"all": adapter(checkpoint.config, 5, everywhere), "few": adapter(checkpoint.config, 1, few)}


def opened(
    checkpoint: Checkpoint, adapters: dict[str, Adapter], device: str = "cpu", bits: int = 16
) -> Engine:
    if device == "torch":
        pytest.importorskip("torch")
    kind = "F32" if device == "cpu" else "F16"  # torch keeps them in the type of the weights
    engine = Engine.open(checkpoint, device=device, bits=bits, cache_dtype=kind, threads=1)
    for name, one in adapters.items():
        engine.add_adapter(name, one)
    return engine


def served(engine: Engine, *asked: Asked) -> list[list[Event]]:
    """The events of each, asked for at once."""
    numbers = [engine.add(one) for one in asked]
    events: list[Event] = []
    while engine.busy:
        events += engine.step()
    return [[event for event in events if event.request == number] for number in numbers]


def nats(events: list[Event]) -> np.ndarray:
    (scores,) = events
    assert isinstance(scores, Scores) and not scores.error
    return np.array([token.nats for tokens in scores.tokens for token in tokens])


@pytest.mark.parametrize("device", ["cpu", "torch"])
@pytest.mark.parametrize("name", ["all", "few"])
def test_a_request_with_an_adapter_is_served_by_the_merged_model(
    checkpoint: Checkpoint, adapters: dict[str, Adapter], name: str, device: str, tmp_path: Path
) -> None:
    """Token by token, beams and vectors, too: what the two say differs by rounding alone."""
    merge(checkpoint, adapters[name], tmp_path / "merged")
    engine = opened(checkpoint, adapters, device)
    merged = opened(Checkpoint.open(tmp_path / "merged"), {}, device)
    score = Score(IDS, ANSWERS, top_logprobs=0)
    plain, expected = (nats(served(one, score)[0]) for one in (engine, merged))
    (found,) = served(engine, replace(score, adapter=name))
    assert np.abs(nats(found) - plain).max() > 0.1
    np.testing.assert_allclose(nats(found), expected, atol=1e-4)

    for asked in (Request(IDS, 12, GREEDY), Request(IDS, 6, n=2, beams=Beams(3))):
        (found,), (expected_tokens,) = served(engine, replace(asked, adapter=name)), served(merged, asked)
        for token, other in zip(found, expected_tokens, strict=True):
            assert isinstance(token, Token) and isinstance(other, Token)
            assert token.id == other.id and token.logprob_nats == pytest.approx(other.logprob_nats, abs=1e-3)
    (vector,), (other_vector,) = served(engine, Embed(IDS, adapter=name))[0], served(merged, Embed(IDS))[0]
    assert isinstance(vector, Vector) and isinstance(other_vector, Vector)
    np.testing.assert_allclose(vector.vector_D, other_vector.vector_D, atol=1e-4)


@pytest.mark.parametrize("bits", [16, 4])
def test_side_by_side_is_alone_bit_for_bit(
    checkpoint: Checkpoint, adapters: dict[str, Adapter], bits: int
) -> None:
    """Rows of two adapters and of none in the same steps; those of none as if there were no adapters at all."""
    asked = [
        Request(IDS[k : k + 40], 10, GREEDY, adapter=name)
        for k, name in enumerate(["all", "", "few", ""] * 2)
    ]
    together = served(opened(checkpoint, adapters, bits=bits), *asked)
    alone = opened(checkpoint, adapters, bits=bits)
    without = opened(checkpoint, {}, bits=bits)
    for one, found in zip(asked, together, strict=True):
        engine = alone if one.adapter else without
        (expected,) = served(engine, one)
        assert [(t.id, t.logprob_nats) for t in found] == [(t.id, t.logprob_nats) for t in expected]
        assert len(found) == 10


def test_torch_serves_adapters_side_by_side(checkpoint: Checkpoint, adapters: dict[str, Adapter]) -> None:
    asked = [
        Score(IDS[k : k + 20], ANSWERS, top_logprobs=0, adapter=name)
        for k, name in enumerate(["all", "", "few"])
    ]
    together = served(opened(checkpoint, adapters, "torch"), *asked)
    native = served(opened(checkpoint, adapters), *asked)
    for found, expected in zip(together, native, strict=True):
        np.testing.assert_allclose(nats(found), nats(expected), atol=1e-4)


def test_pages_are_found_by_the_same_adapter_alone(
    checkpoint: Checkpoint, adapters: dict[str, Adapter]
) -> None:
    engine = opened(checkpoint, adapters)
    shared = []
    for name in ("", "all", "few", "all", ""):
        first = served(engine, Request(IDS, 1, GREEDY, adapter=name))[0][0]
        assert isinstance(first, Token)
        shared.append(first.shared_tokens)
    assert shared == [0, 0, 0, 64, 64]


def test_bad_adapters_are_refused_in_one_line(checkpoint: Checkpoint, adapters: dict[str, Adapter]) -> None:
    engine = opened(checkpoint, adapters)
    with pytest.raises(ValueError, match="no adapter 'law'; there is: all, few"):
        engine.add(Request(IDS, adapter="law"))
    with pytest.raises(ValueError, match="'all': the name is taken"):
        engine.add_adapter("all", adapters["few"])
    wide = Adapter({"model.layers.0.mlp.up_proj": Pair(normal(2, 96), normal(72, 2))}, 2, every_layer=False)
    with pytest.raises(ValueError, match=r"made for a matrix \[72, 96\], the model has \[72, 48\]"):
        engine.add_adapter("wide", wide)
    (found,) = served(engine, Request(IDS, 3, GREEDY, adapter="all"))
    assert len(found) == 3
