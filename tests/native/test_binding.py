"""Hostile values never reach C: each is refused in one line that names it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from haina.native import library as library_module
from haina.native.binding import Matrix, NativeCache, forward
from haina.native.packing import packed_bytes
from haina.native.step import MAX_POSITION


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


GOOD = {
    "ids": int32(1, 2, 3, 4),
    "at": int32(0, 1, 2, 17),
    "row_start_B1": int32(0, 3, 4),
    "pages": int32(0, 1, 2),
    "page_start_B1": int32(0, 1, 3),
    "want": int32(3),
    "hidden": int32(),
}
OVERFLOW = int32(0, 2**31 - 1, -(2**31), -1, 4)

BAD = [
    ({"ids": int32(1, 2, 3, 37)}, "ids"),
    ({"ids": int32(1, 2, 3, -1)}, "ids"),
    ({"ids": np.array([1, 2, 3, 4])}, "ids"),
    ({"ids": [1, 2, 3, 4]}, "ids"),
    ({"ids": np.zeros(8, np.int32)[::2]}, "ids"),
    ({"ids": np.zeros((2, 2), np.int32)}, "ids"),
    ({"ids": np.frombuffer(b"\0" * 17, np.int32, 4, offset=1)}, "ids"),
    ({"at": int32(0, 1, 2)}, "at"),
    ({"at": int32(0, 1, 1, 5)}, "at"),
    ({"at": int32(-1, 1, 2, 5)}, "at"),
    ({"at": int32(0, 1, 2, 2**31 - 1)}, "at"),
    ({"at": int32(0, 1, 16, 17)}, "pages"),
    ({"at": int32(0, 1, 2, 32)}, "pages"),
    ({"pages": int32(0, 1, 6)}, "pages"),
    ({"pages": int32(0, 1, -1)}, "pages"),
    ({"pages": int32(0, 1, 0), "at": int32(0, 1, 2, 16)}, "pages"),
    ({"row_start_B1": int32(0, 3, 5)}, "row_start_B1"),
    ({"row_start_B1": int32(1, 3, 4)}, "row_start_B1"),
    ({"row_start_B1": int32(0, 5, 4)}, "row_start_B1"),
    ({"row_start_B1": OVERFLOW, "page_start_B1": int32(0, 1, 2, 3, 3)}, "row_start_B1"),
    ({"row_start_B1": int32(0), "page_start_B1": int32(0)}, "row_start_B1"),
    ({"row_start_B1": int32(), "page_start_B1": int32()}, "row_start_B1"),
    ({"row_start_B1": int32(0, 1, 3, 4)}, "page_start_B1"),
    ({"page_start_B1": int32(0, 4, 3)}, "page_start_B1"),
    ({"page_start_B1": int32(0, 1, 2)}, "page_start_B1"),
    ({"want": int32(4)}, "want"),
    ({"want": int32(-1)}, "want"),
    ({"hidden": int32(4)}, "hidden"),
    ({"threads": 0}, "threads"),
    ({"threads": 5000}, "threads"),
    ({"isa": "mmx"}, "isa"),
]


@pytest.fixture
def rows(Tiny, Rows):
    return Rows(Tiny().model(), pages=6, page_tokens=16)


def test_the_good_step_runs(rows) -> None:
    assert np.isfinite(forward(rows.model, rows.cache, **GOOD)[0]).all()


@pytest.mark.parametrize("change, name", BAD)
def test_a_bad_step_is_refused(rows, change, name) -> None:
    with pytest.raises(ValueError, match=f"^{name}: [^\n]*$"):
        forward(rows.model, rows.cache, **(GOOD | change))


def test_nothing_to_feed_is_nothing_returned(rows) -> None:
    none = int32()
    step = dict.fromkeys(("ids", "at", "pages", "want", "hidden"), none) | {"row_start_B1": int32(0, 0)}
    logits, hidden = forward(rows.model, rows.cache, **step, page_start_B1=int32(0, 0))
    assert logits.shape == (0, 37) and hidden.shape == (0, 44)


def makes_sense(cache: NativeCache, step: dict[str, np.ndarray]) -> bool:
    """The definition of a step that may run, in NumPy; lengths are right."""
    at, rows, pages, owned = (step[name] for name in ("at", "row_start_B1", "pages", "page_start_B1"))
    for starts, end in ((rows, at.size), (owned, pages.size)):
        if starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 0).any():
            return False
    for numbers, count in ((step["ids"], 37), (at, 1 << 30), (pages, cache.pages), (step["want"], at.size)):
        if ((numbers < 0) | (numbers >= count)).any():
            return False
    row, page = np.repeat(np.arange(rows.size - 1), np.diff(rows)), at // cache.page_tokens
    if ((np.diff(at) <= 0) & (np.diff(row) == 0)).any() or (page >= np.diff(owned)[row]).any():
        return False
    slots = pages[owned[row] + page] * cache.page_tokens + at % cache.page_tokens
    return len(set(slots)) == at.size


def test_steps_at_random_run_if_they_make_sense_and_only_then(rows) -> None:
    random, ran = np.random.default_rng(8), 0
    for _ in range(3000):
        tokens, count, owned = random.integers(0, 6), random.integers(1, 4), random.integers(0, 5)
        row_start, page_start = (np.sort(random.integers(0, n + 1, count + 1)) for n in (tokens, owned))
        row_start[[0, -1]], page_start[[0, -1]] = (0, tokens), (0, owned)
        step = {
            "ids": random.integers(0, 37, tokens),
            "at": np.sort(random.integers(0, 34, tokens)),
            "row_start_B1": row_start,
            "pages": random.permutation(6)[:owned],
            "page_start_B1": page_start,
            "want": random.integers(0, max(tokens, 1), min(tokens, 2)),
        }
        wrong = step[random.choice(list(step))] if random.random() < 0.5 else np.zeros(0)
        if wrong.size:  # one number of one array
            wrong[random.integers(wrong.size)] = random.choice([-1, 0, 1, 2, 5, 6, 36, 37, 1 << 30, 1 << 31])
        step = {name: array.astype(np.uint32).view(np.int32) for name, array in step.items()}
        if makes_sense(rows.cache, step):
            forward(rows.model, rows.cache, **step, hidden=int32())
            ran += 1
        else:
            with pytest.raises(ValueError):
                forward(rows.model, rows.cache, **step, hidden=int32())
    assert 500 < ran < 2500


def test_a_cache_of_another_model_is_refused(rows, Tiny) -> None:
    other = NativeCache(Tiny(layers=1).model(), pages=6, page_tokens=16)
    with pytest.raises(ValueError, match="another model"):
        forward(rows.model, other, **GOOD)


@pytest.mark.parametrize(
    "sizes",
    [
        {"pages": 0},
        {"page_tokens": 0},
        {"page_tokens": 24},
        {"page_tokens": 272},
        {"dtype": "I4"},
        {"pages": 1 << 40},
        {"pages": 1 << 30},
    ],
)
def test_an_impossible_cache_is_refused(Tiny, sizes) -> None:
    with pytest.raises(ValueError, match=r"^NativeCache: "):
        NativeCache(Tiny().model(), **({"pages": 4, "page_tokens": 208} | sizes))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 4},
        {"rotary_dim": 5},
        {"rotary_dim": 12},
        {"head_dim": 0},
        {"vocab_size": 1 << 40},
        {"rms_norm_eps": 0.0},
        {"rope_theta": float("nan")},
    ],
)
def test_impossible_sizes_are_refused(Tiny, changes) -> None:
    with pytest.raises(ValueError, match=r"^NativeModel: "):
        Tiny().model(**changes)


UP = "model.layers.1.mlp.up_proj.weight"
BIAS = "model.layers.0.self_attn.k_proj.bias"


@pytest.mark.parametrize(
    "name, tensor",
    [
        (UP, None),
        (UP, np.zeros((52, 45), np.float32)),
        (UP, np.zeros((52, 44), np.float64)),
        (UP, np.zeros((44, 52), np.float32).T),
        (UP, Matrix("F32", np.zeros(52 * 44 * 4 - 1, np.uint8), 52, 44)),
        (UP, Matrix("F32", np.zeros(52 * 44 * 4 + 1, np.uint8)[1:], 52, 44)),
        (UP, Matrix("F64", np.zeros(52 * 44 * 8, np.uint8), 52, 44)),
        (UP, Matrix("I8", np.zeros(52 * 44, np.uint8), 52, 44)),
        (UP, Matrix("W8", np.zeros(packed_bytes("W8", 52, 44) - 1, np.uint8), 52, 44)),
        (UP, Matrix("W4", np.zeros(packed_bytes("W8", 52, 44), np.uint8), 52, 44)),
        (BIAS, None),
        (BIAS, np.zeros(29, np.float32)),
        (BIAS, np.zeros(30, np.float16)),
        ("model.norm.weight", Matrix.of(np.zeros((1, 44), np.float32))),
        ("model.layers.0.self_attn.o_proj.bias", np.zeros(44, np.float32)),
    ],
)
def test_a_bad_tensor_is_named(Tiny, name, tensor) -> None:
    tiny = Tiny()
    tiny.tensors.pop(name, None)
    if tensor is not None:
        tiny.tensors[name] = tensor
    with pytest.raises(ValueError, match=f"^({name}|matrix)"):
        tiny.model()


def load_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the library in another folder, without the one that is loaded."""
    monkeypatch.setattr(library_module.haina.native, "__path__", [str(folder)])
    library_module.library.__wrapped__()


def test_a_missing_library_names_its_cure(tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*missing; run `make native`[^\n]*$"):
        load_from(tmp_path, monkeypatch)


def test_a_file_that_is_no_library_names_its_cure(tmp_path, monkeypatch) -> None:
    for name in ("libhaina.so", "libhaina.dylib", "haina.dll"):
        (tmp_path / name).write_bytes(b"not a library")
    with pytest.raises(ValueError, match=r"^[^\n]*does not fit[^\n]*`make native`[^\n]*$"):
        load_from(tmp_path, monkeypatch)


def test_a_library_of_another_version_names_its_cure(monkeypatch) -> None:
    monkeypatch.setattr(library_module, "ABI", 0)
    with pytest.raises(ValueError, match="does not fit"):
        library_module.library.__wrapped__()


def test_the_library_may_lie_in_any_folder_of_the_package(tmp_path, monkeypatch) -> None:
    """An editable install has the sources in one folder and the library in another."""
    loaded = Path(library_module.library()._name)
    shutil.copy(loaded, tmp_path / loaded.name)
    monkeypatch.setattr(library_module.haina.native, "__path__", ["/nowhere", str(tmp_path)])
    assert Path(library_module.library.__wrapped__()._name).parent == tmp_path


def test_messages_are_chinese_for_chinese_readers(rows, monkeypatch) -> None:
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match="ids：须在 0 至 36 之间"):
        forward(rows.model, rows.cache, **(GOOD | {"ids": int32(1, 2, 3, 37)}))


def test_the_header_and_the_binding_agree() -> None:
    """The numbers that binding.py repeats are those of haina.h."""
    from haina.native import binding, machine

    header = (Path(__file__).parents[2] / "haina" / "native" / "haina.h").read_text("utf-8")
    for text in (
        f"HAINA_ABI {library_module.ABI} ",
        f"HAINA_MAX_PAGE_TOKENS {binding.MAX_PAGE_TOKENS}\n",
        f"HAINA_MAX_THREADS {machine.MAX_THREADS}\n",
        f"HAINA_MAX_POSITION {MAX_POSITION:#x}\n",
        *(f"HAINA_{status.name} = {status.value}" for status in library_module.Status),
        ", ".join(f"HAINA_{name} = {number}" for name, number in binding.DTYPES.items()),
        ", ".join(f"HAINA_{name.upper()} = {number}" for name, number in machine.ISAS.items()),
    ):
        assert text in header


def test_importing_the_binding_loads_nothing() -> None:
    """`haina --help` must not need the library."""
    code = "import sys, haina.native.library as l, haina.native.binding; sys.exit(l.library.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
