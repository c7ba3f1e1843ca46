"""What adapters add in the native forward: as if added to the weights, for some rows, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from haina.native.adapter import MATRICES, NativeAdapter
from haina.native.binding import Matrix

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]


def changes(tiny, rank: int, matrices=MATRICES) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random, found = np.random.default_rng(rank), {}
    for name, w in tiny.tensors.items():
        if isinstance(w, Matrix) and name.endswith(tuple(f"{matrix}.weight" for matrix in matrices)):
            a_RI, b_OR = (
                random.standard_normal(shape, np.float32) for shape in ((rank, w.cols), (w.rows, rank))
            )
            found[name] = a_RI * np.float32(w.cols**-0.5), b_OR * np.float32(rank**-0.5)
    return found


def added(tiny, low_rank) -> dict[str, Matrix | np.ndarray]:
    tensors = dict(tiny.tensors)
    for name, (a_RI, b_OR) in low_rank.items():
        w = tensors[name]
        tensors[name] = Matrix.of(w.data.view(np.float32).reshape(w.rows, w.cols) + b_OR @ a_RI)
    return tensors


@pytest.mark.parametrize("matrices", [MATRICES, *((matrix,) for matrix in MATRICES)], ids=lambda m: m[-1])
def test_a_row_gets_what_its_adapter_adds(Tiny, Rows, matrices) -> None:
    tiny = Tiny()
    low_rank = changes(tiny, 3, matrices)
    assert len(low_rank) == 2 * len(matrices)
    expected = Rows(tiny.model(tensors=added(tiny, low_rank))).feed({"a": IDS})["a"]
    plain = Rows(tiny.model()).feed({"a": IDS})["a"]
    model = tiny.model()
    use = {"adapters": [NativeAdapter(model, low_rank)], "adapter_B": np.array([-1, 0], np.int32)}
    found = Rows(model).feed({"b": IDS, "a": IDS}, **use)
    np.testing.assert_allclose(found["a"], expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - plain).max() > 0.01
    assert found["b"].tobytes() == plain.tobytes()


@pytest.mark.parametrize("dtype", ["F32", "W4"])
def test_company_changes_no_bit(isa, Tiny, Rows, dtype) -> None:
    """Rows of three adapters, one of them used twice, in parts and in another order; ranks up to the largest."""
    model = (tiny := Tiny(dtype=dtype)).model()
    adapters = [NativeAdapter(model, changes(tiny, rank)) for rank in (1, 40, 256)]
    use = {"a": 1, "b": -1, "c": 0, "d": 1, "e": 2}
    alone = {}
    for row, number in use.items():
        rows = Rows(model)
        options = {"adapters": adapters, "adapter_B": np.array([number], np.int32), "isa": isa}
        alone[row] = np.concatenate([rows.feed({row: [id]}, **options)[row] for id in IDS])
    rows, found = Rows(model), {row: [] for row in use}
    for part, order in ((IDS[:7], "abcde"), (IDS[7:8], "daebc"), (IDS[8:], "edcba")):
        numbers = np.array([use[row] for row in order], np.int32)
        fed = rows.feed(dict.fromkeys(order, part), adapters=adapters, adapter_B=numbers, isa=isa, threads=2)
        for row, logits in fed.items():
            found[row].append(logits)
    for row, parts in found.items():
        assert np.concatenate(parts).tobytes() == alone[row].tobytes(), row


@pytest.mark.parametrize("number", [-2, 1])
def test_a_number_without_adapter_is_refused(Tiny, Rows, number) -> None:
    model = (tiny := Tiny()).model()
    adapters = [NativeAdapter(model, changes(tiny, 2))]
    with pytest.raises(ValueError, match="adapter_B: must lie in -1 to 0"):
        Rows(model).feed({"a": IDS}, adapters=adapters, adapter_B=np.array([number], np.int32))
    with pytest.raises(ValueError, match="adapter_B: must lie in -1 to -1"):
        Rows(model).feed({"a": IDS}, adapter_B=np.array([0], np.int32))
    with pytest.raises(ValueError, match="adapter_B"):
        Rows(model).feed({"a": IDS}, adapters=adapters, adapter_B=np.array([0, 0], np.int32))


def test_what_does_not_fit_is_named(Tiny, Rows) -> None:
    tiny = Tiny()
    model, good = tiny.model(), changes(tiny, 2)
    name = "model.layers.0.mlp.up_proj.weight"
    a_RI, b_OR = good[name]
    for bad in ((a_RI[:, 1:], b_OR), (a_RI, b_OR[1:]), (a_RI[1:], b_OR), (a_RI[:0], b_OR[:, :0])):
        with pytest.raises(ValueError, match=rf"{name}: a change of"):
            NativeAdapter(model, good | {name: bad})
    with pytest.raises(ValueError, match="rank 257"):
        NativeAdapter(model, {name: changes(tiny, 257)[name]})
    with pytest.raises(ValueError, match=r"lm_head.weight: this network has no such matrix"):
        NativeAdapter(model, {"lm_head.weight": good[name]})
    with pytest.raises(ValueError, match="another model"):
        Rows(tiny.model()).feed({"a": IDS}, adapters=[NativeAdapter(model, good)])
