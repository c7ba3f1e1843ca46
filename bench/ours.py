"""Our side of a pair: models of random weights in any shape, written as converted folders, and steps over them.

A folder is made directly in the packed layout, so a 13B takes seconds and no memory; then it goes the product's own
way: Checkpoint maps it, NativeRunner multiplies. What Python costs is therefore in the figures; the choice of tokens
(engine/sampling.py) is not, on either side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import haina
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.raw import Raw
from haina.checkpoint.read_safetensors import SafetensorsWriter
from haina.engine.runner import Step
from haina.engine.runner_native import NativeRunner
from haina.model.config import ModelConfig
from haina.native.binding import CacheDtype, Matrix
from haina.native.packing import BLOCK_ROWS, block_bytes, packed_bytes

SAMPLE_BYTES = 8 << 20  # of random bytes that are repeated
QUANTIZATION = {"quant_method": "haina", "format": 1}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
INT8_CACHE: CacheDtype = "I8"
_EMBEDDED = Path(haina.__file__).with_name("weights")


def write_random(folder: Path, config: ModelConfig, weights: str = "w4") -> None:
    """A converted folder of random weights; embedding and head in w8, as `haina convert` makes them."""
    hf = config.to_hf() | {"quantization_config": QUANTIZATION | {"weights": weights}}
    _write_about(folder, hf)
    shapes = config.tensor_shapes()
    samples: dict[tuple[str, int], np.ndarray] = {}
    name_bytes = sum(len(name) + 3 for name in shapes)
    with SafetensorsWriter(folder / "model.safetensors", names=len(shapes), name_bytes=name_bytes) as writer:
        for name, shape in shapes.items():
            if len(shape) == 1:
                writer.write(writer.add(name, "F32", shape), np.ones(shape, np.float32).view(np.uint8))
                continue
            dtype = _dtype(name, weights)
            rows, cols = shape
            key = dtype, cols
            samples.setdefault(key, _sample(*key))
            blocks = -(-rows // BLOCK_ROWS)
            at = writer.add(f"{name}.{dtype.lower()}", "U8", (blocks, block_bytes(dtype, cols)))
            writer.write(at, np.resize(samples[key], packed_bytes(dtype, rows, cols)))


def write_bf16(folder: Path, config: ModelConfig) -> None:
    """A folder as a publisher would give it, of random weights."""
    normal = np.random.default_rng(0).standard_normal(SAMPLE_BYTES // 2, np.float32) / 64
    sample = Raw.of(normal).data.view(np.uint16)[1::2]
    tensors = (
        (name, Raw("BF16", s, np.resize(sample, s).reshape(-1).view(np.uint8)))
        for name, s in config.tensor_shapes().items()
    )
    tokenizer = _EMBEDDED.joinpath("tokenizer.model").read_bytes()
    save(folder, config, tensors, tokenizer=tokenizer, generation={}, source={"made": "bench/ours.py"})


def _write_about(folder: Path, hf: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(hf))
    (folder / "tokenizer.model").write_bytes(_EMBEDDED.joinpath("tokenizer.model").read_bytes())


def _dtype(name: str, weights: str) -> str:
    return "W8" if name in (EMBEDDING, HEAD) else weights.upper()


def _sample(dtype: str, cols: int) -> np.ndarray:
    """Blocks of random weights of the usual size, 1 / sqrt(cols), as bytes."""
    count = max(1, SAMPLE_BYTES // block_bytes(dtype, cols))
    rng = np.random.default_rng(cols)
    blocks = rng.integers(0, 256, (count, block_bytes(dtype, cols)), np.uint8)
    blocks[blocks == 128] = 127  # -128 is not a scale and not a weight of W8
    rms = 4.6 * 73 if dtype == "W4" else 73
    scale = np.array([1 / (rms * cols**0.5)], "<f4").view(np.uint8)
    at = 0
    while at < blocks.shape[1]:
        groups = min(16, -(-(cols - 512 * (at // block_bytes(dtype, 512))) // 32))
        blocks[:, at : at + 4 * BLOCK_ROWS] = np.tile(scale, BLOCK_ROWS)
        at += block_bytes(dtype, 32 * groups)
    return blocks.reshape(-1)


class Ours:
    """A converted folder in our runner, with room for `sequences` of `tokens` each."""

    def __init__(self, folder: Path, *, sequences: int, tokens: int, threads: int, cache: CacheDtype = "F16"):
        self.checkpoint = Checkpoint.open(folder)
        self.runner = NativeRunner(
            self.checkpoint,
            bits=16,
            cache_tokens=sequences * tokens,
            cache_dtype=cache,
            threads=threads,
            progress=None,
        )
        self.pages_each = self.runner.pages // sequences

    def layer_matrices(self, layer: int) -> list[Matrix]:
        """The matrices of one layer, as they are mapped."""
        start = f"model.layers.{layer}."
        raws = [self.checkpoint.tensor(n) for n in self.checkpoint.names() if n.startswith(start)]
        return [Matrix(raw.dtype, raw.data, *raw.shape) for raw in raws if len(raw.shape) == 2]

    def fill_cache(self) -> None:
        """Write every key and value, so that all of the cache is in memory."""
        for array in (self.runner.cache.keys, self.runner.cache.values):
            array.fill(1)

    def feed(self, ids: Sequence[int], at: int, *, sequence: int = 0, all_logits: bool = False) -> np.ndarray:
        """One sequence from position `at`: logits (1, V) of the last token, or of all (T, V)."""
        count = len(ids)
        wanted = np.arange(0 if all_logits else count - 1, count, dtype=np.int32)
        return self._step(ids, np.arange(at, at + count), [count], [sequence], wanted)

    def step(self, ids: Sequence[int], at: int) -> np.ndarray:
        """One token for each of the first sequences, all at position `at`: logits (B, V)."""
        rows = len(ids)
        return self._step(ids, np.full(rows, at), [1] * rows, range(rows), np.arange(rows, dtype=np.int32))

    def _step(
        self,
        ids: Sequence[int],
        at: np.ndarray,
        counts: Sequence[int],
        sequences: Sequence[int],
        wanted: np.ndarray,
    ) -> np.ndarray:
        last = int(at.max()) // self.runner.page_tokens + 1
        pages = [
            np.arange(s * self.pages_each, s * self.pages_each + last, dtype=np.int32) for s in sequences
        ]
        step = Step(
            ids_N=np.array(ids, np.int32),
            at_N=at.astype(np.int32),
            row_start_B1=np.cumsum([0, *counts], dtype=np.int32),
            pages=np.concatenate(pages),
            page_start_B1=np.arange(0, (len(pages) + 1) * last, last, dtype=np.int32),
            want_M=wanted,
            hidden_M=np.zeros(0, np.int32),
        )
        return self.runner.step(step).logits_MV


def matrices(config: ModelConfig) -> list[tuple[str, int, int]]:
    """Name, rows and columns of what one decode step multiplies: all but the embedding, of which it looks up rows."""
    shapes = config.tensor_shapes().items()
    return [(name, *shape) for name, shape in shapes if len(shape) == 2 and name != EMBEDDING]


def decode_bytes(config: ModelConfig, weights: str = "w4") -> int:
    """Bytes of weights that one decode step reads."""
    return sum(packed_bytes(_dtype(name, weights), rows, cols) for name, rows, cols in matrices(config))
