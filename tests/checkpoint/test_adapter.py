"""Adapters in PEFT's files: what is read, what is refused by name, and a model with one merged into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haina.checkpoint.adapter import Adapter, Pair, fingerprint
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.convert import convert
from haina.checkpoint.merge import merge
from haina.checkpoint.read_safetensors import SafetensorsWriter, read_safetensors
from haina.model.config import ModelConfig
from haina.text.vocabulary import learn

CONFIG = ModelConfig(
    architecture="BaichuanForCausalLM",
    vocab_size=600,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=16,
    position="alibi",
    head="normed",
    max_position_embeddings=64,
)
LLAMA = replace(
    CONFIG,
    architecture="LlamaForCausalLM",
    position="rope",
    rotary_dim=16,
    num_key_value_heads=2,
    head="plain",
)
RANDOM = np.random.default_rng(0)
# As PEFT 0.3 wrote it for hiyouga/baichuan-7b-sft and others.
PUBLISHED = {
    "auto_mapping": None,
    "base_model_name_or_path": "baichuan-inc/Baichuan-7B",
    "bias": "none",
    "enable_lora": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layers_pattern": None,
    "layers_to_transform": None,
    "lora_alpha": 32.0,
    "lora_dropout": 0.1,
    "merge_weights": False,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 4,
    "revision": None,
    "target_modules": ["W_pack"],
    "task_type": "CAUSAL_LM",
}


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def stem(layer: int, target: str = "self_attn.W_pack") -> str:
    return f"base_model.model.model.layers.{layer}.{target}.lora_"


def arrays(layers: int = 2, rank: int = 4, rows: int = 192, cols: int = 64) -> dict[str, np.ndarray]:
    return {
        f"{stem(layer)}{half}.weight": normal(*shape)
        for layer in range(layers)
        for half, shape in (("A", (rank, cols)), ("B", (rows, rank)))
    }


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """written(tensors, key=value) → a folder with the published settings, changed."""

    def make(tensors: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
        folder = tmp_path / "adapter"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps(PUBLISHED | changes))
        tensors = arrays() if tensors is None else tensors
        lengths = len(tensors), sum(map(len, tensors))
        file = folder / "adapter_model.safetensors"
        with SafetensorsWriter(file, names=lengths[0], name_bytes=lengths[1]) as writer:
            for name, array in tensors.items():
                kind = {"float16": "F16", "float32": "F32", "int8": "I8"}[array.dtype.name]
                writer.write(writer.add(name, kind, array.shape), array.reshape(-1).view(np.uint8))
        return folder

    return make


@pytest.fixture(scope="module", params=[CONFIG, LLAMA], ids=["W_pack", "split"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = request.param
    tensors = ((name, normal(*shape) * np.float32(0.1)) for name, shape in config.tensor_shapes().items())
    folder = tmp_path_factory.mktemp("base") / "model"
    wire = learn(["海纳百川，有容乃大。", "the sea takes in a hundred rivers"] * 20, pieces=520)
    save(folder, config, tensors, tokenizer=wire, generation={"top_k": 5}, source={"licence": "MIT"})
    return Checkpoint.open(folder)


def test_an_adapter_knows_its_format_and_its_model(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Whatever its matrices are packed in; another model of the same shape is told."""
    pairs = {f"model.layers.{i}.mlp.down_proj": Pair(normal(2, 96), normal(64, 2)) for i in range(2)}
    format = {"user_token_id": 195, "assistant_token_id": 196}
    Adapter(pairs, 1, base="base", base_sha256=fingerprint(checkpoint), generation=format).write(
        tmp_path / "a"
    )
    adapter = Adapter.read(tmp_path / "a")
    convert(checkpoint, tmp_path / "w4", to="w4")
    packed = Checkpoint.open(tmp_path / "w4")
    assert adapter.doubts(checkpoint) == adapter.doubts(packed) == []
    merge(packed, adapter, tmp_path / "merged")
    assert Checkpoint.open(tmp_path / "merged").generation == {"top_k": 5} | format
    other = replace(adapter, base_sha256="0" * 64)
    assert "was trained on another model than" in other.doubts(checkpoint)[0]
    (tmp_path / "a" / "generation_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"generation_config\.json"):
        Adapter.read(tmp_path / "a")


def test_a_published_adapter_is_read(written: Callable[..., Path]) -> None:
    tensors = {name: array.astype(np.float16) for name, array in arrays().items()}
    adapter = Adapter.read(written(tensors))
    assert (adapter.rank, adapter.scale, adapter.targets) == (4, 8.0, ["W_pack"])
    assert (adapter.base, adapter.dropout) == ("baichuan-inc/Baichuan-7B", 0.1)
    changes = adapter.changes(CONFIG)
    assert (
        list(changes)[:2] == [f"model.layers.0.self_attn.{c}_proj.weight" for c in "qk"] and len(changes) == 6
    )
    whole = tensors[stem(1) + "B.weight"].astype(np.float32) * 8
    for number, c in enumerate("qkv"):
        a_RI, b_OR = changes[f"model.layers.1.self_attn.{c}_proj.weight"]
        np.testing.assert_array_equal(a_RI, tensors[stem(1) + "A.weight"].astype(np.float32))
        np.testing.assert_array_equal(b_OR, whole[64 * number : 64 * number + 64])


def test_a_bin_is_read_without_being_run(written: Callable[..., Path]) -> None:
    torch = pytest.importorskip("torch")
    folder, tensors = written(), arrays()
    (folder / "adapter_model.safetensors").unlink()
    named = {name.replace(".weight", ".default.weight"): torch.from_numpy(a) for name, a in tensors.items()}
    torch.save(named, folder / "adapter_model.bin")
    pair = Adapter.read(folder).pairs["model.layers.1.self_attn.W_pack"]
    np.testing.assert_array_equal(pair.a_RI, tensors[stem(1) + "A.weight"])

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("run",)

    torch.save({**named, "x": Evil()}, folder / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"adapter_model\.bin: .*print"):
        Adapter.read(folder)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    pairs = {"model.layers.1.mlp.up_proj": Pair(normal(3, 64), normal(96, 3))}
    adapter = Adapter(pairs, alpha=6, rslora=True, base="x/y", every_layer=False)
    assert adapter.scale == pytest.approx(6 / 3**0.5)
    adapter.write(tmp_path / "a")
    found = Adapter.read(tmp_path / "a")
    assert replace(found, pairs={}, where="") == replace(adapter, pairs={}, where="")
    np.testing.assert_array_equal(
        found.pairs["model.layers.1.mlp.up_proj"].b_OR, pairs["model.layers.1.mlp.up_proj"].b_OR
    )
    assert list(found.changes(CONFIG)) == ["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ValueError, match="already exists"):
        adapter.write(tmp_path / "a")


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"},
        {"r": 0},
        {"r": 4096},
        {"r": True},
        {"r": "4"},
        {"lora_alpha": "16"},
        {"use_dora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"modules_to_save": ["embed_tokens"]},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
        {"fan_in_fan_out": True},
        {"layer_replication": [[0, 1]]},
        {"trainable_token_indices": [5]},
        {"init_lora_weights": "pissa"},
        {"target_modules": ".*proj"},
        {"never_heard_of": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_would_compute_something_else_is_refused_by_name(
    written: Callable[..., Path], changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=rf"adapter_config\.json: {next(iter(changes))} = ") as caught:
        Adapter.read(written(**changes))
    assert "\n" not in str(caught.value)


def broken(name: str) -> tuple[dict[str, np.ndarray], str]:
    """Tensors with one thing wrong, and what the message says."""
    tensors, first = arrays(), stem(0) + "A.weight"
    if name == "nan":
        tensors[first][2, 3] = np.nan
        return tensors, "NaN"
    if name == "half":
        del tensors[stem(1) + "B.weight"]
        return tensors, r"layers\.1\.self_attn\.W_pack\.lora_B is missing"
    if name == "layer":
        return {
            n: a for n, a in tensors.items() if "layers.0" not in n
        }, r"W_pack of model\.layers\.0 is missing"
    if name == "rank":
        return arrays(rank=8), "rank 4"
    if name == "other rank in B":
        tensors[stem(0) + "B.weight"] = normal(192, 5)
        return tensors, "rank 4"
    if name == "dims":
        tensors[first] = normal(4)
        return tensors, r"F32 \[4\]"
    if name == "type":
        tensors[first] = np.ones((4, 64), np.int8)
        return tensors, "I8"
    if name == "nothing":
        return {}, "no tensor"
    return {**tensors, name: normal(4, 64)}, name.split(".")[-2]


@pytest.mark.parametrize(
    "name",
    [
        *("nan", "half", "layer", "rank", "other rank in B", "dims", "type", "nothing"),
        *("base_model.model.lm_head.lora_A.weight", "base_model.model.model.embed_tokens.lora_embedding_A"),
        *(stem(0) + "magnitude_vector.weight", stem(0, "self_attn.c_attn") + "A.weight"),
    ],
)
def test_a_broken_file_is_named(written: Callable[..., Path], name: str) -> None:
    tensors, message = broken(name)
    with pytest.raises(ValueError, match=rf"adapter_model\.safetensors: .*{message}") as caught:
        Adapter.read(written(tensors))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (arrays(cols=32), CONFIG, r"made for a matrix \[192, 32\], the model has \[192, 64\]"),
        (arrays(), LLAMA, r"made for a matrix \[192, 64\], the model has \[128, 64\]"),
        (arrays(layers=3), CONFIG, r"layers\.2\.self_attn\.W_pack is not in this model"),
        (arrays(layers=1), CONFIG, r"is one of 1 layers, the model has 2"),
    ],
    ids=["width", "grouped heads", "more layers", "fewer layers"],
)
def test_an_adapter_of_another_model_is_refused(
    written: Callable[..., Path], tensors: dict[str, np.ndarray], config: ModelConfig, message: str
) -> None:
    adapter = Adapter.read(written(tensors))
    with pytest.raises(ValueError, match=message):
        adapter.changes(config)


def test_a_folder_without_weights_names_the_file(written: Callable[..., Path]) -> None:
    folder = written()
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors"):
        Adapter.read(folder)
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        Adapter.read(folder / "nowhere")


@pytest.mark.parametrize("base", ["as it is", "w4", "bf16"])
def test_a_merged_model_has_the_sum(checkpoint: Checkpoint, base: str, tmp_path: Path) -> None:
    """Of packed weights, too: what they stand for, and the change. What the adapter leaves alone stays bitwise."""
    split = checkpoint.config.architecture.startswith("Llama")
    pairs = {f"model.layers.{i}.mlp.down_proj": Pair(normal(2, 96), normal(64, 2)) for i in range(2)}
    if not split:
        pairs |= {f"model.layers.{i}.self_attn.W_pack": Pair(normal(2, 64), normal(192, 2)) for i in range(2)}
    adapter = Adapter(pairs, alpha=1)
    if base == "w4":
        convert(checkpoint, tmp_path / "w4", to="w4")
        checkpoint = Checkpoint.open(tmp_path / "w4")
    merge(checkpoint, adapter, tmp_path / "merged", dtype="bf16" if base == "bf16" else None)
    found = Checkpoint.open(tmp_path / "merged")
    changes = adapter.changes(checkpoint.config)
    assert len(changes) == (2 if split else 8) and found.config == checkpoint.config
    assert found.generation == {"top_k": 5} and found.manifest.source["licence"] == "MIT"
    kind = {"as it is": "F32", "w4": "F16", "bf16": "BF16"}[base]
    for name in checkpoint.names():
        before = checkpoint.tensor(name).float32()
        if name in changes:
            before = before + changes[name].b_OR @ changes[name].a_RI
        after = found.tensor(name)
        if name != "lm_head.weight":  # a NormHead comes folded, in float32
            assert after.dtype == kind or len(after.shape) == 1
        step = {"F32": 1e-6, "F16": 1e-3, "BF16": 8e-3}[kind]
        np.testing.assert_allclose(after.float32(), before, rtol=step, atol=step / 10)
    stored = read_safetensors(tmp_path / "merged" / "model.safetensors")
    assert any("W_pack" in name for name in stored) == (not split)
