"""64-bit ARM under qemu-user: NEON's dot product and the portable loops, against reference.py.

The library is cross-compiled into run_cases.cpp (Debian: g++-aarch64-linux-gnu, qemu-user), which takes the cases.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from haina.native import reference
from haina.native.binding import DTYPES, Matrix
from haina.native.machine import ISAS
from haina.native.packing import PACKED, packed_bytes

MATMUL, PACK, RMS_NORM, SILU_MUL, HEAD = range(5)
RANDOM = np.random.default_rng(4)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


@pytest.fixture(scope="session")
def program(cross_compile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("no qemu-aarch64 (qemu-user)")
    into = tmp_path_factory.mktemp("arm") / "run_cases"
    cross_compile(into)
    return into


class Cases:
    """Cases for the program, and how many bytes each of its answers has."""

    def __init__(self, isa: str):
        self.isa, self.input, self.sizes = ISAS[isa], b"", []

    def add(self, what: int, *arrays: np.ndarray, out: int, **sizes: int) -> None:
        names = ("dtype", "threads", "rows", "cols", "tokens", "bytes")
        head = [what, self.isa, *(sizes.get(name, 1) for name in names)]
        self.input += b"".join([np.int64(head).tobytes(), *(a.tobytes() for a in arrays)])
        self.sizes.append(out)

    def run(self, program: Path) -> list[bytes]:
        done = subprocess.run(
            ["qemu-aarch64", "-cpu", "max", str(program)], input=self.input, capture_output=True, check=True
        )
        assert not done.stderr and len(done.stdout) == sum(self.sizes)
        ends = np.cumsum(self.sizes)
        return [done.stdout[end - size : end] for end, size in zip(ends, self.sizes, strict=True)]


ARM = pytest.mark.parametrize("arm", ["neon", "generic"])


@ARM
def test_products(arm, program, matrix) -> None:
    """With packed matrices bit for bit, with others within rounding."""
    cases, expected = Cases(arm), []
    for dtype in ("F32", "F16", "BF16", *PACKED):
        for rows, cols in ((1, 1), (33, 40), (70, 1100)):
            w, bias = matrix(normal(rows, cols), dtype), normal(rows)
            for tokens in (1, 2, 3, 4, 5, 8, 9, 17):
                x = normal(tokens, cols)
                if tokens == 9:
                    x[4, 0] = np.nan
                shape = {"rows": rows, "cols": cols, "tokens": tokens, "bytes": w.data.size}
                other = {"dtype": DTYPES[dtype], "threads": 1 + tokens % 2}
                cases.add(MATMUL, w.data, bias, x, out=4 * tokens * rows, **shape, **other)
                expected.append((dtype, reference.matmul(w, x, bias)))
    for answer, (dtype, y) in zip(cases.run(program), expected, strict=True):
        found = np.frombuffer(answer, np.float32).reshape(y.shape)
        if dtype in PACKED:
            np.testing.assert_array_equal(found, y)
        else:
            np.testing.assert_allclose(found, y, atol=1e-4, rtol=0)


@ARM
def test_rows_have_the_bits_of_the_whole_product(arm, program, matrix) -> None:
    cases, sizes = Cases(arm), []
    for dtype in ("F32", "F16", "BF16", *PACKED):
        for rows, cols in ((1, 1), (33, 40), (70, 1100)):
            w, ids = matrix(normal(rows, cols), dtype), RANDOM.integers(0, rows, rows).astype(np.int32)
            for tokens in (1, 5, 50):
                x, shape = normal(tokens, cols), {"rows": rows, "cols": cols, "tokens": tokens}
                other = {"dtype": DTYPES[dtype], "bytes": w.data.size, "threads": 2, "out": 4 * tokens * rows}
                cases.add(MATMUL, w.data, np.zeros(rows, np.float32), x, **shape, **other)
                cases.add(HEAD, w.data, ids, x, **shape, **other)
                sizes.append((tokens, rows, ids))
    answers = [np.frombuffer(answer, np.float32) for answer in cases.run(program)]
    for whole, y, (tokens, rows, ids) in zip(answers[::2], answers[1::2], sizes, strict=True):
        assert y.tobytes() == whole.reshape(tokens, rows)[:, ids].tobytes()


@ARM
def test_the_largest_sums_do_not_overflow(arm, program) -> None:
    cases, expected = Cases(arm), []
    for dtype, byte in (("W4", 0), ("W4", 255), ("W8", 127), ("W8", 128)):
        data = np.full(packed_bytes(dtype, 32, 512), byte, np.uint8)
        data[:128] = np.full(32, 0.01, np.float32).view(np.uint8)
        if dtype == "W4":
            data[128 : 128 + 512] = 129  # -127
        x = np.float32([[1] * 512, [-1] * 512, [1, -1] * 256])
        sizes = {"rows": 32, "cols": 512, "tokens": 3, "bytes": data.size}
        cases.add(MATMUL, data, np.zeros(32, np.float32), x, out=4 * 3 * 32, dtype=DTYPES[dtype], **sizes)
        expected.append(reference.matmul(Matrix(dtype, data, 32, 512), x))
    for answer, y in zip(cases.run(program), expected, strict=True):
        np.testing.assert_array_equal(np.frombuffer(answer, np.float32).reshape(y.shape), y)


@ARM
def test_packing(arm, program) -> None:
    cases, expected = Cases(arm), []
    for dtype in PACKED:
        for rows, cols in ((1, 1), (33, 40), (40, 1100)):
            w, size = normal(rows, cols), packed_bytes(dtype, rows, cols)
            cases.add(PACK, w, out=size, dtype=DTYPES[dtype], rows=rows, cols=cols, bytes=size)
            expected.append(reference.pack(dtype, w).tobytes())
    assert cases.run(program) == expected


@ARM
def test_rows(arm, program) -> None:
    cases, expected = Cases(arm), []
    for cols in (1, 7, 33, 4096):
        a, b = 5 * normal(2, cols), normal(2, cols)
        cases.add(RMS_NORM, a, b[0], out=a.nbytes, rows=2, cols=cols)
        cases.add(SILU_MUL, a, b, out=a.nbytes, rows=2, cols=cols)
        expected += [reference.rms_norm(a, b[0], 1e-6), reference.silu_mul(a, b)]
    for answer, y in zip(cases.run(program), expected, strict=True):
        np.testing.assert_allclose(np.frombuffer(answer, np.float32).reshape(y.shape), y, rtol=1e-6)
