"""The other sides, where they are installed (the `bench` extra; OpenVINO besides); else None, and ours runs alone."""

from __future__ import annotations

__all__ = ["openvino_peer", "peer", "write_gguf"]

try:
    from bench import peer, write_gguf
except ImportError:
    peer = write_gguf = None  # type: ignore[assignment]

try:
    from bench import openvino_peer
except ImportError:
    openvino_peer = None  # type: ignore[assignment]
