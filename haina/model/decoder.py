"""Decoder: the network as one page of torch. It trains, it runs on a GPU, and the native forward is tested against it.

Every difference between families is a switch of ModelConfig and is settled in `__init__`; `forward` has no
branch on family, dtype or mode. Training and inference are the same code: a cache and `at_BT`, the position of
each fed token, are arguments; positions that start again are what a document mask is. It does not know files,
tokens as text, sampling or losses.

Shapes, one legend for the package (the same as in native/haina.h):
    B rows   T tokens fed now   S slots seen so far   D width   H query heads   K key heads
    E width of a head   R rotated dims of a head   F feed-forward   V vocabulary   N fed tokens of all rows
Sources: Baichuan-7B@6f3ef46 models/modeling_baichuan.py; RoPE arXiv:2104.09864; ALiBi arXiv:2108.12409;
RMSNorm arXiv:1910.07467; SwiGLU arXiv:2002.05202; NormHead arXiv:2309.10305, section 2.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from haina.model.config import ModelConfig

Angles = tuple[Tensor, Tensor]  # what each dim of a fed token, and its partner, is multiplied by
Window = tuple[int, int, Tensor]  # slots, from … to, that neighbouring tokens see, and their bias
QUERIES = 128  # fed tokens that attend at a time on a CPU: their scores stay in its caches


class Cache(Protocol):
    """Where the keys and values of tokens already seen live; `None` in `Decoder.forward` means: nowhere."""

    slots: int  # S after this step, the largest of any row

    def store(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor, at_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Keep k and v at slots `at_BT` and return all of that layer so far, (B, K, S, E) each."""
        ...


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight; the mean in fp32 whatever the dtype of x."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_D: Tensor) -> Tensor:
        y_D = x_D.float()
        y_D = y_D * torch.rsqrt(y_D.square().mean(-1, keepdim=True) + self.eps)
        return y_D.type_as(x_D) * self.weight


class Rope(nn.Module):
    """Rotates the first R dims of each head by its position, in halves: dim i pairs with dim i + R/2.

    Angles stay in fp32: a position above 256 has no exact bf16 (Baichuan 2 report, section 2.5).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        R, self.R, self.E = config.rotary_dim, config.rotary_dim, config.head_dim
        self.theta = config.rope_theta
        self.exponents = torch.arange(0, R, 2, dtype=torch.float64, device="cpu") / R

    def angles(self, at_BT: Tensor) -> Angles:
        """What each dim of a fed token and its partner are multiplied by, (B, 1, T, E) fp32; the rest by 1 and 0."""
        frequency = (self.theta**-self.exponents).to(at_BT.device)
        angle = at_BT[:, None, :, None].double() * frequency
        cos, sin, rest = angle.cos(), angle.sin(), angle.new_zeros(*angle.shape[:-1], self.E - self.R)
        return torch.cat([cos, cos, rest + 1], -1).float(), torch.cat([-sin, sin, rest], -1).float()

    def rotate(self, x_BHTE: Tensor, angles: Angles) -> Tensor:
        cos, sin = angles
        a, b, rest = x_BHTE.split([self.R // 2, self.R // 2, self.E - self.R], -1)
        return torch.addcmul(x_BHTE * cos, torch.cat([b, a, rest], -1), sin).type_as(x_BHTE)

    def bias(self, back_B1TS: Tensor) -> Tensor:
        """(B, 1, T, S): nothing is added for slots that the token sees, -inf for the others."""
        return torch.where(back_B1TS.isinf(), -torch.inf, 0.0)

    def attend(self, q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, bias: Tensor, grouped: bool) -> Tensor:
        bias = bias.type_as(q_BHTE)
        return F.scaled_dot_product_attention(q_BHTE, k_BKSE, v_BKSE, attn_mask=bias, enable_gqa=grouped)


class Alibi(nn.Module):
    """No rotation; a query at i adds slope_h · (j - i) to the score of the key at j ≤ i, in fp32."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.slopes = config.alibi_slopes()

    def angles(self, at_BT: Tensor) -> Angles:
        return at_BT, at_BT  # nothing turns

    def rotate(self, x_BHTE: Tensor, angles: Angles) -> Tensor:
        return x_BHTE

    def bias(self, back_B1TS: Tensor) -> Tensor:
        """(B, H, T, S): the slope times the distance, which is infinite for slots that the token does not see."""
        return back_B1TS * -torch.tensor(self.slopes, device=back_B1TS.device)[:, None, None]

    def attend(self, q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, bias: Tensor, grouped: bool) -> Tensor:
        """Scores and softmax in fp32, under autocast too: in bf16 the biases of far neighbours are equal."""
        q, k, v = q_BHTE.float(), k_BKSE.float(), v_BKSE.float()
        with torch.autocast(q.device.type, enabled=False):
            y_BHTE = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=grouped)
        return y_BHTE.type_as(q_BHTE)


class Head(nn.Linear):
    """The output matrix; `rows` is how it is applied."""

    def rows(self) -> Tensor:
        return self.weight

    def forward(self, x_D: Tensor) -> Tensor:
        return F.linear(x_D, self.rows().type_as(x_D))


class NormHead(Head):
    """The output matrix of Baichuan 2: every row is divided by its length, in fp32, at each step of training."""

    def rows(self) -> Tensor:
        return F.normalize(self.weight.float(), dim=1, eps=1e-12)


class Attention(nn.Module):
    """Causal attention over all slots so far; key heads may be fewer than query heads."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        D, E = config.hidden_size, config.head_dim
        H, K = config.num_attention_heads, config.num_key_value_heads
        self.layer, self.E = layer, E
        self.q_proj = nn.Linear(D, H * E, bias=config.qkv_bias)
        self.k_proj = nn.Linear(D, K * E, bias=config.qkv_bias)
        self.v_proj = nn.Linear(D, K * E, bias=config.qkv_bias)
        self.o_proj = nn.Linear(H * E, D, bias=False)
        self.q_norm = RMSNorm(E, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(E, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.grouped = K != H

    def forward(self, x_BTD: Tensor, place: Place) -> Tensor:
        q, k, v = (
            proj(x_BTD).unflatten(-1, (-1, self.E)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = place.rotate(self.q_norm(q)), place.rotate(self.k_norm(k))
        k_BKSE, v_BKSE = place.store(self.layer, k, v)
        y_BTHE = place.attend(q, k_BKSE, v_BKSE, self.grouped)
        return self.o_proj(y_BTHE.flatten(2))


class MLP(nn.Module):
    """down(silu(gate(x)) · up(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        D, ffn = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(D, ffn, bias=False)
        self.up_proj = nn.Linear(D, ffn, bias=False)
        self.down_proj = nn.Linear(ffn, D, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). Module names are the checkpoint's names."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, place: Place) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), place)
        return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))


class Place:
    """What all layers of one step share: the position of each fed token, and where keys and values are kept.

    A token at position i sees the i slots before its own. With a cache its slot is its position. Without one it
    is its place in the row, so a row may hold several texts, each from position 0: none sees another.
    """

    def __init__(self, position: Rope | Alibi, at_BT: Tensor, cache: Cache | None, near: bool = False):
        """near: tokens attend QUERIES at a time, each time to the slots that any of them sees; else all to all."""
        self.position, self.at_BT, self.cache = position, at_BT, cache
        self.angles = position.angles(at_BT)
        slots = cache.slots if cache else at_BT.shape[1]
        slot_BT = at_BT if cache else torch.arange(slots, device=at_BT.device).expand_as(at_BT)
        self.together = QUERIES if near else at_BT.shape[1]
        self.windows: list[Window] = []
        for at, slot in zip(at_BT.split(self.together, 1), slot_BT.split(self.together, 1), strict=True):
            first, end = _reach(at, slot) if near else (0, slots)
            back = slot[:, None, :, None] - torch.arange(first, end, device=at_BT.device)
            sees = (back >= 0) & (back <= at[:, None, :, None])
            self.windows.append((first, end, position.bias(torch.where(sees, back, torch.inf))))

    def rotate(self, x_BHTE: Tensor) -> Tensor:
        return self.position.rotate(x_BHTE, self.angles)

    def store(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        return self.cache.store(layer, k_BKTE, v_BKTE, self.at_BT) if self.cache else (k_BKTE, v_BKTE)

    def attend(self, q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, grouped: bool) -> Tensor:
        """(B, T, H, E): what each token gathers from the slots of its window."""
        y = [
            self.position.attend(q, k_BKSE[:, :, first:end], v_BKSE[:, :, first:end], bias, grouped)
            for q, (first, end, bias) in zip(q_BHTE.split(self.together, 2), self.windows, strict=True)
        ]
        return torch.cat([y_BHTE.transpose(1, 2) for y_BHTE in y], 1)


def _reach(at_BT: Tensor, slot_BT: Tensor) -> tuple[int, int]:
    """The first slot that any of these tokens sees, and the end. For the answer one would have to wait for a GPU."""
    return max(0, int((slot_BT - at_BT).amin())), int(slot_BT.amax()) + 1


class Trunk(nn.Module):
    """ids → the state of each fed token after the last norm. (`model.` in the checkpoint's names.)"""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.position = Rope(config) if config.position == "rope" else Alibi(config)
        self.near = True  # not with torch.compile, which wants the same slots in every step
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, ids_BT: Tensor, at_BT: Tensor | None, cache: Cache | None) -> Tensor:
        if at_BT is None:
            at_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device).expand(ids_BT.shape)
        x_BTD = self.embed_tokens(ids_BT)
        place = Place(self.position, at_BT, cache, near=self.near and ids_BT.is_cpu)
        for block in self.layers:
            x_BTD = block(x_BTD, place)
        return self.norm(x_BTD)


class Decoder(nn.Module):
    """ids → hidden states → logits. Parameter names are our tensor names (ModelConfig.tensor_shapes)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        head = NormHead if config.head == "normed" else Head
        self.lm_head = head(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def hidden(self, ids_BT: Tensor, at_BT: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """(B, T, D): the state of each fed token after the last norm.

        Without a cache a row is fed whole: it starts at position 0, and wherever `at_BT` is 0 again another text
        begins that sees nothing of the one before it (packed rows in training).
        """
        return self.model(ids_BT, at_BT, cache)

    def forward(self, ids_BT: Tensor, at_BT: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Logits (B, T, V). Row b's token t stands at position `at_BT[b, t]` of its own sequence."""
        return self.lm_head(self.hidden(ids_BT, at_BT, cache))

    @torch.no_grad()
    def initialise(self, std: float = 0.02, seed: int = 0) -> Decoder:
        """Random weights: those of `first_weights`."""
        for weight, first in self.first_weights(std, seed):
            weight.copy_(first)
        return self

    def first_weights(self, std: float = 0.02, seed: int = 0) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Each weight and what it is at first: normal(0, std), norms 1, the projections to the residual stream 0.

        Zero `o_proj` and `down_proj` let a deep network start as the identity (muP; modded-nanogpt).
        """
        random = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", ".bias")):
                yield weight, torch.zeros(weight.shape)
            elif weight.dim() == 2:
                yield weight, torch.empty(weight.shape).normal_(0.0, std, generator=random)
            else:
                yield weight, torch.ones(weight.shape)

    @classmethod
    def load(cls, config: ModelConfig, tensors: Iterable[tuple[str, np.ndarray]]) -> Decoder:
        """A Decoder on the CPU in fp32 from (our name, float32 array) pairs, one tensor in memory at a time."""
        with torch.device("meta"):
            decoder = cls(config)
        decoder = decoder.to_empty(device="cpu")
        if config.tie_word_embeddings:
            decoder.lm_head.weight = decoder.model.embed_tokens.weight
        parameters = dict(decoder.named_parameters())
        with torch.no_grad():
            for name, array in tensors:
                parameters.pop(name).copy_(torch.from_numpy(array))
        assert not parameters, f"no tensor for {sorted(parameters)}"
        return decoder
