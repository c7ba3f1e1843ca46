"""Model folders as people have them, made in a moment: tiny, random, in every layout and container."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
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


IN_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_tensors(hf: dict[str, Any], state: dict[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of a folder as llama.cpp's converter names and orders them (convert_hf_to_gguf.py), in float32."""
    heads = {"q": hf["num_attention_heads"], "k": hf.get("num_key_value_heads", hf["num_attention_heads"])}
    found = {}
    for name, tensor in state.items():
        parts = {name: tensor}
        if ".W_pack." in name:
            parts = {
                name.replace("W_pack", f"{which}_proj"): part
                for which, part in zip("qkv", tensor.chunk(3), strict=True)
            }
        for part_name, part in parts.items():
            w = part.float().numpy()
            if match := re.search(r"self_attn\.([qk])_proj", part_name):
                w = w.reshape(heads[match[1]], 2, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
            stem = part_name.removesuffix(".weight")
            if layer := re.fullmatch(r"model\.layers\.(\d+)\.(.*)", stem):
                found[f"blk.{layer[1]}.{IN_GGUF[layer[2]]}.weight"] = w
            else:
                found[f"{IN_GGUF[stem]}.weight"] = w
    return found


@pytest.fixture
def write_gguf(tmp_path: Path, tokenizer_bytes: bytes) -> Callable[..., Path]:
    """write_gguf(hf, state, type): the file that the converter makes of a folder, matrices of that type.

    metadata: keys to change; None takes one away. tensors: tensors to change or add, by their names in the file.
    """

    def make(
        hf: dict[str, Any],
        state: dict[str, Any],
        type: str = "F32",
        *,
        name: str = "model.gguf",
        metadata: dict[str, Any] | None = None,
        tensors: dict[str, Any] | None = None,
    ) -> Path:
        path = tmp_path / name
        arch = "llama" if hf["architectures"][0].startswith("L") else "baichuan"
        keys = {
            **gguf_metadata(arch, hf),
            **gguf_vocabulary(tokenizer_bytes),
            **(metadata or {}),
        }
        writer = gguf.GGUFWriter(path, keys.pop("general.architecture"))
        for key, value in keys.items():
            if value is not None:
                kind, *rest = (
                    value if isinstance(value, tuple) else (gguf.GGUFValueType.get_type(value), value)
                )
                writer.add_key_value(key, rest[0], kind, *rest[1:])
        for tensor_name, w in (gguf_tensors(hf, state) | (tensors or {})).items():
            kind = gguf.GGMLQuantizationType[type if w.ndim == 2 else "F32"]
            writer.add_tensor(tensor_name, gguf.quants.quantize(w, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return make


def gguf_metadata(arch: str, hf: dict[str, Any]) -> dict[str, Any]:
    """Key → (type, value), as the converter writes them."""
    U32, F32 = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.FLOAT32
    heads = hf["num_attention_heads"]
    return {
        "general.architecture": arch,
        f"{arch}.context_length": (U32, hf.get("max_position_embeddings") or hf["model_max_length"]),
        f"{arch}.embedding_length": (U32, hf["hidden_size"]),
        f"{arch}.block_count": (U32, hf["num_hidden_layers"]),
        f"{arch}.feed_forward_length": (U32, hf["intermediate_size"]),
        f"{arch}.rope.dimension_count": (U32, hf["hidden_size"] // heads),
        f"{arch}.attention.head_count": (U32, heads),
        f"{arch}.attention.head_count_kv": (U32, hf.get("num_key_value_heads", heads)),
        f"{arch}.attention.layer_norm_rms_epsilon": (F32, hf["rms_norm_eps"]),
        f"{arch}.vocab_size": (U32, hf["vocab_size"]),
    }


def gguf_vocabulary(model: bytes) -> dict[str, Any]:
    """The keys of a SentencePiece vocabulary."""
    spm = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(spm.get_piece_size())
    kinds = [
        2 if spm.is_unknown(id) else 3 if spm.is_control(id) else 6 if spm.is_byte(id) else 1 for id in ids
    ]
    ARRAY, STRING, F32, I32, U32 = (
        gguf.GGUFValueType[n] for n in ("ARRAY", "STRING", "FLOAT32", "INT32", "UINT32")
    )
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": (ARRAY, [spm.id_to_piece(id) for id in ids], STRING),
        "tokenizer.ggml.scores": (ARRAY, [spm.get_score(id) for id in ids], F32),
        "tokenizer.ggml.token_type": (ARRAY, kinds, I32),
        "tokenizer.ggml.bos_token_id": (U32, spm.bos_id()),
        "tokenizer.ggml.eos_token_id": (U32, spm.eos_id()),
    }


@dataclass
class Nf4:
    """A matrix as bitsandbytes quantises it: nibbles, high one first, scales nested in bytes; and its values."""

    nibbles: torch.Tensor  # uint8 [n/2, 1]
    absmax: torch.Tensor  # uint8 [blocks]
    absmax2: torch.Tensor  # float32
    code2: torch.Tensor  # float32 [256]
    offset: torch.Tensor  # float32, without a dimension
    code: torch.Tensor  # float32 [16]
    shape: torch.Size
    values: np.ndarray  # float32, of that shape

    def state(self) -> list[Any]:
        """quant_state as bitsandbytes had it before 0.41.2, and Baichuan2's 4bits folders have it."""
        nested = [self.absmax2, self.code2, 256, False, torch.float32, None, None]
        return [self.absmax, self.shape, torch.float16, 64, [self.offset, nested], "nf4", self.code]

    def parts(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors that later versions write (`QuantState.as_dict(packed=True)`)."""
        about = {
            "quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": list(self.shape),
            "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": self.offset.item(),
        }  # fmt: skip
        return {
            name: self.nibbles,
            f"{name}.absmax": self.absmax,
            f"{name}.quant_map": self.code,
            f"{name}.nested_absmax": self.absmax2,
            f"{name}.nested_quant_map": self.code2,
            f"{name}.quant_state.bitsandbytes__nf4": torch.tensor(
                list(json.dumps(about).encode()), dtype=torch.uint8
            ),
        }


def nf4(w: torch.Tensor) -> Nf4:
    """Quantise a matrix (QLoRA, arXiv:2305.14314, section 3); plain and slow, apart from the reader in every step."""
    code = torch.tensor(
        [
            -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
            -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
            0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
            0.7229568362236023, 1,
        ]
    )  # fmt: skip
    flat = torch.nn.functional.pad(w.float().reshape(-1), (0, -w.numel() % 64)).reshape(-1, 64)
    scales = flat.abs().amax(1)
    code2, offset = torch.linspace(-1, 1, 256), scales.mean()
    rest = torch.nn.functional.pad(scales - offset, (0, -len(scales) % 256)).reshape(-1, 256)
    absmax2 = rest.abs().amax(1)
    absmax = (
        (rest / absmax2[:, None]).reshape(-1, 1).sub(code2).abs().argmin(1).to(torch.uint8)[: len(scales)]
    )
    scales = code2[absmax.long()] * absmax2.repeat_interleave(256)[: len(scales)] + offset
    indices = (flat / scales[:, None])[..., None].sub(code).abs().argmin(-1)
    values = (code[indices] * scales[:, None]).reshape(-1)[: w.numel()].reshape(w.shape).numpy()
    even, odd = indices.reshape(-1)[: w.numel()].reshape(-1, 2).T
    nibbles = (even << 4 | odd).to(torch.uint8)[:, None]
    return Nf4(nibbles, absmax, absmax2, code2, offset, code, w.shape, values)


@pytest.fixture
def in_nf4() -> Callable[..., tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """in_nf4(state, flat): the state dict of a 4bits folder, and the values of its matrices by their names."""

    def quantise(
        state: dict[str, Any], *, flat: bool = False
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        found, values = dict(state), {}
        for name in [name for name in state if ".layers." in name and state[name].dim() == 2]:
            matrix = nf4(found.pop(name))
            values[name] = matrix.values
            found |= (
                matrix.parts(name)
                if flat
                else {f"{name}.data": matrix.nibbles, f"{name}.quant_state": matrix.state()}
            )
        return found, values

    return quantise
