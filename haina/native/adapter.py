"""NativeAdapter: what an adapter adds to each matrix of a network, as pointers for native/forward.cpp.

It knows the names and shapes of matrices; it does not know files, scales or which row uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from haina.native.binding import NativeModel
from haina.native.checks import pointer, refuse
from haina.native.library import MAX_RANK, CLowRank

Change = tuple[np.ndarray, np.ndarray]  # A [rank, in] and B [out, rank], float32; the scale is in B
MATRICES = (  # in the order of haina_step.adapters
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


class NativeAdapter:
    """Changes by the names of our tensors; a matrix without one stays as it is. B is copied, its columns into rows.

    ValueError names the matrix that this model does not have, or not in this shape, and a rank beyond MAX_RANK.
    """

    def __init__(self, model: NativeModel, changes: Mapping[str, Change]):
        self.model = model
        self.c = (CLowRank * (model.layers * len(MATRICES)))()
        self._kept: list[np.ndarray] = []
        D, F, q, kv = model.D, model.F, model.H * model.E, model.K * model.E
        shapes = dict(zip(MATRICES, ((q, D), (kv, D), (kv, D), (D, q), (F, D), (F, D), (D, F)), strict=True))
        left = dict(changes)
        for place, (layer, matrix) in enumerate(product(range(model.layers), MATRICES)):
            if (name := f"model.layers.{layer}.{matrix}.weight") in left:
                self.c[place] = self._low_rank(name, left.pop(name), shapes[matrix])
        if left:
            raise refuse(min(left), "this network has no such matrix", "此网络没有这个矩阵")

    def _low_rank(self, name: str, change: Change, shape: tuple[int, int]) -> CLowRank:
        a_RI = np.ascontiguousarray(change[0], np.float32)
        b_RO = np.ascontiguousarray(change[1].T, np.float32)
        found, rank = (b_RO.shape[1], a_RI.shape[1]), len(a_RI)
        if found != shape or len(b_RO) != rank or not 1 <= rank <= MAX_RANK:
            en = f"a change of {list(found)} with rank {rank}, where {list(shape)} and 1 to {MAX_RANK} fit"
            zh = f"形状 {list(found)}、秩 {rank} 的改动不合；应为 {list(shape)}，秩 1 至 {MAX_RANK}"
            raise refuse(name, en, zh)
        self._kept += [a_RI, b_RO]
        return CLowRank(pointer(a_RI), pointer(b_RO), rank)
