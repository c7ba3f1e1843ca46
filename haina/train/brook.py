"""The recipe of haina-brook (海纳·溪), the embedded model: what it reads, in which order, and what is shipped.

Each stage is an ordinary run in a folder of its own, resumed where it was stopped and not done again:
    tokenizer.model   data/brook/vocabulary.py
    tokens/  base/    prose, verse, dictionaries, dialogues (data/brook/base.py) at a flat rate: it can go on for ever
    branch-N/         what is made of base/ after N steps:
      fall/           late/ in longer rows at a falling rate: talks, and a choice of that text
      sft/            talks/ again, of which only the answers are learnt
    model/            the weights in W8
So the same command with more `--tokens` goes on with base/ and makes a better model of it. It does not know how a
step is made (train/loop.py), what is said in a talk (data/brook/talks.py) nor what the card says (evaluate/card.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.new_folder import new_folder
from haina.checkpoint.read_json import read_json_object
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
EPOCHS = 1.0  # of the answers; the branch has shown the talks before
ANSWERS_BATCH = 4096  # tokens: many small steps teach more than few large ones (docs/log.md)
ANSWERS_RATE = 3e-3  # of AdamW
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
    tokens = encoded(folder / "tokens", file, lambda: base(data, "train"), "brook base 1")
    long_part = pretrain.prepare(tokens, flat(asked, folder))
    if not trained(long_part):
        return None
    place, parameters = branch(folder), parameters_of(file)
    choice = encoded(folder / "late", file, lambda: late(data, "train", parameters), "brook late 1")
    fallen = trained(pretrain.prepare(choice, falling(asked, folder, place)))
    if not fallen:
        return None
    said = dialogues(folder / "talks", (filled(row, parameters) for row in talks(data, "train")))
    return tune.run(sft.prepare(fallen, said, answering(asked, place)))


def branch(folder: Path) -> Path:
    """Where what comes of the long part as it now stands is made."""
    return folder / f"branch-{read_json_object(folder / 'base' / 'run.json')['steps']:06}"


def parameters_of(tokenizer: Path) -> int:
    """Of the network with this vocabulary."""
    size = Tokenizer.open(tokenizer).size
    return shape(SIZES[SIZE], size, length=LENGTH, position="rope", head="plain").parameters


def flat(asked: BrookOptions, folder: Path) -> PretrainOptions:
    """The long part: one rate, to which no end is known."""
    return PretrainOptions(
        tokenizer=str(folder / "tokenizer.model"), size=SIZE, out=str(folder / "base"), tokens=asked.tokens,
        batch=BATCH, schedule="constant", threads=asked.threads, stop_after=asked.stop_after, valid_every=50,
        save_every=10,
    )  # fmt: skip


def falling(asked: BrookOptions, folder: Path, place: Path) -> PretrainOptions:
    """The branch: rates that fall to nothing, longer rows."""
    return PretrainOptions(
        from_=str(folder / "base"), out=str(place / "fall"), tokens=max(LEAST_FALL, FALL * asked.tokens),
        length=LENGTH, threads=asked.threads, valid_every=100, save_every=10,
    )  # fmt: skip


def answering(asked: BrookOptions, place: Path) -> SftOptions:
    """Talks, of which only the answers are learnt."""
    return SftOptions(
        out=str(place / "sft"), epochs=EPOCHS, batch=ANSWERS_BATCH, lr=ANSWERS_RATE, valid=0.003, valid_every=100,
        save_every=50, threads=asked.threads,
    )  # fmt: skip


def encoded(place: Path, tokenizer: Path, rows: Callable[[], Iterable[Row]], name: str) -> Path:
    """A token folder, written unless it is there."""
    if not (place / "tokens.json").exists():
        encoding = Encoding(str(tokenizer), by_character=BY_CHARACTER, answers_only=False)
        write(rows(), place, encoding, workers=os.cpu_count() or 1, source=name)
    return place


def trained(job: pretrain.Pretraining) -> Path | None:
    """The model of a run; None: it was stopped before its end."""
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
