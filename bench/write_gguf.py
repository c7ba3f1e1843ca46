"""GGUF files for the other side: models of random blocks in any shape, and our own small model, weight for weight.

It writes with the `gguf` package, tensor by tensor, and reads nothing back. Layout and names: the package itself, and
llama.cpp's convert_hf_to_gguf.py (rows of q and k permuted, as its kernels rotate neighbouring dims).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from haina.model.config import ModelConfig

Type = gguf.GGMLQuantizationType
# Weights and bytes of a block, where its float16 scale lies, and a scale that gives weights of a sane size: blocks of
# random bytes would hold NaN and denormal scales, which have another speed.
BLOCKS = {Type.Q4_0: (32, 18, 0, 0.004), Type.Q6_K: (256, 210, 208, 0.0001), Type.Q8_0: (32, 34, 0, 0.0003)}
SAMPLE_BLOCKS = 1 << 16
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@dataclass(frozen=True)
class Tensor:
    """A tensor to write: its shape and type are known first, its bytes are made when their turn comes."""

    name: str
    shape: tuple[int, ...]
    kind: Type

    @property
    def byte_shape(self) -> tuple[int, ...]:
        if self.kind not in BLOCKS:
            return self.shape
        weights, size, *_ = BLOCKS[self.kind]
        return (*self.shape[:-1], self.shape[-1] // weights * size)


def gguf_name(name: str) -> str:
    """Our name of a tensor → llama.cpp's."""
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in whole:
        return whole[stem] + ".weight"
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{NAMES[part]}.weight"


def write_random(file: Path, config: ModelConfig, kind: Type = Type.Q4_0, head: Type = Type.Q6_K) -> None:
    """A model of random blocks: `kind` throughout, the head as llama-quantize chooses it for Q4_0 (Q6_K)."""
    tensors = []
    for name, shape in config.tensor_shapes().items():
        matrix = head if name == "lm_head.weight" else kind
        tensors.append(Tensor(gguf_name(name), shape, matrix if len(shape) == 2 else Type.F32))
    samples = {k: _sample(k) for k in (kind, head)}
    data = (
        np.ones(t.shape, np.float32) if len(t.shape) == 1 else np.resize(samples[t.kind], t.byte_shape)
        for t in tensors
    )
    _write(file, config, tensors, data)


def _sample(kind: Type) -> np.ndarray:
    _, size, at, scale = BLOCKS[kind]
    blocks = np.random.default_rng(0).integers(0, 256, (SAMPLE_BLOCKS, size), np.uint8)
    blocks[:, at : at + 2] = np.array([scale], np.float16).view(np.uint8)
    return blocks.reshape(-1)


def export(file: Path, config: ModelConfig, weights: dict[str, np.ndarray]) -> None:
    """A network with rotary positions as architecture "llama" in F32: float32 arrays under our names."""
    assert config.position == "rope" and config.rotary_dim == config.head_dim
    tensors = [Tensor(gguf_name(name), shape, Type.F32) for name, shape in config.tensor_shapes().items()]
    data = (_as_llama(name, weights[name], config) for name in config.tensor_shapes())
    _write(file, config, tensors, data, architecture="llama")


def _as_llama(name: str, w: np.ndarray, config: ModelConfig) -> np.ndarray:
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return w
    half = config.head_dim // 2
    return np.ascontiguousarray(w.reshape(-1, 2, half, w.shape[1]).swapaxes(1, 2)).reshape(w.shape)


def architecture_of(config: ModelConfig) -> str:
    """llama.cpp takes the positions of "baichuan" from the layer count, so other counts go as "llama"."""
    published = {"rope": 32, "alibi": 40}
    return "baichuan" if config.num_hidden_layers == published[config.position] else "llama"


def _write(
    file: Path,
    config: ModelConfig,
    tensors: list[Tensor],
    data: Iterator[np.ndarray],
    architecture: str | None = None,
) -> None:
    out = gguf.GGUFWriter(file, architecture or architecture_of(config))
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_dimension_count(config.head_dim)
    _add_vocabulary(out, config.vocab_size)
    for t in tensors:
        stored = np.float32 if t.kind == Type.F32 else np.uint8
        n_bytes = int(np.prod(t.byte_shape)) * np.dtype(stored).itemsize
        out.add_tensor_info(t.name, t.byte_shape, np.dtype(stored), n_bytes, raw_dtype=t.kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    for array in data:
        out.write_tensor_data(array)
    out.close()


def _add_vocabulary(out: gguf.GGUFWriter, size: int) -> None:
    """Pieces without meaning: both sides are fed ids."""
    pieces = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % i for i in range(256))]
    pieces += [b"t%d" % i for i in range(size - len(pieces))]
    out.add_tokenizer_model("llama")
    out.add_token_list(pieces)
    out.add_token_scores([-float(i) for i in range(size)])
    out.add_token_types([2, 3, 3] + [6] * 256 + [1] * (size - 259))
