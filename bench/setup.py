"""Bench: what every section of the benchmarks needs, and the models that they share. It measures nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import haina
from bench.machine import Machine
from bench.others import write_gguf
from bench.ours import decode_bytes, write_random
from haina.engine.memory import available_bytes
from haina.model.config import SIZES, ModelConfig

EMBEDDED = Path(haina.__file__).with_name("weights")
SHAPES = {
    "7b": SIZES["baichuan-7b"],
    "13b": SIZES["baichuan-13b"],
    "tiny": replace(  # for tests of the benchmarks themselves
        SIZES["baichuan-7b"],
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    ),
}
ROOM_BYTES = 3 << 30  # for everything but weights


class Bench:
    """What every section needs: how many threads and rounds, where files may lie, and the machine's limits."""

    def __init__(self, folder: Path, threads: int, rounds: int, layers: int | None):
        self.folder, self.threads, self.rounds, self.layers = folder, threads, rounds, layers
        self.machine = Machine(threads, folder)

    def config(self, size: str) -> ModelConfig:
        """A published shape, or "tiny"; with fewer layers where memory (twice the weights) or the caller says so."""
        config = SHAPES[size]
        one, two = (decode_bytes(replace(config, num_hidden_layers=n)) for n in (1, 2))
        fit = int(((available_bytes() or 0) - ROOM_BYTES) / (2.1 * (two - one)))
        layers = min(config.num_hidden_layers, self.layers or max(1, fit))
        return config if layers == config.num_hidden_layers else fewer_layers(config, layers)

    def files(self, size: str) -> tuple[Path, Path]:
        """A folder of ours and a GGUF file of theirs, of one shape; written once."""
        config = self.config(size)
        ours = self.folder / f"{size}-{config.num_hidden_layers}"
        theirs = ours.with_suffix(".gguf")
        if not ours.exists():
            write_random(ours, config)
        if write_gguf and not theirs.exists():
            write_gguf.write_random(theirs, config)
        return ours, theirs


def fewer_layers(config: ModelConfig, layers: int) -> ModelConfig:
    """The same shape, with rotary positions: llama.cpp knows other layer counts than the published only with these."""
    family = "BaiChuanForCausalLM"
    return replace(
        config,
        num_hidden_layers=layers,
        architecture=family,
        position="rope",
        rotary_dim=config.head_dim,
    )
