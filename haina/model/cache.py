"""PlainCache: keys and values of the Decoder as two tensors a layer, one slot per position of each row.

It knows nothing of pages, sharing or eviction (the engine's business); rows may stand at different lengths.
"""

from __future__ import annotations

import torch
from torch import Tensor

from haina.model.config import ModelConfig


class PlainCache:
    """Room for `capacity` tokens in each of `rows` rows. Before a step, `slots` says how far the rows will reach."""

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ):
        shape = (config.num_hidden_layers, rows, config.num_key_value_heads, capacity, config.head_dim)
        self.k_LBKSE = torch.zeros(shape, dtype=dtype, device=device)
        self.v_LBKSE = torch.zeros(shape, dtype=dtype, device=device)
        self.slots = 0

    def reach(self, at_BT: Tensor) -> PlainCache:
        """Prepare for a step that feeds these positions."""
        self.slots = int(at_BT.max()) + 1
        assert self.slots <= self.k_LBKSE.shape[3], "more tokens than the cache has room for"
        return self

    def store(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor, at_BT: Tensor) -> tuple[Tensor, Tensor]:
        row_B1 = torch.arange(at_BT.shape[0], device=at_BT.device)[:, None]
        k_BKSE, v_BKSE = self.k_LBKSE[layer], self.v_LBKSE[layer]
        k_BKSE.transpose(1, 2)[row_B1, at_BT] = k_BKTE.transpose(1, 2).type_as(k_BKSE)
        v_BKSE.transpose(1, 2)[row_B1, at_BT] = v_BKTE.transpose(1, 2).type_as(v_BKSE)
        return k_BKSE[:, :, : self.slots].type_as(k_BKTE), v_BKSE[:, :, : self.slots].type_as(v_BKTE)
