"""Bench: how fast a model answers on this machine, in one conversation and in several at once.

Measured is what people meet: requests go through the engine, and every token is drawn. A run feeds prompts of random
tokens, each time others so that no page is found again, until every answer has its first token (prefill), and then
makes so many steps (decode). Runs are repeated until they have taken a second; medians are given. Nothing is guessed
from the prompts, as they hold nothing to be found; with a draft model a step may give several tokens.
It does not know weights, runners or how requests are scheduled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from haina.apps.model import Model, Progress, load_model, model_name, opened, stored_coding, stored_dtype
from haina.apps.screen import columns, one_line
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Request, Token
from haina.engine.scheduler import chunk_tokens
from haina.model.config import ModelConfig
from haina.native.machine import usable_threads
from haina.native.packing import PACKED
from haina.options.models import BenchOptions
from haina.wording import say

PROMPT_TOKENS = 256  # unless the context is shorter than two of them
ENOUGH_S = 1.0


@dataclass(frozen=True)
class Run:
    """Seconds to the first token of an answer (on average) and of all answers, then of the steps; tokens of those."""

    first_s: float
    prefill_s: float
    decode_s: float
    decoded: int

    @property
    def seconds(self) -> float:
        return self.prefill_s + self.decode_s


def measure(folder: str | Path, options: BenchOptions, *, progress: Progress | None = None) -> dict[str, Any]:
    """The record that `haina bench --json` prints. ValueError: what `load_model` refuses, or too short a context."""
    checkpoint = opened(folder, progress)
    prompt = options.prompt or min(PROMPT_TOKENS, checkpoint.config.max_position_embeddings // 2)
    context = _context(checkpoint, prompt, options)
    options = replace(options, context=context, no_speculation=options.draft is None)
    model = load_model(checkpoint, options, conversations=options.conversations, progress=progress)
    engine, random = model.engine, np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    run(engine, random, 1, min(prompt, 16), 1)  # weights come into memory, kernels are compiled
    for at_once in (1, options.conversations):
        if progress:
            progress(say("measuring", "测速"), len(rows), 2)
        rows.append(_row(engine, random, at_once, prompt, options.tokens))
    return {**_about(model, options), "prompt_tokens": prompt, "steps": options.tokens, "speeds": rows}


def run(engine: Engine, random: np.random.Generator, at_once: int, prompt: int, steps: int) -> Run:
    """One run of `at_once` requests. ValueError if the network fails."""
    prompts = random.integers(0, engine.config.vocab_size, (at_once, prompt)).tolist()
    new = _new_tokens(engine.config, at_once, prompt, steps)
    began, firsts = time.perf_counter(), []
    numbers = [engine.add(Request(tuple(ids), new, stop_loops=False)) for ids in prompts]
    waiting = set(numbers)
    while waiting:
        answered = waiting & {token.request for token in _tokens(engine)}
        firsts += [time.perf_counter() - began] * len(answered)
        waiting -= answered
    prefilled, decoded = time.perf_counter(), 0
    for _ in range(steps):
        tokens = _tokens(engine)
        decoded += len(tokens)
        if any(token.finish for token in tokens):
            break  # a draft model's guesses may end an answer sooner
    ended = time.perf_counter()
    for number in numbers:
        engine.cancel(number)
    return Run(fmean(firsts), prefilled - began, ended - prefilled, decoded)


def _tokens(engine: Engine) -> list[Token]:
    tokens = [event for event in engine.step() if isinstance(event, Token)]
    for token in tokens:
        if token.finish == "error":
            raise ValueError(token.error)
    return tokens


def _new_tokens(config: ModelConfig, at_once: int, prompt: int, steps: int) -> int:
    """Most tokens of an answer: the steps, and what the first one can say while the last prompts are still read."""
    return 1 + steps + at_once + -(-at_once * prompt // chunk_tokens(config))


def _context(checkpoint: Checkpoint, prompt: int, options: BenchOptions) -> int:
    """The room for a prompt and its answer: as asked, or what is needed."""
    most = options.context or checkpoint.config.max_position_embeddings
    needed = prompt + _new_tokens(checkpoint.config, options.conversations, prompt, options.tokens)
    if needed > most:
        raise ValueError(
            say(
                f"--prompt {prompt} with --tokens {options.tokens} needs a context of {needed} tokens, and that of "
                f"{checkpoint.folder} is {most}; ask for less",
                f"--prompt {prompt} 与 --tokens {options.tokens} 需要 {needed} 个词元的上下文，而 "
                f"{checkpoint.folder} 的上下文为 {most}；请调小",
            )
        )
    return options.context or needed


def _row(
    engine: Engine, random: np.random.Generator, at_once: int, prompt: int, steps: int
) -> dict[str, Any]:
    runs = [run(engine, random, at_once, prompt, steps)]
    while sum(done.seconds for done in runs) < ENOUGH_S:
        runs.append(run(engine, random, at_once, prompt, steps))
    return {
        "conversations": at_once,
        "runs": len(runs),
        "first_token_s": median(done.first_s for done in runs),
        "prefill_tokens_per_s": median(at_once * prompt / done.prefill_s for done in runs),
        "decode_tokens_per_s": median(done.decoded / done.decode_s for done in runs),
    }


def _about(model: Model, options: BenchOptions) -> dict[str, Any]:
    checkpoint = model.checkpoint
    packed_now = model.device == "cpu" and options.bits != 16 and stored_dtype(checkpoint) not in PACKED
    return {
        "model": model_name(checkpoint),
        "parameters": checkpoint.config.parameters,
        "precision": f"W{options.bits}" if packed_now else stored_coding(checkpoint),
        "device": model.device,
        "threads": (options.threads or usable_threads()) if model.device == "cpu" else None,
    }


def table(record: dict[str, Any]) -> str:
    """The record for people, in their language."""
    threads = record["threads"]
    title = [
        one_line(record["model"]),
        say("{:,} parameters", "参数量 {:,}").format(record["parameters"]),
        record["precision"],
        say("device {}", "设备 {}").format(record["device"]),
        *([say(f"{threads} threads", f"{threads} 线程")] if threads else []),
    ]
    heads = [
        say("at once", "同时进行"),
        say("first token", "首个词元"),
        say("prefill tokens/s", "预填充 词元/秒"),
        say("decode tokens/s", "生成 词元/秒"),
        say("of each", "每个对话"),
    ]
    prompt, steps = record["prompt_tokens"], record["steps"]
    return "\n".join(
        [
            say(" · ", "，").join(title),
            "",
            *_aligned([heads, *map(_cells, record["speeds"])]),
            "",
            say(
                f"Prompts of {prompt} random tokens, then {steps} steps, sampling included. "
                "First token: from the question on, average.",
                f"提示为 {prompt} 个随机词元，之后生成 {steps} 步，含采样。首个词元：从提问起算，取平均。",
            ),
        ]
    )


def _cells(speed: dict[str, Any]) -> list[str]:
    decode = speed["decode_tokens_per_s"]
    each = decode / speed["conversations"]
    numbers = (f"{n:,.1f}" if n < 100 else f"{n:,.0f}" for n in (speed["prefill_tokens_per_s"], decode, each))
    return [str(speed["conversations"]), f"{speed['first_token_s']:.3f} s", *numbers]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns under each other, to the right."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(" " * (w - columns(c)) + c for c, w in zip(row, widths, strict=True)) for row in rows]
