"""Optimisers and the schedule: Muon or AdamW for the matrices inside the blocks, AdamW for everything else.

torch.optim.Muon orthogonalises in bf16, which a CPU without bf16 instructions does seven times slower than
fp32, and one matrix at a time; ours takes matrices of one shape together, in fp32 on a CPU.
q, k and v are separate parameters, so each is orthogonalised by itself. It does not know the loop or the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.train.sharding import norm_of, shared_out


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
        updates = shared_out(orthogonal, [self._nesterov(weight, group["momentum"]) for weight in weights])
        rate = group["lr"] * 0.2 * max(weights[0].shape) ** 0.5
        for weight, update in zip(weights, updates, strict=True):
            decay_where_agreed(weight, update, group["lr"] * group["weight_decay"])
            weight.sub_(update, alpha=rate)

    def _nesterov(self, weight: nn.Parameter, momentum: float) -> Tensor:
        assert weight.grad is not None
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)


class CautiousAdamW(torch.optim.AdamW):
    """AdamW whose weight decay is cautious: torch's fused step without decay, then decay where both agree.

    The sign of Adam's step is that of its first moment, so the step itself need not be kept.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float], weight_decay: float
    ):
        super().__init__(matrices, lr=lr, betas=betas, eps=1e-8, weight_decay=0.0, fused=True)
        for group in self.param_groups:
            group["cautious_decay"] = weight_decay

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            for weight in group["params"] if group["cautious_decay"] else ():
                moment = self.state[weight]["exp_avg"]
                decay_where_agreed(weight, moment, group["lr"] * group["cautious_decay"])


def decay_where_agreed(weight: Tensor, update: Tensor, rate: float) -> None:
    """Shrink the entries of `weight` that the update, which is subtracted, pulls towards zero, too."""
    weight.addcmul_(weight, (update * weight).gt_(0), value=-rate)


def orthogonal(matrices_BMN: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly: five steps of the quintic Newton-Schulz iteration."""
    # Jordan's coefficients: the slope at zero is large, 1 is left at 0.7 … 1.2
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices_BMN.shape[1] <= matrices_BMN.shape[2]
    x = matrices_BMN if wide else matrices_BMN.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).type_as(matrices_BMN)


def optimisers(decoder: Decoder, options: TrainOptions) -> list[torch.optim.Optimizer]:
    """For the matrices of the blocks, and for everything else: AdamW without decay over embeddings, head, norms.

    What is frozen is left out; of a model with LoRA all else is, so that the second has nothing to do.
    """
    trained = [(name, p) for name, p in decoder.named_parameters() if p.requires_grad]
    blocks = [p for name, p in trained if ".layers." in name and p.dim() == 2]
    inside = {id(p) for p in blocks}
    others = [p for _, p in trained if id(p) not in inside]
    betas, decay = (options.beta1, options.beta2), options.weight_decay
    first: torch.optim.Optimizer
    if options.optimiser == "muon":
        first = Muon(blocks, lr=options.matrix_lr, weight_decay=decay, momentum=options.momentum)
    else:
        first = CautiousAdamW(blocks, lr=options.matrix_lr, betas=betas, weight_decay=decay)
    both: list[torch.optim.Optimizer] = [first]
    if others:
        both.append(CautiousAdamW(others, lr=options.other_lr, betas=betas, weight_decay=0.0))
    for optimiser in both:
        for group in optimiser.param_groups:
            group["peak_lr"] = group["lr"]
    return both


def clip(both: Sequence[torch.optim.Optimizer], most: float) -> float:
    """The length of the whole gradient, before it is cut to `most`. Weights of a group are spread in one way."""
    groups = [group["params"] for optimiser in both for group in optimiser.param_groups]
    norm = torch.linalg.vector_norm(torch.stack([norm_of(weights) for weights in groups]))
    for weights in groups:
        torch.nn.utils.clip_grads_with_norm_(weights, most, norm)
    return norm.item()


def set_rates(both: Sequence[torch.optim.Optimizer], share: float) -> None:
    """Every rate as a share of its peak."""
    for optimiser in both:
        for group in optimiser.param_groups:
            group["lr"] = group["peak_lr"] * share


def schedule(step: int, options: TrainOptions) -> float:
    """The share of the peak rate at `step`: linear warm-up, then by name.

    wsd: flat until `flat` of the run, then linear to `floor`. cosine: half a wave down to `floor`. constant: flat.
    """
    if step < options.warm_up:
        return (step + 1) / options.warm_up
    steps, floor = options.steps, options.floor
    start = (
        options.warm_up if options.schedule == "cosine" else max(options.warm_up, int(options.flat * steps))
    )
    if step < start or options.schedule == "constant":
        return 1.0
    done = (step - start) / max(1, steps - start)
    fallen = (1 - math.cos(math.pi * done)) / 2 if options.schedule == "cosine" else done
    return 1.0 - (1.0 - floor) * fallen
