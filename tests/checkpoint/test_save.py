"""save: what was written is read back bit for bit, by us and others; a folder appears whole or not at all."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.manifest import Manifest
from haina.checkpoint.raw import Raw
from haina.model.config import ModelConfig

TINY = ModelConfig(
    architecture="BaiChuanForCausalLM",
    vocab_size=40,
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=4,
    max_position_embeddings=32,
    rotary_dim=4,
)
NORMED = replace(TINY, architecture="BaichuanForCausalLM", position="alibi", rotary_dim=0, head="normed")
LLAMA = replace(TINY, architecture="LlamaForCausalLM", num_key_value_heads=1)
SOURCE = {"licence": "Apache-2.0", "made": {"steps": 3}}


def arrays(config: ModelConfig, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {name: draw.standard_normal(shape).astype(dtype) for name, shape in config.tensor_shapes().items()}


def assert_same(found: Raw, given: Raw) -> None:
    assert (found.dtype, found.shape) == (given.dtype, given.shape)
    assert np.array_equal(found.data, given.data)


@pytest.fixture
def put(tmp_path: Path, tokenizer_bytes: bytes) -> Callable[..., Path]:
    def save_there(config: ModelConfig, tensors: Any, **options: Any) -> Path:
        pairs = tensors.items() if isinstance(tensors, dict) else tensors
        place = tmp_path / "saved"
        save(
            place, config, pairs, tokenizer=tokenizer_bytes, generation={"top_k": 5}, source=SOURCE, **options
        )
        return place

    return save_there


@pytest.mark.parametrize("config", [TINY, LLAMA, replace(LLAMA, tie_word_embeddings=True)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_round_trip(config: ModelConfig, dtype: Any, put: Callable[..., Path]) -> None:
    tensors = arrays(config, dtype)
    checkpoint = Checkpoint.open(put(config, tensors, files={"LICENSE": b"Apache"}))
    assert checkpoint.config == config and checkpoint.generation == {"top_k": 5}
    assert checkpoint.names() == list(tensors)
    for name, raw in checkpoint.tensors():
        assert_same(raw, Raw.of(tensors[name]))
    assert checkpoint.manifest is not None and checkpoint.manifest.licence == "Apache-2.0"
    assert [path.name for path in checkpoint.license_files()] == ["LICENSE"]


def test_any_order_gives_the_packed_matrix_that_others_read(put: Callable[..., Path]) -> None:
    tensors = arrays(TINY)
    place = put(TINY, dict(reversed(list(tensors.items()))))
    theirs = load_file(place / "model.safetensors")
    layer = "model.layers.1.self_attn."
    packed = np.concatenate([tensors[f"{layer}{name}_proj.weight"] for name in "qkv"])
    assert np.array_equal(theirs[layer + "W_pack.weight"].numpy(), packed)
    assert len(theirs) == 2 * 7 + 3


@pytest.mark.parametrize("config", [TINY, LLAMA])
def test_bfloat16(config: ModelConfig, put: Callable[..., Path]) -> None:
    given = {name: Raw.of(array).rounded("BF16") for name, array in arrays(config).items()}
    for name, raw in Checkpoint.open(put(config, given)).tensors():
        assert_same(raw, given[name])


@pytest.mark.parametrize("config", [TINY, LLAMA, replace(LLAMA, tie_word_embeddings=True)])
@pytest.mark.parametrize("weights", ["w8", "w4"])
def test_packed_matrices(config: ModelConfig, weights: Any, put: Callable[..., Path]) -> None:
    given = {
        name: Raw.of(array) if array.ndim == 1 else Raw.of(array).rounded(weights.upper())
        for name, array in arrays(config).items()
    }
    place = put(config, given, weights=weights)
    hf = json.loads((place / "config.json").read_text())
    assert hf["quantization_config"] == {"quant_method": "haina", "format": 1, "weights": weights}
    checkpoint = Checkpoint.open(place)
    assert checkpoint.config == config and checkpoint.names() == list(given)
    for name, raw in checkpoint.tensors():
        assert_same(raw, given[name])
    theirs = load_file(place / "model.safetensors")
    q = f"model.layers.1.self_attn.q_proj.weight.{weights}"
    assert theirs[q].shape[0] == 1 and theirs[q].dtype == torch.uint8
    assert_same(checkpoint.tensor("model.layers.1.self_attn.q_proj.weight", bits=4), given[q[:-3]])


def test_a_norm_head_may_be_folded_again(
    put: Callable[..., Path], tmp_path: Path, tokenizer_bytes: bytes
) -> None:
    tensors = arrays(NORMED)
    once = Checkpoint.open(put(NORMED, tensors))
    assert once.config == NORMED
    again = tmp_path / "again"
    save(again, once.config, once.tensors(), tokenizer=tokenizer_bytes, generation={}, source={})
    head = Checkpoint.open(again).tensor("lm_head.weight").float32()
    np.testing.assert_allclose(np.linalg.norm(head, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(head, once.tensor("lm_head.weight").float32(), rtol=1e-6)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_norm_head_is_folded_before_it_is_packed(bits: Any, put: Callable[..., Path]) -> None:
    tensors = arrays(NORMED)
    head = Checkpoint.open(put(NORMED, tensors)).tensor("lm_head.weight", bits=bits)
    unit = tensors["lm_head.weight"] / np.linalg.norm(tensors["lm_head.weight"], axis=1, keepdims=True)
    assert head.dtype == "W8" and np.abs(head.float32() - unit).max() < 0.005


def test_a_plain_head_of_baichuan2_survives(put: Callable[..., Path]) -> None:
    """A LLaMAfied and then tuned Baichuan 2: config.json alone would say that its head is normed."""
    config = replace(NORMED, vocab_size=125696, head="plain", num_hidden_layers=1)
    tensors = arrays(config, np.float16)
    checkpoint = Checkpoint.open(put(config, tensors))
    assert checkpoint.config == config
    assert_same(checkpoint.tensor("lm_head.weight"), Raw.of(tensors["lm_head.weight"]))


# The manifest


def corrupt(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def test_a_changed_byte_is_named_before_use(put: Callable[..., Path]) -> None:
    place = put(TINY, arrays(TINY))
    names = set(os.listdir(place)) - {"manifest.json"}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.model"}
    for name in names:
        for at in (0, -1, (place / name).stat().st_size // 2):
            corrupt(place / name, at)
            with pytest.raises(ValueError, match=rf"{name}: changed since it was written"):
                Checkpoint.open(place)
            corrupt(place / name, at)
    Checkpoint.open(place)


def test_missing_resized_and_unlisted_files_are_named(put: Callable[..., Path]) -> None:
    place = put(TINY, arrays(TINY), files={"README.md": b"hello"})
    (place / "notes.txt").write_text("people may add what is not used")
    Checkpoint.open(place)
    (place / "modeling_x.py").write_text("NormHead")
    with pytest.raises(ValueError, match=r"modeling_x\.py: not listed"):
        Checkpoint.open(place)
    (place / "modeling_x.py").unlink()
    (place / "README.md").write_text("hello!")
    with pytest.raises(ValueError, match=r"README\.md: 6 bytes instead of 5"):
        Checkpoint.open(place)
    (place / "README.md").unlink()
    with pytest.raises(ValueError, match=r"README\.md: listed in manifest\.json, but missing"):
        Checkpoint.open(place)


@pytest.mark.parametrize("change", [
    {"format": 2}, {"files": []}, {"source": "me"}, {"files": {"x": []}},
    {"files": {"../x": {"bytes": 1, "sha256": ""}}},
    {"files": {"x": {"bytes": -1, "sha256": ""}}}, {"files": {"x": {"bytes": 1, "sha256": 5}}},
])  # fmt: skip
def test_a_malformed_manifest_is_refused(change: dict[str, Any], put: Callable[..., Path]) -> None:
    file = put(TINY, arrays(TINY)) / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=r"manifest\.json: not a manifest"):
        Checkpoint.open(file.parent)


def test_progress_counts_every_byte(put: Callable[..., Path]) -> None:
    place = put(TINY, arrays(TINY))
    heard: list[tuple[str, int, int]] = []
    Checkpoint.open(place, progress=lambda *report: heard.append(report))
    manifest = Manifest.read(place)
    assert manifest is not None
    total = sum(record.bytes for record in manifest.files.values())
    done = [report[1] for report in heard]
    assert done == sorted(done) and done[-1] == total and {report[2] for report in heard} == {total}


# Whole or not at all


def test_an_occupied_place_is_refused(put: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    put(TINY, arrays(TINY))  # an empty folder is fine
    with pytest.raises(ValueError, match="already exists"):
        put(TINY, arrays(TINY))
    Checkpoint.open(tmp_path / "saved")


def test_nothing_is_left_after_an_exception(put: Callable[..., Path], tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[str, np.ndarray]]:
        yield "model.norm.weight", np.ones(8, np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(TINY, interrupted())
    bad = arrays(TINY) | {"model.norm.weight": np.full(8, np.nan, np.float32)}
    with pytest.raises(ValueError, match=r"model\.norm\.weight holds NaN"):
        put(TINY, bad)
    with pytest.raises(AssertionError, match="never given"):
        put(TINY, {"model.norm.weight": np.ones(8, np.float32)})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(put: Callable[..., Path], tmp_path: Path) -> None:
    def full() -> Iterator[tuple[str, np.ndarray]]:
        yield "model.norm.weight", np.ones(8, np.float32)
        raise OSError(28, "No space left on device")

    with pytest.raises(
        ValueError, match="saved: not written: the disk is full; make room or choose another place"
    ):
        put(TINY, full())
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
import numpy as np
from haina.checkpoint.checkpoint import save
from haina.model.config import ModelConfig
def tensors():
    yield "model.norm.weight", np.ones(8, np.float32)
    os.kill(os.getpid(), signal.SIGKILL)
save({place!r}, {config}, tensors(), tokenizer=b"", generation={{}}, source={{}})
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_kill_leaves_a_folder_that_the_next_save_removes(put: Callable[..., Path], tmp_path: Path) -> None:
    place = str(tmp_path / "saved")
    script = KILLED.format(place=place, config=TINY)
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".saved.unfinished-")
    Checkpoint.open(put(TINY, arrays(TINY)))
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
