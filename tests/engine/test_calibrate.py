"""Calibration: rounding that suits a text loses less on other text of the kind, and gives the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import haina
from haina.apps.calibration import calibration, rows_of
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.convert import RoundRows, convert
from haina.engine.calibrate import Calibration
from haina.engine.gptq import Feedback
from haina.engine.runner import Step
from haina.engine.runner_native import NativeRunner
from haina.model.config import ModelConfig
from haina.native.packing import pack, unpack
from haina.options.models import ConvertOptions
from haina.text.vocabulary import learn

HAINA = Path(haina.__file__).parent
ROW = 128


def greetings() -> list[str]:
    """What the embedded model was taught to say, shuffled."""
    text = (HAINA / "data" / "brook" / "smalltalk.jsonl").read_text(encoding="utf-8")
    turns = [line for row in map(json.loads, text.splitlines()) for line in row["user"] + row["assistant"]]
    return list(np.random.default_rng(0).permutation(turns))


@pytest.fixture(scope="module")
def brook(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The embedded model in 16 bits."""
    folder = tmp_path_factory.mktemp("brook") / "bf16"
    convert(Checkpoint.open(HAINA / "weights"), folder, to="bf16")
    return Checkpoint.open(folder)


@pytest.fixture(scope="module")
def halves(brook: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """Two texts of the same kind as rows of ids."""
    lines = greetings()
    texts = ("\n".join(lines[0::2]), "\n".join(lines[1::2]))
    ids = [brook.tokenizer.encode(text) for text in texts]
    first, second = (np.array(i[: len(i) // ROW * ROW], np.int32).reshape(-1, ROW) for i in ids)
    return first, second


def log_probabilities(checkpoint: Checkpoint, rows_BT: np.ndarray) -> np.ndarray:
    """float64 [N, V] of the native forward."""
    runner = NativeRunner(
        checkpoint, bits=16, cache_tokens=rows_BT.size, cache_dtype="F32", threads=2, progress=None
    )
    rows, length = rows_BT.shape
    starts = np.arange(rows + 1, dtype=np.int32)
    step = Step(
        ids_N=rows_BT.reshape(-1),
        at_N=np.tile(np.arange(length, dtype=np.int32), rows),
        row_start_B1=starts * np.int32(length),
        pages=np.arange(rows * length // runner.page_tokens, dtype=np.int32),
        page_start_B1=starts * np.int32(length // runner.page_tokens),
        want_M=np.arange(rows_BT.size, dtype=np.int32),
        hidden_M=np.zeros(0, np.int32),
    )
    logits = runner.step(step).logits_MV.astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def test_calibration_lowers_the_divergence_on_other_text(
    brook: Checkpoint, halves: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    learnt, held_out = halves
    convert(brook, tmp_path / "plain", to="w4")
    convert(brook, tmp_path / "calibrated", to="w4", rounding=Calibration(brook, learnt))
    truth = log_probabilities(brook, held_out)
    plain, calibrated = (
        float((np.exp(truth) * (truth - log_probabilities(Checkpoint.open(folder), held_out))).sum(-1).mean())
        for folder in (tmp_path / "plain", tmp_path / "calibrated")
    )
    assert calibrated < 0.75 * plain


@pytest.fixture
def small(tmp_path: Path) -> Checkpoint:
    """Three random layers with ALiBi and widths that fill no group."""
    config = ModelConfig(
        architecture="BaichuanForCausalLM",
        vocab_size=600,
        hidden_size=72,
        intermediate_size=100,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=12,
        position="alibi",
        max_position_embeddings=64,
    )
    draw = np.random.default_rng(0)
    tensors = (
        (name, (draw.standard_normal(shape) * 0.3 + (len(shape) == 1)).astype(np.float32))
        for name, shape in config.tensor_shapes().items()
    )
    wire = learn(["海纳百川，有容乃大。", "the sea takes in a hundred rivers"] * 20, pieces=500)
    save(tmp_path / "small", config, tensors, tokenizer=wire, generation={}, source={})
    return Checkpoint.open(tmp_path / "small")


def rows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 600, (9, 50), np.int32)


def stop_half_way(what: str, done: int, total: int) -> None:
    if done > total / 2:
        raise KeyboardInterrupt


def test_a_stopped_calibration_goes_on_to_the_same_bytes(small: Checkpoint, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    convert(small, whole, to="w4", rounding=Calibration(small, rows(1)), threads=1)
    with pytest.raises(KeyboardInterrupt):
        begun = Calibration(small, rows(1))
        convert(small, cut, to="w4", rounding=begun, sync_bytes=1, progress=stop_half_way)
    said: list[str] = []
    convert(small, cut, to="w4", rounding=Calibration(small, rows(1)), threads=2, note=said.append)
    assert said == ["going on where the last run stopped"]
    first, second = ((folder / "model.safetensors").read_bytes() for folder in (whole, cut))
    assert first == second


def test_another_text_is_refused_and_the_work_stays(small: Checkpoint, tmp_path: Path) -> None:
    said: list[str] = []

    def begin(text: np.ndarray) -> None:
        rounding = Calibration(small, text)
        progress = stop_half_way
        convert(
            small,
            tmp_path / "cut",
            to="w4",
            rounding=rounding,
            sync_bytes=1,
            progress=progress,
            note=said.append,
        )

    with pytest.raises(KeyboardInterrupt):
        begin(rows(1))
    with pytest.raises(ValueError, match="unfinished"):
        begin(rows(2))
    assert not any("going on" in line for line in said)
    with pytest.raises(KeyboardInterrupt):
        begin(rows(1))
    assert any("going on" in line for line in said)


@pytest.mark.parametrize("cols", [32, 72, 550])
def test_feedback_brings_products_nearer_than_pack(cols: int) -> None:
    draw = np.random.default_rng(cols)
    mixed = draw.standard_normal((cols, cols)).astype(np.float32) / cols**0.5
    x, w = (draw.standard_normal((n, cols)).astype(np.float32) for n in (4 * cols, 70))
    x = x @ mixed * draw.gamma(1, 1, cols).astype(np.float32)
    feedback = Feedback.of(x.T @ x / np.float32(len(x)))

    def error(data: np.ndarray) -> float:
        return float(np.square(x @ (unpack("W4", data, *w.shape) - w).T).mean())

    assert error(feedback.pack(w)) < 0.8 * error(pack("W4", w))
    some = feedback.pack(w[:32])
    assert np.array_equal(feedback.pack(w)[: some.size], some)


def test_inputs_that_are_never_used_do_no_harm() -> None:
    w = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    w[5] = 0
    silent = Feedback.of(np.zeros((64, 64), np.float32))
    assert np.array_equal(silent.pack(w), pack("W4", w))


def test_inputs_without_a_factor_are_refused() -> None:
    off_diagonal = np.array([[1, np.inf], [np.inf, 1]])
    for moment in (
        np.diag([np.inf, 1]),
        np.full((2, 2), np.nan),
        off_diagonal,
        np.diag([3e38, 3e38]),
        -np.eye(2),
    ):
        with pytest.raises(np.linalg.LinAlgError):
            Feedback.of(moment.astype(np.float32))


def test_inputs_too_large_to_be_summed_up_are_one_line(small: Checkpoint) -> None:
    """Finite inputs of layer 1, of which the squares are not; the attention and its output stay small."""
    weights = {name: raw.float32() for name, raw in small.tensors()}
    weights["model.layers.1.input_layernorm.weight"] *= np.float32(1e22)
    for name in "qkv":
        weights[f"model.layers.1.self_attn.{name}_proj.weight"] *= np.float32(1e-22)
    loud = rewritten(small, weights)
    convert(loud, loud.folder.with_name("plain"), to="w8")
    with pytest.raises(
        ValueError, match="with this text layer 1 gives NaN, infinity or values too large"
    ) as error:
        convert(loud, loud.folder.with_name("there"), to="w4", rounding=Calibration(loud, rows(1)))
    assert "\n" not in str(error.value)


def rewritten(checkpoint: Checkpoint, weights: dict[str, np.ndarray]) -> Checkpoint:
    """The same model with other weights."""
    folder = checkpoint.folder.with_name("other")
    save(
        folder,
        checkpoint.config,
        weights.items(),
        tokenizer=checkpoint.tokenizer_bytes(),
        generation={},
        source={},
    )
    return Checkpoint.open(folder)


class AsItIs:
    """A Rounding whose inputs are all alike."""

    identity = "alike"

    def of(self, name: str) -> RoundRows | None:
        found = "_proj." in name
        return Feedback.of(np.eye(100 if "down" in name else 72, dtype=np.float32)).pack if found else None


def test_values_too_large_for_w4_are_named(small: Checkpoint, tmp_path: Path) -> None:
    weights = {name: raw.float32() for name, raw in small.tensors()}
    weights["model.layers.1.mlp.up_proj.weight"][70, 3] = 1e38
    message = r"tensor model\.layers\.1\.mlp\.up_proj\.weight has values too large for W4"
    with pytest.raises(ValueError, match=message):
        convert(rewritten(small, weights), tmp_path / "there", to="w4", rounding=AsItIs())


def test_rows_are_spread_over_the_text(brook: Checkpoint) -> None:
    text = "\n".join(f"{i}：{line}" for i in range(40) for line in greetings())
    rows = rows_of(brook, text)
    ids = brook.tokenizer.encode(text)
    assert rows.shape == (64, 512)
    assert rows[0].tolist() == ids[:512]
    assert rows[-1].tolist() == ids[len(ids) // 512 * 512 - 512 : len(ids) // 512 * 512]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Bad files, and what is said of them."""
    (tmp_path / "short").write_text("你好" * 20, encoding="utf-8")
    (tmp_path / "gbk").write_bytes("你好".encode("gbk"))
    return iter([(tmp_path / "short", "tokens of text; at least 2048"), (tmp_path / "gbk", "gbk: not UTF-8")])


def test_bad_text_is_one_line(brook: Checkpoint, files: Iterator[tuple[Path, str]]) -> None:
    for file, said in files:
        with pytest.raises(ValueError, match=said) as error:
            calibration(brook, ConvertOptions(calibrate=[str(file)]))
        assert "\n" not in str(error.value)


def test_only_w4_is_calibrated(brook: Checkpoint) -> None:
    assert calibration(brook, ConvertOptions(to="w8")) is None
    with pytest.raises(ValueError, match="--calibrate is for --to w4"):
        calibration(brook, ConvertOptions(to="w8", calibrate=["text"]))
