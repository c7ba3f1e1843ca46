"""The loss of a run as a picture. It knows the lines of log.jsonl, not how they came about."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def paper(width: float, height: float) -> Figure:
    """A figure of so many inches."""
    logging.getLogger("matplotlib.font_manager").setLevel(
        logging.ERROR
    )  # or it tells that it looks for fonts
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110)


def curve(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss of training and of each domain's held-out text against tokens, and tokens a second, as a PNG."""
    figure = paper(8, 3.6)
    left, right = figure.subplots(1, 2)
    shown = [line for line in lines if line.get("nats") is not None and not line.get("skipped")]
    scale, unit = (1e6, "million") if lines[-1]["tokens"] >= 1e6 else (1e3, "thousand")
    left.plot(
        [line["tokens"] / scale for line in shown], [line["nats"] for line in shown], lw=0.8, label="training"
    )
    left.set(xlabel=f"{unit} tokens seen", ylabel="nats per token")
    for name in dict.fromkeys(name for line in lines for name in line.get("valid", {})):
        found = [
            (line["tokens"] / scale, line["valid"][name]) for line in lines if name in line.get("valid", {})
        ]
        in_bits = "bits_per_byte" in found[0][1]
        axes, key = (right, "bits_per_byte") if in_bits else (left, "nats")
        axes.plot([at for at, _ in found], [v[key] for _, v in found], "o-", ms=2.5, lw=0.8, label=name)
    right.set(xlabel=f"{unit} tokens seen", ylabel="bits per byte, held-out text")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    figure.tight_layout()
    out = io.BytesIO()
    figure.savefig(out)
    return out.getvalue()
