"""Model: a checkpoint with its engine, ready to talk; `open_model` refuses one that would not fit into memory.

It knows what is needed before the first answer, in which order. It does not know terminals, HTTP or how an
answer is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from haina.apps.screen import one_line
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.raw import ITEM_BYTES
from haina.engine.engine import Engine
from haina.engine.memory import Bits, available_bytes, cache_bytes, weight_bytes, work_bytes
from haina.native.binding import CacheDtype
from haina.native.packing import PACKED
from haina.options import ModelOptions
from haina.text.messages import Template, template_for
from haina.text.tokenizer import Tokenizer
from haina.wording import say

CACHES: dict[int, CacheDtype] = {16: "F16", 8: "I8"}  # of keys and values, by ModelOptions.cache
DEFAULT_CONTEXT_TOKENS = 4096  # a cache for the 131,072 of a LLaMA 3.1 would take more room than its weights

_FIRST = "model.layers.0.self_attn.q_proj.weight"  # stands for all matrices

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
        _check_memory(checkpoint, options, context)
    engine = Engine(
        checkpoint,
        bits=options.bits,
        cache_bytes=cache_bytes(checkpoint.config, tokens=context, dtype=CACHES[options.cache]),
        cache_dtype=CACHES[options.cache],
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


@dataclass(frozen=True)
class Need:
    """Bytes that a checkpoint needs to answer, estimated before it is loaded.

    `mapped`: the weights are used as they lie in their files. The system may take such memory back and read it
    again, but a model that must be read again for each token is too slow to use: it has to fit like any other.
    """

    weights: int
    mapped: bool
    cache: int
    work: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.work


def need(checkpoint: Checkpoint, bits: Bits, tokens: int, *, cache: CacheDtype = "F16") -> Need:
    """What a checkpoint needs with `tokens` tokens of context."""
    config, dtype = checkpoint.config, stored_dtype(checkpoint)
    packed: Bits = 4 if dtype == "W4" else 8 if dtype == "W8" else bits
    weights = weight_bytes(config, item_bytes=ITEM_BYTES.get(dtype, 1), bits=packed)
    mapped = dtype in PACKED or (bits == 16 and stored_coding(checkpoint) == dtype)
    context = cache_bytes(config, tokens=tokens, dtype=cache)
    return Need(weights, mapped, context, work_bytes(config, tokens=tokens))


def stored_dtype(checkpoint: Checkpoint) -> str:
    """The element type of the matrices, by the first of them."""
    return checkpoint.dtype(_FIRST)


def stored_coding(checkpoint: Checkpoint) -> str:
    """How the matrices are stored, if they are decoded to their element type: Q4_K, NF4."""
    return checkpoint.coding(_FIRST)


def _check_memory(checkpoint: Checkpoint, options: ModelOptions, context: int) -> None:
    needed, available = (
        need(checkpoint, options.bits, context, cache=CACHES[options.cache]),
        available_bytes(),
    )
    if available is None or needed.total <= available:
        return
    folder = checkpoint.folder
    mapped = say(", mapped from their file", "，映射自文件") if needed.mapped else ""
    parts = say(
        f"weights {size(needed.weights)}{mapped}; context of {context:,} tokens {size(needed.cache)}",
        f"权重 {size(needed.weights)}{mapped}；{context:,} 词元的上下文 {size(needed.cache)}",
    )
    cures = [
        say("close other programs", "关闭其他程序"),
        say("lower --context", "减小 --context"),
    ]
    if options.cache == 16:
        cures.append(say("use --cache 8", "使用 --cache 8"))
    if stored_dtype(checkpoint) not in PACKED and options.bits != 4:
        smaller = size(weight_bytes(checkpoint.config, item_bytes=2, bits=4))
        command = f"haina convert {folder} --to w4"
        cures.append(
            say(f"bring the weights to {smaller} with {command}", f"用 {command} 将权重压到 {smaller}")
        )
    raise ValueError(
        say(
            f"{folder}: needs about {size(needed.total)} of memory ({parts}), {size(available)} are free; "
            f"{', or '.join(reversed(cures))}; --force loads it all the same",
            f"{folder}：约需 {size(needed.total)} 内存（{parts}），可用 {size(available)}；"
            f"可{'、或'.join(reversed(cures))}；仍要载入请用 --force",
        )
    )


def size(n_bytes: int) -> str:
    """Bytes, for people."""
    return f"{n_bytes / (1 << 30):.1f} GiB" if n_bytes >= 1 << 30 else f"{n_bytes / (1 << 20):.1f} MiB"


def _silent(what: str, done: int, total: int) -> None:
    return None
