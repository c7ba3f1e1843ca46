"""OpenVINO's int4 matrix products, as its own weight compression lays them out. Optional: `pip install openvino`.

One model of one product: i4 weights, an fp16 scale for 128 columns of a row, activations
rounded by OpenVINO itself where it does so on this machine (DYNAMIC_QUANTIZATION_GROUP_SIZE). Random weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import openvino.opset13 as ops

GROUP = 128


def describe() -> str:
    return f"OpenVINO {ov.__version__.split('-')[0]}"


class Product:
    """y = x · wᵀ for [rows, cols] weights of 4 bits."""

    def __init__(self, rows: int, cols: int, threads: int):
        rng = np.random.default_rng(rows + cols)
        packed = rng.integers(0, 256, rows * cols // 2, np.uint8)
        self._tensor = ov.Tensor(packed, ov.Shape([rows, cols // GROUP, GROUP]), ov.Type.i4)
        weights = ops.constant(self._tensor)
        scale = ops.constant(np.full((rows, cols // GROUP, 1), 0.004, np.float16))
        w = ops.reshape(ops.multiply(ops.convert(weights, "f16"), scale), np.array([rows, cols]), False)
        x = ops.parameter([-1, cols], np.float32)
        product = ops.matmul(x, ops.convert(w, "f32"), False, True)
        settings: dict[str, object] = {
            "INFERENCE_NUM_THREADS": threads,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
        }
        settings |= {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self.request = ov.compile_model(ov.Model([product], [x]), "CPU", settings).create_infer_request()

    def __call__(self, x: np.ndarray) -> None:
        self.request.infer({0: x}, share_inputs=True, share_outputs=True)


def layer(shapes: list[tuple[int, int]], threads: int) -> Callable[[dict[int, np.ndarray]], None]:
    """All products of a layer, one after the other, on inputs by their number of columns."""
    found = [(cols, Product(rows, cols, threads)) for rows, cols in shapes]

    def run(x: dict[int, np.ndarray]) -> None:
        for cols, product in found:
            product(x[cols])

    return run
