"""Optimisers and the schedule: Muon for the matrices inside the blocks, AdamW for everything else.

torch.optim.Muon orthogonalises in bf16, which a CPU without bf16 instructions does seven times slower than
fp32, and one matrix at a time; ours takes matrices of one shape together, in fp32 unless told otherwise.
q, k and v are separate parameters, so each is orthogonalised by itself. It does not know the loop or the data.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from haina.model.decoder import Decoder


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised Nesterov momentum (Keller Jordan, 2024, github.com/KellerJordan/Muon).

    The rate is matched to AdamW's: 0.2·sqrt(max(rows, columns)) (arXiv:2502.16982, section 2.2). Weight decay
    is cautious: only where the step and the weight agree in sign (arXiv:2411.16085).
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95
    ):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for weight in group["params"]:
                by_shape.setdefault(weight.shape, []).append(weight)
            for weights in by_shape.values():
                self._step_together(weights, group)

    def _step_together(self, weights: list[nn.Parameter], group: dict[str, float]) -> None:
        updates = orthogonal(torch.stack([self._nesterov(weight, group["momentum"]) for weight in weights]))
        rate = group["lr"] * 0.2 * max(weights[0].shape) ** 0.5
        for weight, update in zip(weights, updates, strict=True):
            agree = (update * weight) > 0
            weight.sub_(weight * agree, alpha=group["lr"] * group["weight_decay"])
            weight.sub_(update, alpha=rate)

    def _nesterov(self, weight: nn.Parameter, momentum: float) -> Tensor:
        assert weight.grad is not None
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)


def orthogonal(matrices_BMN: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly: five steps of the quintic Newton-Schulz iteration."""
    a, b, c = (
        3.4445,
        -4.7750,
        2.0315,
    )  # Jordan's coefficients: the slope at zero is large, 1 is left at 0.7 … 1.2
    wide = matrices_BMN.shape[1] <= matrices_BMN.shape[2]
    x = matrices_BMN if wide else matrices_BMN.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


def optimisers(
    decoder: Decoder, *, matrix_lr: float, other_lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon over every matrix of the blocks; AdamW without decay over embeddings, head and norms."""
    blocks = [p for name, p in decoder.named_parameters() if ".layers." in name and p.dim() == 2]
    inside = {id(p) for p in blocks}
    others = [p for p in decoder.parameters() if id(p) not in inside]
    muon = Muon(blocks, lr=matrix_lr, weight_decay=weight_decay)
    adam = torch.optim.AdamW(others, lr=other_lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)
    for optimiser in (muon, adam):
        for group in optimiser.param_groups:
            group["peak_lr"] = group["lr"]
    return [muon, adam]


def schedule(step: int, steps: int, *, warm_up: int = 40, flat: float = 0.4, floor: float = 0.05) -> float:
    """The share of the peak rate at `step`: linear warm-up, flat until `flat` of the run, then linear to `floor`."""
    if step < warm_up:
        return (step + 1) / warm_up
    start = max(warm_up, int(flat * steps))
    if step < start:
        return 1.0
    return 1.0 - (1.0 - floor) * (step - start) / max(1, steps - start)
