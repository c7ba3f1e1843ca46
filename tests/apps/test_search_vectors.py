"""Vectors: made apart, going on where they were, gone with their passages; and the two orders as one."""

import json
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

from haina.apps.model import Model, open_model
from haina.apps.search import vectors
from haina.apps.search.desk import Search
from haina.apps.search.rank import Ranked, fused
from haina.apps.search.store import Passage, Store
from haina.apps.search.vectors import embedded, fill, near
from haina.cli.app import EMBEDDED, app
from haina.options.models import ModelOptions

pytest.importorskip("usearch")
TEXTS = [f"第{number}段：春眠不觉晓，处处闻啼鸟。{'山水风雨'[number % 4] * 9}" for number in range(70)]


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(EMBEDDED, ModelOptions())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "search.db", new=True)
    with made.writing():
        for number, text in enumerate(TEXTS):
            made.put(str(number), "", text)
    return made


def has(store: Store) -> list[tuple[int, bytes]]:
    return store._file.execute("select passage, vector from vectors order by passage").fetchall()


def test_made_once_and_found(store: Store, model: Model) -> None:
    assert fill(store, model, "here") == 70 and fill(store, model, "here") == 0
    find = near(store, lambda folder: {"here": model}[folder])
    nearest = np.argsort(-(embedded(model, TEXTS) @ embedded(model, [TEXTS[7]])[0]))[: vectors.FOUND] + 1
    assert find(TEXTS[7])[0] == 8 and len(set(find(TEXTS[7])) & set(nearest.tolist())) >= 18


def test_it_goes_on_where_it_was(store: Store, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([1, 2])

    def killed(*given: object) -> np.ndarray:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return embedded(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(vectors, "embedded", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(store, model, "here")
    monkeypatch.undo()
    assert len(has(store)) == vectors.AT_ONCE and fill(store, model, "here") == 70 - vectors.AT_ONCE


def test_a_passage_takes_its_vector_along(store: Store, model: Model) -> None:
    """The number of a passage that is gone may be another's: its vector is not."""
    fill(store, model, "here")
    find = near(store, lambda folder: model)
    find("山")
    with store.writing():
        store.put("69", "", "the last one is another now")
        store.drop("0")
    assert len(has(store)) == 68 and 70 not in find("山") and 1 not in find("山")
    assert fill(store, model, "here") == 1
    vector = np.frombuffer(has(store)[-1][1], np.float16)
    assert np.allclose(vector, embedded(model, ["the last one is another now"])[0], atol=2e-3)
    assert len(find("山")) == vectors.FOUND


def test_of_another_model_or_none(store: Store, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="haina search vectors"):
        near(store, lambda folder: model)
    fill(store, model, "here")
    monkeypatch.setattr(vectors, "fingerprint", lambda checkpoint: "another")
    with pytest.raises(ValueError, match="no vectors by this model"):
        near(store, lambda folder: model)
    assert fill(store, model, "here") == 70


@pytest.mark.parametrize("damage", [b"", b"what is this", None])
def test_the_graph_is_only_a_copy(store: Store, model: Model, damage: bytes | None) -> None:
    fill(store, model, "here")
    graph = store.path.with_name("search.db.usearch")
    first = near(store, lambda folder: model)("山")
    graph.write_bytes(graph.read_bytes()[:3000] if damage is None else damage)
    assert near(store, lambda folder: model)("山") == first and sqlite3.connect(store.path)


def test_a_search_with_vectors(store: Store, model: Model) -> None:
    fill(store, model, "here")
    search = Search(str(store.path))
    assert {ranked.passage.document for ranked in search.ask("第7段").passages} & {"7"}
    search.near = lambda text: [3, 4]
    found = [ranked.passage.id for ranked in search.ask("xyz").passages]
    assert found == [3, 4]


def test_the_verb(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    import haina.cli.search  # noqa: F401

    index = ["--index", str(store.path)]
    app(["search", "vectors", *index], standalone_mode=False)
    assert capsys.readouterr().out == "70 vectors made\n"
    app(["search", TEXTS[7], "--vectors", "--json", *index], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["passages"][0]["document"] == "7"


def test_without_usearch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "haina.apps.search.near", raising=False)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(ValueError, match=r"pip install 'haina\[vectors\]'"):
        store.vectors()


def test_two_orders_as_one() -> None:
    a, b, c, d = (Ranked(Passage(number, "", 0, ""), 1.0) for number in range(4))
    assert fused([a, b, c], [c, d]) == [c, a, b, d]
