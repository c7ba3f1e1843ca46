"""The torch runner says what the native one says; which of the two is taken, and when torch is imported at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haina.checkpoint.checkpoint import Checkpoint, save  # noqa: E402
from haina.checkpoint.convert import convert  # noqa: E402
from haina.engine import devices, runner_torch  # noqa: E402
from haina.engine.devices import choose, open_runner, torch_bytes  # noqa: E402
from haina.engine.engine import Engine  # noqa: E402
from haina.engine.request import Request  # noqa: E402
from haina.engine.runner import Out, Runner, Step  # noqa: E402
from haina.engine.runner_native import NativeRunner  # noqa: E402
from haina.engine.runner_torch import TorchRunner  # noqa: E402
from haina.engine.sampling import Sampling  # noqa: E402
from haina.model.config import SIZES, ModelConfig  # noqa: E402
from haina.text.vocabulary import learn  # noqa: E402

Row = tuple[list[int], int, Sequence[int]]  # pages, the position of the first id, ids
EMBEDDED = Path(devices.__file__).parents[1] / "weights"
ROPE = ModelConfig(
    architecture="LlamaForCausalLM",
    vocab_size=600,
    hidden_size=48,
    intermediate_size=72,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=8,
    rotary_dim=8,
    max_position_embeddings=512,
)
ALIBI = replace(
    ROPE,
    architecture="BaichuanForCausalLM",
    num_key_value_heads=6,
    position="alibi",
    rotary_dim=0,
    head="normed",
)
IDS = np.random.default_rng(1).integers(3, 540, 300).tolist()


@pytest.fixture(scope="module", params=[ROPE, ALIBI], ids=["rope", "alibi"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random network as a folder, its weights large enough to matter."""
    config, random = request.param, np.random.default_rng(0)
    tensors = (
        (name, (random.standard_normal(shape) * 0.2 + (len(shape) == 1)).astype(np.float32))
        for name, shape in config.tensor_shapes().items()
    )
    folder = tmp_path_factory.mktemp("random") / "model"
    wire = learn(["海纳百川，有容乃大。", "the sea takes in a hundred rivers"] * 20, pieces=520)
    save(folder, config, tensors, tokenizer=wire, generation={}, source={})
    return Checkpoint.open(folder)


@pytest.fixture
def runners(checkpoint: Checkpoint) -> tuple[Runner, Runner]:
    """Native and torch, both in float32, with 16 pages."""
    native = open_runner(checkpoint, device="cpu", cache_tokens=512, cache_dtype="F32")
    other = open_runner(checkpoint, device="torch", cache_tokens=512)
    assert isinstance(native, NativeRunner) and isinstance(other, TorchRunner)
    assert (native.pages, native.page_tokens) == (other.pages, other.page_tokens) == (16, 32)
    return native, other


def batch(rows: Sequence[Row], want: Sequence[int], hidden: Sequence[int] = ()) -> Step:
    """The Step of these rows; indices may count from the end."""
    ids = [id for _, _, row in rows for id in row]
    at = [at + i for _, at, row in rows for i in range(len(row))]
    arrays = (
        ids,
        at,
        np.cumsum([0, *(len(row) for _, _, row in rows)]),
        [page for pages, _, _ in rows for page in pages],
        np.cumsum([0, *(len(pages) for pages, _, _ in rows)]),
        np.array(want, int) % len(ids),
        np.array(hidden, int) % len(ids),
    )
    return Step(*(np.array(values, np.int32) for values in arrays))


def close(one: Out, other: Out) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype == np.float32
        assert np.allclose(a, b, atol=1e-4, rtol=1e-4)


MIXED = [  # rows of 70, 33 and 1 tokens over scattered pages; then drafts, a chunk and a single one; then single ones
    batch([([5, 2, 9], 0, IDS[:70]), ([0, 7], 0, IDS[100:133]), ([11], 0, IDS[200:201])], [69, 70, -1], [3, -2]),
    batch([([5, 2, 9], 70, IDS[70:73]), ([11, 4], 1, IDS[201:239]), ([0, 7], 33, IDS[133:134])], [0, 1, 2, -1, -2]),
    batch([([11, 4], 39, [7]), ([5, 2, 9], 73, [8]), ([0, 7], 34, [9])], [2, 0], [1]),
    batch([([5, 2, 9], 74, [3, 4])], []),
]  # fmt: skip


def test_ragged_batches(runners: tuple[Runner, Runner]) -> None:
    for step in MIXED:
        close(*(runner.step(step) for runner in runners))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_gpus_sixteen_bits_stay_close(
    checkpoint: Checkpoint,
    runners: tuple[Runner, Runner],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What runs on a GPU, on the CPU: the same code, with another element type."""
    monkeypatch.setattr(runner_torch, "_dtype", lambda device: dtype)
    rounded = TorchRunner(checkpoint, "torch", cache_tokens=512)
    for step in MIXED[:2]:
        exact, near = runners[0].step(step).logits_MV, rounded.step(step).logits_MV
        assert near.dtype == np.float32
        assert 0 < np.abs(exact - near).max() < 16 * torch.finfo(dtype).eps * np.abs(exact).max()


def test_little_room_makes_more_rectangles_and_the_same_numbers(
    runners: tuple[Runner, Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_torch, "WORK_BYTES", 1)
    test_ragged_batches(runners)


def test_rows_share_the_pages_of_a_beginning(runners: tuple[Runner, Runner]) -> None:
    whole = [runner.step(batch([([1, 2, 3], 0, IDS[:80])], [-1])) for runner in runners]
    both = batch([([1, 2, 3], 80, [5]), ([1, 2, 4], 64, IDS[64:80])], [0, -1])
    shared = [runner.step(both) for runner in runners]
    close(*shared)
    for before, after in zip(whole, shared, strict=True):
        assert np.allclose(before.logits_MV[0], after.logits_MV[1], atol=1e-4)


def test_what_others_left_in_a_page_is_not_seen(runners: tuple[Runner, Runner]) -> None:
    """Not even NaN, which no mask keeps out of a sum."""
    native, other = runners
    assert isinstance(other, TorchRunner)
    other.cache.kv_L2PKE[:, :, :-1] = torch.nan
    for step in MIXED:
        close(native.step(step), other.step(step))


def test_a_copied_page_goes_its_own_way(runners: tuple[Runner, Runner]) -> None:
    for runner in runners:
        first = runner.step(batch([([1, 2], 0, IDS[:40])], [-1]))
        runner.copy([2], [3])
        runner.step(batch([([1, 3], 40, IDS[100:108])], []))  # the fork
        last = runner.step(batch([([1, 2], 39, IDS[39:40])], [-1]))
        assert np.allclose(first.logits_MV, last.logits_MV, atol=1e-4)
    fork = batch([([1, 3], 48, [9]), ([1, 2], 40, [9])], [0, 1])
    close(*(runner.step(fork) for runner in runners))


def test_copies_in_a_ring_take_the_old_contents(runners: tuple[Runner, Runner]) -> None:
    _, other = runners
    rows = [([1], 0, IDS[:30]), ([2], 0, IDS[30:60])]
    other.step(batch(rows, []))
    straight = other.step(batch([([1], 30, [7]), ([2], 30, [8])], [0, 1]))
    other.copy([1, 2], [2, 1])
    crossed = other.step(batch([([2], 30, [7]), ([1], 30, [8])], [0, 1]))
    assert np.allclose(straight.logits_MV, crossed.logits_MV, atol=1e-5)


def test_the_head_of_a_few_ids(runners: tuple[Runner, Runner]) -> None:
    _, other = runners
    out = other.step(batch([([1], 0, IDS[:9])], [2, 8], [2, 8]))
    ids = np.array([3, 77, 500], np.int32)
    assert np.allclose(other.head(out.hidden_MD, ids), out.logits_MV[:, ids], atol=1e-5)


@pytest.mark.parametrize("to", ["bf16", "w8", "w4"])
def test_weights_are_those_of_the_folder(checkpoint: Checkpoint, to: str, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / to, to=to)
    folder = Checkpoint.open(tmp_path / to)
    seen: list[tuple[int, int]] = []
    runner = TorchRunner(folder, "torch", cache_tokens=32, progress=lambda *args: seen.append(args))
    weights = dict(runner.decoder.named_parameters())
    assert all(np.array_equal(weights[name].numpy(), raw.float32()) for name, raw in folder.tensors())
    assert len(weights) == len(folder.names()) and seen[-1] == (len(weights), len(weights))


def test_the_embedded_model_says_the_same(tmp_path: Path) -> None:
    """In bfloat16: with packed weights the native runner rounds the activations too, and near ties may fall apart."""
    convert(Checkpoint.open(EMBEDDED), tmp_path / "bf16", to="bf16")
    checkpoint = Checkpoint.open(tmp_path / "bf16")
    prompts = [tuple(checkpoint.tokenizer.encode(text)) for text in ("白日依山尽，", "春眠不觉晓，", "你好")]
    requests = [Request(ids, 16, Sampling(temperature=0)) for ids in prompts]
    native, other = (
        sorted((token.request, i, token.id) for i, token in enumerate(engine.generate(requests)))
        for engine in (Engine.open(checkpoint, device=device) for device in ("cpu", "torch"))
    )
    assert native == other and len(native) == 3 * 16


# -- which device ---------------------------------------------------------------------------------------------

SEVEN = SIZES["baichuan-7b"]
LARGE = {"bits": 16, "cache_tokens": 4096, "cache_dtype": "F16"}


@pytest.mark.parametrize(
    ("missing_bytes", "more", "chosen"),
    [
        (0, {}, "cuda"),
        (1, {}, "cpu"),
        (0, {"bits": 8}, "cpu"),
        (0, {"cache_dtype": "I8"}, "cpu"),
    ],
)
def test_auto_is_a_gpu_that_holds_the_model(
    missing_bytes: int, more: dict, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(torch_bytes(SEVEN, "cuda", 4096))
    assert needed == pytest.approx(2 * 7.0e9 + 4096 * 524_288 + (1 << 30), rel=0.01)
    monkeypatch.setattr(devices, "gpu", lambda: "cuda")
    monkeypatch.setattr(devices, "free_bytes", lambda device: needed - missing_bytes)
    assert choose(SEVEN, "auto", **{**LARGE, **more}) == chosen


def test_auto_without_torch_or_gpu_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu", lambda: None)
    assert choose(SEVEN, "auto", **LARGE) == "cpu"
    monkeypatch.setattr(devices, "gpu", lambda: "cuda")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert choose(SEVEN, "auto", **LARGE) == "cpu"
    with pytest.raises(ValueError, match=r"^--device torch needs torch: pip install 'haina\[torch\]'"):
        choose(SEVEN, "torch", **LARGE)


@pytest.mark.parametrize("more", [{"bits": 4}, {"cache_dtype": "I8"}])
def test_fewer_bits_are_for_the_cpu(more: dict) -> None:
    with pytest.raises(ValueError, match="--device torch cannot compute with fewer bits; leave --bits and"):
        choose(SEVEN, "torch", **{**LARGE, **more})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="--device cuda: torch finds no such GPU here"):
        choose(SEVEN, "cuda", **LARGE)


def test_a_small_model_does_not_wait_for_torch() -> None:
    """Whatever is installed: importing torch takes longer than its answer."""
    code = (
        "import sys; from haina.apps.model import open_model; from haina.options.models import ModelOptions\n"
        f"assert open_model({str(EMBEDDED)!r}, ModelOptions()).device == 'cpu' and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
