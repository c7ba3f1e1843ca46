"""What was measured as docs/benchmarks.md and its picture. Written by `python -m bench.inference`, never by hand."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import Spread

LEGEND = """Medians of the rounds of one run; every round holds one of each side and a reading of the memory.
`a (b–c)` is the median ratio within a round, the smallest and the largest. A ratio above 1 means that ours is that many
times faster. Only ratios within one run mean anything: the memory of a shared machine moves by half within minutes.
`bench/` says what is compared. What was asked was asked of two threads of a machine with AVX-512 VNNI."""


@dataclass(frozen=True)
class Goal:
    """A figure that was asked for: what was measured, and the least (or `most`) that was asked."""

    what: str
    measured: float
    asked: float
    most: bool = False
    spread: Spread | None = None

    @property
    def met(self) -> bool:
        return self.measured <= self.asked if self.most else self.measured >= self.asked

    def line(self) -> list[str]:
        measured = str(self.spread) if self.spread else f"{self.measured:.3g}"
        return [
            self.what,
            f"{'≤' if self.most else '≥'} {self.asked:g}",
            measured,
            "yes" if self.met else "**no**",
        ]


def at_least(what: str, spread: Spread, asked: float) -> Goal:
    return Goal(what, spread.median, asked, spread=spread)


def at_most(what: str, spread: Spread, asked: float) -> Goal:
    return Goal(what, spread.median, asked, most=True, spread=spread)


@dataclass(frozen=True)
class Section:
    """A table, what has to be known to read it, and the goals that it decides."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]
    goals: list[Goal] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """One run of a command."""

    command: str
    machine: list[str]
    sections: list[Section]

    def write(self, file: Path) -> None:
        """The page, and the picture beside it (same name, .png)."""
        goals = [goal for section in self.sections for goal in section.goals]
        lines = [
            "# Benchmarks",
            "",
            f"Written by `{self.command}` at commit {_commit()}, {datetime.date.today()}.",
        ]
        lines += [f"{line}  " for line in self.machine] + ["", LEGEND, ""]
        if goals:
            lines += [f"![ratios]({file.stem}.png)", "", "## Figures to reach", ""]
            lines += table(["work", "asked", "measured here", "reached"], [goal.line() for goal in goals])
            picture(goals, file.with_suffix(".png"))
        for section in self.sections:
            lines += ["", f"## {section.title}", *([section.note, ""] if section.note else [""])]
            lines += table(section.header, section.rows)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _commit() -> str:
    """With -dirty if something else was measured than the commit holds; docs/, where this writes, does not count."""
    commit, changes = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "--", ".", ":!docs")
    return (commit or "unknown") + ("-dirty" if changes else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


def picture(goals: list[Goal], file: Path) -> None:
    """Every ratio that was asked for, with its spread, against what was asked."""
    from matplotlib.figure import Figure

    shown = [goal for goal in goals if goal.spread and goal.spread.median > 0]
    figure = Figure(figsize=(8, 0.6 + 0.34 * len(shown)), dpi=120)
    axes = figure.subplots()
    for y, goal in enumerate(reversed(shown)):
        assert goal.spread
        low, high = goal.spread.median - goal.spread.low, goal.spread.high - goal.spread.median
        colour = "tab:green" if goal.met else "tab:red"
        axes.barh(y, goal.spread.median, xerr=[[low], [high]], color=colour, alpha=0.7, height=0.6, capsize=2)
        axes.plot([goal.asked] * 2, [y - 0.4, y + 0.4], color="black", lw=1.5)
    axes.set_yticks(range(len(shown)), [goal.what for goal in reversed(shown)], fontsize=7)
    axes.set_xlabel("measured (bar, with the spread of the rounds) and asked (black line)", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(file, bbox_inches="tight")
