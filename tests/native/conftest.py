"""Small networks with random weights, and pages in any order, for the tests of the native library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import haina.native
from haina.native.binding import Matrix, NativeCache, NativeModel, forward
from haina.native.library import library
from haina.native.machine import Isa, has_isa
from haina.native.packing import PACKED, pack

HERE, SOURCES = Path(__file__).parent, Path(__file__).parents[2] / "haina" / "native"
COMPILE = ["-std=gnu++17", "-O1", "-ffp-contract=off", "-fPIC", "-Wno-psabi", f"-I{SOURCES}"]
COMMON = ["forward.cpp", "matmul.cpp", "attention.cpp", "rows.cpp", "sample.cpp", "pool.cpp"]
ISAS: list[Isa] = ["generic", "avx2", "avxvnni", "avx512", "neon"]


def build(compiler: str, into: Path, parts: dict[Path, list[str]], *link: str) -> None:
    """Compile each source with its own options, side by side, and link them to `into`."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    jobs, objects = [], []
    for source, options in parts.items():
        objects.append(into.with_name(source.name + ".o"))
        command = [compiler, *COMPILE, *options, "-c", str(source), "-o", str(objects[-1])]
        jobs.append(subprocess.Popen(command))
    assert [job.wait() for job in jobs] == [0] * len(jobs)
    subprocess.run([compiler, "-pthread", *link, "-o", str(into), *map(str, objects)], check=True)


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library whose AVX-512 and AVX-VNNI are emulated with AVX2: emulated.h."""
    if not has_isa("avx2") or not Path("/usr/include/simde").is_dir():
        pytest.skip("no AVX2 or no SIMDe (libsimde-dev) to emulate it with")
    folder = tmp_path_factory.mktemp("emulated")
    vectors = ["-mavx2", "-mfma", "-mf16c", "-include", str(HERE / "emulated.h"), "-w"]
    parts = {SOURCES / f"matmul_{name}.cpp": vectors for name in ("avx512", "avxvnni")}
    parts |= {SOURCES / name: [] for name in COMMON} | {HERE / "emulated.cpp": []}
    build("g++", folder / "libhaina.so", parts, "-shared")
    return folder


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Isa]:
    """Each instruction set in turn; where the machine lacks it, emulated if that can be."""
    if has_isa(request.param):
        yield request.param
        return
    if request.param not in ("avx512", "avxvnni"):
        pytest.skip(f"this machine does not have {request.param}")
    monkeypatch.setattr(haina.native, "__path__", [str(request.getfixturevalue("emulated"))])
    library.cache_clear()
    yield request.param
    library.cache_clear()


def matrix(w: np.ndarray, dtype: str) -> Matrix:
    """float32 [rows, cols] as a Matrix of any dtype (BF16 by cutting off)."""
    if dtype in PACKED:
        return Matrix(dtype, pack(dtype, np.ascontiguousarray(w)), *w.shape)
    if dtype == "BF16":
        data = (w.view(np.uint32) >> 16).astype(np.uint16)
        return Matrix("BF16", data.view(np.uint8).reshape(-1), *w.shape)
    return Matrix.of(w.astype({"F32": np.float32, "F16": np.float16}[dtype]))


@dataclass
class Tiny:
    """A network with awkward sizes: no width is a multiple of a vector."""

    D: int = 44
    F: int = 52
    layers: int = 2
    H: int = 6
    K: int = 3
    E: int = 10
    V: int = 37
    rotary: int = 6
    alibi: bool = False
    dtype: str = "F32"
    extras: bool = True  # biases and the norms of heads
    tensors: dict[str, Matrix | np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(7)
        D, F, q, kv = self.D, self.F, self.H * self.E, self.K * self.E

        def add(name: str, rows: int, cols: int = 0) -> None:
            w = random.standard_normal((rows, cols) if cols else rows, np.float32)
            self.tensors[name] = matrix(w * np.float32(cols**-0.5), self.dtype) if cols else 1 + w / 4

        for i in range(self.layers):
            at = f"model.layers.{i}."
            add(at + "input_layernorm.weight", D)
            add(at + "post_attention_layernorm.weight", D)
            for name, rows in (("q", q), ("k", kv), ("v", kv)):
                add(f"{at}self_attn.{name}_proj.weight", rows, D)
                if self.extras:
                    add(f"{at}self_attn.{name}_proj.bias", rows)
            if self.extras:
                add(at + "self_attn.q_norm.weight", self.E)
                add(at + "self_attn.k_norm.weight", self.E)
            add(at + "self_attn.o_proj.weight", D, q)
            add(at + "mlp.gate_proj.weight", F, D)
            add(at + "mlp.up_proj.weight", F, D)
            add(at + "mlp.down_proj.weight", D, F)
        add("model.embed_tokens.weight", self.V, D)
        add("model.norm.weight", D)
        add("lm_head.weight", self.V, D)

    def model(self, **changes: object) -> NativeModel:
        sizes = {
            "hidden_size": self.D,
            "intermediate_size": self.F,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.H,
            "num_key_value_heads": self.K,
            "head_dim": self.E,
            "vocab_size": self.V,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e4,
            "rotary_dim": 0 if self.alibi else self.rotary,
            "slopes_H": np.float32(2.0) ** -np.arange(self.H, dtype=np.float32) if self.alibi else None,
            "tensors": self.tensors,
        }
        return NativeModel(**(sizes | changes))


class Rows:
    """Rows of tokens fed to a model through one cache, whose pages are handed out in a shuffled order."""

    def __init__(self, model: NativeModel, *, pages: int = 64, page_tokens: int = 16, dtype: str = "F32"):
        self.model = model
        self.cache = NativeCache(model, pages=pages, page_tokens=page_tokens, dtype=dtype)
        self.free = [int(p) for p in np.random.default_rng(3).permutation(pages)]
        self.pages: dict[str, list[int]] = {}
        self.length: dict[str, int] = {}

    def feed(self, parts: dict[str, list[int]], **options: object) -> dict[str, np.ndarray]:
        """Feed so many more ids to each row at once; the logits [T, V] of every fed token, by row."""
        at = []
        for row, ids in parts.items():
            start = self.length.get(row, 0)
            self.length[row] = start + len(ids)
            at.append(np.arange(start, start + len(ids)))
            pages = self.pages.setdefault(row, [])
            while len(pages) * self.cache.page_tokens < self.length[row]:
                pages.append(self.free.pop())
        owned = [self.pages[row] for row in parts]
        row_start = np.cumsum([0, *map(len, parts.values())], dtype=np.int32)
        logits, _ = forward(
            self.model,
            self.cache,
            ids=np.concatenate(list(parts.values())).astype(np.int32),
            at=np.concatenate(at).astype(np.int32),
            row_start_B1=row_start,
            pages=np.concatenate(owned).astype(np.int32),
            page_start_B1=np.cumsum([0, *map(len, owned)], dtype=np.int32),
            want=np.arange(row_start[-1], dtype=np.int32),
            hidden=np.zeros(0, np.int32),
            **options,
        )
        return dict(zip(parts, np.split(logits, row_start[1:-1]), strict=True))


@pytest.fixture(name="Tiny")
def tiny_class() -> type[Tiny]:
    return Tiny


@pytest.fixture(name="Rows")
def rows_class() -> type[Rows]:
    return Rows


@pytest.fixture(name="cross_compile", scope="session")
def cross_compile_function():
    """For ARM: the library and run_cases.cpp as one program."""
    parts = {SOURCES / name: [] for name in (*COMMON, "isa.cpp", "matmul_generic.cpp")}
    parts |= {SOURCES / "matmul_neon.cpp": ["-march=armv8.2-a+dotprod"], HERE / "run_cases.cpp": []}
    return lambda into: build("aarch64-linux-gnu-g++", into, parts, "-static")


@pytest.fixture(name="matrix")
def matrix_function():
    return matrix
