"""What a model is trained for: pure functions (decoder, batch) → nats per learned token, and the loss to minimise.

A batch is a dict of tensors by name. An objective knows neither where they come from nor what becomes of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from haina.model.decoder import Decoder
from haina.text.messages import IGNORED

Batch = dict[str, Tensor]
Objective = Callable[[Decoder, Batch], tuple[Tensor, Tensor]]
Z = Literal["logsumexp", "max", "off"]

CHUNK = 256  # tokens whose logits exist at once: (256, V) in fp32 stays in the caches
# PaLM (arXiv:2204.02311, section 5) and Baichuan 2 (arXiv:2309.10305, section 2.5)
Z_LOSS: dict[Z, float] = {"logsumexp": 1e-4, "max": 2e-4, "off": 0.0}


def next_token(
    decoder: Decoder, batch: Batch, *, z: Z = "logsumexp", z_loss: float | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `targets_BT` after `ids_BT` at `positions_BT`, and the same with z-loss added.

    z-loss keeps raw logits close to log-probabilities, as a head that computes only a few rows needs:
    z_loss · logsumexp(logits)², or z_loss · max(logits)².
    """
    x_BTD = decoder.hidden(batch["ids_BT"], batch.get("positions_BT"))
    weight = Z_LOSS[z] if z_loss is None else z_loss
    nats, loss = cross_entropy(
        x_BTD.flatten(0, 1), decoder.lm_head.rows(), batch["targets_BT"].flatten(), z == "max", weight
    )
    return nats, loss


def next_token_with(z: Z) -> Objective:
    """`next_token` with one of the z-losses."""
    return partial(next_token, z=z)


def cross_entropy(
    x_ND: Tensor, rows_VD: Tensor, target_N: Tensor, of_max: bool, z_loss: float
) -> tuple[Tensor, Tensor]:
    """(nats, loss) per learned token of logits x·rows, CHUNK tokens at a time; the logits are never kept."""
    nats, loss = _CrossEntropy.apply(x_ND, rows_VD, target_N, of_max, z_loss)
    return nats, loss


class _CrossEntropy(torch.autograd.Function):
    """Head and cross-entropy in one: the gradient is computed with the logits, while they are still in the caches.

    Without it (N, V) logits, their softmax and its gradient go through memory one after another. The idea is
    Liger's fused linear cross-entropy (arXiv:2410.10989, section 3.2).
    """

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, rows_VD: Tensor, target_N: Tensor, of_max: bool, z_loss: float
    ) -> tuple[Tensor, Tensor]:
        learned = (target_N != IGNORED).sum().clamp(min=1)
        nats, loss = x_ND.new_zeros((), dtype=torch.float32), x_ND.new_zeros((), dtype=torch.float32)
        wanted, of_head = any(ctx.needs_input_grad), ctx.needs_input_grad[1]
        dx_ND = torch.zeros_like(x_ND) if wanted else x_ND
        drows_VD = torch.zeros_like(rows_VD) if of_head else None  # a head beside LoRA stays as it is
        room_CV = x_ND.new_empty((min(CHUNK, len(x_ND)), len(rows_VD)), dtype=torch.float32)
        for at in range(0, len(x_ND), CHUNK):
            x_CD, target_C = x_ND[at : at + CHUNK], target_N[at : at + CHUNK]
            logits_CV = _product(x_CD, rows_VD.T, room_CV[: len(x_CD)])
            keep_C, picked_C1 = target_C != IGNORED, target_C.clamp(min=0)[:, None]
            right_C = logits_CV.gather(-1, picked_C1)[:, 0]
            largest_C1 = logits_CV.amax(-1, keepdim=True)
            p_CV = logits_CV.sub_(largest_C1).exp_()
            sum_C1 = p_CV.sum(-1, keepdim=True)
            log_sum_C1 = sum_C1.log() + largest_C1
            z_C1 = largest_C1 if of_max else log_sum_C1
            nats_C = log_sum_C1[:, 0] - right_C
            nats += (nats_C * keep_C).sum() / learned
            loss += ((nats_C + z_loss * z_C1[:, 0].square()) * keep_C).sum() / learned
            if wanted:
                share_C1 = (keep_C / learned)[:, None]
                z_slope_C1 = 2 * z_loss * z_C1 * share_C1
                p_CV.mul_((share_C1 if of_max else share_C1 + z_slope_C1) / sum_C1)
                if of_max:
                    p_CV.scatter_add_(-1, p_CV.argmax(-1, keepdim=True), z_slope_C1)
                p_CV.scatter_add_(-1, picked_C1, -share_C1)
                _product(p_CV, rows_VD, dx_ND[at : at + CHUNK])
                if drows_VD is not None:
                    drows_VD.addmm_(p_CV.T, x_CD.float())
        ctx.save_for_backward(dx_ND, drows_VD)
        ctx.mark_non_differentiable(nats)
        return nats, loss

    @staticmethod
    def backward(ctx: Any, _: Tensor, slope: Tensor) -> tuple[Tensor | None, ...]:
        dx_ND, drows_VD = ctx.saved_tensors
        return dx_ND.mul_(slope), None if drows_VD is None else drows_VD.mul_(slope), None, None, None


def _product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """a @ b into memory that is there already, in the precision of autocast: fresh memory costs more than the sums."""
    if torch.is_autocast_enabled(a.device.type):
        return out.copy_(a @ b)
    return torch.mm(a, b, out=out)
