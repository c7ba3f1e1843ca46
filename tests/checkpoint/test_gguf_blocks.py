"""Every block format of GGUF against gguf-py, the dequantiser of llama.cpp's own Python package: bit for bit."""

import gguf
import numpy as np
import pytest

from haina.checkpoint.gguf_blocks import BLOCKS, Block, decode

N = 700  # blocks: more than are decoded at once


def random_blocks(block: Block, seed: int = 3) -> np.ndarray:
    """Any bytes but for the fp16 scales, which are numbers as they occur."""
    draw = np.random.default_rng(seed)
    records = np.frombuffer(draw.bytes(N * block.n_bytes), np.uint8).copy().view(block.record)
    for name in {"d", "dmin", "m"} & set(block.record.names or ()):
        records[name] = draw.normal(0, 0.02, N)
    return records.view(np.uint8)


@pytest.mark.parametrize("type", BLOCKS)
def test_equal_to_gguf_py(type: int) -> None:
    block, kind = BLOCKS[type], gguf.GGMLQuantizationType(type)
    assert (block.name, (block.weights, block.n_bytes)) == (kind.name, gguf.GGML_QUANT_SIZES[kind])
    data = random_blocks(block)
    theirs = gguf.quants.dequantize(data.reshape(N, -1), kind).reshape(-1)
    assert np.array_equal(decode(block, data), theirs)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_what_gguf_py_quantises_comes_back_near(name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    w = np.random.default_rng(4).standard_normal((8, 64)).astype(np.float32)
    data = gguf.quants.quantize(w, kind).reshape(-1)
    error = np.abs(decode(BLOCKS[kind.value], data).reshape(w.shape) - w)
    assert error.max() < {"Q8_0": 0.02, "Q5_0": 0.2, "Q5_1": 0.15}.get(name, 0.4)


def test_damaged_scales_make_no_noise() -> None:
    """NaN and infinity come through, without a warning: whoever reads the weights looks for them."""
    data = random_blocks(BLOCKS[12])
    data[:4] = 0xFF, 0x7F, 0x00, 0x7C
    assert np.isnan(decode(BLOCKS[12], data)[:256]).any()
