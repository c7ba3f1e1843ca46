"""The log of a run: log.jsonl for machines, a line of the console for people, TensorBoard if it is installed.

A line of log.jsonl: step, tokens, nats, norm of the gradient, lr (share of the peak), seconds and cpu_s since the
run began, tokens_s and mfu since the last line; `valid` per domain after a validation; `skipped` for a step that
changed nothing; whatever else the task tells, by its name. It knows numbers, not models.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haina.options.training import TrainOptions
from haina.train.optim import schedule
from haina.train.state import Progress
from haina.wording import say

# What a task may tell beside its loss: the name in log.jsonl, in words for people.
ALSO = {
    "margin": ("margin", "奖励差"),
    "accuracy": ("accuracy", "正确率"),
    "chosen": ("chosen", "较优"),
    "rejected": ("rejected", "较差"),
    "reward": ("reward", "奖励"),
    "spread": ("spread", "组内标准差"),
    "answer_tokens": ("tokens of an answer", "回答词元数"),
    "clipped": ("clipped", "截断比例"),
}


@dataclass(frozen=True)
class Measured:
    """One step: nats per learned token, norm of the gradient before it was clipped, whether it was taken, and what
    else the task tells."""

    nats: float
    norm: float
    good: bool
    also: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """What a token costs and what the machine could do, for MFU (arXiv:2204.02311, appendix B); 0: not known."""

    flops_per_token: float = 0.0
    peak_flops: float = 0.0


class Log:
    """Lines after the step from which a run resumes are dropped, its clocks go on from the last one."""

    def __init__(self, folder: Path, options: TrainOptions, first: int, pace: Pace):
        self.file, self.options, self.pace = folder / "log.jsonl", options, pace
        self.lines = [line for line in read_log(self.file) if line["step"] < first]
        self._rewrite()
        before = self.lines[-1] if self.lines else {"seconds": 0.0, "cpu_s": 0.0}
        self.began = time.monotonic() - before["seconds"]
        self.cpu_began = time.process_time() - before["cpu_s"]
        self.mark, self.since = time.monotonic(), 0  # the last line, and the steps since
        self.board = _board(folder, first)

    def forget(self, step: int) -> None:
        """The run goes on from an earlier step: what came after it did not happen."""
        if self.lines and self.lines[-1]["step"] >= step:
            self.lines = [line for line in self.lines if line["step"] < step]
            self._rewrite()

    def step(self, before: Progress, now: Progress, measured: Measured) -> None:
        """A line for this step, if it is one of those to be logged."""
        step, good = before.step, measured.good
        self.since += 1
        due = step % self.options.log_every == 0 or now.step in (self.options.steps, self.options.stop_after)
        if not good:
            self.say(_left_out(step, now, measured))
        if now.step > step and (due or not good):  # of a run that went back this step did not happen
            line = self._line(step, measured) | ({} if good else {"skipped": True})
            self._write(line)

    def valid(self, done: int, found: Mapping[str, Mapping[str, float]]) -> None:
        """Add a validation to the line of the last step."""
        if not found:
            return
        if not self.lines or self.lines[-1]["step"] != done - 1:
            self.lines.append({"step": done - 1, "tokens": self._tokens(done)} | self._clocks())
        line = self.lines[-1]
        line["valid_nats"] = round(sum(values["nats"] for values in found.values()) / len(found), 4)
        line["valid"] = {
            name: {key: round(value, 4) for key, value in values.items()} for name, values in found.items()
        }
        self._rewrite()
        scores = (f"{n} {d.get('bits_per_byte', d['nats'])}" for n, d in line["valid"].items())
        in_bits = any("bits_per_byte" in values for values in found.values())
        unit = say("bits/byte", "比特/字节") if in_bits else say("nats", "奈特")
        listed = say(", ", "，").join(scores)
        self.say(say(f"  validation ({unit}): {listed}", f"  验证集（{unit}）：{listed}"))
        for name, values in line["valid"].items():
            self._board({f"{key}/{name}": value for key, value in values.items()}, done)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done here does not count as training when tokens/s are told."""
        began = time.monotonic()
        yield
        self.mark += time.monotonic() - began

    def say(self, text: str) -> None:
        print(text, flush=True)

    def _line(self, step: int, measured: Measured) -> dict[str, Any]:
        now = time.monotonic()
        speed = self._tokens(self.since) / max(1e-9, now - self.mark)
        self.mark, self.since = now, 0
        line = {"step": step, "tokens": self._tokens(step + 1), "nats": _number(measured.nats)}
        line |= {"norm": _number(measured.norm), "lr": round(schedule(step, self.options), 4)}
        line |= {name: _number(value) for name, value in measured.also.items()}
        line |= self._clocks() | {"tokens_s": round(speed)}
        if self.pace.peak_flops:
            line["mfu"] = round(speed * self.pace.flops_per_token / self.pace.peak_flops, 3)
        return line

    def _clocks(self) -> dict[str, float]:
        return {
            "seconds": round(time.monotonic() - self.began, 1),
            "cpu_s": round(time.process_time() - self.cpu_began, 1),
        }

    def _tokens(self, steps: int) -> int:
        return steps * self.options.rows * self.options.accumulate * self.options.length

    def _write(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.say(self._told(line))
        shown = ("nats", "norm", "lr", "tokens_s", "mfu", *ALSO)
        self._board(
            {f"train/{name}": line[name] for name in shown if line.get(name) is not None}, line["step"]
        )

    def _told(self, line: Mapping[str, Any]) -> str:
        """The line for people."""
        left_s = self._tokens(self.options.steps - line["step"] - 1) / max(1, line["tokens_s"])
        mfu = f" · MFU {line['mfu']:.0%}" if "mfu" in line else ""
        speed = f"{line['tokens_s']:,}"
        step = f"{line['step'] + 1}/{self.options.steps}"
        nats = f"{math.nan if line['nats'] is None else line['nats']:.4f}"
        also = "".join(
            f" · {say(*ALSO[name])} {line[name]:.4g}" for name in ALSO if line.get(name) is not None
        )
        loss = say(f"loss {nats}", f"损失 {nats}") if also else say(f"{nats} nats/token", f"{nats} 奈特/词元")
        return say(
            f"step {step} · {loss}{also} · {speed} tokens/s{mfu} · {clock(left_s)} left",
            f"第 {step} 步 · {loss}{also} · {speed} 词元/秒{mfu} · 还需 {clock(left_s)}",
        )

    def _board(self, values: Mapping[str, float], step: int) -> None:
        if self.board:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
            self.board.flush()

    def _rewrite(self) -> None:
        replace_file(self.file, "".join(json.dumps(line) + "\n" for line in self.lines))


class Silent(Log):
    """The log of a process that is not the first of its world: nothing is kept or said."""

    def __init__(self, folder: Path, options: TrainOptions, first: int, pace: Pace):
        self.mark = 0.0

    def forget(self, step: int) -> None:
        pass

    def step(self, before: Progress, now: Progress, measured: Measured) -> None:
        pass

    def valid(self, done: int, found: Mapping[str, Mapping[str, float]]) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def read_log(file: Path) -> list[dict[str, Any]]:
    """What is logged so far. A last line that a kill cut short is left out; ValueError if an earlier one is damaged."""
    wire = file.read_bytes().splitlines() if file.exists() else []
    lines = []
    for number, line in enumerate(wire, 1):
        try:
            lines.append(json.loads(line))
        except ValueError:
            if number < len(wire):
                raise ValueError(
                    say(
                        f"{file}:{number}: the line is damaged; delete it, the run goes on without it",
                        f"{file}:{number}：此行已损坏；请删去这一行，不影响继续训练",
                    )
                ) from None
    return lines


def replace_file(file: Path, text: str) -> None:
    """Write the file beside the old one, then take its place."""
    new = file.with_suffix(".new")
    new.write_text(text, "utf-8")
    os.replace(new, file)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, with days if there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    plain = f"{hours}:{minutes:02}:{rest:02}"
    return say(f"{days} d {plain}", f"{days} 天 {plain}") if days else plain


def _number(value: float) -> float | None:
    """For JSON, which has no NaN; with all digits, so that two runs can be compared."""
    return value if math.isfinite(value) else None


def _board(folder: Path, first: int) -> Any:
    """TensorBoard's writer if it is installed: `tensorboard --logdir RUN`."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=first)


def _left_out(step: int, now: Progress, measured: Measured) -> str:
    what = f"{measured.nats:.4g}, {measured.norm:.4g}"
    if now.step <= step:
        return say(
            f"step {step}: loss and gradient ({what}) do not settle; back to step {now.step} without these batches",
            f"第 {step} 步：损失与梯度（{what}）未能恢复；回到第 {now.step} 步，并跳过这些批次",
        )
    return say(
        f"step {step}: loss and gradient ({what}) are no number or far above the last ones; the batch is left out",
        f"第 {step} 步：损失与梯度（{what}）不是有限数，或远高于前几步；已跳过这个批次",
    )
