"""Devices: which Runner serves a checkpoint, the native one on the CPU or torch's on a GPU.

"auto" is a GPU only if torch and a GPU are here and the model fits into its free memory. Importing torch takes
seconds, so torch is asked last: after what was asked for, the size of the model, and whether a driver of a GPU lies
where such drivers lie. It does not know how either runner works.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.memory import WORK_BYTES, Bits
from haina.engine.runner import Device, Gpu, Runner
from haina.engine.runner_native import NativeRunner
from haina.model.config import ModelConfig
from haina.native.binding import CacheDtype
from haina.wording import say

DRIVERS = (
    "/dev/nvidiactl",
    "/dev/kfd",  # AMD
    "/usr/lib/wsl/lib/libcuda.so.1",  # Linux within Windows
    r"C:\Windows\System32\nvcuda.dll",
)
SMALL_BYTES = 1 << 28  # a model of so few has answered on the CPU before torch is imported


def open_runner(
    checkpoint: Checkpoint,
    *,
    device: Device | Literal["auto"] = "cpu",
    bits: Bits = 16,
    cache_tokens: int,
    cache_dtype: CacheDtype = "F16",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Runner:
    """Load the weights, with room for `cache_tokens` tokens; `progress` hears how many tensors are there, of how many.

    With torch, weights and cache are 16 bits on a GPU and 32 on the CPU, however the checkpoint packs them.
    ValueError as `choose`, or the GPU's memory does not suffice; MemoryError.
    """
    device = choose(checkpoint.config, device, bits=bits, cache_tokens=cache_tokens, cache_dtype=cache_dtype)
    if device == "cpu":
        return NativeRunner(
            checkpoint,
            bits=bits,
            cache_tokens=cache_tokens,
            cache_dtype=cache_dtype,
            threads=threads,
            progress=progress,
        )
    from haina.engine.runner_torch import TorchRunner

    return TorchRunner(checkpoint, device, cache_tokens=cache_tokens, threads=threads, progress=progress)


def choose(
    config: ModelConfig,
    device: Device | Literal["auto"],
    *,
    bits: Bits,
    cache_tokens: int,
    cache_dtype: CacheDtype,
) -> Device:
    """`device`, or what "auto" stands for here.

    ValueError, one line: no torch, no such GPU, or a precision that only the native runner has. Fewer bits are asked
    for to save memory, which torch could not: there they would be 16 again.
    """
    precise = bits == 16 and cache_dtype != "I8"
    if device == "auto":
        return _best(config, cache_tokens) if precise else "cpu"
    if device != "cpu":
        _require(device, precise)
    return device


def _best(config: ModelConfig, cache_tokens: int) -> Device:
    found = gpu()
    if not found or 2 * config.parameters <= SMALL_BYTES or find_spec("torch") is None:
        return "cpu"
    free = free_bytes(found)
    return found if free is not None and sum(torch_bytes(config, found, cache_tokens)) <= free else "cpu"


def _require(device: Literal["torch", Gpu], precise: bool) -> None:
    if not precise:
        raise ValueError(
            say(
                f"--device {device} cannot compute with fewer bits; leave --bits and --cache at 16, "
                "or use --device cpu",
                f"--device {device} 不支持更低的精度；请将 --bits 和 --cache 保持为 16，或使用 --device cpu",
            )
        )
    if find_spec("torch") is None:
        raise ValueError(
            say(
                f"--device {device} needs torch: pip install 'haina[torch]' (in a clone: '.[torch]'), "
                "or use --device cpu",
                f"--device {device} 需要 torch：pip install 'haina[torch]'（源码目录中用 '.[torch]'），"
                "或使用 --device cpu",
            )
        )
    if device != "torch" and free_bytes(device) is None:
        raise ValueError(
            say(
                f"--device {device}: torch finds no such GPU here; check its driver and torch's build, "
                "or use --device cpu",
                f"--device {device}：torch 在本机找不到这种 GPU；请检查驱动与 torch 的安装版本，"
                "或使用 --device cpu",
            )
        )


def gpu() -> Gpu | None:
    """The kind of GPU whose driver is here; whether torch can use it is not known yet."""
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else None
    return "cuda" if any(Path(file).exists() for file in DRIVERS) else None


def free_bytes(device: Gpu) -> int | None:
    """Bytes that torch could take on a GPU now; None if it has no such GPU."""
    from haina.engine.runner_torch import free_bytes as ask

    return ask(device)


def torch_bytes(config: ModelConfig, device: Device, cache_tokens: int) -> tuple[int, int, int]:
    """Bytes of weights, cache and work space with torch, from shapes."""
    item_bytes = 4 if device == "torch" else 2
    cache = cache_tokens * config.kv_bytes_per_token(item_bytes)
    return item_bytes * config.parameters, cache, WORK_BYTES
