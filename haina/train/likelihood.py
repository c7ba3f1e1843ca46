"""How likely a network finds given tokens: log-probabilities with a gradient, CHUNK tokens of logits at a time.

Objectives that compare answers are made of them (train/dpo.py, train/grpo.py). It knows neither rewards nor data.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from haina.model.decoder import Decoder
from haina.text.messages import IGNORED
from haina.train.objectives import CHUNK, Batch


def learned(decoder: Decoder, batch: Batch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """(log-probability in nats of each target that is not IGNORED, the row that it lies in), row by row."""
    keep_BT = batch["targets_BT"] != IGNORED
    x_ND = decoder.hidden(batch["ids_BT"])[keep_BT]
    rows_VD, target_N = decoder.lm_head.rows(), batch["targets_BT"][keep_BT]
    parts = [
        checkpoint(_chunk, x_CD, rows_VD, target_C, temperature, use_reentrant=False)
        for x_CD, target_C in zip(x_ND.split(CHUNK), target_N.split(CHUNK), strict=True)
    ]
    return torch.cat(parts), keep_BT.nonzero()[:, 0]


def _chunk(x_CD: Tensor, rows_VD: Tensor, target_C: Tensor, temperature: float) -> Tensor:
    """Its logits are not kept but computed again in the backward pass."""
    logits_CV = (x_CD @ rows_VD.type_as(x_CD).T).float() / temperature
    return torch.log_softmax(logits_CV, -1).gather(-1, target_C[:, None])[:, 0]


def summed(values_N: Tensor, row_N: Tensor, rows: int) -> Tensor:
    """(rows,): the sum of the values of each row."""
    return values_N.new_zeros(rows).index_add(0, row_N, values_N)
