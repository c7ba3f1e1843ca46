"""Learning answers (supervised fine-tuning): dialogues → a token folder of packed rows → the one loop.

`prepare` checks every row and says what will happen; `tune.run` does it. Only answers are learnt, and that they end
(text/messages.py, Baichuan's rule); attention stays inside a dialogue. It does not know the inside of the loop, nor
terminals.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from haina.data.dialogues import Dialogue, dialogue, survey
from haina.data.encode import Encoding, write
from haina.data.pack import Samples
from haina.data.tokens import Tokens
from haina.options.training import TrainOptions
from haina.options.tuning import SftOptions
from haina.train.base import Base, Network
from haina.train.loop import Held, Task
from haina.train.objectives import next_token_with
from haina.train.text import held_batches
from haina.train.tune import (
    LOOKED_AT,
    Available,
    Tuning,
    Watch,
    held_out,
    ignored,
    origin,
    plan,
    require_memory,
    require_single,
    settled,
    whole,
)  # fmt: skip
from haina.wording import say

RATE = 2e-5  # baichuan-inc/Baichuan2@ed1cf0f README, fine-tune
PART_TOKENS = {"cpu": 4096, "cuda": 32768, "mps": 8192}  # of one part of a batch
BATCH_TOKENS, FEWEST_STEPS = 32768, 100  # little data is shown in smaller batches
MANY = 2000  # dialogues for which it pays to start processes


def prepare(
    model: Path, data: Path, asked: SftOptions, *, available: Available = lambda device: None
) -> Tuning:
    """Open and check everything. ValueError names what is amiss: the model, a row, too little memory or disk."""
    require_single()
    base, folder = Base.open(model, asked.device), Path(asked.out)
    length, found = base.length(asked.length), survey(data, lambda row: dialogue(row, ignored(asked)))
    notes = (*whole(found, asked), *base.notes(asked))
    fit = [fitted(one, base, length) for one in found.good]
    dialogues = [one for one in fit if one]
    cut = sum(a != b for a, b in zip(fit, found.good, strict=True) if a)
    tokens = own_tokens(dialogues, base, folder, source := origin(data, asked, length=length), length)
    held = held_out(len(dialogues), asked)
    samples, valid = split(tokens, held, length, asked.seed)
    options = sizes(asked, base, samples, length)
    room = require_memory(base, asked, options, available)
    net = Network.open(base, asked)
    task = Task(
        net.decoder,
        samples,
        {"dialogues": held_batches_of(valid, options)} if held else {},
        next_token_with(asked.z_loss),
        about=base.about() | net.about(asked) | {"objective": "sft", "data": source, "z_loss": asked.z_loss},
        watch=Watch(folder, base, [dialogues[n][:-1] for n in (held or range(len(dialogues)))[:LOOKED_AT]]),
    )
    told = counted(dialogues, tokens, cut, len(fit) - len(dialogues), asked)
    lines = plan(base, task, options, told, *notes, room)
    return Tuning(folder, base, asked, task, options, lines, "haina train sft", net.lora)


def fitted(found: Dialogue, base: Base, length: int) -> Dialogue:
    """The dialogue up to the last answer with which it fits into `length` tokens; empty if the first does not."""
    ends = np.cumsum(
        [
            (m.role != "system") + len(base.tokenizer.encode(m.content, by_character=m.by_character))
            for m in found
        ]
    )
    while found and ends[len(found) - 1] + 1 > length:
        found = found[:-2]
    return found if found and found[-1].role == "assistant" else ()


def own_tokens(dialogues: Sequence[Dialogue], base: Base, folder: Path, source: str, length: int) -> Tokens:
    """The dialogues as a token folder of the run, encoded unless it is there. ValueError: there is none that fits."""
    if not dialogues:
        raise ValueError(
            say(
                f"no dialogue fits into {length:,} tokens; raise --length",
                f"没有一段对话能放入 {length:,} 词元；请增大 --length",
            )
        )
    place, file = folder / "tokens", folder / "tokenizer.model"
    if (place / "tokens.json").exists():
        made = Tokens.open(place, tokenizer=base.tokenizer)
        if made.about["source"] == source:
            return made
    place.mkdir(parents=True, exist_ok=True)
    file.write_bytes(base.checkpoint.tokenizer_bytes())
    rows = ({"messages": [vars(message) for message in one], "domain": "dialogues"} for one in dialogues)
    workers = (os.cpu_count() or 1) if len(dialogues) > MANY else 1
    encoding = Encoding(str(file), template=base.template)
    return write(rows, place, encoding, workers=workers, source=source)


def split(tokens: Tokens, held: Sequence[int], length: int, seed: int) -> tuple[Samples, Tokens]:
    """(what is trained on, in rows; what is not)."""
    chosen = np.isin(np.arange(len(tokens.documents)), held)
    training = replace(tokens, documents=tokens.documents[~chosen])
    return Samples(training, length, seed=seed), replace(tokens, documents=tokens.documents[chosen])


def held_batches_of(valid: Tokens, options: TrainOptions) -> Held:
    """Nats per token of the answers; bits per byte would have to know which bytes are theirs."""
    return replace(held_batches(valid, options), bytes_per_token=None)


def sizes(asked: SftOptions, base: Base, samples: Samples, length: int) -> TrainOptions:
    """Rows, parts and steps by the data and the machine."""
    total = asked.epochs * samples.rows_of_epoch(0) * length
    batch = asked.batch or min(BATCH_TOKENS, max(total / FEWEST_STEPS, length))
    rows = max(1, min(asked.rows or PART_TOKENS[base.device] // length, int(batch // length)))
    accumulate = max(1, round(batch / (rows * length)))
    steps = max(1, math.ceil(total / (rows * accumulate * length)))
    return settled(asked, base, rate=RATE, steps=steps, rows=rows, accumulate=accumulate, length=length)


def counted(dialogues: Sequence[Dialogue], tokens: Tokens, cut: int, gone: int, asked: SftOptions) -> str:
    """A line about the data."""
    count, total = f"{len(dialogues):,}", f"{tokens.total_tokens:,}"
    en = "".join(
        [f", {cut:,} of them cut to fit"] * bool(cut) + [f", {gone:,} more are too long"] * bool(gone)
    )
    zh = "".join([f"，其中 {cut:,} 段截短"] * bool(cut) + [f"，另有 {gone:,} 段过长"] * bool(gone))
    return say(
        f"data: {count} dialogues{en}; {total} tokens, shown {asked.epochs:g} times",
        f"数据：{count} 段对话{zh}；{total} 词元，遍历 {asked.epochs:g} 遍",
    )
