"""Model: a checkpoint with its engine, ready to talk; `open_model` refuses one that would not fit into memory.

It knows what is needed before the first answer, in which order. It does not know terminals, HTTP or how an
answer is made.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from haina.apps.screen import one_line
from haina.checkpoint.adapter import Adapter
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.library import find
from haina.checkpoint.raw import ITEM_BYTES
from haina.engine.devices import choose, free_bytes, torch_bytes
from haina.engine.draft_model import DraftModel
from haina.engine.engine import Engine
from haina.engine.memory import Bits, available_bytes, cache_bytes, weight_bytes, work_bytes
from haina.engine.runner import Device
from haina.engine.runner_native import PAGE_TOKENS
from haina.engine.speculate import Speculation
from haina.native.binding import CacheDtype
from haina.native.packing import PACKED
from haina.options.models import ModelOptions
from haina.text.messages import Template, template_for
from haina.text.tokenizer import Tokenizer
from haina.wording import say

CACHES: dict[int, CacheDtype] = {16: "F16", 8: "I8"}  # of keys and values, by ModelOptions.cache
DEFAULT_CONTEXT_TOKENS = 4096  # a cache for the 131,072 of a LLaMA 3.1 would take more room than its weights

_FIRST = "model.layers.0.self_attn.q_proj.weight"  # stands for all matrices

Progress = Callable[[str, int, int], None]  # what is being done, how much of it, and of how much


@dataclass(frozen=True)
class Model:
    """What answers. `context` is the room in tokens for a prompt and its answer; `device` is where it is computed."""

    checkpoint: Checkpoint
    engine: Engine
    context: int
    device: Device
    adapter: str = ""  # through which it is asked, by its name in the engine

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
        """Ids that are no text: control and reserved pieces, and rows of the embedding without a piece.

        Into and out of character mode a model may go by itself.
        """
        control_ids = self.tokenizer.control_ids.difference(self.tokenizer.character_mode or ())
        return control_ids.union(range(self.tokenizer.size, self.checkpoint.config.vocab_size))


def open_model(folder: str | Path, options: ModelOptions, *, progress: Progress | None = None) -> Model:
    """Open a folder and load its weights. ValueError: what is wrong with it, or how much memory is missing."""
    return load_model(opened(folder, progress), options, progress=progress)


def opened(folder: str | Path, progress: Progress | None = None) -> Checkpoint:
    """The checkpoint in a folder; `progress` hears how much of its files has been compared with the manifest."""
    report, reading = progress or _silent, say("checking files", "校验文件")
    return Checkpoint.open(folder, progress=lambda _, done, total: report(reading, done, total))


def adapted(model: Model, name: str, adapter: Adapter) -> Model:
    """The same model, asked through an adapter, in the chat format that this brings along.

    ValueError: the name is taken, or the adapter is not for this network.
    """
    model.engine.add_adapter(name, adapter)
    checkpoint = copy(model.checkpoint)
    checkpoint.generation = checkpoint.generation | dict(adapter.generation)
    return replace(model, checkpoint=checkpoint, adapter=name)


class NoRoom(ValueError):
    """Too little memory is free; the message says how much is missing and what helps."""


def load_model(
    checkpoint: Checkpoint,
    options: ModelOptions,
    *,
    conversations: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Load the weights, with room for so many conversations of a full context.

    ValueError: a device that is not there, or a draft model with other tokens. NoRoom.
    """
    context, cache = context_tokens(checkpoint, options.context), CACHES[options.cache]
    tokens = conversations * -(-context // PAGE_TOKENS) * PAGE_TOKENS
    device = choose(
        checkpoint.config, options.device, bits=options.bits, cache_tokens=tokens, cache_dtype=cache
    )
    draft = Checkpoint.open(find(options.draft)) if options.draft and not options.no_speculation else None
    if not options.force:
        _check_memory(checkpoint, options, device, tokens, draft)
    report, loading = progress or _silent, say("loading weights", "载入权重")
    engine = Engine.open(
        checkpoint,
        device=device,
        bits=options.bits,
        cache_bytes=cache_bytes(checkpoint.config, tokens=tokens, dtype=cache),
        cache_dtype=cache,
        threads=options.threads,
        drafters=None if options.no_speculation else _speculation(checkpoint, draft, options, device, tokens),
        progress=lambda done, total: report(loading, done, total),
    )
    return Model(checkpoint, engine, context, device)


def _speculation(
    checkpoint: Checkpoint, draft: Checkpoint | None, options: ModelOptions, device: Device, tokens: int
) -> Speculation:
    """Guesses from the text itself, and from a draft model with as much context."""
    if draft is None:
        return Speculation()
    model = DraftModel.open(
        draft,
        target=checkpoint,
        device=device,
        bits=options.bits,
        cache_tokens=tokens,
        cache_dtype=CACHES[options.cache],
        threads=options.threads,
    )
    return Speculation(model)


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


def _need_on(device: Device, checkpoint: Checkpoint, options: ModelOptions, tokens: int) -> Need:
    if device == "cpu":
        return need(checkpoint, options.bits, tokens, cache=CACHES[options.cache])
    weights, cache, work = torch_bytes(checkpoint.config, device, tokens)
    return Need(weights, False, cache, work)


def _check_memory(
    checkpoint: Checkpoint, options: ModelOptions, device: Device, tokens: int, draft: Checkpoint | None
) -> None:
    available = free_bytes(device) if device in ("cuda", "mps") else available_bytes()
    needed = _need_on(device, checkpoint, options, tokens)
    beside = _need_on(device, draft, options, tokens).total if draft else 0
    total = needed.total + beside
    if available is None or total <= available:
        return
    folder = checkpoint.folder
    where = "" if device == "cpu" else say(f" for device {device}", f" {device} 设备")
    mapped = say(", mapped from their file", "，映射自文件") if needed.mapped else ""
    parts = say(
        f"weights {size(needed.weights)}{mapped}; context of {tokens:,} tokens {size(needed.cache)}",
        f"权重 {size(needed.weights)}{mapped}；{tokens:,} 词元的上下文 {size(needed.cache)}",
    )
    if draft:
        parts += say(f"; draft model {size(beside)}", f"；草稿模型 {size(beside)}")
    cures = _cures(checkpoint, options, device)
    raise NoRoom(
        say(
            f"{folder}: needs about {size(total)} of memory{where} ({parts}), {size(available)} are free; "
            f"{', or '.join(cures)}; --force loads it all the same",
            f"{folder}：约需 {size(total)}{where}内存（{parts}），可用 {size(available)}；"
            f"可{'、或'.join(cures)}；仍要载入请用 --force",
        )
    )


def _cures(checkpoint: Checkpoint, options: ModelOptions, device: Device) -> list[str]:
    """What helps against too little memory, the strongest first."""
    lower, close = say("lower --context", "减小 --context"), say("close other programs", "关闭其他程序")
    if options.draft:
        close = say("leave out --draft", "去掉 --draft")
    if device != "cpu":
        return [say("use --device cpu", "使用 --device cpu"), lower, close]
    cures = [lower, close]
    if options.cache == 16:
        cures.insert(0, say("use --cache 8", "使用 --cache 8"))
    if stored_dtype(checkpoint) not in PACKED and options.bits != 4:
        smaller = size(weight_bytes(checkpoint.config, item_bytes=2, bits=4))
        command = f"haina convert {checkpoint.folder} --to w4"
        cures.insert(
            0, say(f"bring the weights to {smaller} with {command}", f"用 {command} 将权重压到 {smaller}")
        )
    return cures


def size(n_bytes: int) -> str:
    """Bytes, for people."""
    return f"{n_bytes / (1 << 30):.1f} GiB" if n_bytes >= 1 << 30 else f"{n_bytes / (1 << 20):.1f} MiB"


def _silent(what: str, done: int, total: int) -> None:
    return None
