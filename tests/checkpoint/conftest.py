"""Model folders as people have them, made in a moment: tiny, random, in every layout and container."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import save_file

BAICHUAN_7B: dict[str, Any] = {
    "architectures": ["BaiChuanForCausalLM"],
    "model_type": "baichuan",
    "vocab_size": 40,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


@pytest.fixture
def hf() -> dict[str, Any]:
    """config.json of a tiny Baichuan-7B."""
    return dict(BAICHUAN_7B)


@pytest.fixture(scope="session")
def tokenizer_bytes() -> bytes:
    """A tokenizer.model of 30 pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["abcdefghijklmnop qrstuvw", "the sea takes in all rivers"] * 8),
        model_writer=model,
        model_type="bpe",
        vocab_size=30,
        minloglevel=2,
    )
    return model.getvalue()


def random_weights(
    hf: dict[str, Any], *, packed: bool = True, dtype: torch.dtype = torch.float16
) -> dict[str, Any]:
    """A state dict by the family's names, in the order of the network, from a fixed seed."""
    draw = torch.Generator().manual_seed(1)
    width, ffn, vocab = hf["hidden_size"], hf["intermediate_size"], hf["vocab_size"]
    kv_rows = width * hf.get("num_key_value_heads", hf["num_attention_heads"]) // hf["num_attention_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width)}
    for i in range(hf["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        qkv = {"W_pack": 3 * width} if packed else {"q_proj": width, "k_proj": kv_rows, "v_proj": kv_rows}
        shapes |= {f"{layer}self_attn.{name}.weight": (rows, width) for name, rows in qkv.items()}
        shapes[layer + "self_attn.o_proj.weight"] = (width, width)
        shapes[layer + "mlp.gate_proj.weight"] = (ffn, width)
        shapes[layer + "mlp.up_proj.weight"] = (ffn, width)
        shapes[layer + "mlp.down_proj.weight"] = (width, ffn)
        shapes[layer + "input_layernorm.weight"] = (width,)
        shapes[layer + "post_attention_layernorm.weight"] = (width,)
    shapes["model.norm.weight"] = (width,)
    if not hf["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, width)
    return {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in shapes.items()}


@pytest.fixture
def weights() -> Callable[..., dict[str, Any]]:
    return random_weights


@pytest.fixture
def folder(tmp_path: Path, tokenizer_bytes: bytes) -> Callable[..., Path]:
    """folder(hf, state_dict or {file name: state_dict}, how): writes a folder and returns its path.

    how: "zip" and "legacy" are torch.save's two containers, "safetensors" the library's writer.
    """

    def write(path: Path, state: dict[str, Any], how: str) -> None:
        if how == "safetensors":
            save_file(state, path, metadata={"format": "pt"})
        else:
            torch.save(state, path, _use_new_zipfile_serialization=how == "zip")

    def make(hf: dict[str, Any], state: dict[str, Any], how: str = "zip", *, shards: int = 1) -> Path:
        place = tmp_path / "model"
        place.mkdir()
        (place / "config.json").write_text(json.dumps(hf))
        (place / "tokenizer.model").write_bytes(tokenizer_bytes)
        stem, suffix = ("model", ".safetensors") if how == "safetensors" else ("pytorch_model", ".bin")
        if shards == 1:
            write(place / f"{stem}{suffix}", state, how)
            return place
        weight_map = {
            name: f"{stem}-{1 + i * shards // len(state):05}-of-{shards:05}{suffix}"
            for i, name in enumerate(state)
        }
        for file in set(weight_map.values()):
            write(place / file, {name: state[name] for name in state if weight_map[name] == file}, how)
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (place / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
        return place

    return make
