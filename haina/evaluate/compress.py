"""What general compressors need for a text once they have seen another: bytes of both, less those of the other.

xz -9 (LZMA2, a dictionary of 64 MiB) and PPMd (variant H, D. Shkarin 2002) as 7-Zip has it. They know bytes only.
"""

from __future__ import annotations

import importlib.util
import lzma

PPMD_ORDER, PPMD_MEMORY_BYTES = 6, 256 << 20  # of orders 6, 10 and 16 the best on Chinese prose


def xz(seen: bytes, text: bytes) -> int:
    """Bytes that `text` adds to `seen`."""
    return len(_xz(seen + text)) - len(_xz(seen))


def _xz(text: bytes) -> bytes:
    return lzma.compress(text, preset=9)


def has_ppmd() -> bool:
    """Whether pyppmd is installed."""
    return importlib.util.find_spec("pyppmd") is not None


def ppmd(seen: bytes, text: bytes) -> int:
    """Bytes that `text` adds to `seen`; the coder holds back a few at either end."""
    import pyppmd

    coder = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY_BYTES)
    coder.encode(seen)
    return len(coder.encode(text)) + len(coder.flush())
