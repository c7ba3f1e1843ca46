"""Reading and writing a 200 MB folder takes no more extra memory than its largest tensor."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint, save
from haina.engine.engine import Engine
from haina.engine.memory import weight_bytes
from haina.model.config import ModelConfig

SLACK_BYTES = 16 << 20  # names, headers, one chunk of work

LARGE = ModelConfig(
    architecture="BaichuanForCausalLM",
    vocab_size=16384,
    hidden_size=1024,
    intermediate_size=2752,
    num_hidden_layers=5,
    num_attention_heads=8,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=4096,
    position="alibi",
    head="normed",
)


def tensors() -> Iterator[tuple[str, np.ndarray]]:
    for name, shape in LARGE.tensor_shapes().items():
        yield name, np.ones(shape, np.float16)


@pytest.fixture(scope="module")
def traced_save(tmp_path_factory: pytest.TempPathFactory, tokenizer_bytes: bytes) -> tuple[Path, int]:
    """The folder, and the peak of memory while it was written."""
    place = tmp_path_factory.mktemp("large") / "model"
    tracemalloc.start()
    save(place, LARGE, tensors(), tokenizer=tokenizer_bytes, generation={}, source={})
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (place / "model.safetensors").stat().st_size > 190_000_000
    return place, peak_bytes


def peak_of_reading(place: Path) -> tuple[int, int]:
    """Peak of memory while every tensor is read once, and the bytes of the largest."""
    tracemalloc.start()
    largest = max(raw.nbytes for _, raw in Checkpoint.open(place).tensors())
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak_bytes, largest


def test_writing(traced_save: tuple[Path, int]) -> None:
    largest = max(array.nbytes for _, array in tensors())
    assert traced_save[1] < largest + SLACK_BYTES


def test_reading(traced_save: tuple[Path, int]) -> None:
    peak_bytes, largest = peak_of_reading(traced_save[0])
    assert largest == 16384 * 1024 * 4  # the folded head, in float32
    assert peak_bytes < largest + SLACK_BYTES


HEAD_ITEMS = LARGE.vocab_size * LARGE.hidden_size


@pytest.mark.parametrize(("bits", "expected"), [(16, 4 * HEAD_ITEMS), (8, LARGE.parameters)])
def test_loading_takes_what_was_estimated(
    bits: Literal[16, 8], expected: int, traced_save: tuple[Path, int]
) -> None:
    """16: the folded head alone, the rest stays mapped. 8: every matrix rounded, the head folded, in pieces."""
    mapped_bytes = 2 * (LARGE.parameters - HEAD_ITEMS) if bits == 16 else 0
    checkpoint = Checkpoint.open(traced_save[0])
    tracemalloc.start()
    engine = Engine.open(checkpoint, bits=bits, cache_bytes=1 << 20)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    cache_bytes = engine.pages.count * engine.pages.page_tokens * LARGE.kv_bytes_per_token(2)
    estimate = weight_bytes(LARGE, item_bytes=2, bits=bits) - mapped_bytes
    assert estimate == pytest.approx(expected, rel=0.01)
    assert expected < peak_bytes < expected + cache_bytes + 2 * SLACK_BYTES


@pytest.mark.parametrize("how", ["zip", "legacy"])
def test_reading_transposed_tensors(how: str, folder: Any, weights: Any) -> None:
    """The worst .bin: every matrix must be copied; one at a time."""
    hf = replace(LARGE, num_hidden_layers=1, vocab_size=4096, head="plain").to_hf()
    state = {
        name: tensor.mT.contiguous().mT if tensor.ndim == 2 else tensor
        for name, tensor in weights(hf).items()
    }
    peak_bytes, largest = peak_of_reading(folder(hf, state, how))
    assert peak_bytes < largest + SLACK_BYTES


LIMITED = """
import resource, sys
from pathlib import Path
from haina.checkpoint.checkpoint import Checkpoint
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + {room}, used + {room}))
print(sum(raw.nbytes for _, raw in Checkpoint.open({place!r}).tensors()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA")
@pytest.mark.parametrize("room_bytes, enough", [((64 << 20) + SLACK_BYTES * 2, True), (32 << 20, False)])
def test_the_system_agrees(room_bytes: int, enough: bool, traced_save: tuple[Path, int]) -> None:
    """A process that may not have more private memory than one tensor reads the whole folder."""
    script = LIMITED.format(room=room_bytes, place=str(traced_save[0]))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.returncode == 0) == enough, result.stderr
