"""What a person sees of a pre-training beside its log: the model's words and the curve, after each validation.

It knows tokens as text, and does not know how the network learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from haina.data.tokens import Tokens
from haina.model.cache import PlainCache
from haina.model.decoder import Decoder
from haina.text.tokenizer import Tokenizer
from haina.train.curves import curve
from haina.train.distributed import ALONE, World
from haina.train.log import read_log
from haina.train.sharding import own_heads

SAMPLE = (12, 32)  # tokens of held-out text, and of what the model makes of them


class Watch:
    """After each validation: what the model makes of the beginning of a held-out text, and the curve so far."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, held: Mapping[str, Tokens], world: World = ALONE):
        self.folder, self.tokenizer, self.world = folder, tokenizer, world
        given, self.more = SAMPLE
        self.starts = {name: part.piece(0, 0, given)[0] for name, part in held.items()}

    def __call__(self, decoder: Decoder, step: int) -> None:
        told = [f"# {step}"]
        for name, start in self.starts.items():
            shown, made = start.tolist(), greedy(decoder, start, self.more)
            told.append(f"**{name}** {self.tokenizer.decode(shown)}‖{self.tokenizer.decode(made)}")
        if not self.world.first:
            return
        (self.folder / "samples").mkdir(exist_ok=True)
        (self.folder / "samples" / f"{step:08}.md").write_text("\n\n".join(told) + "\n", "utf-8")
        lines = read_log(self.folder / "log.jsonl")
        (self.folder / "curves.png").write_bytes(curve(lines))


@torch.no_grad()
def greedy(decoder: Decoder, start: np.ndarray, more: int) -> list[int]:
    """The likeliest next token, `more` times after the ids of `start`."""
    device = next(decoder.parameters()).device
    cache = PlainCache(own_heads(decoder), rows=1, capacity=len(start) + more, device=str(device))
    fed, made = torch.from_numpy(start.astype(np.int64)).to(device)[None], []
    at = torch.arange(fed.shape[1], device=device)[None]
    for _ in range(more):
        fed = decoder(fed, at, cache.reach(at))[:, -1:].argmax(-1)
        at = at[:, -1:] + 1
        made.append(int(fed))
    return made
