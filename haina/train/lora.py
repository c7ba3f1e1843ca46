"""LoRA in training: an Adapter's pairs as parameters of a Decoder whose own weights are frozen.

    decoder = open_decoder(checkpoint, bits=4)     # or Decoder.load: any Decoder
    lora = Lora(decoder, fresh(decoder.config, rank=8, targets=["W_pack"]))
    …                                              # train what requires a gradient
    lora.adapter().write(folder)                   # PEFT's files; or lora.merge()

The decoder's linear layers are wrapped in place (model/linear.py). W_pack is one A for q, k and v and rows of one B, as
Baichuan's published adapters have it. Whatever is read or written is an Adapter (checkpoint/adapter.py). It knows no
data, losses or optimisers. LoRA: arXiv:2106.09685; through packed weights: arXiv:2305.14314.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from haina.checkpoint.adapter import MAX_RANK, TARGETS, Adapter, Pair
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.layout import layout
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder, Head
from haina.model.linear import LoraLinear, Packed, PackedEmbedding, PackedHead, PackedLinear
from haina.native.packing import PACKED
from haina.wording import say

EVERYWHERE = ("W_pack", "o_proj", "gate_proj", "up_proj", "down_proj")


def fresh(
    config: ModelConfig,
    *,
    rank: int = 8,
    alpha: float = 16,
    dropout: float = 0.0,
    targets: Sequence[str] = EVERYWHERE,
    base: str = "",
    seed: int = 0,
) -> Adapter:
    """An adapter that changes nothing yet: A uniform in ±1/√in, B zero (PEFT's beginning).

    ValueError: a target that no layer has, W_pack beside q, k or v, or a rank out of range.
    """
    _check(rank, targets)
    random = np.random.default_rng(seed)
    shapes = {
        part.stored.removesuffix(".weight"): part.shape
        for part in layout(config, packed="W_pack" in targets).values()
    }
    pairs = {}
    for module, shape in shapes.items():
        if module.rpartition(".")[2] in targets:
            rows, cols = shape
            a_RI = random.uniform(-(cols**-0.5), cols**-0.5, (rank, cols)).astype(np.float32)
            pairs[module] = Pair(a_RI, np.zeros((rows, rank), np.float32))
    return Adapter(pairs, alpha=alpha, dropout=dropout, base=base)


class Lora:
    """An adapter on a decoder: everything else is frozen, its matrices are what requires a gradient."""

    def __init__(self, decoder: Decoder, adapter: Adapter):
        """Wrap, in place. ValueError: the adapter is not for this network."""
        places = adapter.places(decoder.config)
        self.decoder, self.about = decoder.requires_grad_(False), adapter
        self.layers: dict[str, LoraLinear] = {}  # by the name of the layer in the decoder
        self.parts: dict[str, list[LoraLinear]] = {module: [] for module in adapter.pairs}
        device = next(decoder.parameters()).device
        lora_A = {module: _parameter(a_RI, device) for module, (a_RI, _) in adapter.pairs.items()}
        for name, part in places.items():
            layer, module = (text.removesuffix(".weight") for text in (name, part.stored))
            wrapped = LoraLinear(
                decoder.get_submodule(layer),
                lora_A[module],
                _parameter(adapter.pairs[module].b_OR[part.start : part.stop], device),
                scale=adapter.scale,
                dropout=adapter.dropout,
            )
            decoder.set_submodule(layer, wrapped)
            self.layers[layer] = wrapped
            self.parts[module].append(wrapped)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return self.about.parameters

    def adapter(self) -> Adapter:
        """As trained so far."""
        pairs = {
            module: Pair(_array(parts[0].lora_A), np.concatenate([_array(part.lora_B) for part in parts]))
            for module, parts in self.parts.items()
        }
        return replace(self.about, pairs=pairs)

    def merge(self) -> None:
        """Add the change to the weights; the decoder is plain again, and computes the same without the adapter's cost.

        ValueError: its weights are packed.
        """
        for name, layer in self.layers.items():
            _weight(layer).add_(layer.change())
            self.decoder.set_submodule(name, layer.base)

    def unmerge(self) -> None:
        """Undo `merge`, but for float32 rounding."""
        for name, layer in self.layers.items():
            _weight(layer).sub_(layer.change())
            self.decoder.set_submodule(name, layer)


def open_decoder(checkpoint: Checkpoint, *, bits: Literal[16, 8, 4] = 16) -> Decoder:
    """The network of a checkpoint to put an adapter on: matrices that are packed stay so, mapped; the rest is float32.

    bits=8, bits=4: matrices that are not packed yet are packed as they come. A NormHead comes folded, as a plain head.
    """
    config = replace(checkpoint.config, head="plain")
    with torch.device("meta"):
        decoder = Decoder(config)
    for name in checkpoint.names():
        raw = checkpoint.tensor(name, bits=bits)
        module_name = name.removesuffix(".weight")
        module = decoder.get_submodule(module_name)
        if raw.dtype in PACKED:
            rows, cols = raw.shape
            decoder.set_submodule(module_name, _packed(module, Packed(raw.dtype, raw.data, rows, cols)))
        else:
            module.register_parameter("weight", nn.Parameter(torch.from_numpy(raw.float32())))
            checkpoint.give_back(name)
    if config.tie_word_embeddings:
        embedding = decoder.model.embed_tokens
        if isinstance(embedding, PackedEmbedding):
            decoder.set_submodule("lm_head", PackedHead(embedding.matrix))
        else:
            decoder.lm_head.weight = embedding.weight
    return decoder.requires_grad_(False)


def _packed(module: nn.Module, matrix: Packed) -> nn.Module:
    if isinstance(module, nn.Embedding):
        return PackedEmbedding(matrix)
    return PackedHead(matrix) if isinstance(module, Head) else PackedLinear(matrix)


def _weight(layer: LoraLinear) -> Tensor:
    """Of its base, to be changed. ValueError: it is packed."""
    if not isinstance(layer.base, nn.Linear):
        raise ValueError(
            say(
                "packed weights cannot take up an adapter; write a merged model: haina merge",
                "量化的权重无法并入适配器；请用 haina merge 写出合并后的模型",
            )
        )
    return layer.base.weight.detach()


def _parameter(array: np.ndarray, device: torch.device) -> nn.Parameter:
    return nn.Parameter(torch.tensor(array, dtype=torch.float32, device=device))


def _array(weight: Tensor) -> np.ndarray:
    array: np.ndarray = weight.detach().float().cpu().numpy().copy()
    return array


def _check(rank: int, targets: Sequence[str]) -> None:
    if not 1 <= rank <= MAX_RANK:
        raise ValueError(
            say(
                f"rank {rank} is out of range; use 1 to {MAX_RANK}",
                f"秩 {rank} 超出范围；可用 1 至 {MAX_RANK}",
            )
        )
    unknown = [target for target in targets if target not in TARGETS]
    if unknown or not targets:
        shown, known = ", ".join(unknown) or "none", ", ".join(TARGETS)
        raise ValueError(say(f"targets: {shown}; choose of {known}", f"目标模块：{shown}；可选 {known}"))
    if "W_pack" in targets and {"q_proj", "k_proj", "v_proj"} & set(targets):
        raise ValueError(
            say(
                "targets: W_pack is q_proj, k_proj and v_proj together; name it or them",
                "目标模块：W_pack 即 q_proj、k_proj、v_proj 之合；请择一指定",
            )
        )
