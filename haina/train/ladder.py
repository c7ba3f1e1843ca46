"""The scaling ladder: small runs of growing size, a law fitted to their losses, and what the next size will reach.

Baichuan 2 (arXiv:2309.10305, section 2.6) fits L(C) = L∞ + a · C^b to runs of 10 M to 3 B parameters and predicts the
loss of its 7B and 13B. This does the same with sizes that a laptop trains. Every rung is a pre-training of its own in
RUN/NAME; one that was interrupted goes on, one that is done is not done again. It does not know how a rung is trained
(train/pretrain.py).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from haina.model.config import ModelConfig
from haina.options.training import LadderOptions, PretrainOptions
from haina.train.curves import paper
from haina.train.log import clock, read_log, replace_file
from haina.train.plan import EPOCHS, Size, flops_per_token, matmul_peak, shape
from haina.train.pretrain import chosen_device, prepare, run
from haina.train.text import own_text, own_tokenizer
from haina.wording import say, short

# Width, layers, heads: they grow together as in the published ladder, feed-forward = 3 · width. With 20 tokens a weight
# of the matrix products (arXiv:2203.15556) every rung is trained as far as its compute is best spent.
SHAPES = (
    (96, 3, 2),
    (128, 4, 2),
    (192, 4, 3),
    (256, 5, 4),
    (320, 6, 5),
    (384, 6, 6),
    (448, 7, 7),
    (512, 8, 8),
)

LEAST_PER_WEIGHT = 0.1  # fewer tokens teach hardly anything
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Rung:
    """One run: what it cost and what it reached."""

    name: str
    flops: float
    nats: float  # per token of held-out text


@dataclass(frozen=True)
class Law:
    """L(C) = floor + a · C^b nats per token, C in units of `unit` FLOPs; error: the largest miss on its own rungs."""

    floor: float
    a: float
    b: float
    unit: float
    error: float

    def nats(self, flops: float) -> float:
        return float(self.floor + self.a * (flops / self.unit) ** self.b)


def rungs(
    shapes: Sequence[tuple[int, int, int]], vocabulary: int, length: int, tokens_per_weight: float
) -> dict[str, Size]:
    """A size for each shape; the batch grows with the root of the tokens."""
    made = {}
    for width, layers, heads in shapes:
        weights = 13 * layers * width**2 + width * vocabulary
        tokens = tokens_per_weight * weights
        batch = max(length, 2 ** round(np.log2(tokens**0.5 * 4)))
        made[f"d{width}"] = Size(
            width, 3 * width, layers, heads, vocabulary, length, float(tokens), batch, matrix_lr=1e-2
        )
    return made


def fit(found: Sequence[Rung]) -> Law:
    """Least squares over floor, a and b. For each exponent the other two are linear, so only b is searched for.

    ValueError: fewer than four rungs, or losses that do not fall with the compute.
    """
    if len(found) < 4:
        raise ValueError(
            say(
                f"{len(found)} rungs are too few for a law; it takes four",
                f"只有 {len(found)} 级，至少需要四级才能拟合",
            )
        )
    unit = min(rung.flops for rung in found)
    compute = np.array([rung.flops / unit for rung in found])
    nats = np.array([rung.nats for rung in found])
    misses = [(_squares(b, compute, nats), b) for b in -np.geomspace(0.005, 2.0, 2000)]
    (_, floor, a), b = min(misses)
    if a <= 0:
        raise ValueError(
            say(
                "the losses do not fall with the compute; train longer, or on more text",
                "损失没有随计算量下降；请增加训练量或语料",
            )
        )
    law = Law(floor, a, float(b), unit, 0.0)
    error = max(abs(law.nats(rung.flops) - rung.nats) for rung in found)
    return Law(floor, a, float(b), unit, error)


def _squares(b: float, compute: np.ndarray, nats: np.ndarray) -> tuple[float, float, float]:
    """(sum of squares, floor ≥ 0, a) of the best law with exponent b."""
    power = compute**b
    columns = np.stack([np.ones_like(power), power], 1)
    (floor, a), *_ = np.linalg.lstsq(columns, nats, rcond=None)
    if floor < 0:
        floor, a = 0.0, float(power @ nats / (power @ power))
    return float(((floor + a * power - nats) ** 2).sum()), float(floor), float(a)


def climb_all(text: Path, folder: Path, options: LadderOptions) -> str | None:
    """Train every rung in `folder`, write ladder.json and ladder.png; what was found, or None if it was stopped."""
    pieces = own_tokenizer(folder, options.tokenizer).size
    *sizes, (name, size) = asked(options, pieces).items()
    own = own_text(text, "", "", folder, own_tokenizer(folder, None), verify=False).whole.folder
    found = climb(own, folder, dict(sizes), options.device)
    if len(found) < len(sizes):
        return None
    law = fit(found)
    flops = size.tokens * flops_per_token(network(size, pieces), options.length)
    following = Rung(name, flops, law.nats(flops))
    report(folder, found, law, following)
    return say(
        f"{folder}/ladder.png: L = {law.floor:.3f} + {law.a:.3f} · (C/{law.unit:.2g})^{law.b:.3f}, off by at most "
        f"{law.error:.3f}; {name} with {flops:.2g} FLOPs: {following.nats:.3f} nats/token",
        f"{folder}/ladder.png：L = {law.floor:.3f} + {law.a:.3f} · (C/{law.unit:.2g})^{law.b:.3f}，误差不超过 "
        f"{law.error:.3f}；{name} 用 {flops:.2g} FLOPs 预计达到 {following.nats:.3f} 奈特/词元",
    )


def asked(options: LadderOptions, pieces: int) -> dict[str, Size]:
    """The rungs that are asked for, and the one after them, which is predicted."""
    shapes = SHAPES[: options.rungs + 1]
    return rungs(shapes, pieces, options.length, options.tokens_per_weight)


def told(text: Path, options: LadderOptions) -> str:
    """What will be trained, for a person to say yes to; the text is encoded for it. ValueError: no tokenizer."""
    tokenizer = own_tokenizer(Path(options.out), options.tokenizer)
    *sizes, _ = asked(options, tokenizer.size).values()
    unique = own_text(text, "", "", Path(options.out), tokenizer).learned_tokens
    flops = [size.tokens * flops_per_token(network(size, tokenizer.size), options.length) for size in sizes]
    lines = [_rung(size, tokenizer.size, work) for size, work in zip(sizes, flops, strict=True)]
    device = chosen_device(options.device)
    hours = clock(sum(flops) / matmul_peak(device, torch.float32) / 0.5)
    lines.append(say(f"about {hours} in all on this machine", f"在本机上共需约 {hours}"))
    return "\n".join([*lines, *_repeated(sizes, unique, options)])


def _rung(size: Size, pieces: int, flops: float) -> str:
    parameters, tokens = short(network(size, pieces).parameters), short(size.tokens)
    return say(
        f"d{size.hidden}: {parameters} parameters, {tokens} tokens, {flops:.2g} FLOPs",
        f"d{size.hidden}：{parameters} 参数，{tokens} 词元，{flops:.2g} FLOPs",
    )


def _repeated(sizes: Sequence[Size], unique: float, options: LadderOptions) -> list[str]:
    """A line if some rungs would see the text again and again. ValueError: all of them would, which makes no law."""
    least, most = sizes[0].tokens / unique, sizes[-1].tokens / unique
    if most <= 1.01:
        return []
    tokens, needed = short(unique), short(sizes[-1].tokens)
    fresh = options.tokens_per_weight / most
    fewer = f"; --tokens-per-weight {fresh:.2g}" if fresh >= LEAST_PER_WEIGHT else ""
    if least > EPOCHS:
        raise ValueError(
            say(
                f"{tokens} tokens are too little text for a ladder: even the smallest size would see it {least:.0f} "
                f"times; give {needed} tokens{fewer}",
                f"语料仅 {tokens} 词元，不足以训练阶梯：最小的规模也要遍历 {least:.0f} 遍；请提供 {needed} 词元{fewer}",
            )
        )
    return [
        say(
            f"note: the text has {tokens} tokens and is shown up to {most:.1f} times; the law is one of fresh text: "
            f"give {needed}; or fewer --rungs{fewer}",
            f"注意：语料有 {tokens} 词元，至多遍历 {most:.1f} 遍；缩放定律以不重复的语料为前提："
            f"请提供 {needed} 词元，或减小 --rungs{fewer}",
        )
    ]


def network(size: Size, pieces: int) -> ModelConfig:
    return shape(size, pieces, length=size.length, position="rope", head="plain")


def climb(text: Path, folder: Path, sizes: Mapping[str, Size], device: DeviceName = "auto") -> list[Rung]:
    """Every rung in turn, from where it stands; fewer of them if one was stopped."""
    found = []
    for name, size in sizes.items():
        done = folder / name / "rung.json"
        if not done.exists():
            options = PretrainOptions(
                tokenizer=str(folder / "tokenizer.model"),
                out=str(folder / name),
                length=size.length,
                device=device,
            )
            job = prepare(text, options, size=size)
            print(f"— {name}", flush=True)
            if run(job) is None:
                break
            last = read_log(folder / name / "log.jsonl")[-1]
            replace_file(done, json.dumps(asdict(Rung(name, job.plan.flops, last["valid_nats"]))) + "\n")
        found.append(Rung(**json.loads(done.read_text("utf-8"))))
    return found


def report(folder: Path, found: Sequence[Rung], law: Law, following: Rung) -> None:
    """ladder.json and ladder.png. following: the next size and what it is predicted to reach."""
    content: dict[str, Any] = {"law": asdict(law), "predicted": asdict(following)}
    content |= {"rungs": [asdict(rung) for rung in found]}
    replace_file(folder / "ladder.json", json.dumps(content, indent=1) + "\n")
    (folder / "ladder.png").write_bytes(picture(found, law, following))


def picture(found: Sequence[Rung], law: Law, following: Rung) -> bytes:
    """Loss against compute: the rungs, the law, and the prediction."""
    figure = paper(6, 4)
    axes = figure.subplots()
    compute = np.geomspace(min(r.flops for r in found) / 2, following.flops * 2, 100)
    label = f"{law.floor:.2f} + {law.a:.2f} · (C/{law.unit:.1e})^{law.b:.3f}"
    axes.plot(compute, [law.nats(c) for c in compute], lw=1, label=label)
    axes.plot([r.flops for r in found], [r.nats for r in found], "o", label="trained")
    axes.plot([following.flops], [following.nats], "*", ms=10, label=f"predicted: {following.nats:.3f}")
    for rung in (*found, following):
        axes.annotate(
            rung.name, (rung.flops, rung.nats), xytext=(4, 4), textcoords="offset points", fontsize=7
        )
    axes.set(xscale="log", xlabel="training FLOPs", ylabel="nats per token, held-out text")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, bbox_inches="tight")
    return out.getvalue()
