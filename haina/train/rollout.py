"""Answers of a network in training to many prompts at once, by the Decoder itself and its plain cache.

Slow beside the engine (pages, batches that change, sampling rules), but it is the very network that is being trained.
It knows ids and chance, neither text nor rewards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from haina.model.cache import PlainCache
from haina.model.decoder import Decoder


@torch.no_grad()
def answers(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    most_tokens: int,
    stop_ids: Collection[int],
    temperature: float = 0.0,
    seed: Sequence[int] = (0,),
) -> list[list[int]]:
    """An answer to each prompt, with the id that ended it unless `most_tokens` did. temperature 0: the likeliest.

    A prompt is padded on its right: a slot is written again before the token at its position is seen.
    """
    device = next(decoder.parameters()).device
    length_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
    fed_BT = torch.zeros(len(prompts), int(length_B.max()), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        fed_BT[row, : len(prompt)] = torch.tensor(prompt)
    capacity = fed_BT.shape[1] + most_tokens
    cache = PlainCache(decoder.config, rows=len(prompts), capacity=capacity, device=str(device))
    at_BT = torch.arange(fed_BT.shape[1], device=device).expand(fed_BT.shape)
    x_BTD = decoder.hidden(fed_BT, at_BT, cache.reach(at_BT))
    x_BD = x_BTD[torch.arange(len(prompts), device=device), length_B - 1]
    chance = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    said: list[list[int]] = [[] for _ in prompts]
    going = set(range(len(prompts)))
    for step in range(most_tokens):
        next_B = choose(decoder.lm_head(x_BD).float(), temperature, chance)
        for row, id in enumerate(next_B.tolist()):
            if row in going:
                said[row].append(id)
                going -= {row} if id in stop_ids else set()
        if not going or step == most_tokens - 1:
            break
        at_BT = (length_B + step)[:, None]
        x_BD = decoder.hidden(next_B[:, None], at_BT, cache.reach(at_BT))[:, 0]
    return said


def choose(logits_BV: Tensor, temperature: float, chance: torch.Generator) -> Tensor:
    """An id for each row: the likeliest, or one drawn; the chance comes from the CPU, the same on every device."""
    if temperature == 0.0:
        return logits_BV.argmax(-1)
    p_BV = torch.softmax(logits_BV / temperature, -1)
    noise_BV = torch.empty(p_BV.shape).exponential_(generator=chance).to(p_BV.device)
    return (p_BV / noise_BV).argmax(-1)  # the first of several clocks to ring
