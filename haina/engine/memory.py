"""Memory: how many bytes a checkpoint needs before it answers, and how many this machine has to give.

Estimates from shapes, made before anything is loaded, so that a model which does not fit is refused instead of
freezing the machine. It does not read weights and does not know who asks.
"""

from __future__ import annotations

import ctypes
import math
import re
import sys
from pathlib import Path
from typing import Literal

from haina.checkpoint.layout import packed_dtype
from haina.checkpoint.raw import tensor_bytes
from haina.engine.scheduler import chunk_tokens
from haina.model.config import ModelConfig
from haina.native.binding import ITEM_BYTES, CacheDtype

Bits = Literal[16, 8, 4]
# Python with NumPy, SentencePiece and prompt_toolkit; 58 MiB of `haina run` were measured
PROCESS_BYTES = 80 << 20
WORK_BYTES = 1 << 30  # of a GPU, for keys, values and scores of one layer, beside weights and cache


def tensor_sizes(config: ModelConfig, *, item_bytes: int, bits: Bits) -> dict[str, int]:
    """Bytes in memory of each tensor by our name. `item_bytes`: of an element in the files (2 for F16 and BF16).

    16: as they are stored, vectors in float32, and a NormHead, which is computed, too. 8, 4: matrices packed.
    """
    folded = {"lm_head.weight"} if config.head == "normed" else set()
    sizes = {}
    for name, shape in config.tensor_shapes().items():
        if dtype := packed_dtype(name, shape, bits):
            sizes[name] = tensor_bytes(dtype, shape)
        else:
            sizes[name] = math.prod(shape) * (4 if len(shape) == 1 or name in folded else item_bytes)
    return sizes


def weight_bytes(config: ModelConfig, *, item_bytes: int, bits: Bits) -> int:
    """Bytes of all weights in memory: mapped from the files, or our own where they are packed at load."""
    return sum(tensor_sizes(config, item_bytes=item_bytes, bits=bits).values())


def token_bytes(config: ModelConfig, *, item_bytes: int, bits: Bits) -> int:
    """Bytes of weights that one token reads: all but the embedding, of which it takes a row; a tied head is read."""
    sizes = tensor_sizes(config, item_bytes=item_bytes, bits=bits)
    return sum(sizes.values()) - (0 if config.tie_word_embeddings else sizes["model.embed_tokens.weight"])


def cache_token_bytes(config: ModelConfig, dtype: CacheDtype) -> int:
    """Bytes of the keys and values of one token. I8 has a float32 scale for each slot and key head."""
    scales = 2 * config.num_hidden_layers * config.num_key_value_heads * 4 if dtype == "I8" else 0
    return config.kv_bytes_per_token(ITEM_BYTES[dtype]) + scales


def cache_bytes(config: ModelConfig, *, tokens: int, dtype: CacheDtype = "F16") -> int:
    """Bytes of the keys and values of so many tokens."""
    return tokens * cache_token_bytes(config, dtype)


def work_bytes(config: ModelConfig, *, tokens: int) -> int:
    """Bytes beside weights and cache, with `tokens` tokens of context: one batch, the sampler, and the process."""
    widths = 8 * config.hidden_size + 3 * config.intermediate_size + 2 * tokens
    batch = 4 * min(chunk_tokens(config), tokens) * widths
    sampler = 8 * 6 * config.vocab_size  # logits, weights, their order and their sums
    return batch + sampler + PROCESS_BYTES


def available_bytes() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not say.

    Memory that holds cached files counts as available: the system gives it up, and weights are such files.
    """
    if sys.platform == "darwin":
        return _macos()
    if sys.platform == "win32":
        return _windows()
    found = [n for n in (_meminfo(), _cgroup()) if n is not None]
    return min(found, default=None)


def _meminfo() -> int | None:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(match[1]) << 10 if match else None


def _cgroup() -> int | None:
    """What a container leaves, which /proc/meminfo does not know (Linux Documentation/admin-guide/cgroup-v2.rst)."""
    folder = "/sys/fs/cgroup/"
    limit, used = _read(folder + "memory.max").strip(), _read(folder + "memory.current").strip()
    if not (limit.isdigit() and used.isdigit()):
        return None
    files = re.search(r"^inactive_file (\d+)$", _read(folder + "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(used) + (int(files[1]) if files else 0))


def _read(file: str) -> str:
    try:
        return Path(file).read_text("ascii")
    except OSError:
        return ""


def _macos() -> int | None:
    """The share of memory that `memory_pressure` calls free, of all there is."""
    system = ctypes.CDLL(None)
    total, percent = ctypes.c_uint64(), ctypes.c_uint32()
    for name, value in ((b"hw.memsize", total), (b"kern.memorystatus_level", percent)):
        size = ctypes.c_size_t(ctypes.sizeof(value))
        if system.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)):
            return None
    return total.value * percent.value // 100


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API (sysinfoapi.h)."""

    _fields_ = (
        ("length_bytes", ctypes.c_uint32),
        ("load_percent", ctypes.c_uint32),
        ("total_bytes", ctypes.c_uint64),
        ("available_bytes", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 5),
    )


def _windows() -> int | None:
    status = _MemoryStatus(length_bytes=ctypes.sizeof(_MemoryStatus))
    known = ctypes.CDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.available_bytes) if known else None
