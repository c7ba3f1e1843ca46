"""What a model is trained for: pure functions (decoder, batch) → loss in nats per learned token."""

from __future__ import annotations

import torch
from torch import Tensor

from haina.model.decoder import Decoder
from haina.text.messages import IGNORED

CHUNK = 2048  # tokens whose logits exist at once: (2048, V) in fp32 stays in the caches' reach


def next_token(
    decoder: Decoder, ids_BT: Tensor, targets_BT: Tensor, *, z_loss: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `targets_BT`, and the same with z-loss added, which is what is minimised.

    z-loss: z · logsumexp(logits)² (PaLM, arXiv:2204.02311, section 5) keeps raw logits close to
    log-probabilities, as a head that computes only a few rows needs.
    """
    x_ND = decoder.hidden(ids_BT).flatten(0, 1)
    target_N = targets_BT.flatten()
    learned = (target_N != IGNORED).sum().clamp(min=1)
    nats, squares = x_ND.new_zeros(()), x_ND.new_zeros(())
    for x_CD, target_C in zip(x_ND.split(CHUNK), target_N.split(CHUNK), strict=True):
        logits_CV = decoder.lm_head(x_CD).float()
        log_sum_C = torch.logsumexp(logits_CV, -1)
        keep_C = target_C != IGNORED
        picked_C = logits_CV.gather(-1, target_C.clamp(min=0)[:, None])[:, 0]
        nats = nats + ((log_sum_C - picked_C) * keep_C).sum()
        squares = squares + (log_sum_C.square() * keep_C).sum()
    loss = nats / learned
    return loss, loss + z_loss * squares / learned
