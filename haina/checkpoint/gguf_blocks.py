"""The block formats of GGUF: how a run of weights lies in bytes, and the float32 values that it stands for.

A row of a quantised matrix is blocks of 32 or 256 weights, each with its own scales. The layout of a block
is a NumPy record type, so the table at the end reads like the C structs that it comes from. Layouts:
ggml-org/llama.cpp@c392e50 `ggml/src/ggml-common.h`; values: `ggml/src/ggml-quants.c`, `dequantize_row_*`.
gguf-py is the oracle of the tests: equal to the last bit.

Not known here: files, names and shapes of tensors. Not checked here: the values (a scale may be NaN or
infinite; the weights then are, too, and `Checkpoint.tensor` refuses those).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Weights that are decoded at once: 256 KiB of float32, which stay in a core's cache with what leads to them.
_CHUNK_WEIGHTS = 1 << 16

_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


@dataclass(frozen=True)
class Block:
    """One format: the record of a block, how many weights it holds, and how they are computed from it.

    decode(b_N, w_NK): records b in, float32 w out, written in place; K = weights.
    """

    name: str
    weights: int
    record: np.dtype[np.void]
    decode: Callable[[np.ndarray, np.ndarray], None]

    @property
    def n_bytes(self) -> int:
        return self.record.itemsize


def decode(block: Block, data: np.ndarray) -> np.ndarray:
    """uint8 of whole blocks → the float32 weights, flat. Work memory is small whatever the size."""
    records = np.ascontiguousarray(data).view(block.record)
    weights = np.empty((len(records), block.weights), np.float32)
    step = _CHUNK_WEIGHTS // block.weights
    with np.errstate(over="ignore", invalid="ignore"):  # scales of damaged files; looked for afterwards
        for start in range(0, len(records), step):
            block.decode(records[start : start + step], weights[start : start + step])
    return weights.reshape(-1)


def _float(b: np.ndarray, name: str) -> np.ndarray:
    """An fp16 field as a float32 column [N, 1]."""
    return b[name].astype(np.float32)[:, None]


def _fields(packed: np.ndarray, bits: int) -> np.ndarray:
    """uint8 [..., L] → uint8 [..., 8/bits, L]: the lowest bits of all bytes first, then the next, and so on."""
    n = 8 // bits
    fields = np.empty((*packed.shape[:-1], n, packed.shape[-1]), np.uint8)
    for i in range(n):
        np.right_shift(packed, i * bits, out=fields[..., i, :])
    fields &= (1 << bits) - 1
    return fields


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """uint8 [..., L] → uint8 [..., 2, L]: all low nibbles, then all high ones."""
    return _fields(packed, 4)


def _q4_0(b: np.ndarray, w: np.ndarray) -> None:
    w[:] = _nibbles(b["q"]).reshape(w.shape)
    w -= 8
    w *= _float(b, "d")


def _q4_1(b: np.ndarray, w: np.ndarray) -> None:
    w[:] = _nibbles(b["q"]).reshape(w.shape)
    w *= _float(b, "d")
    w += _float(b, "m")


def _five_bits(b: np.ndarray) -> np.ndarray:
    """Bit i of the four bytes `fifth` is the highest bit of weight i."""
    fifth = np.unpackbits(b["fifth"], axis=-1, bitorder="little")
    whole: np.ndarray = _nibbles(b["q"]).reshape(fifth.shape) | fifth << 4
    return whole


def _q5_0(b: np.ndarray, w: np.ndarray) -> None:
    w[:] = _five_bits(b)
    w -= 16
    w *= _float(b, "d")


def _q5_1(b: np.ndarray, w: np.ndarray) -> None:
    w[:] = _five_bits(b)
    w *= _float(b, "d")
    w += _float(b, "m")


def _q8_0(b: np.ndarray, w: np.ndarray) -> None:
    w[:] = b["q"]
    w *= _float(b, "d")


def _iq4_nl(b: np.ndarray, w: np.ndarray) -> None:
    np.multiply(_IQ4[_nibbles(b["q"])].reshape(w.shape), _float(b, "d"), out=w)


def _q2_k(b: np.ndarray, w: np.ndarray) -> None:
    parts = w.reshape(-1, 16, 16)
    parts[:] = _fields(b["q"].reshape(-1, 2, 32), 2).reshape(parts.shape)
    parts *= (_float(b, "d") * (b["scales"] & 15))[..., None]
    parts -= (_float(b, "dmin") * (b["scales"] >> 4))[..., None]


def _q3_k(b: np.ndarray, w: np.ndarray) -> None:
    low = _nibbles(b["scales"][:, :8]).reshape(-1, 16)
    high = _fields(b["scales"][:, 8:], 2).reshape(-1, 16)
    scales = (low | high << 4).astype(np.int8) - 32
    quarters = _fields(b["q"].reshape(-1, 2, 32), 2).reshape(w.shape)
    w[:] = quarters | _fields(b["mask"], 1).reshape(w.shape) << 2
    w -= 4
    w.reshape(-1, 16, 16)[:] *= (_float(b, "d") * scales)[..., None]


def _six_bits(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 12 bytes of Q4_K and Q5_K: eight scales and eight minima of 6 bits, the last four of each cut in two."""
    first, last = packed[:, :8], _nibbles(packed[:, 8:])  # last: low bits of scales 4-7, then of minima 4-7
    top = first >> 6 << 4
    scales = np.concatenate([first[:, :4] & 63, last[:, 0] | top[:, :4]], axis=1)
    minima = np.concatenate([first[:, 4:] & 63, last[:, 1] | top[:, 4:]], axis=1)
    return scales, minima


def _scale_k(b: np.ndarray, w: np.ndarray) -> None:
    """d · scale · q − dmin · minimum for each 32 weights; w holds the q."""
    scales, minima = _six_bits(b["scales"])
    parts = w.reshape(-1, 8, 32)
    parts *= (_float(b, "d") * scales)[..., None]
    parts -= (_float(b, "dmin") * minima)[..., None]


def _q4_k(b: np.ndarray, w: np.ndarray) -> None:
    w[:] = _nibbles(b["q"].reshape(-1, 4, 32)).reshape(w.shape)
    _scale_k(b, w)


def _q5_k(b: np.ndarray, w: np.ndarray) -> None:
    low = _nibbles(b["q"].reshape(-1, 4, 32)).reshape(w.shape)
    w[:] = low | _fields(b["fifth"], 1).reshape(w.shape) << 4
    _scale_k(b, w)


def _q6_k(b: np.ndarray, w: np.ndarray) -> None:
    low = _nibbles(
        b["low"].reshape(-1, 2, 64)
    )  # [N, 2, 2, 64]: of each 128 weights the first 64, the last 64
    high = _fields(b["high"].reshape(-1, 2, 32), 2)
    w[:] = (low.reshape(high.shape) | high << 4).reshape(w.shape)
    w -= 32
    w.reshape(-1, 16, 16)[:] *= (_float(b, "d") * b["scales"])[..., None]


def _iq4_xs(b: np.ndarray, w: np.ndarray) -> None:
    low = np.stack([b["scales"] & 15, b["scales"] >> 4], axis=-1).reshape(-1, 8)
    high = (b["top"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16) & 3).astype(np.uint8)
    scales = (low | high << 4).astype(np.int8) - 32
    values = _IQ4[_nibbles(b["q"].reshape(-1, 8, 16))].reshape(-1, 8, 32)
    np.multiply(values, (_float(b, "d") * scales)[..., None], out=w.reshape(-1, 8, 32))


def _record(**fields: object) -> np.dtype[np.void]:
    return np.dtype(
        [(name, *(kind if isinstance(kind, tuple) else (kind,))) for name, kind in fields.items()]
    )


_SCALES_K = ("u1", 12)

# By the number of the type in the file (`enum ggml_type`); "q" are the integers of the weights.
BLOCKS: dict[int, Block] = {
    2: Block("Q4_0", 32, _record(d="<f2", q=("u1", 16)), _q4_0),
    3: Block("Q4_1", 32, _record(d="<f2", m="<f2", q=("u1", 16)), _q4_1),
    6: Block("Q5_0", 32, _record(d="<f2", fifth=("u1", 4), q=("u1", 16)), _q5_0),
    7: Block("Q5_1", 32, _record(d="<f2", m="<f2", fifth=("u1", 4), q=("u1", 16)), _q5_1),
    8: Block("Q8_0", 32, _record(d="<f2", q=("i1", 32)), _q8_0),
    10: Block("Q2_K", 256, _record(scales=("u1", 16), q=("u1", 64), d="<f2", dmin="<f2"), _q2_k),
    11: Block("Q3_K", 256, _record(mask=("u1", 32), q=("u1", 64), scales=_SCALES_K, d="<f2"), _q3_k),
    12: Block("Q4_K", 256, _record(d="<f2", dmin="<f2", scales=_SCALES_K, q=("u1", 128)), _q4_k),
    13: Block(
        "Q5_K",
        256,
        _record(d="<f2", dmin="<f2", scales=_SCALES_K, fifth=("u1", 32), q=("u1", 128)),
        _q5_k,
    ),
    14: Block("Q6_K", 256, _record(low=("u1", 128), high=("u1", 64), scales=("i1", 16), d="<f2"), _q6_k),
    20: Block("IQ4_NL", 32, _record(d="<f2", q=("u1", 16)), _iq4_nl),
    23: Block("IQ4_XS", 256, _record(d="<f2", top="<u2", scales=("u1", 4), q=("u1", 128)), _iq4_xs),
}
