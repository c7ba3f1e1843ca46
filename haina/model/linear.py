"""Linear layers beside nn.Linear: a frozen one with a low-rank change that is trained, and ones whose weights stay
packed in 4 or 8 bits. They take the place of the Decoder's own after it is made, so that its page needs no branch.

QLoRA (arXiv:2305.14314) trains through weights of 4 bits; ours are the W4 and W8 of docs/formats.md, as they are mapped
from a file. A tile of them is float32 at a time, in the forward and again in the backward pass; no gradient belongs to
them. They know arrays; they do not know files, optimisers or which layer they stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from haina.native.packing import BLOCK_ROWS, block_bytes, unpack, unpack_rows

TILE_ROWS = 512  # of a packed matrix, float32 at one time: 8 MB if it has 4,096 columns


class LoraLinear(nn.Module):
    """base(x) + scale · (dropout(x)·Aᵀ)·Bᵀ, where `base` is frozen (arXiv:2106.09685, section 4.1).

    lora_A [rank, in] may belong to several: W_pack has one A for q, k and v. lora_B [out, rank].
    """

    def __init__(
        self,
        base: nn.Module,
        lora_A: nn.Parameter,
        lora_B: nn.Parameter,
        *,
        scale: float,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A, self.lora_B, self.scale = lora_A, lora_B, scale
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_I: Tensor) -> Tensor:
        low_R = F.linear(self.dropout(x_I), self.lora_A)
        y_O: Tensor = self.base(x_I) + self.scale * F.linear(low_R, self.lora_B)
        return y_O

    def change(self) -> Tensor:
        """What it adds to the weight of `base`, [out, in]."""
        return self.scale * self.lora_B.detach() @ self.lora_A.detach()


class AdaptedLinear(nn.Module):
    """base(x), and for some rows of x what adapters add: several adapters serve one batch (Punica, arXiv:2310.18547).

    rows_of: for each adapter in use its rows, shared by all layers and set before each pass. pairs: A and B by adapter.
    """

    def __init__(self, base: nn.Module, rows_of: dict[int, Tensor]):
        super().__init__()
        self.base, self.rows_of = base, rows_of
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x_BTI: Tensor) -> Tensor:
        y_BTO: Tensor = self.base(x_BTI)
        for adapter, rows in self.rows_of.items():
            if adapter in self.pairs:
                a_RI, b_OR = self.pairs[adapter]
                y_BTO[rows] += F.linear(F.linear(x_BTI[rows], a_RI), b_OR)
        return y_BTO


class Packed:
    """A matrix [rows, cols] in W4 or W8: uint8 bytes, usually mapped. No Parameter: it is not trained and not saved."""

    def __init__(self, dtype: str, data: np.ndarray, rows: int, cols: int):
        self.dtype, self.data, self.rows, self.cols = dtype, data, rows, cols

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """TILE_ROWS rows after another as float32 on the CPU, with the number of the first."""
        row_bytes = block_bytes(self.dtype, self.cols) // BLOCK_ROWS
        threads = torch.get_num_threads()
        for start in range(0, self.rows, TILE_ROWS):
            rows = min(TILE_ROWS, self.rows - start)
            blocks = -(-rows // BLOCK_ROWS)
            data = self.data[start * row_bytes :][: blocks * BLOCK_ROWS * row_bytes]
            yield start, torch.from_numpy(unpack(self.dtype, data, rows, self.cols, threads=threads))

    def some(self, ids: Tensor) -> Tensor:
        """Rows as float32 [ids, cols], on the device of `ids`."""
        wanted = ids.cpu().numpy().astype(np.int32)
        return torch.from_numpy(unpack_rows(self.dtype, self.data, self.rows, self.cols, wanted)).to(
            ids.device
        )


class PackedLinear(nn.Module):
    """x · Wᵀ with a packed W: products of dequantised tiles, in the dtype of x (or of autocast)."""

    def __init__(self, matrix: Packed):
        super().__init__()
        self.matrix = matrix

    def forward(self, x_I: Tensor) -> Tensor:
        y_O: Tensor = _Product.apply(x_I, self.matrix)
        return y_O


class PackedHead(PackedLinear):
    """The output matrix. `rows` is all of it in float32, for a while: who needs the logits of a batch at once."""

    def rows(self) -> Tensor:
        return torch.cat([tile for _, tile in self.matrix.tiles()])


class PackedEmbedding(nn.Module):
    """The embedding of each id, of a packed matrix."""

    def __init__(self, matrix: Packed):
        super().__init__()
        self.matrix = matrix

    def forward(self, ids_BT: Tensor) -> Tensor:
        rows_ND = self.matrix.some(ids_BT.flatten())
        return rows_ND.view(*ids_BT.shape, self.matrix.cols)


class _Product(torch.autograd.Function):
    """y = x·Wᵀ and dx = dy·W, tile by tile. Only W's bytes are kept between the two, and they lie where they lay."""

    @staticmethod
    def forward(ctx: Any, x_I: Tensor, matrix: Packed) -> Tensor:
        ctx.matrix = matrix
        return torch.cat([F.linear(x_I, tile.to(x_I)) for _, tile in matrix.tiles()], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy_O: Tensor) -> tuple[Tensor, None]:
        dx_I = torch.zeros(*dy_O.shape[:-1], ctx.matrix.cols, device=dy_O.device)
        for start, tile in ctx.matrix.tiles():
            dx_I += dy_O[..., start : start + len(tile)] @ tile.to(dy_O)
        return dx_I.type_as(dy_O), None
