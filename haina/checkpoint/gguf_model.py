"""What a GGUF file says about a model, in our words: its config, its tensors by our names, its vocabulary.

`read_gguf` reads the bytes; this module knows what llama.cpp's converter (ggml-org/llama.cpp@c392e50
`convert_hf_to_gguf.py`) does to a model on the way into the file, and undoes it:

- q and k rows of LLaMA and Baichuan are interleaved for rotation in pairs: put back (`Interleaved`);
- Baichuan says neither RoPE nor ALiBi: 32 layers rotate, 40 have ALiBi, as llama.cpp decides; others are refused;
- Baichuan 2's NormHead is not applied in the file: the config says that it is still to be folded.

Not known here: the vocabulary (`gguf_vocabulary`), how a checkpoint is used. Nothing is computed but the order of rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from haina.checkpoint.gguf_vocabulary import tokenizer_model
from haina.checkpoint.raw import Raw, Stored
from haina.checkpoint.read_gguf import Gguf, damaged, read_gguf
from haina.checkpoint.read_json import read_json_object
from haina.model.config import ModelConfig
from haina.wording import say

BAICHUAN_2_PIECES = 125696  # rows from there on: Baichuan 2, whose head is a NormHead; Baichuan 1 has 64,000

# Tensors by the names in the file, `blk.{i}.` before the second kind.
_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
IN_GGUF = {ours: theirs for theirs, ours in _NAMES.items()}
LAYERS_IN_GGUF = {ours: theirs for theirs, ours in _LAYER_NAMES.items()}
_LAYER = re.compile(r"blk\.(0|[1-9]\d{0,4})\.(\w+)\.weight")
_INTERLEAVED = ("self_attn.q_proj.weight", "self_attn.k_proj.weight")
_BUFFER = ".attn_rot_embd.weight"  # in files made of the first LLaMA folders; can be computed

# Keys of an architecture that change the network, and the one value with which we compute (they may be absent).
_ONLY: dict[str, Any] = {
    "tensor_data_layout": "Meta AI original pth",
    "rope.scaling.type": "none",
    "rope.scale_linear": 1.0,
    "expert_count": 0,
    "expert_used_count": 0,
    "attention.sliding_window": 0,
}
# Keys of config.json and where the file has them.
_SHAPE = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "max_position_embeddings": "context_length",
}

# Published settings of the chat models: Baichuan-13B-Chat, Baichuan2-13B-Chat `generation_config.json`.
_BAICHUAN_CHAT: dict[str, Any] = {
    "user_token_id": 195,
    "assistant_token_id": 196,
    "max_new_tokens": 2048,
    "temperature": 0.3,
    "top_k": 5,
    "top_p": 0.85,
    "repetition_penalty": 1.1,
    "do_sample": True,
}


@dataclass(frozen=True)
class Interleaved(Stored):
    """q or k as llama.cpp has it: in each head the rows 0, E/2, 1, E/2+1 …, so that a pair rotates as neighbours.

    Read in the order of the published weights, in which i rotates with i + E/2. The file's own order is one of
    the rows of `place`, whose heads are read whole; `start` is our first row in it.
    """

    place: Stored = field(kw_only=True)
    head_dim: int = field(kw_only=True)
    start: int = field(default=0, kw_only=True)

    @classmethod
    def of(cls, place: Stored, head_dim: int) -> Interleaved:
        return cls(place.dtype, place.shape, place.data, place=place, head_dim=head_dim)

    @property
    def coding(self) -> str:
        return self.place.coding

    def rows(self, start: int, stop: int) -> Interleaved:
        return replace(self, shape=(stop - start, *self.shape[1:]), start=self.start + start)

    def raw(self) -> Raw:
        E = self.head_dim
        stop = self.start + self.shape[0]
        first, last = self.start // E, -(-stop // E)
        raw = self.place.rows(first * E, last * E).raw()
        pairs = raw.data.reshape(last - first, E // 2, 2, -1)
        rows = pairs.swapaxes(1, 2).reshape((last - first) * E, -1)
        data = rows[self.start - first * E : stop - first * E].reshape(-1)
        return Raw(raw.dtype, self.shape, data)


@dataclass(frozen=True)
class GgufModel:
    """A model out of a GGUF file. What lies beside the file counts for more than what it says itself.

    generation: generation_config.json, or what stands for it. tokenizer: the bytes of tokenizer.model, or of a
    model composed from the file's vocabulary. source: where it comes from, as in a manifest. notes: what a
    person should know.
    """

    config: ModelConfig
    generation: dict[str, Any]
    tensors: dict[str, Stored]
    tokenizer: bytes
    adds_bos: bool
    source: dict[str, str]
    notes: tuple[str, ...]


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that a path means: itself, or the only one in a folder without config.json; None if none is."""
    if path.suffix.lower() == ".gguf" and path.is_file():
        return path
    if not path.is_dir() or (path / "config.json").exists():
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        shown = ", ".join(file.name for file in files[:3]) + (" …" if len(files) > 3 else "")
        raise ValueError(
            say(
                f"{path}: holds {len(files)} GGUF files ({shown}); give the one you mean",
                f"{path}：其中有 {len(files)} 个 GGUF 文件（{shown}）；请指明用哪一个",
            )
        )
    return files[0] if files else None


def read_gguf_model(path: Path) -> GgufModel:
    """The model in a file. ValueError names the key or tensor that we cannot run, and the cure."""
    gguf = read_gguf(path)
    _check_architecture(gguf)
    embedding = gguf.tensors.get("token_embd.weight")
    if embedding is None:
        raise ValueError(
            say(
                f"{path}: holds no weights, only a vocabulary; take the file of the whole model",
                f"{path}：其中只有词表，没有权重；请换用完整模型的文件",
            )
        )
    config = ModelConfig.from_hf(_config(gguf, rows=embedding.shape[0]), file=f"{path}: metadata")
    _check_rest(gguf, config)
    settings = path.parent / "generation_config.json"
    generation = read_json_object(settings) if settings.exists() else _generation(gguf)
    tokenizer, published = tokenizer_model(gguf)
    llama = config.architecture == "LlamaForCausalLM"
    about = {"name": gguf.value("general.name", ""), "licence": gguf.value("general.license", "")}
    return GgufModel(
        config,
        generation,
        _tensors(gguf, config),
        tokenizer,
        adds_bos=gguf.value("tokenizer.ggml.add_bos_token", llama),
        source={key: value for key, value in about.items() if value},
        notes=() if published else _notes(gguf, config),
    )


def _check_architecture(gguf: Gguf) -> None:
    architecture = gguf.value("general.architecture", "")
    if architecture not in ("llama", "baichuan"):
        raise ValueError(
            say(
                f"{gguf.path}: architecture {architecture[:80]!r} is not one that haina runs from GGUF "
                "(llama, baichuan); use a file of one of these, or the model's Hugging Face folder",
                f"{gguf.path}：海纳不能运行 GGUF 架构 {architecture[:80]!r}（可运行：llama、baichuan）；"
                "请换用这两种架构的文件，或该模型的 Hugging Face 目录",
            )
        )


def _config(gguf: Gguf, *, rows: int) -> dict[str, Any]:
    """The config.json of the model; `rows` of its embedding. `ModelConfig.from_hf` checks the values."""
    architecture = gguf.metadata["general.architecture"]
    found = _keys(gguf)
    hf = {name: _short(found[key]) for name, key in _SHAPE.items() if key in found}
    hf["vocab_size"] = rows
    if architecture == "llama":
        tied = "output.weight" not in gguf.tensors
        return {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": tied, **hf}
    second = rows >= BAICHUAN_2_PIECES
    if second:
        hf["z_loss_weight"] = 0
    if _alibi(gguf, hf.get("num_hidden_layers")):
        hf["model_max_length"] = hf.pop("max_position_embeddings", None)
        return {"architectures": ["BaichuanForCausalLM"], **hf}
    return {"architectures": ["BaichuanForCausalLM" if second else "BaiChuanForCausalLM"], **hf}


def _keys(gguf: Gguf) -> dict[str, Any]:
    """The keys of the architecture, without its name before them."""
    prefix = gguf.metadata["general.architecture"] + "."
    return {key.removeprefix(prefix): v for key, v in gguf.metadata.items() if key.startswith(prefix)}


def _short(value: Any) -> Any:
    """A float as the shortest number that is the same in float32, which the file has: 1e-6, not 9.99999997e-07."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _alibi(gguf: Gguf, layers: Any) -> bool:
    """llama.cpp's rule for Baichuan (`src/llama-model.cpp`): 32 layers are the 7B, 40 the 13B."""
    if type(layers) is not int or layers not in (32, 40):
        layers = str(layers)[:40]
        raise ValueError(
            say(
                f"{gguf.path}: baichuan.block_count = {layers!r}; only 32 (RoPE) and 40 (ALiBi) say how positions "
                "work, use the model's Hugging Face folder instead",
                f"{gguf.path}：baichuan.block_count = {layers!r}；只有 32（RoPE）和 40（ALiBi）"
                "能确定位置编码方式，请改用该模型的 Hugging Face 目录",
            )
        )
    return layers == 40


def _check_rest(gguf: Gguf, config: ModelConfig) -> None:
    """Keys that are not shapes: each has the value with which we compute, or is one that we do not know."""
    only = {**_ONLY, "rope.dimension_count": config.head_dim, "attention.value_length": config.head_dim}
    for key, value in _keys(gguf).items():
        known = type(value) is type(only.get(key)) and value == only[key]
        if known or key == "vocab_size" or key in _SHAPE.values():
            continue
        full = f"{gguf.metadata['general.architecture']}.{ascii(key[:80])[1:-1]} = {str(value)[:60]!r}"
        raise ValueError(
            say(
                f"{gguf.path}: {full} changes the network in a way that haina does not know; "
                "use the model's Hugging Face folder if it runs, or another model",
                f"{gguf.path}：{full} 会改变计算，海纳尚不支持；"
                "请试用该模型的 Hugging Face 目录，或换一个模型",
            )
        )


def _tensors(gguf: Gguf, config: ModelConfig) -> dict[str, Stored]:
    """The tensors by our names, q and k in the published order; names that we do not know stay as they are."""
    found: dict[str, Stored] = {}
    for name, stored in gguf.tensors.items():
        if name.endswith(_BUFFER):
            continue
        ours = _our_name(name)
        if ours in found:
            raise damaged(gguf.path, f"two tensors are {ours[:200]!r}", f"有两个张量都是 {ours[:200]!r}")
        pairs = config.head_dim % 2 == 0 and stored.shape[0] % config.head_dim == 0
        interleaved = pairs and ours.endswith(_INTERLEAVED)
        found[ours] = Interleaved.of(stored, config.head_dim) if interleaved else stored
    return found


def _our_name(name: str) -> str:
    match = _LAYER.fullmatch(name)
    if match and match[2] in _LAYER_NAMES:
        return f"model.layers.{match[1]}.{_LAYER_NAMES[match[2]]}.weight"
    ours = _NAMES.get(name.removesuffix(".weight"))
    return f"{ours}.weight" if ours and name.endswith(".weight") else name


def _generation(gguf: Gguf) -> dict[str, Any]:
    """What a generation_config.json would say: the end of a text; for a Baichuan that calls itself chat, its roles."""
    eos = gguf.metadata.get("tokenizer.ggml.eos_token_id")
    generation = {} if eos is None else {"eos_token_id": eos}
    about = " ".join(gguf.value(f"general.{key}", "") for key in ("name", "finetune"))
    if gguf.metadata["general.architecture"] == "baichuan" and "chat" in about.lower():
        generation |= _BAICHUAN_CHAT
    return generation


def _notes(gguf: Gguf, config: ModelConfig) -> tuple[str, ...]:
    """Baichuan 1 normalises text by a character map, which GGUF does not carry."""
    if gguf.metadata["general.architecture"] != "baichuan" or config.vocab_size >= BAICHUAN_2_PIECES:
        return ()
    return (
        say(
            f"{gguf.path}: GGUF has no character map, so full-width letters and a few signs are cut otherwise than "
            "by Baichuan; put its tokenizer.model beside the file",
            f"{gguf.path}：GGUF 不含字符映射表，全角字母等少数字符的切分与百川原版不同；"
            "请把原版 tokenizer.model 放在该文件旁边",
        ),
    )
