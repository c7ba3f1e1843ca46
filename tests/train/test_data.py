"""Reading rows and packing them: nothing is lost, and a damaged file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zstandard

from haina.data.pack import Rows, _order, best_fit, pack
from haina.data.read import rows
from haina.text.messages import IGNORED


def test_packing_loses_nothing() -> None:
    random = np.random.default_rng(0)
    documents = [np.arange(1, 1 + n) for n in random.integers(1, 40, 60)]
    packed = pack([(ids, ids) for ids in documents], 16)
    learned = packed.targets_NT != IGNORED
    assert sorted(packed.ids_NT[learned].tolist()) == sorted(np.concatenate(documents).tolist())
    assert learned.mean() > 0.95


def test_ids_of_a_large_vocabulary_stay_whole() -> None:
    ids = np.array([3, 65_535, 65_536, 125_695])
    assert pack([(ids, ids)], 4).ids_NT.tolist() == [ids.tolist()]


def test_a_piece_goes_where_it_leaves_the_least_room() -> None:
    assert best_fit([7, 5, 4, 3, 1], 10) == [[0, 3], [1, 2, 4]]
    assert best_fit([10, 10, 1], 10) == [[0], [1], [2]]


def test_every_epoch_visits_each_row_once() -> None:
    ten = Rows(np.arange(10)[:, None], np.zeros((10, 1), np.int32))
    first, second = (
        [int(i) for step in steps for i in ten.batch(step, 5)[0][:, 0]] for steps in ((0, 1), (2, 3))
    )
    assert sorted(first) == sorted(second) == list(range(10)) and first != second


def test_the_order_of_an_epoch_is_drawn_once_for_all_its_batches() -> None:
    _order.cache_clear()
    ten = Rows(np.arange(10)[:, None], np.zeros((10, 1), np.int32))
    for step in range(4):  # of three rows: the last one reaches into the second epoch
        ten.batch(step, 3, seed=5)
    assert _order.cache_info().misses == 2


@pytest.mark.parametrize("damage", [b'{"a": ', b'{"a": "\xff"}', b"[1]", b""])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
@pytest.mark.parametrize(("language", "words"), [("en", "not a JSON object"), ("zh", "不是 JSON 对象")])
def test_a_bad_line_is_named(
    damage: bytes, suffix: str, language: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAINA_LANG", language)
    file, wire = tmp_path / f"poems{suffix}", b'{"a": 1}\n{"a": 2}\n' + damage + b'\n{"a": 4}\n'
    file.write_bytes(zstandard.compress(wire) if suffix.endswith("zst") else wire)
    found = rows(file)
    assert [next(found), next(found)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(ValueError, match=rf"poems{suffix}:3.*{words}"):
        next(found)


def test_a_file_that_does_not_decompress_is_named(tmp_path: Path) -> None:
    (tmp_path / "poems.jsonl.zst").write_bytes(b"not zstd at all")
    with pytest.raises(ValueError, match=r"poems\.jsonl\.zst: cannot be decompressed"):
        list(rows(tmp_path / "poems.jsonl.zst"))
