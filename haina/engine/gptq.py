"""GPTQ: choose the integers of a W4 matrix so that its products with real inputs change least.

pack() rounds each weight to the nearest. Here the scales stay pack's, but a weight may go to the other neighbour to
undo what the rounding of its row's earlier weights did to the product. With H = E[x xᵀ] = U D Uᵀ, U unit upper
triangular, the error of a row e is Σ_k D_k (e_k + Σ_{i<k} e_i U_ik)²: going through the columns, each term is made as
small as the grid allows. GPTQ is arXiv:2210.17323; this form of it, with no inverse, is LDLQ of QuIP,
arXiv:2307.13304, section 3. It knows one matrix and one H; not where x comes from, nor files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from haina.native.packing import CHUNK_COLS, GROUP_COLS, assemble, integers, pack

BLOCK = 64  # columns rounded one by one before their errors meet the others in one product
# Added to the diagonal, of its mean. Between .003 and .1 the KL changes by 5 % (docs/log.md); 3 % keeps the float32
# factorisation of 13,696 columns safe too: sums of that length are off by at most 1e-6 of the trace.
DAMP = 0.03


@dataclass(frozen=True)
class Feedback:
    """How the errors of earlier columns move the later ones. Made once for all matrices with the same input.

    order: the columns, the ones with the largest inputs first: they have the others to make up for them.
    factor: U of H, float32 [cols, cols], in that order.
    """

    order: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, moment: np.ndarray) -> Feedback:
        """From E[x xᵀ], float32 [cols, cols]. Three more of that size are needed for a while.

        np.linalg.LinAlgError if it has no factor: values that are not finite, or too large for float32.
        """
        loudness = moment.diagonal()
        order = np.argsort(-loudness, kind="stable")
        flipped = moment[np.ix_(order[::-1], order[::-1])]
        with np.errstate(over="ignore", invalid="ignore"):
            flipped[np.diag_indices_from(flipped)] += DAMP * loudness.mean() or 1
            lower = np.linalg.cholesky(flipped)
        if not np.isfinite(lower.diagonal()).all():  # a diagonal element sums up the squares of its row
            raise np.linalg.LinAlgError("not finite")
        lower /= lower.diagonal()
        return cls(order, lower[::-1, ::-1])

    def pack(self, w: np.ndarray) -> np.ndarray:
        """Rows of a matrix, float32 [rows, cols], as W4: uint8 as `native.packing.pack` gives. Rows do not meet.

        Scales that are not finite, of values too large for W4, are left to whoever looks at all scales.
        """
        nearest = pack("W4", w, threads=1)
        _, group_scale, scale = integers("W4", nearest, *w.shape)
        assert group_scale is not None
        if not np.isfinite(scale).all():
            return nearest
        per_group = np.repeat(scale, CHUNK_COLS // GROUP_COLS, axis=1)[:, : group_scale.shape[1]]
        step_CR = (group_scale * per_group).T
        q = np.empty(w.shape, np.int8)
        q.T[self.order] = self._integers(w.T[self.order], step_CR[self.order // GROUP_COLS])
        return assemble("W4", q, group_scale, scale)

    def _integers(self, w_CR: np.ndarray, step_CR: np.ndarray) -> np.ndarray:
        """Integers such that q · step is near w in the products; all in the order of the columns, a column a line."""
        q_CR, error_CR = np.empty_like(w_CR), np.empty_like(w_CR)
        per_step_CR = np.divide(1, step_CR, out=np.zeros_like(step_CR), where=step_CR != 0)
        for start in range(0, len(w_CR), BLOCK):
            block = slice(start, start + BLOCK)
            aim_CR = w_CR[block] - self.factor[:start, block].T @ error_CR[:start]
            for k, later in enumerate(self.factor[block, block], start):
                q_CR[k] = np.clip(np.rint(aim_CR[k - start] * per_step_CR[k]), -8, 7)
                error_CR[k] = q_CR[k] * step_CR[k] - w_CR[k]
                aim_CR[k - start + 1 :] -= later[k - start + 1 :, None] * error_CR[k]
        return q_CR
