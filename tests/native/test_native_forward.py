"""What forward() promises of any batch: rows are independent to the bit, parts equal the whole, NaN is seen."""

from __future__ import annotations

import numpy as np
import pytest

from haina.native.binding import Matrix, forward
from haina.native.reference import weights

IDS = {
    name: list(np.random.default_rng(n).integers(0, 37, n)) for name, n in (("a", 23), ("b", 1), ("c", 40))
}


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "W4", "W8"])
def test_a_row_is_bitwise_the_same_in_any_company(isa, alibi, dtype, Tiny, Rows) -> None:
    model = Tiny(D=140, F=270, E=22, alibi=alibi, dtype=dtype).model()  # large enough for threads to share
    together = Rows(model).feed(IDS, threads=3, isa=isa)
    for name, ids in IDS.items():
        alone = Rows(model).feed({name: ids}, threads=1, isa=isa)
        assert alone[name].tobytes() == together[name].tobytes()


@pytest.mark.parametrize(
    "dtype, cache_dtype", [*(("F32", c) for c in ("F32", "F16", "BF16", "I8")), ("W4", "F16")]
)
def test_parts_equal_the_whole_to_the_bit(isa, dtype, cache_dtype, Tiny, Rows) -> None:
    model = Tiny(dtype=dtype).model()
    whole = Rows(model, dtype=cache_dtype).feed(IDS, isa=isa)
    rows = Rows(model, dtype=cache_dtype)
    first = rows.feed({"c": IDS["c"][:17], "a": IDS["a"][:3]}, isa=isa)
    second = rows.feed({"a": IDS["a"][3:22], "b": IDS["b"], "c": IDS["c"][17:18]}, isa=isa)
    third = rows.feed({"c": IDS["c"][18:], "a": IDS["a"][22:]}, isa=isa)
    for name in IDS:
        parts = [part[name] for part in (first, second, third) if name in part]
        assert np.concatenate(parts).tobytes() == whole[name].tobytes()


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("cache_dtype", ["F16", "I8"])
@pytest.mark.parametrize("dtype", ["F16", "W4", "W8"])
def test_a_prompt_is_bitwise_the_same_in_chunks_of_any_size(
    isa, dtype, cache_dtype, alibi, Tiny, Rows
) -> None:
    """Longer than what a thread takes at a time of float and of packed products; pages are not whole chunks."""
    model = Tiny(dtype=dtype, alibi=alibi).model()
    prompt = list(np.random.default_rng(9).integers(0, 37, 300))

    def fed(chunk: int) -> bytes:
        rows = Rows(model, page_tokens=32, dtype=cache_dtype)
        parts = (prompt[i : i + chunk] for i in range(0, len(prompt), chunk))
        return b"".join(rows.feed({"a": part}, isa=isa, threads=2)["a"].tobytes() for part in parts)

    whole = fed(len(prompt))
    assert all(fed(chunk) == whole for chunk in (1, 7, 32, 256))


def test_page_size_does_not_matter(Tiny, Rows) -> None:
    model = Tiny(alibi=True).model()
    results = [Rows(model, page_tokens=size).feed(IDS)["c"] for size in (16, 48, 64, 256)]
    for other in results[1:]:
        np.testing.assert_allclose(results[0], other, atol=1e-5)


@pytest.mark.parametrize(
    "dtype, least, most", [("F16", 1e-5, 5e-3), ("BF16", 1e-4, 4e-2), ("I8", 1e-4, 6e-2)]
)
def test_a_rounded_cache_is_close(dtype, least, most, Tiny, Rows) -> None:
    model = Tiny().model()
    exact, rounded = (Rows(model, dtype=cache).feed(IDS)["c"] for cache in ("F32", dtype))
    assert least < np.abs(exact - rounded).max() < most


@pytest.mark.parametrize(
    "dtype, most", [("F32", 1e-6), ("F16", 1e-6), ("BF16", 1e-6), ("W4", 0.02), ("W8", 0.02)]
)
def test_every_weight_dtype_equals_its_own_float32(isa, dtype, most, Tiny, Rows) -> None:
    """But for rounding; products with packed weights round their activations to 8 bits."""
    tiny = Tiny(dtype=dtype)
    stored = Rows(tiny.model()).feed(IDS, isa=isa)["c"]
    tiny.tensors = {n: weights(t) if isinstance(t, Matrix) else t for n, t in tiny.tensors.items()}
    true = Rows(tiny.model()).feed(IDS, isa=isa)["c"]
    assert np.sqrt(np.square(stored - true).mean()) < most * true.std()


@pytest.mark.parametrize("dtype", ["W4", "W8"])
def test_rows_of_a_packed_embedding_are_exact(dtype, matrix, Tiny, Rows) -> None:
    tiny, name = Tiny(D=560), "model.embed_tokens.weight"
    embedding = tiny.tensors[name].data.view(np.float32).reshape(37, 560)
    tiny.tensors[name] = matrix(embedding, dtype)
    packed = Rows(tiny.model()).feed(IDS)["c"]
    tiny.tensors[name] = weights(tiny.tensors[name])
    assert Rows(tiny.model()).feed(IDS)["c"].tobytes() == packed.tobytes()


def test_hidden_states_are_what_the_head_reads(Tiny, Rows) -> None:
    tiny = Tiny()
    rows = Rows(tiny.model())
    step = {
        "ids": np.array(IDS["a"], np.int32),
        "at": np.arange(23, dtype=np.int32),
        "row_start_B1": np.array([0, 23], np.int32),
        "pages": np.arange(5, dtype=np.int32),
        "page_start_B1": np.array([0, 5], np.int32),
        "want": np.array([22, 0, 22], np.int32),
    }
    logits, hidden = forward(rows.model, rows.cache, **step, hidden=np.array([0, 22], np.int32))
    head = tiny.tensors["lm_head.weight"].data.view(np.float32).reshape(37, 44)
    np.testing.assert_allclose(hidden @ head.T, logits[[1, 0]], atol=1e-5)
    assert logits[0].tobytes() == logits[2].tobytes()


def test_a_tied_head_is_the_embedding(Tiny, Rows) -> None:
    tiny = Tiny()
    tiny.tensors["lm_head.weight"] = tiny.tensors["model.embed_tokens.weight"]
    twice = Rows(tiny.model()).feed(IDS)["a"]
    del tiny.tensors["lm_head.weight"]
    assert Rows(tiny.model()).feed(IDS)["a"].tobytes() == twice.tobytes()


@pytest.mark.parametrize("at_once", [False, True])
def test_a_shared_prefix_is_read_by_many(at_once, Tiny, Rows) -> None:
    """Even in the step that feeds it: a layer's keys and values are written before any are read."""
    rows = Rows(Tiny().model())
    prefix = IDS["c"][:32]  # exactly two pages
    shared = [rows.free.pop(), rows.free.pop()]
    rows.pages, rows.length["b"] = {"a": shared[:], "b": shared[:]}, 32
    if at_once:
        forked = rows.feed({"b": [9, 8], "a": [*prefix, 1, 2, 3]})
        forked["a"] = forked["a"][32:]
    else:
        rows.feed({"a": prefix})
        forked = rows.feed({"a": [1, 2, 3], "b": [9, 8]})
    for name, tail in (("a", [1, 2, 3]), ("b", [9, 8])):
        alone = Rows(rows.model).feed({name: prefix + tail})[name][32:]
        assert alone.tobytes() == forked[name].tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I8"])
def test_a_copied_page_is_as_good_as_the_first(dtype, Tiny, Rows) -> None:
    """A fork: what is full is shared, the page that both go on in is copied."""
    rows = Rows(Tiny().model(), dtype=dtype)
    prompt = IDS["a"]  # a page and seven tokens
    rows.feed({"a": prompt})
    full, begun = rows.pages["a"]
    mine = rows.free.pop()
    before = [np.delete(array, mine, 1).tobytes() for array in (rows.cache.keys, rows.cache.values)]
    rows.cache.copy([begun], [mine])
    rows.pages["b"], rows.length["b"] = [full, mine], len(prompt)
    forked = rows.feed({"a": [1, 2, 3]}) | rows.feed({"b": [9, 8]})
    for name, tail in (("a", [1, 2, 3]), ("b", [9, 8])):
        alone = Rows(rows.model, dtype=dtype).feed({name: prompt + tail})[name][len(prompt) :]
        assert alone.tobytes() == forked[name].tobytes()
    rows = Rows(rows.model, dtype=dtype)
    rows.feed({"a": prompt})
    rows.cache.copy([begun], [mine])
    after = [np.delete(array, mine, 1).tobytes() for array in (rows.cache.keys, rows.cache.values)]
    assert before == after  # no other page is touched


@pytest.mark.parametrize(
    "sources, targets, name",
    [
        ([64], [1], "sources"),
        ([0], [-1], "targets"),
        ([0, 1], [2], "targets"),
        ([0, 1], [2, 2], "targets"),
        ([0, 1], [2, 1], "targets"),
    ],
)
def test_pages_that_cannot_be_copied_are_refused(sources, targets, name, Tiny, Rows) -> None:
    with pytest.raises(ValueError, match=f"^{name}: [^\n]*$"):
        Rows(Tiny().model()).cache.copy(sources, targets)


@pytest.mark.parametrize(
    "poison", ["model.layers.1.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight"]
)
def test_nan_is_not_hidden(isa, poison, Tiny, Rows) -> None:
    tiny = Tiny()
    tensor = tiny.tensors[poison]
    (tensor if isinstance(tensor, np.ndarray) else tensor.data.view(np.float32))[3] = np.nan
    assert np.isnan(Rows(tiny.model()).feed(IDS, isa=isa)["a"]).all()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I8"])
def test_a_poisoned_token_reaches_only_what_comes_after_it(isa, dtype, Tiny, Rows) -> None:
    tiny = Tiny(alibi=True)
    tiny.tensors["model.embed_tokens.weight"].data.view(np.float32).reshape(37, 44)[5] = np.nan
    ids = {"a": [i if i != 5 else 6 for i in IDS["a"]], "b": [1, 2, 3]}
    clean = Rows(tiny.model(), dtype=dtype).feed(ids, isa=isa)
    ids["a"][11] = 5
    dirty = Rows(tiny.model(), dtype=dtype).feed(ids, isa=isa)
    assert np.isnan(dirty["a"][11:]).all()
    assert dirty["a"][:11].tobytes() == clean["a"][:11].tobytes()
    assert dirty["b"].tobytes() == clean["b"].tobytes()
