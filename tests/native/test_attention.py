"""Keys and values in pages: what is kept of them, attention over them, and bits that depend on nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from haina.native import kernels, reference
from haina.native.binding import NativeCache, NativeModel

RANDOM = np.random.default_rng(5)
DTYPES = ["F32", "F16", "BF16", "I8"]


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


@dataclass
class Fed:
    """Rows at uneven positions, their keys and values stored in pages in no order. Rows 0 … 4 feed 40, 1, 0, 3, 1."""

    model: NativeModel
    cache: NativeCache
    k: np.ndarray
    v: np.ndarray
    step: dict[str, np.ndarray]
    slopes: np.ndarray | None

    def attention(self, q: np.ndarray, **options: object) -> np.ndarray:
        return kernels.attention(self.model, self.cache, 1, q, **self.step, **options)

    def rows(self, *which: int) -> dict[str, np.ndarray]:
        """The step of a few of its rows."""
        fed, owned = self.step["row_start_B1"], self.step["page_start_B1"]
        tokens = [np.arange(fed[b], fed[b + 1]) for b in which]
        pages = [np.arange(owned[b], owned[b + 1]) for b in which]
        return {
            "at": self.step["at"][np.concatenate(tokens)],
            "row_start_B1": np.cumsum([0, *map(len, tokens)], dtype=np.int32),
            "pages": self.step["pages"][np.concatenate(pages)],
            "page_start_B1": np.cumsum([0, *map(len, pages)], dtype=np.int32),
        }


def fed(
    model: NativeModel, *, page_tokens: int, dtype: str, slopes: np.ndarray | None, isa: str = "best"
) -> Fed:
    """Every slot written, then those of the step once more, so that all that is read has been stored."""
    at = np.array([*range(30, 70), 131, 5, 6, 9, 0], np.int32)
    row_start = np.array([0, 40, 41, 41, 44, 45], np.int32)
    lengths = -(-np.array([70, 132, 1, 10, 1]) // page_tokens)
    page_start = np.cumsum([0, *lengths], dtype=np.int32)
    count = int(page_start[-1])
    cache = NativeCache(model, pages=count + 2, page_tokens=page_tokens, dtype=dtype)
    pages = RANDOM.permutation(count + 2)[:count].astype(np.int32)
    every = {
        "at": np.tile(np.arange(page_tokens, dtype=np.int32), count),
        "row_start_B1": np.arange(0, count * page_tokens + 1, page_tokens, dtype=np.int32),
        "pages": pages,
        "page_start_B1": np.arange(count + 1, dtype=np.int32),
    }
    k, v = (normal(count * page_tokens, model.K, model.E) for _ in "kv")
    kernels.store(model, cache, 1, k, v, **every, isa=isa, threads=2)
    step = {"at": at, "row_start_B1": row_start, "pages": pages, "page_start_B1": page_start}
    k, v = (normal(at.size, model.K, model.E) for _ in "kv")
    kernels.store(model, cache, 1, k, v, **step, isa=isa, threads=2)
    return Fed(model, cache, k, v, step, slopes)


@pytest.fixture
def build(Tiny):
    def make(
        *, H: int = 6, K: int = 6, E: int = 10, page_tokens: int = 16, dtype: str = "F32", alibi: bool = True
    ):
        slopes = np.float32(2.0) ** -np.arange(H, dtype=np.float32) if alibi else None
        model = Tiny(H=H, K=K, E=E, layers=2, alibi=False, rotary=0).model(slopes_H=slopes)
        return fed(model, page_tokens=page_tokens, dtype=dtype, slopes=slopes)

    return make


@pytest.mark.parametrize("dtype", DTYPES)
def test_slots_hold_what_was_stored_rounded(isa, dtype, Tiny) -> None:
    model = Tiny(K=3, E=70, layers=2, rotary=0).model()
    rows = fed(model, page_tokens=48, dtype=dtype, slopes=None, isa=isa)
    keys, values = reference.stored(rows.cache, 1)
    for b in range(5):
        for n in range(rows.step["row_start_B1"][b], rows.step["row_start_B1"][b + 1]):
            position = rows.step["at"][n]
            page = rows.step["pages"][rows.step["page_start_B1"][b] + position // 48]
            for found, true in ((keys, rows.k), (values, rows.v)):
                kept = reference.rounded(true[n], dtype)
                np.testing.assert_allclose(found[page, :, position % 48], kept, rtol=2e-7)
    assert not np.any(reference.stored(rows.cache, 0))  # the other layer


def halves() -> np.ndarray:
    """Every half, the middles between two, what is next to a middle, and the edges, of both signs."""
    exact = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (exact[1:] + exact[:-1]) / 2
    near = np.concatenate([np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(0))])
    edge = np.array([65504, 65519.996, 65520, 1e30, np.inf, 1e-30, 1e-45, np.nan], np.float32)
    x = np.concatenate([exact, middles, near, edge])
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_16_bits_round_to_even(isa, dtype, Tiny) -> None:
    x = halves()
    if dtype == "BF16":
        x = np.concatenate([x, (np.arange(1 << 16, dtype=np.uint32) << 15).view(np.float32)])  # middles, too
    x = np.pad(x, (0, -x.size % 64)).reshape(-1, 1, 64)
    model = Tiny(H=1, K=1, E=64, layers=1, rotary=0).model()
    cache = NativeCache(model, pages=-(-len(x) // 256), page_tokens=256, dtype=dtype)
    step = {
        "at": np.arange(len(x), dtype=np.int32),
        "row_start_B1": np.array([0, len(x)], np.int32),
        "pages": np.arange(cache.pages, dtype=np.int32),
        "page_start_B1": np.array([0, cache.pages], np.int32),
    }
    kernels.store(model, cache, 0, x, -x, **step, isa=isa)
    keys, values = (found.reshape(-1, 1, 64)[: len(x)] for found in reference.stored(cache, 0))
    np.testing.assert_array_equal(keys, reference.rounded(x, dtype))
    np.testing.assert_array_equal(values, reference.rounded(-x, dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_does_not_become_one(isa, bad, Tiny) -> None:
    model = Tiny(H=2, K=2, E=24, layers=1, rotary=0).model()
    cache = NativeCache(model, pages=1, page_tokens=16, dtype="I8")
    step = {
        "at": np.arange(3, dtype=np.int32),
        "row_start_B1": np.array([0, 3], np.int32),
        "pages": np.zeros(1, np.int32),
        "page_start_B1": np.array([0, 1], np.int32),
    }
    k, v = normal(3, 2, 24), normal(3, 2, 24)
    k[1, 0, 17] = v[2, 1, 0] = bad
    kernels.store(model, cache, 0, k, v, **step, isa=isa)
    nan = np.isnan(kernels.attention(model, cache, 0, normal(3, 2, 24), **step, isa=isa)).all(-1)
    assert nan.tolist() == [[False, False], [True, False], [True, True]]


def test_tiny_and_huge_values_are_scaled(Tiny) -> None:
    x = np.float32([[3e38, -1e38, 0], [1e-44, 0, -1e-44], [1e-30, -1e-30, 0], [0, 0, 0]])
    model = Tiny(H=1, K=1, E=3, layers=1, rotary=0).model()
    cache = NativeCache(model, pages=1, page_tokens=16, dtype="I8")
    step = {"row_start_B1": np.array([0, 4], np.int32), "page_start_B1": np.array([0, 1], np.int32)}
    at, pages = np.arange(4, dtype=np.int32), np.zeros(1, np.int32)
    kernels.store(model, cache, 0, x[:, None], x[:, None], at=at, pages=pages, **step)
    np.testing.assert_allclose(reference.stored(cache, 0)[1][0, 0, :4], reference.rounded(x, "I8"), rtol=2e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H, K, E", [(6, 6, 10), (6, 3, 24), (6, 1, 70), (40, 1, 16), (2, 2, 128), (1, 1, 1)])
@pytest.mark.parametrize("page_tokens, alibi", [(16, True), (32, False), (48, True), (256, False)])
def test_attention(isa, dtype, H, K, E, page_tokens, alibi, build) -> None:
    rows = build(H=H, K=K, E=E, page_tokens=page_tokens, dtype=dtype, alibi=alibi)
    q = normal(45, H, E)
    keys, values = reference.stored(rows.cache, 1)
    true = reference.attention(q, keys, values, **rows.step, slopes_H=rows.slopes)
    np.testing.assert_allclose(rows.attention(q, isa=isa, threads=2), true, atol=3e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H, K, E", [(6, 6, 10), (14, 2, 40), (64, 1, 33)])
def test_attention_does_not_depend_on_companions_chunks_or_threads(isa, dtype, H, K, E, build) -> None:
    rows = build(H=H, K=K, E=E, page_tokens=32, dtype=dtype)
    q = normal(45, H, E)
    together = rows.attention(q, isa=isa, threads=3)
    for b, (start, end) in enumerate(
        zip(rows.step["row_start_B1"], rows.step["row_start_B1"][1:], strict=False)
    ):
        row = rows.rows(b)
        for first in range(start, end, 7):  # seven tokens at a time, then one
            for last in {min(first + 7, end), first + 1}:
                at = rows.step["at"][first:last]
                part = row | {"at": at, "row_start_B1": np.array([0, last - first], np.int32)}
                alone = kernels.attention(rows.model, rows.cache, 1, q[first:last], **part, isa=isa)
                assert alone.tobytes() == together[first:last].tobytes()


def test_large_scores_do_not_overflow(isa, build) -> None:
    rows = build(E=24, dtype="F32")
    q = 1e4 * normal(45, 6, 24)
    keys, values = reference.stored(rows.cache, 1)
    true = reference.attention(q, keys, values, **rows.step, slopes_H=rows.slopes)
    np.testing.assert_allclose(rows.attention(q, isa=isa), true, atol=2e-2)  # scores are near 1e5 themselves
