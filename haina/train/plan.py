"""What a pre-training will be and cost, before it starts: the dial `--size`, and the plan that a person confirms.

Shapes, tokens and rates of a size are a row of SIZES; everything else follows from shapes. Estimates of time come
from the speed that was measured on this machine a moment before. It does not know the data or the loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from haina.model.config import ModelConfig
from haina.options.training import SizeName, TrainOptions
from haina.train.log import clock
from haina.train.objectives import CHUNK
from haina.wording import say, short

LEAST_PIECES = 1024
ROOM = 1.2  # times what a size needs is free where it is named as one that fits
EPOCHS = (
    4  # repeated so often text is worth nearly as much as fresh text (Muennighoff et al., arXiv:2305.16264)
)


@dataclass(frozen=True)
class Size:
    """One place of the dial. batch: tokens of a step. Learning rates are peaks for the optimiser named."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    vocabulary: int  # pieces that suit it; the run takes those of the tokenizer
    length: int
    tokens: float
    batch: int
    matrix_lr: float
    optimiser: Literal["muon", "adamw"] = "muon"
    warm_up: int = 40
    clip: float = 1.0

    @property
    def other_lr(self) -> float:
        """Of embeddings, head and norms: with AdamW one rate for all, else 3e-3 at width 512, less for wider ones."""
        return self.matrix_lr if self.optimiser == "adamw" else 3e-3 * (self.hidden / 512) ** -0.5

    @property
    def schedule(self) -> Literal["wsd", "cosine"]:
        return "wsd" if self.optimiser == "muon" else "cosine"


# xs … xl: tiers of docs on small models, tuned at m. 50m … 3b: the ladder of Baichuan 2 (arXiv:2309.10305, table 10)
# at 20 tokens a parameter (Hoffmann et al., arXiv:2203.15556), batch and rate by nanochat's rules (√batch, 1/√width).
# 7b, 13b: the published shapes, rates, warm-up and clip of Baichuan 2 (table 3, section 2.5); its 2.6 T tokens.
SIZES: dict[SizeName, Size] = {
    "xs": Size(128, 384, 2, 2, 2048, 128, 1e6, 4096, 1e-2),
    "s": Size(256, 768, 6, 4, 8192, 512, 54e6, 32768, 8e-3),
    "m": Size(384, 1152, 6, 6, 16384, 512, 88e6, 65536, 6e-3),
    "l": Size(512, 1408, 10, 4, 16384, 1024, 600e6, 262144, 6e-3),
    "xl": Size(640, 1792, 12, 5, 16384, 1024, 840e6, 262144, 5e-3),
    "50m": Size(704, 2112, 8, 8, 32000, 2048, 1e9, 262144, 5e-3),
    "100m": Size(832, 2496, 12, 8, 32000, 2048, 2.2e9, 524288, 4e-3),
    "300m": Size(1216, 3648, 16, 8, 64000, 2048, 6e9, 524288, 3e-3),
    "800m": Size(1792, 5376, 20, 14, 64000, 4096, 17e9, 1048576, 2e-3),
    "1.5b": Size(2240, 6720, 24, 14, 64000, 4096, 31e9, 1048576, 1.5e-3),
    "3b": Size(2880, 8640, 28, 20, 64000, 4096, 60e9, 2097152, 1e-3),
    "7b": Size(4096, 11008, 32, 32, 64000, 4096, 2.6e12, 4194304, 2e-4, "adamw", 2000, 0.5),
    "13b": Size(5120, 13696, 40, 40, 64000, 4096, 2.6e12, 4194304, 1.5e-4, "adamw", 2000, 0.5),
}


def shape(
    size: Size,
    pieces: int,
    *,
    length: int,
    position: Literal["rope", "alibi"],
    head: Literal["plain", "normed"],
) -> ModelConfig:
    """The network of a size for a vocabulary, whose rows are filled up to a multiple of 64.

    Its class name is the one under which others' loaders read such a folder: Baichuan-7B's for RoPE with a plain head.
    """
    plain = position == "rope" and head == "plain"
    return ModelConfig(
        architecture="BaiChuanForCausalLM" if plain else "BaichuanForCausalLM",
        vocab_size=-(-pieces // 64) * 64,
        hidden_size=size.hidden,
        intermediate_size=size.ffn,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=size.hidden // size.heads,
        max_position_embeddings=length,
        position=position,
        rotary_dim=size.hidden // size.heads if position == "rope" else 0,
        head=head,
    )


def flops_per_token(config: ModelConfig, length: int) -> float:
    """Of training: six for each weight of a matrix product, and attention, of which the causal half counts."""
    weights = sum(math.prod(s) for name, s in config.tensor_shapes().items() if len(s) == 2)
    products = weights - config.vocab_size * config.hidden_size * (not config.tie_word_embeddings)
    width = config.num_attention_heads * config.head_dim
    return 6.0 * products + 6.0 * config.num_hidden_layers * width * length


def state_bytes(config: ModelConfig, optimiser: Literal["muon", "adamw"]) -> int:
    """Of one state on the disk: weights and what the optimiser keeps: one number a weight for Muon, two for AdamW."""
    matrices = sum(math.prod(s) for n, s in config.tensor_shapes().items() if ".layers." in n and len(s) == 2)
    return 12 * config.parameters - (4 * matrices if optimiser == "muon" else 0)


def memory_bytes(config: ModelConfig, options: TrainOptions, shares: int = 1) -> int:
    """Of a step: weights, gradients, optimiser, activations of one part, one chunk of logits and their gradient.

    shares: processes over which the first three are spread; each gathers two blocks, embeddings and head.
    """
    D, ffn = config.hidden_size, config.intermediate_size
    tokens, layers = options.rows * options.length, config.num_hidden_layers
    inside = 18 * D + 4 * ffn  # numbers that a block keeps for each token
    kept = layers * D + inside if options.recompute == "block" else layers * inside
    activations = tokens * kept * (4 if options.precision == "fp32" else 3)
    mask = (
        5
        * options.rows
        * options.length**2
        * (config.num_attention_heads if config.position == "alibi" else 1)
    )
    head = 4 * (3 * CHUNK * config.vocab_size + 2 * config.vocab_size * D)
    spread = state_bytes(config, options.optimiser) + 4 * config.parameters
    ends = 2 * config.vocab_size * D
    gathered = 8 * (ends + 2 * (config.parameters - ends) // layers) if shares > 1 else 0
    return spread // shares + gathered + activations + mask + head


@dataclass(frozen=True)
class Plan:
    """What will happen, for a person to say yes to. unique_tokens: of the text; speed: tokens a second, measured."""

    size: str
    config: ModelConfig
    options: TrainOptions
    unique_tokens: int
    speed: float
    memory_bytes: int
    available_bytes: int | None
    disk_bytes: int
    fits: bool
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return self.options.steps * self.options.rows * self.options.accumulate * self.options.length

    @property
    def flops(self) -> float:
        return self.tokens * flops_per_token(self.config, self.options.length)

    def text(self) -> str:
        """The plan in the person's language, a line each."""
        lines = (self._shape(), self._text(), self._steps(), self._time(), self._room())
        return "\n".join([*lines, *self.notes])

    def refuse_memory(self) -> None:
        """ValueError if the machine has less memory than a step takes."""
        if not self.fits and self.available_bytes is not None:
            need, have = short(self.memory_bytes, "B"), short(self.available_bytes, "B")
            smaller = self.size_that_fits()
            flag = f"--size {smaller}" if smaller else "--rows 1 --recompute block"
            raise ValueError(
                say(
                    f"size {self.size} needs {need} of memory, {have} are available; {flag} fits",
                    f"规模 {self.size} 需要内存 {need}，可用 {have}；可用 {flag}",
                )
            )

    def size_that_fits(self) -> SizeName | None:
        """The largest size below this one for which the memory is enough, with this vocabulary, in short parts."""
        assert self.available_bytes is not None
        most = self.config.parameters
        for name, size in reversed(SIZES.items()):
            pieces, length = self.config.vocab_size, size.length
            config = shape(size, pieces, length=length, position="rope", head="plain")
            options = replace(self.options, rows=1, length=length, optimiser=size.optimiser)
            fits = memory_bytes(config, options) * ROOM <= self.available_bytes
            if config.parameters < most and fits:
                return name
        return None

    def _shape(self) -> str:
        c = self.config
        millions, shape = short(c.parameters), f"{c.hidden_size} × {c.num_hidden_layers}"
        return say(
            f"size {self.size}: {millions} parameters ({shape}, {c.num_attention_heads} heads, "
            f"{c.vocab_size:,} pieces, {c.position})",
            f"规模 {self.size}：{millions} 参数（{shape}，{c.num_attention_heads} 头，"
            f"词表 {c.vocab_size:,}，{c.position}）",
        )

    def _text(self) -> str:
        unique, shown = short(self.unique_tokens), short(self.tokens)
        epochs = f"{self.tokens / self.unique_tokens:.2g}"
        return say(
            f"text: {unique} tokens, shown {epochs} times: {shown} tokens, {self.flops:.2g} FLOPs",
            f"语料：{unique} 词元，遍历 {epochs} 遍，共 {shown} 词元，{self.flops:.2g} FLOPs",
        )

    def _steps(self) -> str:
        o = self.options
        batch = f"{o.rows * o.accumulate * o.length:,}"
        rates = f"{o.optimiser} {o.matrix_lr:g} / adamw {o.other_lr:.3g}, {o.schedule}, {o.precision}"
        return say(
            f"steps: {o.steps:,} of {batch} tokens ({o.accumulate} × {o.rows} rows of {o.length}); {rates}",
            f"步数：{o.steps:,}，每步 {batch} 词元（{o.accumulate} × {o.rows} 行，每行 {o.length}）；{rates}",
        )

    def _time(self) -> str:
        left, speed = clock(self.tokens / self.speed), f"{self.speed:,.{0 if self.speed > 9 else 2}f}"
        threads = self.options.threads
        return say(
            f"time: {left} at {speed} tokens/s (threads: {threads}), by what this machine did just now",
            f"时间：{left}（按本机刚才的实测，{threads} 线程，{speed} 词元/秒）",
        )

    def _room(self) -> str:
        need, disk = short(self.memory_bytes, "B"), short(self.disk_bytes, "B")
        free = "?" if self.available_bytes is None else short(self.available_bytes, "B")
        return say(
            f"memory: {need} of {free} available; disk: {disk}", f"内存：{need}，可用 {free}；磁盘：{disk}"
        )


def remarks(size: Size, pieces: int, unique: float, total: float, *, chosen: bool) -> tuple[str, ...]:
    """What will work, but not well. unique: tokens of the text; total: to be shown; chosen: a person said so."""
    found = []
    if total > 1.25 * EPOCHS * unique:
        found.append(
            say(
                f"note: the text is shown {total / unique:.0f} times; after {EPOCHS} times it teaches little, "
                "and is learnt by heart",
                f"注意：语料将遍历 {total / unique:.0f} 遍；超过 {EPOCHS} 遍后收效甚微，只是背诵",
            )
        )
    if total < size.tokens / 2 and not chosen:
        found.append(
            say(
                f"note: this size wants {short(size.tokens)} tokens; "
                "a smaller one would learn as much from this text",
                f"注意：此规模需要 {short(size.tokens)} 词元；对这些语料，更小的规模效果相当",
            )
        )
    if pieces > 2 * (better := better_pieces(size, unique)):
        found.append(
            say(
                f"note: {pieces:,} pieces are many for this size and text; about {better:,} would be better: "
                f"haina tokenizer train … --pieces {better}",
                f"注意：对此规模与语料而言，{pieces:,} 个词元的词表偏大，约 {better:,} 个为宜："
                f"haina tokenizer train … --pieces {better}",
            )
        )
    return tuple(found)


def better_pieces(size: Size, unique: float) -> int:
    """Pieces that suit a size, each seen about a hundred times in the text; a power of two."""
    return max(LEAST_PIECES, min(size.vocabulary, int(2 ** math.floor(math.log2(max(1.0, unique / 100))))))


def matmul_peak(device: str, dtype: torch.dtype, *, side: int = 1024, rounds: int = 4) -> float:
    """FLOP/s of a square matrix product through torch: the best of a few."""
    side = 8192 if device == "cuda" else side
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(_seconds(lambda: a @ b, device) for _ in range(rounds))


def _seconds(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def bf16_pays(device: str) -> bool:
    """Whether matrix products in bf16 are clearly faster here: on GPUs and CPUs that have instructions for them."""
    return matmul_peak(device, torch.bfloat16, side=256) > 1.5 * matmul_peak(device, torch.float32, side=256)


def measured_speed(step: Callable[[], int], device: str, expected_s: float) -> float:
    """Tokens a second of `step`, which does the work of so many tokens; it is done twice if that does not take long."""
    tokens = 0

    def work() -> None:
        nonlocal tokens
        tokens = step()

    seconds = _seconds(work, device)
    if expected_s < 2.0:
        seconds = min(seconds, _seconds(work, device))
    return tokens / seconds
