"""The recipe of haina-brook (海纳·溪), the embedded model: what it reads, in which order, and what is shipped.

Each stage is an ordinary run in a folder of its own, resumed where it was stopped and not done again:
    tokenizer.model   data/brook/vocabulary.py
    tokens/  base/    prose, verse, dictionaries, dialogues (data/brook/base.py) at a flat rate: it can go on for ever
    late/    fall/    a branch whose rate falls to nothing, in longer rows: talks, and a choice of that text
    talks/   sft/     talks again, of which only the answers are learnt
    model/            the weights in W8
So the same command with more `--tokens` makes a better model of the same run. It does not know how a step is made
(train/loop.py), what is said in a talk (data/brook/talks.py) nor what the card says (evaluate/card.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.new_folder import new_folder
from haina.data.brook.base import base
from haina.data.brook.late import late
from haina.data.brook.sources import Row
from haina.data.brook.talks import filled, talks
from haina.data.brook.vocabulary import vocabulary
from haina.data.encode import Encoding, write
from haina.options.training import BrookOptions, PretrainOptions, SizeName
from haina.options.tuning import SftOptions
from haina.text.tokenizer import Tokenizer
from haina.train import pretrain, sft, tune
from haina.train.plan import SIZES, shape

SIZE: SizeName = "s"
BATCH = 16384  # tokens
LENGTH = 2048  # of a row while the rates fall, and of the context that is shipped
FALL = 0.2  # tokens of the branch for each of the flat part
LEAST_FALL = 1.2e6
BY_CHARACTER = 0.12  # of prose and dictionaries; half of the verse is by itself
EPOCHS = 0.5  # of the answers; the branch has shown the talks before
GENERATION = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "user_token_id": 195,
    "assistant_token_id": 196,
    "do_sample": True,
    "temperature": 0.3,
    "top_k": 5,
    "top_p": 0.85,
    "repetition_penalty": 1.05,
    "max_new_tokens": 256,
}
SOURCE = {
    "name": "haina-brook 海纳·溪",
    "licence": "Apache-2.0",
    "made": "haina train brook",
    "text": "see CARD.md beside this file",
}


def run(asked: BrookOptions) -> Path | None:
    """All stages, from wherever they stand; the folder of the tuned model, or None if one was stopped.

    ValueError: a file of the data is missing, or a stage was begun with something else.
    """
    data, folder = Path(asked.data), Path(asked.out)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tokenizer.model"
    if not file.exists():
        file.write_bytes(vocabulary(data))
    config = shape(SIZES[SIZE], Tokenizer.open(file).size, length=LENGTH, position="rope", head="plain")
    parameters = config.parameters
    tokens = encoded(folder / "tokens", file, lambda: base(data, "train"), "brook base 1")
    flat = PretrainOptions(
        tokenizer=str(file), size=SIZE, out=str(folder / "base"), tokens=asked.tokens, batch=BATCH,
        schedule="constant", threads=asked.threads, stop_after=asked.stop_after, valid_every=50, save_every=10,
    )  # fmt: skip
    if not pretrained(tokens, flat):
        return None
    choice = encoded(folder / "late", file, lambda: late(data, "train", parameters), "brook late 1")
    fall = PretrainOptions(
        out=str(folder / "fall"), from_=str(folder / "base"), length=LENGTH, threads=asked.threads,
        tokens=max(LEAST_FALL, FALL * asked.tokens), valid_every=25, save_every=10,
    )  # fmt: skip
    model = pretrained(choice, fall)
    if not model:
        return None
    said = dialogues(folder / "talks", (filled(row, parameters) for row in talks(data, "train")))
    answers = SftOptions(out=str(folder / "sft"), epochs=EPOCHS, threads=asked.threads)
    return tune.run(sft.prepare(model, said, answers))


def encoded(place: Path, tokenizer: Path, rows: Callable[[], Iterable[Row]], name: str) -> Path:
    """A token folder, written unless it is there."""
    if not (place / "tokens.json").exists():
        encoding = Encoding(str(tokenizer), by_character=BY_CHARACTER, answers_only=False)
        write(rows(), place, encoding, workers=os.cpu_count() or 1, source=name)
    return place


def pretrained(tokens: Path, asked: PretrainOptions) -> Path | None:
    """The model of a run; None: it was stopped before its end."""
    job = pretrain.prepare(tokens, asked)
    print(job.plan.text(), flush=True)
    return pretrain.run(job)


def dialogues(place: Path, rows: Iterable[Row]) -> Path:
    """A file of talks in the `messages` form, written unless it is there."""
    if not place.exists():
        with new_folder(place) as part:
            lines = (json.dumps({"messages": row["messages"]}, ensure_ascii=False) + "\n" for row in rows)
            (part / "talks.jsonl").write_text("".join(lines), "utf-8")
    return place / "talks.jsonl"


def publish(model: Path, destination: Path, *, files: Mapping[str, bytes] = {}) -> None:
    """Write a model folder, its matrices packed as W8, with the settings of answers.

    files: what else belongs to it, by name: the card, the licence.
    """
    checkpoint = Checkpoint.open(model)
    save(
        destination,
        checkpoint.config,
        ((name, raw if len(raw.shape) == 1 else raw.rounded("W8")) for name, raw in checkpoint.tensors()),
        tokenizer=checkpoint.tokenizer_bytes(),
        generation=GENERATION,
        source=SOURCE,
        files=files,
        weights="w8",
    )
