"""ModelConfig: published shapes, the rules that tell families apart, and what is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from haina.model.config import SIZES, ModelConfig

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
BAICHUAN = {**LLAMA, "architectures": ["BaichuanForCausalLM"]}


@pytest.mark.parametrize(
    ("name", "parameters", "kv_bytes"),
    [
        ("baichuan-7b", 7_000_559_616, 524_288),
        ("baichuan-13b", 13_264_901_120, 819_200),
        ("baichuan2-7b", 7_505_973_248, 524_288),
        ("baichuan2-13b", 13_896_668_160, 819_200),
    ],
)
def test_published_shapes_are_exact(name: str, parameters: int, kv_bytes: int) -> None:
    assert SIZES[name].parameters == parameters
    assert SIZES[name].kv_bytes_per_token(2) == kv_bytes


@pytest.mark.parametrize("name", SIZES)
def test_what_we_write_is_what_we_read(name: str) -> None:
    assert ModelConfig.from_hf(SIZES[name].to_hf()) == SIZES[name]


@pytest.mark.parametrize(
    ("change", "position", "head"),
    [
        ({}, "rope", "plain"),
        ({"max_position_embeddings": None, "model_max_length": 128}, "alibi", "plain"),
        ({"architectures": ["BaiChuanForCausalLM"]}, "rope", "plain"),
        ({"architectures": ["BaiChuanForCausalLM"], "z_loss_weight": 0}, "rope", "normed"),
        ({"architectures": ["BaiChuanForCausalLM"], "vocab_size": 125696}, "rope", "normed"),
        ({"z_loss_weight": None}, "rope", "plain"),
        ({"z_loss_weight": 0}, "rope", "normed"),
        ({"vocab_size": 125696}, "rope", "normed"),
        # a 13B to which someone added the key by hand (Baichuan2#172)
        ({"hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40}, "alibi", "plain"),
    ],
)
def test_one_class_name_means_four_networks(change: dict[str, Any], position: str, head: str) -> None:
    config = ModelConfig.from_hf(BAICHUAN | change)  # null: as if the key were not there
    assert (config.position, config.head) == (position, head)


def test_llama_with_grouped_heads_and_a_theta_from_transformers_5() -> None:
    config = ModelConfig.from_hf(LLAMA | {"num_key_value_heads": 2, "rope_parameters": {"rope_theta": 5e6}})
    assert config.num_key_value_heads == 2 and config.rope_theta == 5e6
    assert config.tensor_shapes()["model.layers.1.self_attn.k_proj.weight"] == (32, 64)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, "Qwen2ForCausalLM"),
        ({"architectures": None, "model_type": "bert"}, "bert"),
        ({"hidden_size": -4}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 10**12}, "hidden_size"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"vocab_size": "64000"}, "vocab_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "rope_scaling"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"sliding_window": 4096}, "sliding_window"),
        ({"attention_bias": True}, "attention_bias"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"max_position_embeddings": None}, "max_position_embeddings"),
        ({"mlp_bias": True}, "mlp_bias"),
        (
            {"rope_scaling": {"type": "default"}, "rope_parameters": {"type": "linear"}},
            "rope_parameters: type",
        ),
        ({"rope_scaling": {"rope_type": "default", "type": "linear"}}, "rope_scaling: type"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}}, "rope_theta"),
        ({"rope_scaling": [1]}, "rope_scaling"),
        ({"head_dim": None, "hidden_size": 4100, "num_attention_heads": 32}, "num_attention_heads"),
    ],
)
def test_what_we_cannot_run_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ModelConfig.from_hf(LLAMA | change)


@pytest.mark.parametrize(
    "change",
    [
        {"sliding_window": None, "attention_bias": False, "mlp_bias": False, "use_cache": True},
        {"architectures": ["LLaMAForCausalLM"]},
        {"model_max_length": 4096},
        {"attention_dropout": 0.1, "hidden_dropout": 0.1, "resid_pdrop": 0.1, "dropout": 0.1},
        {"_attn_implementation_autoset": True, "use_flash_attention_2": True, "unsloth_version": "2024.9"},
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}},
    ],
)
def test_what_does_not_change_the_network_is_no_obstacle(change: dict[str, Any]) -> None:
    config = ModelConfig.from_hf(LLAMA | change)
    assert replace(config, architecture="LlamaForCausalLM") == ModelConfig.from_hf(LLAMA)


def test_the_context_of_early_llama_has_another_name() -> None:
    early = {"max_position_embeddings": None, "max_sequence_length": 64}
    assert ModelConfig.from_hf(LLAMA | early).max_position_embeddings == 64
    assert ModelConfig.from_hf(LLAMA | {"max_sequence_length": 64}).max_position_embeddings == 128


def test_published_configs_are_read(data: Path) -> None:
    published = json.loads((data / "baichuan" / "configs.json").read_text("utf-8"))
    config = ModelConfig.from_hf(
        published["Baichuan-7B"]["values"] | {"architectures": ["BaiChuanForCausalLM"]}
    )
    assert config == SIZES["baichuan-7b"]


def test_errors_speak_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match="海纳不能运行"):
        ModelConfig.from_hf({})
