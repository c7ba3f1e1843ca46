"""NativeRunner: a checkpoint's mapped tensors as pointers for native/forward.cpp. No torch, and no copies
of 16-bit weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from haina.checkpoint.adapter import Pair
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.raw import Raw
from haina.engine.runner import Out, Step
from haina.model.config import ModelConfig
from haina.native.adapter import NativeAdapter
from haina.native.binding import CacheDtype, Matrix, NativeCache, NativeModel, forward
from haina.native.head import head

PAGE_TOKENS = 32
Progress = Callable[[int, int], None]  # tensors loaded, and all of them


class NativeRunner:
    """The network on the CPU. `bits` 16 takes weights as they are stored, 8 and 4 pack every matrix
    that is not packed yet."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        bits: Literal[16, 8, 4],
        cache_tokens: int,
        cache_dtype: CacheDtype,
        threads: int | None,
        progress: Progress | None,
    ):
        config = checkpoint.config
        self.threads = threads  # None: the CPUs that this process may use
        self.page_tokens = PAGE_TOKENS
        self.pages = -(-cache_tokens // PAGE_TOKENS)
        self.model = native_model(config, _load(checkpoint, bits, progress))
        self.adapters: list[NativeAdapter] = []
        self.cache = NativeCache(self.model, pages=self.pages, page_tokens=PAGE_TOKENS, dtype=cache_dtype)

    def step(self, step: Step) -> Out:
        return Out(
            *forward(
                self.model,
                self.cache,
                ids=step.ids_N,
                at=step.at_N,
                row_start_B1=step.row_start_B1,
                pages=step.pages,
                page_start_B1=step.page_start_B1,
                want=step.want_M,
                hidden=step.hidden_M,
                adapter_B=step.adapter_B,
                adapters=self.adapters,
                threads=self.threads,
            )
        )

    def head(self, hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """float32 (M, n): the logits of these ids alone, bitwise those of `step`."""
        return head(self.model.c.head, hidden_MD, ids, threads=self.threads)

    def add_adapter(self, changes: Mapping[str, Pair]) -> None:
        self.adapters.append(NativeAdapter(self.model, changes))

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Make each page of `targets` equal to its page of `sources`, in all layers."""
        self.cache.copy(sources, targets)


def native_model(config: ModelConfig, tensors: Mapping[str, Matrix | np.ndarray]) -> NativeModel:
    """The network of these shapes and switches over these tensors."""
    return NativeModel(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        rms_norm_eps=config.rms_norm_eps,
        rope_theta=config.rope_theta,
        rotary_dim=config.rotary_dim,
        slopes_H=np.array(config.alibi_slopes(), np.float32) if config.position == "alibi" else None,
        tensors=tensors,
    )


def _load(
    checkpoint: Checkpoint, bits: Literal[16, 8, 4], progress: Progress | None
) -> dict[str, Matrix | np.ndarray]:
    """Every tensor, one at a time; `progress` hears how many are there, and of how many."""
    tensors: dict[str, Matrix | np.ndarray] = {}
    names = checkpoint.names()
    for name in names:
        tensors[name] = pointer(checkpoint.tensor(name, bits=bits))
        if progress:
            progress(len(tensors), len(names))
    return tensors


def pointer(raw: Raw) -> Matrix | np.ndarray:
    """A vector as float32; a matrix as it is."""
    if len(raw.shape) == 1:
        return raw.float32()
    rows, cols = raw.shape
    return Matrix(raw.dtype, raw.data, rows, cols)
