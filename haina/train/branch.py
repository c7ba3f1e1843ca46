"""Where the numbers of a run come from when it does not begin with nothing: from itself, or from another run's state.

A run whose rates stay flat can go on for ever; models are made of it by short branches whose rates fall, perhaps on
other text or in longer rows (MiniCPM, arXiv:2404.06395, section 4). A branch begins with the weights, the optimiser
and, in the same text, the place of a state. It does not know the loop, nor what is trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from haina.checkpoint.read_json import read_json_object
from haina.data.pack import Batch, Samples
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import PretrainOptions, TrainOptions
from haina.train.loop import OF_A_SESSION
from haina.train.optim import schedule
from haina.train.state import Progress, States, take_up, verified
from haina.wording import say, short

DECAY = 0.1  # of what a run saw: enough for the rates to fall (arXiv:2404.06395, section 4.3)


@dataclass(frozen=True)
class Parent:
    """A state of another run. run: its run.json."""

    state: Path
    run: Mapping[str, Any]
    progress: Progress

    @property
    def rows(self) -> int:
        """Rows of its text that it has been shown."""
        return int(self.progress.batch * self.run["rows"] * self.run["accumulate"])

    @property
    def tokens(self) -> int:
        """Tokens of the steps that it has done."""
        return int(self.progress.step * _tokens_of_a_step(self.run))

    @property
    def share(self) -> float:
        """Of the peak rate, where it stands."""
        return schedule(self.progress.step, _options(self.run))

    def file(self, name: str) -> Path:
        """Of the run's folder."""
        return self.state.resolve().parent.parent / name

    def shows(self, text: str, options: TrainOptions) -> bool:
        """Whether its rows are those of a run with this text (its fingerprint) and these options."""
        run = self.run
        return (run["tokens"], run["length"], run["seed"]) == (text, options.length, options.seed)

    def about(self, *, same_text: bool) -> dict[str, Any]:
        """For the run.json of the branch."""
        manifest = (self.state / "manifest.json").read_bytes()
        return {
            "run": self.file("").name,
            "step": self.progress.step,
            "tokens": self.tokens,
            "rows": self.rows if same_text else 0,
            "state": hashlib.sha256(manifest).hexdigest(),
        }


def parent(place: Path) -> Parent:
    """A run, by its newest state, or a state of one. ValueError: it is neither, damaged, or no pre-training."""
    alone = (place / "progress.json").exists()
    states = [place] if alone else States(place / "states", 1).found()
    if not states:
        raise ValueError(
            say(
                f"--from {place}: no run with a state; give RUN or RUN/states/N",
                f"--from {place}：不是已有状态的训练目录；请给出 RUN 或 RUN/states/N",
            )
        )
    run = run_of(states[0].resolve().parent.parent)
    if "config" not in run or "objective" in run:
        raise ValueError(
            say(
                f"--from {place}: no pre-training; tune its model with haina train sft",
                f"--from {place}：不是预训练；请用 haina train sft 微调它的模型",
            )
        )
    return Parent(states[0], run, verified(states[0]))


def run_of(folder: Path) -> dict[str, Any]:
    """The run.json of a run, with what an older version did not write yet."""
    return {**asdict(TrainOptions()), **read_json_object(folder / "run.json")}


def as_there(asked: PretrainOptions, run: Mapping[str, Any], where: Path) -> PretrainOptions:
    """The options, with what a run says where nothing is asked. ValueError: a network or optimiser that it has not."""
    config = ModelConfig.from_hf(run["config"], file=str(where))
    batch = _tokens_of_a_step(run)
    known = {**run, "position": config.position, "head": config.head}
    known |= {"batch": batch, "tokens": float(run["steps"] * batch)}
    for name in ("size", "position", "head", "optimiser"):
        if getattr(asked, name) not in (None, known[name]):
            raise ValueError(
                say(
                    f"{where}: the run was begun with {name} = {known[name]}, not {getattr(asked, name)}; "
                    f"leave --{name} out, or begin another run",
                    f"{where}：此次训练开始时 {name} = {known[name]}，不是 {getattr(asked, name)}；"
                    f"请去掉 --{name}，或另起一次训练",
                )
            )
    if asked.length not in (None, run["length"]):
        del known["rows"]
    names = {field.name for field in fields(asked) if getattr(asked, field.name) is None} - OF_A_SESSION
    return replace(asked, **{name: known[name] for name in names & known.keys()})


def falling(asked: PretrainOptions, found: Parent) -> PretrainOptions:
    """The options of a branch: from its first step on the rates fall, unless something else is asked for."""
    seen = found.tokens or found.run["steps"] * _tokens_of_a_step(found.run)
    own: dict[str, Any] = {"tokens": DECAY * seen, "schedule": "wsd", "flat": 0.0, "warm_up": 0}
    own = {name: value for name, value in own.items() if getattr(asked, name) is None}
    return as_there(replace(asked, **own), found.run, found.state)


@dataclass(frozen=True)
class Later:
    """Rows from the one with number `first` on."""

    samples: Samples
    first: int

    def batch(self, number: int, rows: int) -> Batch:
        first = self.first + number * rows
        return self.samples.at(range(first, first + rows))


@dataclass(frozen=True)
class Begin:
    """A parent's weights and optimisers as the first state of a run. recent: its last losses count, too."""

    parent: Parent
    recent: bool

    def __call__(self, decoder: Decoder, optimisers: Sequence[torch.optim.Optimizer]) -> Progress:
        """ValueError: the state is gone meanwhile, as those of a run that goes on are."""
        try:
            take_up(self.parent.state, decoder, optimisers)
        except FileNotFoundError:
            state = self.parent.state
            raise ValueError(
                say(
                    f"{state}: is gone, its run has gone on; name a newer one, or a copy",
                    f"{state}：已被删除，其训练仍在进行；请指定更新的状态，或先复制一份",
                )
            ) from None
        return Progress(recent=self.parent.progress.recent if self.recent else ())


def remarks(found: Parent, asked: PretrainOptions) -> list[str]:
    """Where a branch begins, for a person."""
    seen, name = short(found.tokens), found.file("").name
    step = f"{found.progress.step:,}"
    told = [
        say(
            f"from: {name} after step {step}, {seen} tokens; all of this comes on top",
            f"起点：{name} 第 {step} 步之后，已训练 {seen} 词元；以上均为新增",
        )
    ]
    if found.share < 0.99 and asked.matrix_lr == found.run["matrix_lr"] and not asked.warm_up:
        told.append(
            say(
                f"note: its rates had fallen to {found.share:.0%} there and begin at the peak here; "
                "a state before they fell is a better beginning",
                f"注意：原训练在此处学习率已降至 {found.share:.0%}，这里从最高值重新开始；"
                "最好选学习率下降之前的状态",
            )
        )
    return told


def _options(run: Mapping[str, Any]) -> TrainOptions:
    return TrainOptions(**{field.name: run[field.name] for field in fields(TrainOptions)})


def _tokens_of_a_step(run: Mapping[str, Any]) -> int:
    return int(run["rows"] * run["accumulate"] * run["length"])
