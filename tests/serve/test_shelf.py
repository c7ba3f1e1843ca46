"""Shelf: models are loaded when somebody asks, shared, given back, and taken out of memory when idle."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import haina
from haina.checkpoint.adapter import Adapter, Pair
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.request import Request, Token
from haina.engine.sampling import Sampling
from haina.options.serving import ServeOptions
from haina.serve import models as about_models
from haina.serve.shelf import NotLoaded, Shelf, UnknownModel, named_folders

WEIGHTS = Path(haina.__file__).with_name("weights")
OPTIONS = ServeOptions(threads=1, conversations=1)
GREEDY = Sampling(temperature=0)


@pytest.fixture
def shelf() -> Iterator[Callable[..., Shelf]]:
    made: list[Shelf] = []
    before = engine_threads()

    def make(folders: dict[str, Path] | None = None, options: ServeOptions = OPTIONS) -> Shelf:
        made.append(Shelf(folders or {"one": WEIGHTS, "two": WEIGHTS}, options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert engine_threads() <= before


def engine_threads() -> set[int | None]:
    """Those of other tests' servers among them."""
    return {thread.ident for thread in threading.enumerate() if thread.name == "haina-engine"}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def loaded(shelf: Shelf) -> list[str]:
    return [served.name for served in shelf.loaded]


def test_a_model_is_loaded_once_and_answers(shelf: Callable[..., Shelf]) -> None:
    models = shelf()

    async def ask(name: str | None) -> tuple[object, list[int]]:
        async with models.lend(name) as served:
            events = [e async for e in served.events(Request((300, 301), 3)) if isinstance(e, Token)]
            return served, [event.id for event in events]

    async def all() -> None:
        assert loaded(models) == []
        answers = await asyncio.gather(*(ask(name) for name in (None, "one", "one")))
        assert len({id(served) for served, _ in answers}) == 1 and len(answers[0][1]) == 3
        assert loaded(models) == ["one"]
        await ask("two")
        assert loaded(models) == ["one", "two"]

    run(all())


def test_an_unknown_name_is_told_the_known_ones(shelf: Callable[..., Shelf]) -> None:
    async def ask() -> None:
        async with shelf().lend("three"):
            pass

    with pytest.raises(UnknownModel, match="'three' is served here; there is: one, two"):
        run(ask())


def test_a_folder_that_is_broken_is_no_crash(shelf: Callable[..., Shelf], tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "x")
    (tmp_path / "x" / "config.json").write_text("{}")
    models = shelf({"one": WEIGHTS, "bad": tmp_path / "x"})

    async def ask(name: str) -> bool:
        async with models.lend(name):
            return True

    async def all() -> None:
        for _ in range(2):
            with pytest.raises(NotLoaded, match=r"config.json"):
                await ask("bad")
        assert await ask("one")

    run(all())


def test_who_leaves_while_it_loads_does_not_stop_it(shelf: Callable[..., Shelf]) -> None:
    models = shelf()

    async def ask() -> str:
        async with models.lend("one") as served:
            return served.name

    async def all() -> None:
        first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
        await asyncio.sleep(0)
        assert models.loading == ["one"]
        first.cancel()
        assert await second == "one" and models.loading == []

    run(all())


def test_an_idle_model_goes_and_comes_back(shelf: Callable[..., Shelf]) -> None:
    models = shelf(options=ServeOptions(threads=1, conversations=1, idle=0.05 / 60))

    async def all() -> None:
        async with models.lend("one"):
            async with models.lend("one"):
                pass
            await asyncio.sleep(0.2)
            assert loaded(models) == ["one"]  # it is in use
            assert not await models.unload("one")
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not loaded(models):
                break
        assert loaded(models) == []
        async with models.lend("one"):
            assert loaded(models) == ["one"]

    run(all())


def test_a_model_that_nobody_ever_asks_for_goes_too(shelf: Callable[..., Shelf]) -> None:
    models = shelf(options=ServeOptions(threads=1, conversations=1, idle=0.1 / 60))
    models.load()

    async def all() -> None:
        models.begin()
        left = models.idle_s("one")
        assert left is not None and 0 < left <= 0.1
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not loaded(models):
                break
        assert loaded(models) == []

    run(all())
    assert shelf().idle_s("one") is None


def test_idle_ones_make_room_when_memory_is_short(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that is enough for one: what is free depends on what is loaded."""
    models = shelf({"one": WEIGHTS, "two": WEIGHTS, "three": WEIGHTS})
    monkeypatch.setattr("haina.apps.model.available_bytes", lambda: 0 if models.loaded else 1 << 40)

    async def use(name: str) -> None:
        async with models.lend(name):
            assert loaded(models) == [name]

    async def all() -> None:
        await use("one")
        await use("two")
        async with models.lend("two"):
            with pytest.raises(NotLoaded, match="memory"):
                await use("three")
        await use("three")

    run(all())


def test_what_can_never_be_loaded_puts_nobody_out(shelf: Callable[..., Shelf], tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "two")
    models = shelf({"one": WEIGHTS, "two": tmp_path / "two"}, OPTIONS)

    async def all() -> None:
        async with models.lend("one"):
            pass
        (tmp_path / "two" / "config.json").write_text("{}")
        with pytest.raises(NotLoaded, match=r"^two") as refused:
            async with models.lend("two"):
                pass
        assert str(tmp_path) not in str(refused.value)
        assert loaded(models) == ["one"]

    run(all())


def test_a_model_that_rests_has_one_timer(shelf: Callable[..., Shelf]) -> None:
    """Even if whoever asked for it has left while it was loaded."""
    models = shelf(options=ServeOptions(threads=1, conversations=1, idle=60))

    async def ask() -> None:
        async with models.lend("one"):
            pass

    async def all() -> None:
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        first = models._place("one").leaving
        while models.loading:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        last = models._place("one").leaving
        assert first and first.cancelled() and last and not last.cancelled()

    run(all())


def test_a_stopped_engine_is_replaced(shelf: Callable[..., Shelf]) -> None:
    models = shelf()

    async def all() -> None:
        async with models.lend("one") as first:
            first.thread.close()
        async with models.lend("one") as second:
            assert second is not first and second.thread.alive

    run(all())


def test_a_folder_that_was_removed_is_told_of_still(shelf: Callable[..., Shelf], tmp_path: Path) -> None:
    gone = shelf({"gone": tmp_path / "gone"})
    assert about_models._openai(gone, "gone")["created"] == 0
    assert about_models._anthropic(gone, "gone")["max_tokens"] is None


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_HOME", str(tmp_path))
    kept = tmp_path / "models" / "owner" / "kept"
    kept.mkdir(parents=True)
    (tmp_path / "Folder-7B").mkdir()
    found = named_folders([str(WEIGHTS), f"mine={WEIGHTS}", str(tmp_path / "Folder-7B"), "owner/kept"])
    assert found == {
        "haina-brook": WEIGHTS,
        "mine": WEIGHTS,
        "Folder-7B": tmp_path / "Folder-7B",
        "owner/kept": kept,
    }
    with pytest.raises(ValueError, match="another name"):
        named_folders([str(WEIGHTS), str(WEIGHTS)])


def brook_adapter(folder: Path) -> Path:
    """Of the embedded model, large enough to change every answer."""
    config, random = Checkpoint.open(WEIGHTS).config, np.random.default_rng(0)
    shapes = {n: s for n, s in config.tensor_shapes().items() if n.endswith("down_proj.weight")}
    pairs = {
        name.removesuffix(".weight"): Pair(
            *(random.standard_normal(s, np.float32) for s in ((2, cols), (rows, 2)))
        )
        for name, (rows, cols) in shapes.items()
    }
    Adapter(pairs, alpha=2, generation={"max_new_tokens": 7}).write(folder)
    return folder


def test_an_adapter_is_a_model_of_its_own_name(shelf: Callable[..., Shelf], tmp_path: Path) -> None:
    folders = named_folders([f"one={WEIGHTS}", f"poet={brook_adapter(tmp_path / 'poet')}", f"two={WEIGHTS}"])
    models = shelf(folders)
    assert models.names == ["one", "poet", "two"] and models.folder("poet") == WEIGHTS
    for name in models.names:
        models.check(name)

    async def ask(name: str) -> list[int]:
        async with models.lend(name) as served:
            assert served.name == name
            assert (served.settings.max_new_tokens == 7) == (name == "poet")
            events = [e async for e in served.events(Request((300, 301), 8, GREEDY)) if isinstance(e, Token)]
            return [event.id for event in events]

    async def all() -> None:
        plain, poet = await asyncio.gather(ask("one"), ask("poet"))
        assert plain != poet and loaded(models) == ["one"]
        assert await ask("poet") == poet and await ask("one") == plain
        assert await models.unload("poet") and loaded(models) == []

    run(all())


def test_an_adapter_needs_its_model(tmp_path: Path) -> None:
    folder = brook_adapter(tmp_path / "poet")
    with pytest.raises(ValueError, match="this is an adapter; name the model that it belongs to before it"):
        named_folders([str(folder), str(WEIGHTS)])
    (folder / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors"):
        Shelf(named_folders([str(WEIGHTS), str(folder)]), OPTIONS).check("poet")
