"""ModelConfig: the shapes and switches of a network, the only thing that tells model families apart at run time.

It knows the keys of config.json and the rules by which a family is recognised. It does not know files,
tensors or torch. LLaMA is the default of every switch; the reasons and sources are in docs/design.md, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from haina.model.families import BITSANDBYTES_NEUTRAL_KEYS, FAMILIES, NEUTRAL_KEYS, Family
from haina.wording import say

Position = Literal["rope", "alibi"]
Head = Literal["plain", "normed"]

# The largest values we take from a folder: far above every published model, far below an overflow.
LARGEST = 1 << 24
MOST_LAYERS = 1024

PACKED_FORMAT = 1  # of the bytes of packed matrices, docs/formats.md


@dataclass(frozen=True)
class ModelConfig:
    """Shapes and switches of one decoder. Field names are the keys of config.json where there is one.

    `rotary_dim` dims of each head are rotated, in halves (i pairs with i + rotary_dim/2); it is 0 with ALiBi.
    `head` "normed" means that the rows of the output matrix have length 1 (Baichuan 2's NormHead).
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rotary_dim: int = 0
    position: Position = "rope"
    head: Head = "plain"
    qkv_bias: bool = False
    qk_norm: bool = False
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        assert self.num_attention_heads % self.num_key_value_heads == 0
        assert (self.rotary_dim == 0) == (self.position == "alibi")
        assert self.rotary_dim % 2 == 0 and self.rotary_dim <= self.head_dim

    @classmethod
    def from_hf(cls, hf: dict[str, Any], *, file: str = "config.json") -> ModelConfig:
        """Read the contents of a Hugging Face config.json. ValueError names the key that we cannot run.

        A key whose value is null counts as absent. A key must be one that we compute with, or switched off, or
        known not to change the network (families.NEUTRAL_KEYS); any other may change it and is refused.
        """
        return _Reader(hf, file).config()

    def to_hf(self) -> dict[str, Any]:
        """The config.json of this network, as its family writes it: `from_hf` of it is this config again."""
        assert not self.qkv_bias and not self.qk_norm, "no family that we write has these switches"
        family = FAMILIES[self.architecture]
        hf: dict[str, Any] = {
            "architectures": [self.architecture],
            "model_type": family.name.lower(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "rms_norm_eps": self.rms_norm_eps,
            "hidden_act": "silu",
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }
        alibi = self.position == "alibi"
        hf["model_max_length" if alibi else "max_position_embeddings"] = self.max_position_embeddings
        if family.grouped:
            hf["num_key_value_heads"] = self.num_key_value_heads
        if self.head == "normed":
            hf["z_loss_weight"] = 0
        if not alibi and self.rope_theta != 10000.0:
            hf["rope_theta"] = self.rope_theta
        if self.head_dim * self.num_attention_heads != self.hidden_size:
            hf["head_dim"] = self.head_dim
        return hf

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the network by our name (LLaMA's names, q, k and v apart) with its shape [out, in]."""
        D, F, V = self.hidden_size, self.intermediate_size, self.vocab_size
        q_rows, kv_rows = (n * self.head_dim for n in (self.num_attention_heads, self.num_key_value_heads))
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, D)}
        for i in range(self.num_hidden_layers):
            layer = f"model.layers.{i}."
            shapes[layer + "input_layernorm.weight"] = (D,)
            for name, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows)):
                shapes[f"{layer}self_attn.{name}_proj.weight"] = (rows, D)
                if self.qkv_bias:
                    shapes[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
            if self.qk_norm:
                shapes[layer + "self_attn.q_norm.weight"] = (self.head_dim,)
                shapes[layer + "self_attn.k_norm.weight"] = (self.head_dim,)
            shapes[layer + "self_attn.o_proj.weight"] = (D, q_rows)
            shapes[layer + "post_attention_layernorm.weight"] = (D,)
            shapes[layer + "mlp.gate_proj.weight"] = (F, D)
            shapes[layer + "mlp.up_proj.weight"] = (F, D)
            shapes[layer + "mlp.down_proj.weight"] = (D, F)
        shapes["model.norm.weight"] = (D,)
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (V, D)
        return shapes

    @property
    def parameters(self) -> int:
        """The number of weights; a tied output matrix counts once."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())

    def kv_bytes_per_token(self, element_bytes: int) -> int:
        """Bytes of keys and values that one token leaves in the cache, all layers together."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim * element_bytes

    def alibi_slopes(self) -> list[float]:
        """The slope of each query head (ALiBi, arXiv:2108.12409; Baichuan-13B `_get_interleave`).

        For n a power of two: 2^(-8k/n), k = 1..n. Otherwise the slopes of the power of two below n,
        then every second slope of the power of two above it.
        """
        n = self.num_attention_heads
        power = 1 << (n.bit_length() - 1)
        slopes = [2.0 ** (-8.0 * k / power) for k in range(1, power + 1)]
        return slopes + [2.0 ** (-4.0 * k / power) for k in range(1, 2 * (n - power), 2)]


class _Reader:
    """One config.json being read: each method takes what it needs and names the key that is wrong."""

    def __init__(self, hf: dict[str, Any], file: str):
        self.hf = {key: value for key, value in hf.items() if value is not None}
        self.file = file
        self.taken: set[str] = set()

    def config(self) -> ModelConfig:
        architecture = self.architecture()
        family = FAMILIES[architecture]
        heads = self.integer("num_attention_heads")
        kv_heads = self.integer("num_key_value_heads", heads)
        if heads % kv_heads or (not family.grouped and kv_heads != heads):
            raise self.wrong("num_key_value_heads", kv_heads)
        hidden = self.integer("hidden_size")
        if "head_dim" not in self.hf and hidden % heads:
            raise self.wrong("num_attention_heads", heads)
        head_dim = self.integer("head_dim", hidden // heads)
        position = self.position(family)
        if position == "rope" and head_dim % 2:
            raise self.wrong("head_dim", head_dim)
        self.only("hidden_act", "silu", "swish")
        self.quantization()
        config = ModelConfig(
            architecture=architecture,
            vocab_size=self.integer("vocab_size"),
            hidden_size=hidden,
            intermediate_size=self.integer("intermediate_size"),
            num_hidden_layers=self.integer("num_hidden_layers", most=MOST_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            max_position_embeddings=self.context(family),
            rms_norm_eps=self.number("rms_norm_eps", 1e-6),
            rope_theta=self.rope_theta(),
            rotary_dim=head_dim if position == "rope" else 0,
            position=position,
            head=self.head(family),
            tie_word_embeddings=self.flag("tie_word_embeddings"),
            **family.fixed,
        )
        self.refuse_unknown()
        return config

    def architecture(self) -> str:
        names = self.hf.get("architectures")
        name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
        if name in FAMILIES:
            return str(name)
        found = repr(name) if name else f"model_type {self.hf.get('model_type')!r}"
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(
            say(
                f"{self.file}: architecture {found} is not one that haina runs ({known}); use a folder of one of these",
                f"{self.file}：海纳不能运行架构 {found}（可运行：{known}）；请换用其中一种模型的目录",
            )
        )

    def position(self, family: Family) -> Position:
        """The rules by which Baichuan's one class name means RoPE or ALiBi.

        `max_position_embeddings` present means RoPE, except on the 13B shape, to which users added the key
        by hand (baichuan-inc/Baichuan2#172).
        """
        if family.position != "detect":
            return family.position
        is_13b = self.hf.get("hidden_size") == 5120 and self.hf.get("num_hidden_layers") == 40
        return "rope" if "max_position_embeddings" in self.hf and not is_13b else "alibi"

    def head(self, family: Family) -> Head:
        """Baichuan 2 has a NormHead: its vocabulary of 125,696, or the z_loss_weight of its config class."""
        normed = self.hf.get("vocab_size") == 125696 or "z_loss_weight" in self.hf
        return "normed" if family.head == "detect" and normed else "plain"

    def context(self, family: Family) -> int:
        self.taken.update(family.context_keys)
        return self.integer(
            next((key for key in family.context_keys if key in self.hf), family.context_keys[0])
        )

    def rope_theta(self) -> float:
        """The base of the rotation: a key of its own, or in a dict where newer transformers keep it.

        Wherever it stands it must be the same, and no dict may ask for another rotation than the plain one.
        """
        found = {self.number("rope_theta")} if "rope_theta" in self.hf else set()
        for key in ("rope_scaling", "rope_parameters"):
            self.taken.add(key)
            inner = self.hf.get(key) or {}
            if not isinstance(inner, dict):
                raise self.wrong(key, inner)
            rope = _Reader(inner, f"{self.file}: {key}")
            rope.only("rope_type", "default")
            rope.only("type", "default")
            rope.only("partial_rotary_factor", 1)
            if "rope_theta" in rope.hf:
                found.add(rope.number("rope_theta"))
        if len(found) > 1:
            raise self.wrong("rope_theta", sorted(found))
        return found.pop() if found else 10000.0

    def quantization(self) -> None:
        """Matrices that `haina convert` packed name their format; the tensors themselves say how they are packed."""
        found = self.hf.get("quantization_config")
        if isinstance(found, dict) and found.get("load_in_4bit") is True:
            return self.bitsandbytes(found)
        if not isinstance(found, dict) or found.get("quant_method") != "haina":
            return
        self.taken.add("quantization_config")
        packing = _Reader(found, f"{self.file}: quantization_config")
        if packing.integer("format") > PACKED_FORMAT:
            raise ValueError(
                say(
                    f"{self.file}: written by a newer haina (format {found['format']}); upgrade haina to read it",
                    f"{self.file}：由更新版本的海纳写成（格式 {found['format']}）；请升级海纳后再读取",
                )
            )
        packing.only("weights", "w4", "w8")
        packing.only("quant_method", "haina")
        packing.refuse_unknown()

    def bitsandbytes(self, found: dict[str, Any]) -> None:
        """Baichuan 2's 4bits folders; the tensors say themselves how they are packed (checkpoint/read_nf4.py)."""
        self.taken.add("quantization_config")
        nf4 = _Reader(found, f"{self.file}: quantization_config")
        nf4.only("load_in_4bit", True)
        nf4.only("bnb_4bit_quant_type", "nf4")
        nf4.only("quant_method", "bitsandbytes")
        nf4.only("bnb_4bit_quant_storage", "uint8")
        nf4.taken.update(BITSANDBYTES_NEUTRAL_KEYS)
        nf4.refuse_unknown()

    def refuse_unknown(self) -> None:
        """A key that we do not know may change the network: it must be switched off or removed."""
        for key, value in self.hf.items():
            off = value is False or value in (0, "", [], {})
            if not off and key not in self.taken and key not in NEUTRAL_KEYS:
                raise ValueError(
                    say(
                        f"{self.file}: {key} = {_short(value)} is not known to haina and may change the network; "
                        "remove the key if it does not",
                        f"{self.file}：海纳不认识 {key} = {_short(value)}，可能影响计算；若确实无关，请删去此项",
                    )
                )

    def integer(self, key: str, default: int | None = None, *, most: int = LARGEST) -> int:
        value = self.take(key, default)
        if type(value) is not int or not 0 < value <= most:
            raise self.wrong(key, value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
            raise self.wrong(key, value)
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.take(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, value)
        return value

    def only(self, key: str, *known: object) -> None:
        """The key, if it is there, has one of the values that we compute with."""
        if (value := self.take(key, known[0])) not in known:
            raise self.wrong(key, value)

    def take(self, key: str, default: object) -> Any:
        self.taken.add(key)
        return self.hf.get(key, default)

    def wrong(self, key: str, value: object) -> ValueError:
        return ValueError(
            say(
                f"{self.file}: {key} = {_short(value)} cannot be run; compare it with the published config.json",
                f"{self.file}：无法使用 {key} = {_short(value)}；请与官方发布的 config.json 核对",
            )
        )


def packed_config(weights: Literal["w8", "w4"]) -> dict[str, Any]:
    """The key of config.json that says that matrices are packed, and in which format."""
    return {"quantization_config": {"quant_method": "haina", "format": PACKED_FORMAT, "weights": weights}}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _baichuan(architecture: str, vocab: int, hidden: int, ffn: int, layers: int, heads: int) -> ModelConfig:
    alibi = layers == 40
    return ModelConfig(
        architecture=architecture,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden // heads,
        max_position_embeddings=4096,
        position="alibi" if alibi else "rope",
        rotary_dim=0 if alibi else hidden // heads,
        head="normed" if vocab == 125696 else "plain",
    )


# The published shapes, for tests and planning; a real load reads config.json only. Sources: families.py.
SIZES: dict[str, ModelConfig] = {
    "baichuan-7b": _baichuan("BaiChuanForCausalLM", 64000, 4096, 11008, 32, 32),
    "baichuan-13b": _baichuan("BaichuanForCausalLM", 64000, 5120, 13696, 40, 40),
    "baichuan2-7b": _baichuan("BaichuanForCausalLM", 125696, 4096, 11008, 32, 32),
    "baichuan2-13b": _baichuan("BaichuanForCausalLM", 125696, 5120, 13696, 40, 40),
}
