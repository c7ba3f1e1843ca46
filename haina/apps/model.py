"""Model: a checkpoint with its engine, ready to talk; `open_model` refuses one that would not fit into memory.

It knows what is needed before the first answer, in which order. It does not know terminals, HTTP or how an
answer is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from haina.apps.screen import one_line
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.raw import ITEM_BYTES
from haina.engine.engine import Engine
from haina.engine.memory import available_bytes, needed_bytes, weight_bytes
from haina.options import ModelOptions
from haina.text.messages import Template, template_for
from haina.text.tokenizer import Tokenizer
from haina.wording import say

DEFAULT_CONTEXT_TOKENS = 4096  # a cache for the 131,072 of a LLaMA 3.1 would take more room than its weights

Progress = Callable[[str, int, int], None]  # what is being done, how much of it, and of how much


@dataclass(frozen=True)
class Model:
    """What answers. `context` is the room in tokens for a prompt and its answer."""

    checkpoint: Checkpoint
    engine: Engine
    context: int

    @property
    def name(self) -> str:
        return model_name(self.checkpoint)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.checkpoint.tokenizer

    @property
    def template(self) -> Template | None:
        """The chat format; None for a base model."""
        return template_for(self.checkpoint.config.architecture, self.checkpoint.generation)

    @cached_property
    def unspeakable_ids(self) -> frozenset[int]:
        """Ids that are no text: control and reserved pieces, and rows of the embedding without a piece."""
        return self.tokenizer.control_ids.union(range(self.tokenizer.size, self.checkpoint.config.vocab_size))


def open_model(folder: str | Path, options: ModelOptions, *, progress: Progress | None = None) -> Model:
    """Open a folder and load its weights. ValueError: what is wrong with it, or how much memory is missing."""
    report = progress or _silent
    reading = say("checking files", "校验文件")
    checkpoint = Checkpoint.open(folder, progress=lambda _, done, total: report(reading, done, total))
    context = context_tokens(checkpoint, options.context)
    if not options.force:
        _check_memory(checkpoint, options.bits, context)
    engine = Engine(
        checkpoint,
        bits=options.bits,
        cache_bytes=context * checkpoint.config.kv_bytes_per_token(2),
        threads=options.threads,
        progress=lambda done, total: report(say("loading weights", "载入权重"), done, total),
    )
    return Model(checkpoint, engine, context)


def model_name(checkpoint: Checkpoint) -> str:
    """The name in the manifest, or the folder's."""
    source = checkpoint.manifest.source if checkpoint.manifest else {}
    return one_line(source.get("name") or checkpoint.folder.resolve().name)


def context_tokens(checkpoint: Checkpoint, asked: int | None) -> int:
    """The context to use: as asked, or the model's up to DEFAULT_CONTEXT_TOKENS. ValueError beyond the model's."""
    most = checkpoint.config.max_position_embeddings
    if asked is not None and asked > most:
        raise ValueError(
            say(
                f"--context {asked}: the context of {checkpoint.folder} ends at {most} tokens; ask for less",
                f"--context {asked}：{checkpoint.folder} 的上下文至多 {most} 个词元；请调小",
            )
        )
    return asked or min(most, DEFAULT_CONTEXT_TOKENS)


def memory_bytes(checkpoint: Checkpoint, bits: Literal[16, 8], tokens: int) -> int:
    """Bytes that a checkpoint needs to answer with `tokens` tokens of context, estimated before it is loaded."""
    weights = weight_bytes(checkpoint.config, item_bytes=ITEM_BYTES[stored_dtype(checkpoint)], bits=bits)
    return needed_bytes(checkpoint.config, weights, tokens=tokens)


def stored_dtype(checkpoint: Checkpoint) -> str:
    """The element type of the matrices, by the first of them."""
    return checkpoint.tensor("model.layers.0.self_attn.q_proj.weight").dtype


def _check_memory(checkpoint: Checkpoint, bits: Literal[16, 8], context: int) -> None:
    needed, available = memory_bytes(checkpoint, bits, context), available_bytes()
    if available is None or needed <= available:
        return
    less = "--bits 8" if bits == 16 else "--context"
    raise ValueError(
        say(
            f"{checkpoint.folder}: needs about {gib(needed)} of memory, {gib(available)} are free; "
            f"try {less}, close other programs, or load it all the same with --force",
            f"{checkpoint.folder}：约需 {gib(needed)} 内存，可用 {gib(available)}；"
            f"请试用 {less}，或关闭其他程序；仍要载入请用 --force",
        )
    )


def gib(n_bytes: int) -> str:
    return f"{n_bytes / (1 << 30):.1f} GiB"


def _silent(what: str, done: int, total: int) -> None:
    return None
