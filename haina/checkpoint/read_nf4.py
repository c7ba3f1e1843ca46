"""NF4, the 4-bit weights of bitsandbytes: found among the tensors of a folder, decoded when they are read.

A matrix is a run of nibbles, high one first, each an index into 16 values between -1 and 1; every 64 weights share
a scale. The scales, less their mean, are bytes themselves: indices into 256 values, 256 of them under one float32.

    w[i] = code[nibble i] · scale[i // 64];  scale[b] = code2[absmax[b]] · absmax2[b // 256] + offset

Two ways to write that down: Baichuan2's 4bits folders pickle a list (bitsandbytes before 0.41.2, `functional.py`
`quantize_4bit`; jrd77/Baichuan2-13B-Chat@d022d72 `quantizer.py` reads it), later folders have a tensor for each
part and a little JSON (`QuantState.as_dict`). QLoRA, arXiv:2305.14314, section 3, is where the idea is from.

Covered: sizes, types and the code table, before anything is decoded. Not covered: the values of scales (weights
that come out NaN or infinite are refused where all weights are). Not known here: files, other tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from haina.checkpoint.raw import Raw, Stored
from haina.checkpoint.read_json import parse_json_object
from haina.wording import say

# The quantiles of a normal distribution that bitsandbytes uses; a file's own table is used, and must be this one.
CODE = np.array(
    [
        -1, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0,
        0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1,
    ], np.float32,
)  # fmt: skip
BLOCK_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)

_LIST, _DATA = ".quant_state", ".data"  # behind the name of a matrix, in a pickle
_JSON = re.compile(r"(.+)\.quant_state\.bitsandbytes__(\w+)")
_PARTS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
_CHUNK_BYTES = 1 << 15  # of nibbles decoded at once, so that they stay in a core's cache


@dataclass(frozen=True)
class Scales:
    """The scale of every block. values: float32, or the bytes that stand for them under `nested` scales."""

    values: np.ndarray
    nested: tuple[np.ndarray, np.ndarray, int, float] | None = None  # absmax2, code2, block size, offset

    def of(self, first: int, last: int) -> np.ndarray:
        """float32 [last - first]"""
        scales: np.ndarray = self.values[first:last]
        if self.nested is not None:
            absmax2, code2, size, offset = self.nested
            scales = code2[scales] * absmax2[np.arange(first, last) // size] + np.float32(offset)
        return scales


@dataclass(frozen=True)
class Nf4(Stored):
    """Rows of a matrix in NF4. data: the nibbles of the whole matrix; `start` is the first of our weights."""

    pairs: np.ndarray = field(kw_only=True)  # complex64 [256]: the two values of each byte
    scales: Scales = field(kw_only=True)
    block: int = field(kw_only=True)
    start: int = field(default=0, kw_only=True)

    @property
    def coding(self) -> str:
        return "NF4"

    def rows(self, start: int, stop: int) -> Nf4:
        cols = self.shape[1]
        return replace(self, shape=(stop - start, cols), start=self.start + start * cols)

    def raw(self) -> Raw:
        """Whole blocks are decoded, of which the first and the last may belong to other rows, too."""
        stop = self.start + math.prod(self.shape)
        first, last = self.start // self.block, -(-stop // self.block)
        weights = np.zeros((last - first, self.block), np.float32)
        values = weights.reshape(-1).view(np.complex64)
        nibbles = self.data[first * self.block // 2 : last * self.block // 2]
        for at in range(0, len(nibbles), _CHUNK_BYTES):
            piece = nibbles[at : at + _CHUNK_BYTES]
            values[at : at + len(piece)] = self.pairs[piece]
        with np.errstate(over="ignore", invalid="ignore"):  # scales of damaged files; looked for afterwards
            weights *= self.scales.of(first, last)[:, None]
        begin = self.start - first * self.block
        return Raw.of(weights.reshape(-1)[begin : begin + math.prod(self.shape)].reshape(self.shape))


def join_lists(path: Path, tensors: Mapping[str, Stored], states: Mapping[str, Any]) -> dict[str, Stored]:
    """The tensors of a pickle, `X.data` and the list `X.quant_state` together being the matrix X.

    states: the lists by their names, with Stored where they have tensors:
    [absmax, shape, type, block size, [offset, [absmax2, code2, block size, ...]] or None, "nf4", code]
    """
    found = dict(tensors)
    for state_name, state in states.items():
        name = state_name.removesuffix(_LIST)
        matrix = _Matrix(path, name, found.pop(name + _DATA, None))
        if name in found:
            raise matrix.wrong("is there twice", "出现了两次")
        match state:
            case [absmax, [*shape], _, int(block), nested, kind, code]:
                found[name] = matrix.joined(kind, shape, block, absmax, code, _nested_list(nested))
            case _:
                raise matrix.wrong("its quant_state is not a list that is known", "quant_state 的格式未知")
    return found


def _nested_list(nested: Any) -> Any:
    """(absmax2, code2, block size, offset) of the nested list; None stays None, anything else is no such tuple."""
    match nested:
        case [offset, [absmax2, code2, size, *_]]:
            return absmax2, code2, size, offset
    return nested


def join_flat(folder: Path, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors of a folder, X and its parts X.absmax, X.quant_map ... together being the matrix X."""
    found = dict(tensors)
    for json_name, stored in tensors.items():
        match = _JSON.fullmatch(json_name)
        if match is None:
            continue
        name = match[1]
        state = parse_json_object(stored.raw().data.tobytes(), f"{folder}: {json_name[:200]!a}")
        del found[json_name]
        matrix = _Matrix(folder, name, found.pop(name, None))
        absmax, code, absmax2, code2 = (found.pop(name + part, None) for part in _PARTS)
        offset, size = state.get("nested_offset"), state.get("nested_blocksize")
        nested = None if absmax2 is None and code2 is None else (absmax2, code2, size, offset)
        kind = state.get("quant_type")
        found[name] = matrix.joined(kind, state.get("shape"), state.get("blocksize"), absmax, code, nested)
    return found


@dataclass(frozen=True)
class _Matrix:
    """A matrix being put together: where it is from, for messages, and its nibbles."""

    where: Path
    name: str
    nibbles: Any

    def joined(self, kind: Any, shape: Any, block: Any, absmax: Any, code: Any, nested: Any) -> Nf4:
        if kind != "nf4":
            raise self.wrong(f"is of type {str(kind)[:20]!r}, not nf4", f"的类型 {str(kind)[:20]!r} 不是 nf4")
        if not isinstance(shape, list) or len(shape) != 2 or not all(_size(n) for n in shape):
            raise self.wrong("has no shape of two numbers", "的形状不是两个数")
        if not isinstance(block, int) or block not in BLOCK_SIZES:
            raise self.wrong(f"has blocks of {str(block)[:20]}", f"的块长为 {str(block)[:20]}")
        n = math.prod(shape)
        n_blocks = -(-n // block)
        nibbles = self.array(self.nibbles, "U8", -(-n // 2), "data")
        code = self.array(code, "F32", 16, "quant_map")
        if not np.allclose(code, CODE, rtol=0, atol=1e-3):
            raise self.wrong("has another code table than NF4's", "的码表不是 NF4 的码表")
        scales = self.scales(absmax, n_blocks, nested)
        both = np.stack([code[np.arange(256) >> 4], code[np.arange(256) & 15]], axis=1)
        pairs = both.reshape(-1).view(np.complex64)
        return Nf4("F32", tuple(shape), nibbles, pairs=pairs, scales=scales, block=block)

    def scales(self, absmax: Any, n_blocks: int, nested: Any) -> Scales:
        if nested is None:
            return Scales(self.array(absmax, "F32", n_blocks, "absmax"))
        match nested:
            case (absmax2, code2, int(size), offset) if size in BLOCK_SIZES:
                offset = (
                    offset
                    if isinstance(offset, int | float)
                    else self.array(offset, "F32", 1, "offset").item()
                )
                return Scales(
                    self.array(absmax, "U8", n_blocks, "absmax"),
                    (
                        self.array(absmax2, "F32", -(-n_blocks // size), "nested_absmax"),
                        self.array(code2, "F32", 256, "nested_quant_map"),
                        size,
                        offset,
                    ),
                )
        raise self.wrong("has nested scales of an unknown kind", "的嵌套缩放系数格式未知")

    def array(self, part: Any, dtype: str, n: int, name: str) -> np.ndarray:
        """The n elements of a part, flat."""
        if not isinstance(part, Stored) or part.dtype != dtype or math.prod(part.shape) != n:
            found = f"{part.dtype} {list(part.shape)}" if isinstance(part, Stored) else say("nothing", "没有")
            en, zh = (
                f"needs {n} {dtype} as {name}, not {found}",
                f"的 {name} 应为 {n} 个 {dtype}，实为 {found}",
            )
            raise self.wrong(en, zh)
        return part.raw().data.view({"U8": np.uint8, "F32": np.float32}[dtype])

    def wrong(self, en: str, zh: str) -> ValueError:
        shown = ascii(self.name[:200])
        return ValueError(
            say(
                f"{self.where}: 4-bit tensor {shown} {en}; download the model again, or use its 16-bit folder",
                f"{self.where}：4 位张量 {shown} {zh}；请重新下载该模型，或改用它的 16 位目录",
            )
        )


def _size(n: Any) -> bool:
    return type(n) is int and 0 < n <= 1 << 32
