"""Learning which of two answers is better, by direct preference optimisation (Rafailov et al., arXiv:2305.18290).

The model as it was is asked once for the likelihood of every answer; the numbers stay in the run, so that only one
network is ever in memory. It does not know the inside of the loop, nor terminals.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from haina.data.dialogues import Preference, preference, survey
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.options.tuning import DpoOptions
from haina.train.base import Base, Network
from haina.train.likelihood import learned, summed
from haina.train.loop import Held, Task, beside, prepared
from haina.train.objectives import Batch
from haina.train.tune import (
    LOOKED_AT,
    Available,
    Tuning,
    Watch,
    drawn,
    held_out,
    ignored,
    origin,
    padded,
    plan,
    require_memory,
    require_single,
    settled,
    whole,
)  # fmt: skip
from haina.wording import say

RATE = 1e-6  # huggingface/trl@f2cd577 DPOConfig
TOLD = ("margin", "accuracy", "chosen", "rejected")


def preferred(
    decoder: Decoder,
    batch: Batch,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    by_length: bool = False,
    sft: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Sigmoid DPO (equation 7) over rows of which each even one is better than the next.

    reference_P2: nats of both answers under the model as it was. The first result is (5,): the loss in nats per
    pair, the margin of the rewards, the share of pairs with one above 0, the rewards of the better and of the other
    answers. label_smoothing: labels are wrong so often (Mitchell, "A note on DPO with noisy preferences", 2023).
    by_length: answers are compared by nats per token (arXiv:2411.15124, section 5.2). sft: weight of the
    cross-entropy of the better answers (arXiv:2404.19733, equation 1).
    """
    nats_N, row_N = learned(decoder, batch)
    rows = len(batch["ids_BT"])
    tokens_P2 = summed(torch.ones_like(nats_N), row_N, rows).view(-1, 2)
    nats_P2 = summed(nats_N, row_N, rows).view(-1, 2)
    gain_P2 = nats_P2 - batch["reference_P2"]
    reward_P2 = beta * (gain_P2 / tokens_P2 if by_length else gain_P2)
    margin_P = reward_P2[:, 0] - reward_P2[:, 1]
    losses_P = -(1 - label_smoothing) * F.logsigmoid(margin_P) - label_smoothing * F.logsigmoid(-margin_P)
    loss = losses_P.mean()
    if sft:
        loss = loss - sft * nats_P2[:, 0].sum() / tokens_P2[:, 0].sum()
    told = torch.stack([losses_P.mean(), margin_P.mean(), (margin_P > 0).float().mean(), *reward_P2.mean(0)])
    return told.detach(), loss


@dataclass(frozen=True)
class Part:
    """Pairs of a batch: an even row is better than the next one, padded on the right."""

    ids_BT: np.ndarray
    targets_BT: np.ndarray
    reference_P2: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two answers after one question."""

    prompt: list[int]
    answers: tuple[list[int], list[int]]

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(map(len, self.answers))

    @property
    def tokens(self) -> int:
        return 2 * len(self.prompt) + sum(map(len, self.answers))


@dataclass
class Pairs:
    """Pairs by the number of the batch. Until `know` was called, the reference is 0."""

    pairs: Sequence[Pair]
    training: Sequence[int]
    seed: int
    reference_P2: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.reference_P2 = np.zeros((len(self.pairs), 2), np.float32)

    def batch(self, number: int, rows: int) -> Part:
        return self.at([self.training[n] for n in drawn(len(self.training), number, rows, self.seed)])

    def at(self, numbers: Sequence[int]) -> Part:
        found = [self.pairs[n] for n in numbers]
        both = [(pair.prompt, answer) for pair in found for answer in pair.answers]
        return Part(*padded(both), self.reference_P2[list(numbers)])

    def know(self, file: Path, decoder: Decoder, options: TrainOptions) -> None:
        """Take the reference from the file, or ask the model, which is still as it was, and keep what it says."""
        if not file.exists():
            print(
                say(
                    f"asking the model for the likelihood of {2 * len(self.pairs):,} answers …",
                    f"正在计算原模型对 {2 * len(self.pairs):,} 个回答的似然……",
                ),
                flush=True,
            )
            self.reference_P2[:] = reference(decoder, self, options)
            with file.with_suffix(".new").open("wb") as new:
                np.save(new, self.reference_P2)
            os.replace(file.with_suffix(".new"), file)
        self.reference_P2[:] = np.load(file)


@torch.no_grad()
def reference(decoder: Decoder, pairs: Pairs, options: TrainOptions) -> np.ndarray:
    """(P, 2): nats of every answer under `decoder`; long ones together, so that little is padded."""
    ask = prepared(decoder, _nats, options)
    found = np.zeros((len(pairs.pairs), 2), np.float32)
    by_length = sorted(range(len(pairs.pairs)), key=lambda n: pairs.pairs[n].longest)
    for at in range(0, len(by_length), options.rows):
        numbers = by_length[at : at + options.rows]
        found[numbers] = ask(decoder, beside(decoder, pairs.at(numbers)))[0].view(-1, 2).cpu().numpy()
    return found


def _nats(decoder: Decoder, batch: Batch) -> tuple[Tensor, Tensor]:
    nats_N, row_N = learned(decoder, batch)
    nats_B = summed(nats_N, row_N, len(batch["ids_BT"]))
    return nats_B, nats_B


@dataclass(frozen=True)
class Fixed(Sequence[Part]):
    """The held-out pairs in batches, made when they are asked for: the reference is known only then."""

    pairs: Pairs
    numbers: Sequence[int]
    rows: int

    def __len__(self) -> int:
        return math.ceil(len(self.numbers) / self.rows)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.pairs.at(self.numbers[index * self.rows : (index + 1) * self.rows])


def prepare(
    model: Path, data: Path, asked: DpoOptions, *, available: Available = lambda device: None
) -> Tuning:
    """Open and check everything. ValueError names what is amiss: the model, a row, too little memory or disk."""
    require_single()
    base, folder = Base.open(model, asked.device), Path(asked.out)
    length, found = base.length(asked.length), survey(data, lambda row: preference(row, ignored(asked)))
    notes = (*whole(found, asked), *base.notes(asked))
    every = [(one.prompt, encoded(one, base)) for one in found.good]
    fit = [(prompt, pair) for prompt, pair in every if pair.longest <= length]
    require_some(len(fit), data, length)
    held = held_out(len(fit), asked)
    training = sorted(set(range(len(fit))) - set(held))
    pairs = Pairs([pair for _, pair in fit], training, asked.seed)
    options = sizes(asked, base, pairs)
    longest = max(pair.longest for pair in pairs.pairs)
    room = require_memory(base, asked, replace(options, rows=2 * options.rows, length=longest), available)
    how = {name: getattr(asked, name) for name in ("beta", "label_smoothing", "by_length", "sft")}
    net = Network.open(base, asked)
    task = Task(
        net.decoder,
        pairs,
        {"pairs": Held(Fixed(pairs, held, options.rows))} if held else {},
        partial(preferred, **how),
        about=base.about()
        | net.about(asked)
        | how
        | {"objective": "dpo", "data": origin(data, asked, length=length)},
        watch=Watch(folder, base, [fit[n][0] for n in (held or training)[:LOOKED_AT]]),
        weigh=lambda part: float(len(part.reference_P2)),
        also=TOLD,
    )
    lines = plan(base, task, options, counted(len(fit), len(every) - len(fit), asked), *notes, room)
    begin = partial(pairs.know, folder / "reference.npy", task.decoder, options)
    return Tuning(folder, base, asked, task, options, lines, "haina train dpo", net.lora, begin)


def encoded(one: Preference, base: Base) -> Pair:
    """A preference as ids, as the chat format says."""
    return Pair(base.prompt_ids(one.prompt), (base.answer_ids(one.chosen), base.answer_ids(one.rejected)))


def sizes(asked: DpoOptions, base: Base, pairs: Pairs) -> TrainOptions:
    """Parts and steps by the data. A row of the loop is a pair, its length that of a usual one."""
    rows = min(asked.rows, asked.batch, len(pairs.training))
    accumulate = max(1, round(min(asked.batch, len(pairs.training)) / rows))
    steps = max(1, math.ceil(asked.epochs * len(pairs.training) / (rows * accumulate)))
    length = round(sum(pair.tokens for pair in pairs.pairs) / len(pairs.pairs))
    return settled(asked, base, rate=RATE, steps=steps, rows=rows, accumulate=accumulate, length=length)


def require_some(count: int, data: Path, length: int) -> None:
    """ValueError if no pair is left."""
    if not count:
        raise ValueError(
            say(
                f"{data}: no pair fits into {length:,} tokens; raise --length",
                f"{data}：没有一对回答能放入 {length:,} 词元；请增大 --length",
            )
        )


def counted(count: int, gone: int, asked: DpoOptions) -> str:
    """A line about the data."""
    en, zh = (f", {gone:,} more are too long", f"，另有 {gone:,} 对过长") if gone else ("", "")
    return say(
        f"data: {count:,} pairs of answers{en}, shown {asked.epochs:g} times; beta {asked.beta:g}",
        f"数据：{count:,} 对回答{zh}，遍历 {asked.epochs:g} 遍；beta {asked.beta:g}",
    )
