"""Native kernels and forward against NumPy on this machine, interleaved round by round: only ratios count.

Run: make bench, or python bench/native.py. A ratio of 2 means that NumPy (float32, its own BLAS) takes twice as
long as we do with weights of that dtype. Matmul: one 11008 x 4096 matrix, the gate of a 7B model. Forward: one
layer of a 7B model and its head, against nothing but NumPy's products of the same matrices.
GB/s are bytes of our weights; they move with the memory of the hour, so compare them within one run only.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from haina.native import kernels
from haina.native.binding import ISAS, Matrix, NativeCache, NativeModel, forward, has_isa, usable_threads
from haina.native.reference import quantize_rows

ROUNDS = 5
PAUSE_S = 0.002  # until threads that spin after their work have gone to sleep: ours, and those of BLAS
D, H, F, V = 4096, 32, 11008, 8192
THREADS = usable_threads()


def interleaved(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float, float]:
    """Median seconds of ours, and median and smallest ratio theirs / ours of the rounds."""
    pairs = []
    for _ in range(ROUNDS):
        times = []
        for work in (ours, theirs):
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        pairs.append(times)
    ratios = [theirs / ours for ours, theirs in pairs]
    return statistics.median(ours for ours, _ in pairs), statistics.median(ratios), min(ratios)


def stored(w: np.ndarray, dtype: str) -> Matrix:
    """float32 weights as a Matrix of the dtype (BF16 by cutting off)."""
    if dtype == "I8":
        data, scale = quantize_rows(w)
        return Matrix("I8", data.view(np.uint8).reshape(-1), *w.shape, scale)
    if dtype == "BF16":
        halves = np.ascontiguousarray(w.view(np.uint16)[:, 1::2])
        return Matrix("BF16", halves.view(np.uint8).reshape(-1), *w.shape)
    return Matrix.of(w.astype({"F32": np.float32, "F16": np.float16}[dtype]))


def random(rows: int, cols: int) -> np.ndarray:
    return np.random.default_rng(rows + cols).standard_normal((rows, cols), np.float32) / np.float32(
        cols**0.5
    )


def bench_matmul() -> None:
    w = random(F, D)
    for dtype in ("F32", "F16", "BF16", "I8"):
        matrix = stored(w, dtype)
        for tokens in (1, 4, 16, 64):
            x = random(tokens, D)
            s, ratio, worst = interleaved(
                lambda m=matrix, x=x: kernels.matmul(m, x, threads=THREADS), lambda x=x: x @ w.T
            )
            row(f"matmul {dtype}", tokens, s, matrix.data.nbytes, ratio, worst, 2 * F * D * tokens)


def bench_forward(dtype: str = "BF16") -> None:
    names = {f"self_attn.{name}_proj": (D, D) for name in "qkvo"}
    names |= {"mlp.gate_proj": (F, D), "mlp.up_proj": (F, D), "mlp.down_proj": (D, F)}
    layer = {f"model.layers.0.{name}.weight": random(*shape) for name, shape in names.items()}
    plain = layer | {"lm_head.weight": random(V, D)}
    tensors: dict[str, Matrix | np.ndarray] = {name: stored(w, dtype) for name, w in plain.items()}
    tensors["model.embed_tokens.weight"] = tensors["lm_head.weight"]
    weight_bytes = sum(stored(w, dtype).data.nbytes for w in plain.values())
    for name in ("layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"):
        tensors[f"model.{name}.weight"] = np.ones(D, np.float32)
    model = NativeModel(
        hidden_size=D, intermediate_size=F, num_hidden_layers=1, num_attention_heads=H, num_key_value_heads=H,
        head_dim=D // H, vocab_size=V, rms_norm_eps=1e-6, rope_theta=1e4, rotary_dim=D // H, slopes_H=None,
        tensors=tensors,
    )  # fmt: skip
    cache = NativeCache(model, pages=16)
    for tokens in (1, 64):
        x = {cols: random(tokens, cols) for cols in (D, F)}
        step = {
            "ids": np.arange(tokens, dtype=np.int32),
            "at": np.arange(512 - tokens, 512, dtype=np.int32),
            "row_start_B1": np.array([0, tokens], np.int32),
            "pages": np.arange(16, dtype=np.int32),
            "page_start_B1": np.array([0, 16], np.int32),
            "want": np.arange(tokens, dtype=np.int32),
        }
        s, ratio, worst = interleaved(
            lambda step=step: forward(model, cache, **step, threads=THREADS),
            lambda x=x: [x[w.shape[1]] @ w.T for w in plain.values()],
        )
        operations = 2 * tokens * sum(w.size for w in plain.values())
        row(f"forward {dtype}", tokens, s, weight_bytes, ratio, worst, operations)


def row(
    what: str, tokens: int, s: float, weight_bytes: int, ratio: float, worst: float, operations: int
) -> None:
    speed = f"{weight_bytes / s / 1e9:6.1f} GB/s {operations / s / 1e9:7.0f} GFLOP/s"
    print(
        f"{what:14} {tokens:4} tokens {s * 1e3:9.2f} ms {speed}   NumPy / ours {ratio:5.2f} (worst {worst:.2f})"
    )


if __name__ == "__main__":
    sets = ", ".join(isa for isa in ISAS if isa != "best" and has_isa(isa))
    print(f"{platform.machine()}, {THREADS} threads, instruction sets: {sets}; NumPy {np.__version__}")
    bench_matmul()
    bench_forward()
