"""What the ladder of a run promised, and what the run reached: nats per token of held-out text, both by its own logs.

The law is L(C) = floor + a · (C / unit)^b of haina/train/ladder.py (arXiv:2309.10305, section 2.6), taken at the
compute of the run. It reads files of the run; it trains and measures nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from haina.model.config import ModelConfig


@dataclass(frozen=True)
class Landing:
    """`flops` of training, the nats per token that the law says for them, and those that were reached."""

    formula: str
    flops: float
    predicted: float
    reached: float


def landing(run: Path, config: ModelConfig) -> Landing | None:
    """Of RUN/…/ladder.json and RUN/base/log.jsonl; None if one of them is not there, or has no validation yet."""
    law_file = next(iter(sorted(run.glob("**/ladder.json"))), None)
    base = run / "base"
    if law_file is None or not (base / "log.jsonl").is_file():
        return None
    law = json.loads(law_file.read_text("utf-8"))["law"]
    length = json.loads((base / "run.json").read_text("utf-8"))["length"]
    lines = [json.loads(line) for line in (base / "log.jsonl").read_text("utf-8").splitlines()]
    valid = [line for line in lines if "valid_nats" in line]
    if not valid:
        return None
    flops = valid[-1]["tokens"] * flops_per_token(config, length)
    predicted = law["floor"] + law["a"] * (flops / law["unit"]) ** law["b"]
    formula = f"L = {law['floor']:.3f} + {law['a']:.3f} · (C/{law['unit']:.2g})^{law['b']:.3f}"
    return Landing(formula, flops, predicted, valid[-1]["valid_nats"])


def flops_per_token(config: ModelConfig, length: int) -> float:
    """Of training, as the ladder counts: six for each weight of a matrix product, and causal attention."""
    weights = sum(math.prod(shape) for shape in config.tensor_shapes().values() if len(shape) == 2)
    table = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    width = config.num_attention_heads * config.head_dim
    return 6.0 * (weights - table) + 6.0 * config.num_hidden_layers * width * length
