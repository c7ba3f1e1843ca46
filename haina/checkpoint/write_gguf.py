"""Write GGUF, version 3: the bytes before the weights, and weights as blocks of Q8_0 and Q4_0.

The counterpart of `read_gguf` and `gguf_blocks`, whose sources are named there; the `gguf` package reads what this
writes (tests). It knows types, names and shapes, not what keys and tensors mean.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from haina.checkpoint.gguf_blocks import BLOCKS
from haina.checkpoint.raw import ITEM_BYTES

Value = bool | int | float | str | list[str] | np.ndarray
GgufType = Literal["F32", "F16", "BF16", "Q8_0", "Q4_0"]

ALIGNMENT = 32  # bytes, of every tensor
BLOCK_WEIGHTS = 32
# `enum ggml_type`: how a tensor is stored.
NUMBERS: dict[GgufType, int] = {"F32": 0, "F16": 1, "BF16": 30, "Q8_0": 8, "Q4_0": 2}

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def gguf_header(
    metadata: Mapping[str, Value], tensors: Sequence[tuple[str, GgufType, tuple[int, ...]]]
) -> bytes:
    """Everything before the tensors (name, type, shape [out, in]), which follow in this order, each `padding` after.

    Numbers are written as uint32, float32 and bool; arrays of numbers are float32 or int32.
    """
    parts = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))]
    parts += [_string(key) + _value(value) for key, value in metadata.items()]
    offset = 0
    for name, kind, shape in tensors:
        about = (len(shape), *reversed(shape), NUMBERS[kind], offset)
        parts.append(_string(name) + struct.pack(f"<I{len(shape)}QIQ", *about))
        n_bytes = gguf_bytes(kind, shape)
        offset += n_bytes + len(padding(n_bytes))
    header = b"".join(parts)
    return header + padding(len(header))


def padding(n_bytes: int) -> bytes:
    """The zeros between so many bytes and the next tensor."""
    return bytes(-n_bytes % ALIGNMENT)


def gguf_bytes(kind: GgufType, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor."""
    n, block = math.prod(shape), BLOCKS.get(NUMBERS[kind])
    return n // block.weights * block.n_bytes if block else n * ITEM_BYTES[kind]


def quantised(weights: np.ndarray, kind: Literal["Q8_0", "Q4_0"]) -> np.ndarray:
    """float32, whole blocks of 32 → records; infinite `d` where a weight is too large for a float16 scale.

    ggml-org/llama.cpp@c392e50 `ggml/src/ggml-quants.c`, `quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`.
    """
    blocks = weights.reshape(-1, BLOCK_WEIGHTS)
    furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    scale = np.abs(furthest) / np.float32(127) if kind == "Q8_0" else furthest / np.float32(-8)
    q = blocks * np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    records = np.empty(len(blocks), BLOCKS[NUMBERS[kind]].record)
    with np.errstate(over="ignore"):
        records["d"] = scale[:, 0]
    if kind == "Q8_0":
        records["q"] = np.rint(q)
    else:
        nibbles = np.clip(q + np.float32(8.5), 0, 15).astype(np.uint8)
        records["q"] = nibbles[:, :16] | nibbles[:, 16:] << 4
    return records


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Value) -> bytes:
    """A value behind its type."""
    match value:
        case bool():
            return struct.pack("<I?", _BOOL, value)
        case int():
            return struct.pack("<II", _UINT32, value)
        case float():
            return struct.pack("<If", _FLOAT32, value)
        case str():
            return struct.pack("<I", _STRING) + _string(value)
        case list():
            return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_string, value))
    kind = {"float32": _FLOAT32, "int32": _INT32}[value.dtype.name]
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + value.tobytes()
