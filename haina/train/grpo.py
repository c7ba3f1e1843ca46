"""Learning from rewards, by group relative policy optimisation: answers better than the others to one question.

GRPO: arXiv:2402.03300, section 4.1; the loss by tokens and the two clips: DAPO, arXiv:2503.14476, section 3. What the
network says at a step depends on its weights and on the seed alone, so that a run resumes exactly; answers that are
used for several steps lie in the run. It does not know what is rewarded, nor terminals.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from haina.data.dialogues import Prompt, prompt, survey
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.options.tuning import GrpoOptions
from haina.text.messages import IGNORED
from haina.train.base import Base, Network
from haina.train.likelihood import learned
from haina.train.loop import Task, beside, prepared
from haina.train.objectives import Batch
from haina.train.rewards import Reward, reward_by
from haina.train.rollout import answers
from haina.train.tune import (
    LOOKED_AT,
    Available,
    Tuning,
    Watch,
    drawn,
    origin,
    padded,
    plan,
    require_memory,
    require_single,
    settled,
    whole,
)  # fmt: skip
from haina.wording import say

RATE = 1e-6  # huggingface/trl@f2cd577 GRPOConfig
TOLD = ("reward", "spread", "answer_tokens", "clipped")
LEAST_SPREAD = 1e-4  # so that a group of equal rewards teaches nothing

# (prompts, number of the part) → an answer to each prompt, with the id that ended it
Sampler = Callable[[Sequence[Sequence[int]], int], list[list[int]]]
Likelihood = Callable[[Batch], Tensor]  # (B, T): nats of each target, 0 where there is none


def improved(
    decoder: Decoder,
    batch: Batch,
    *,
    generations: int,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    beta: float = 0.0,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Clipped policy gradient, the mean over all tokens of all answers (DAPO, equation 8), and beta times the distance
    from the model as it was.

    reward_B: of each answer; those to one question, `generations`, follow one another. nats_BT: of each token when it
    was said; reference_BT: under the model as it was. The first result is (5,): the loss, the mean of the rewards, of
    their deviation in a group, of the tokens of an answer, and the share of tokens whose gradient was cut off.
    """
    nats_N, row_N = learned(decoder, batch, temperature)
    keep_BT = batch["targets_BT"] != IGNORED
    advantage_N = advantages(batch["reward_B"], generations)[row_N]
    ratio_N = (nats_N - batch["nats_BT"][keep_BT]).exp()
    gain_N = torch.minimum(ratio_N * advantage_N, ratio_N.clamp(1 - clip_low, 1 + clip_high) * advantage_N)
    loss = -gain_N.mean()
    if beta:  # Schulman's estimate of the divergence (GRPO, equation 4)
        apart_N = batch["reference_BT"][keep_BT] - nats_N
        loss = loss + beta * (apart_N.exp() - apart_N - 1).mean()
    clipped_N = gain_N < ratio_N * advantage_N
    groups_PG = batch["reward_B"].view(-1, generations)
    told = [
        loss,
        groups_PG.mean(),
        groups_PG.std(-1).mean(),
        keep_BT.sum() / len(keep_BT),
        clipped_N.float().mean(),
    ]
    return torch.stack(told).detach(), loss


def advantages(reward_B: Tensor, generations: int) -> Tensor:
    """(B,): how far each reward lies from the mean of its group, in deviations."""
    groups_PG = reward_B.view(-1, generations)
    apart_PG = groups_PG - groups_PG.mean(-1, keepdim=True)
    return (apart_PG / (groups_PG.std(-1, keepdim=True) + LEAST_SPREAD)).flatten()


@dataclass(frozen=True)
class Said:
    """Answers of a batch, padded on the right; the answers to one question follow one another."""

    ids_BT: np.ndarray
    targets_BT: np.ndarray


@dataclass(frozen=True)
class Part(Said):
    """What they are worth, and how likely they were."""

    reward_B: np.ndarray  # float32
    nats_BT: np.ndarray  # float32, of each target when it was said
    reference_BT: np.ndarray  # float32, the same under the model as it was


@dataclass(frozen=True)
class Rollouts:
    """What the network in training answers to the questions of a part, and what that is worth."""

    base: Base
    prompts: Sequence[Prompt]
    asked: GrpoOptions
    accumulate: int
    reward: Reward
    sampler: Sampler
    decoder: Decoder
    now: Likelihood  # under the network in training
    then: Likelihood  # under the model as it was

    def batch(self, number: int, rows: int) -> Part:
        """Part `number`, of `rows` questions; with `reuse`, what was said to them some steps ago."""
        step, part = divmod(number, self.accumulate)
        first = step // self.asked.reuse * self.accumulate + part
        if self.asked.reuse == 1:
            return self.roll(first, rows)
        file = Path(self.asked.out) / "rollouts" / f"{first:08}-{rows}.npz"
        if not file.exists():
            keep(file, self.roll(first, rows))
        with np.load(file) as found:
            return Part(**found)

    def roll(self, number: int, rows: int) -> Part:
        """Ask, and judge the answers."""
        chosen = [self.prompts[n] for n in drawn(len(self.prompts), number, rows, self.asked.seed)]
        each = [one for one in chosen for _ in range(self.asked.generations)]
        ids = [self.base.prompt_ids(one.messages) for one in each]
        said = self.sampler(ids, number)
        worth = [self.reward(self.text(answer), one.row) for answer, one in zip(said, each, strict=True)]
        if number == 0 and not np.ptp(np.reshape(worth, (-1, self.asked.generations)), axis=1).any():
            print(_all_alike(worth), flush=True)
        ids_BT, targets_BT = padded(list(zip(ids, said, strict=True)))
        batch = beside(self.decoder, Said(ids_BT, targets_BT))
        nats = (ask(batch).cpu().numpy() for ask in (self.now, self.then))
        return Part(ids_BT, targets_BT, np.array(worth, np.float32), *nats)

    def text(self, answer: Sequence[int]) -> str:
        stop = self.base.template.stop_ids
        return self.base.tokenizer.decode([id for id in answer if id not in stop])


def _all_alike(worth: Sequence[float]) -> str:
    least, most = min(worth), max(worth)
    return say(
        f"note: all answers to each of the first questions are worth the same ({least:g} to {most:g}); "
        "while that is so (spread 0) nothing can be learnt",
        f"注意：最初几个提问，各自的所有回答得分都相同（{least:g} 至 {most:g}）；组内标准差为 0 时无从学习",
    )


def keep(file: Path, part: Part) -> None:
    """Write what was said; the file is whole or not there."""
    file.parent.mkdir(exist_ok=True)
    with file.with_suffix(".new").open("wb") as new:
        np.savez_compressed(new, **vars(part))
    os.replace(file.with_suffix(".new"), file)


def likelihood(decoder: Decoder, options: TrainOptions, temperature: float) -> Likelihood:
    """What a network finds likely, in the precision of the run."""

    def nats(decoder: Decoder, batch: Batch) -> tuple[Tensor, Tensor]:
        nats_N, _ = learned(decoder, batch, temperature)
        nats_BT = torch.zeros(batch["targets_BT"].shape, device=nats_N.device)
        nats_BT[batch["targets_BT"] != IGNORED] = nats_N
        return nats_BT, nats_BT

    ask = prepared(decoder, nats, replace(options, compile=False, recompute="none"))

    @torch.no_grad()
    def of(batch: Batch) -> Tensor:
        return ask(decoder, batch)[0]

    return of


def nothing(batch: Batch) -> Tensor:
    """The likelihood under a model that nobody asks for."""
    return torch.zeros(batch["ids_BT"].shape)


def prepare(
    model: Path,
    data: Path,
    asked: GrpoOptions,
    *,
    available: Available = lambda device: None,
    sampler: Sampler | None = None,
) -> Tuning:
    """Open and check everything. ValueError names what is amiss: the model, a row, a reward, too little memory.

    sampler: who answers; by default the network in training itself.
    """
    require_single()
    if not asked.reward:
        raise ValueError(say("what is rewarded? Give --reward", "奖励什么？请用 --reward 给出规则"))
    base, reward = Base.open(model, asked.device), reward_by(asked.reward)
    found = survey(data, lambda row: judged(prompt(row), reward, asked.reward))
    notes = (*whole(found, asked), *base.notes(asked))
    longest = max(len(base.prompt_ids(one.messages)) for one in found.good) + asked.max_new_tokens
    require_short(longest, base, asked)
    options = sizes(asked, base, longest)
    together = options.rows * asked.generations
    room = require_memory(base, asked, replace(options, rows=together, length=longest), available)
    net = Network.open(base, asked)
    names = ("generations", "clip_low", "clip_high", "beta", "temperature")
    how = {name: getattr(asked, name) for name in names}
    more = {"reward": asked.reward, "max_new_tokens": asked.max_new_tokens, "reuse": asked.reuse}
    rollouts = Rollouts(
        base,
        found.good,
        asked,
        options.accumulate,
        reward,
        sampler or by_itself(net.decoder, base, asked),
        net.decoder,
        likelihood(net.decoder, options, asked.temperature),
        likelihood(base.decoder(), options, asked.temperature) if asked.beta else nothing,
    )
    task = Task(
        net.decoder,
        rollouts,
        {},
        partial(improved, **how),
        about=base.about()
        | net.about(asked)
        | how
        | more
        | {"objective": "grpo", "data": origin(data, asked)},
        watch=Watch(
            Path(asked.out), base, [one.messages for one in found.good[:LOOKED_AT]], asked.max_new_tokens
        ),
        also=TOLD,
    )
    lines = plan(base, task, options, counted(len(found.good), asked), *notes, room)
    return Tuning(Path(asked.out), base, asked, task, options, lines, "haina train grpo", net.lora)


def by_itself(decoder: Decoder, base: Base, asked: GrpoOptions) -> Sampler:
    """The network in training answers; its chance depends on the seed and on the number of the part."""

    def sample(prompts: Sequence[Sequence[int]], number: int) -> list[list[int]]:
        return answers(
            decoder,
            prompts,
            most_tokens=asked.max_new_tokens,
            stop_ids=base.template.stop_ids,
            temperature=asked.temperature,
            seed=(asked.seed, number),
        )

    return sample


def judged(one: Prompt, reward: Reward, name: str) -> Prompt:
    """The same, once the reward was tried on it. ValueError: the reward lacks something, or gives no number."""
    worth = reward("", one.row)
    if not isinstance(worth, (int, float)) or not math.isfinite(worth):
        raise ValueError(
            say(f"the reward {name} gives {worth!r}, no number", f"奖励 {name} 给出 {worth!r}，不是数")
        )
    return one


def require_short(longest: int, base: Base, asked: GrpoOptions) -> None:
    """ValueError if the longest question leaves too little room for an answer."""
    most = base.config.max_position_embeddings
    if longest > most:
        room = most - (longest - asked.max_new_tokens)
        raise ValueError(
            say(
                f"{base.checkpoint.folder}: reads {most:,} tokens, the longest question leaves {max(0, room):,}; "
                "lower --max-new-tokens to that, or leave it out",
                f"{base.checkpoint.folder}：上下文 {most:,} 词元，最长的提问只留出 {max(0, room):,}；"
                "请将 --max-new-tokens 减到该值，或去掉该提问",
            )
        )


def sizes(asked: GrpoOptions, base: Base, longest: int) -> TrainOptions:
    """A row of the loop is a question with all its answers."""
    rows = min(asked.rows or asked.prompts, asked.prompts)
    if asked.prompts % rows:
        raise ValueError(
            say(
                f"--prompts {asked.prompts} is no multiple of --rows {rows}; change one",
                f"--prompts {asked.prompts} 不是 --rows {rows} 的整数倍；请调整其一",
            )
        )
    options = settled(
        asked,
        base,
        rate=RATE,
        steps=asked.steps,
        rows=rows,
        accumulate=asked.prompts // rows,
        length=longest * asked.generations,
        flat=True,
    )
    return replace(options, spike_sigma=0.0)  # the loss of a good step may be anything


def counted(count: int, asked: GrpoOptions) -> str:
    """A line about the data."""
    return say(
        f"data: {count:,} questions, {asked.prompts} a step, {asked.generations} answers to each; "
        f"reward: {asked.reward}",
        f"数据：{count:,} 个提问，每步 {asked.prompts} 个，各 {asked.generations} 个回答；奖励：{asked.reward}",
    )
