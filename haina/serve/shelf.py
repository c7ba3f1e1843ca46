"""Shelf: the models that are served, by name: loaded when somebody asks, taken out of memory when idle for long.

`lend` gives a loaded model for as long as somebody needs it; a loaded one stays for the next. When memory is too small
for one more, idle ones make room. It does not know HTTP, nor what is asked of a model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

from haina.apps.chat import Settings
from haina.apps.model import (
    CACHES,
    Model,
    NoRoom,
    Progress,
    adapted,
    context_tokens,
    load_model,
    opened,
)
from haina.apps.screen import explained, one_line
from haina.checkpoint.adapter import Adapter, is_adapter
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.library import entries, find
from haina.checkpoint.manifest import Manifest
from haina.engine.admission import MOST_LINES
from haina.engine.grammar import Grammars
from haina.engine.memory import cache_bytes
from haina.engine.request import Asked, Event
from haina.engine.rule import Vocabulary
from haina.options.serving import ServeOptions
from haina.options.talk import ChatOptions
from haina.serve.engine_thread import EngineThread
from haina.serve.engine_thread import Progress as Reading
from haina.wording import say

DEFAULT_CACHE_BYTES = 1 << 30  # of one model's conversations


class UnknownModel(LookupError):
    """No model of this name is served; `names` are."""

    def __init__(self, name: str, names: list[str]):
        self.name, self.names = name, names
        super().__init__(
            say(
                f"no model {name!r} is served here; there is: {', '.join(names)}",
                f"此处没有模型 {name!r}；可用：{'、'.join(names)}",
            )
        )


class NotLoaded(RuntimeError):
    """A model that is served cannot be loaded now; the message says why."""


class Watcher(Protocol):
    """Hears what passes between a model and those who ask (serve/metrics.py)."""

    def watch(
        self, name: str, asked: Asked, events: AsyncGenerator[Event | Reading, None]
    ) -> AsyncGenerator[Event | Reading, None]: ...


@dataclass(eq=False)
class Served:
    """A loaded model and its thread."""

    name: str
    model: Model
    thread: EngineThread
    watcher: Watcher | None = None
    adapters: Mapping[str, Served] = field(default_factory=dict)  # the same model with each of its own

    @cached_property
    def settings(self) -> Settings:
        """How it is asked when a request says nothing: its generation_config.json."""
        return Settings.of(self.model.checkpoint, ChatOptions())

    @cached_property
    def grammars(self) -> Grammars:
        """Compiled for this model's pieces. The first look takes some tenths of a second."""
        return Grammars(Vocabulary(self.model.tokenizer, self.model.checkpoint.config.vocab_size))

    async def events(self, asked: Asked) -> AsyncGenerator[Event | Reading, None]:
        """As EngineThread.events, and the watcher hears them."""
        events = self.thread.events(replace(asked, adapter=self.model.adapter))
        if self.watcher:
            events = self.watcher.watch(self.name, asked, events)
        async with aclosing(events) as heard:
            async for event in heard:
                yield event


@dataclass(eq=False)
class _Place:
    """A name on the shelf, and the model that stands there, if it is loaded; folders of its adapters by their names."""

    name: str
    folder: Path
    adapters: dict[str, Path] = field(default_factory=dict)
    served: Served | None = None
    users: int = 0
    left_s: float = 0.0  # when the last user went
    loading: asyncio.Task[Served] | None = None
    leaving: asyncio.TimerHandle | None = None  # while nobody uses it


class Shelf:
    """Several models by name; the first is the default. Belongs to one loop.

    An adapter is served as a model, too: the one named before it, whose weights are in memory once for all.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        options: ServeOptions,
        *,
        watcher: Watcher | None = None,
    ):
        assert folders
        self._places: dict[str, _Place] = {}
        self._named: dict[str, _Place] = {}  # an adapter's is that of its model
        for name, folder in folders.items():
            if not is_adapter(folder):
                place = self._places[name] = _Place(name, folder)
            else:
                place.adapters[name] = folder
            self._named[name] = place
        self._options, self._watcher = options, watcher
        self._tidying: asyncio.Task[bool] | None = None  # of what was idle, the last
        self._room = asyncio.Lock()  # one model at a time is loaded or unloaded: memory is counted

    @property
    def names(self) -> list[str]:
        return list(self._named)

    @property
    def loaded(self) -> list[Served]:
        """Those in memory."""
        return [place.served for place in self._places.values() if place.served]

    @property
    def loading(self) -> list[str]:
        """Names of those that are being loaded."""
        return [place.name for place in self._places.values() if place.loading]

    def folder(self, name: str | None) -> Path:
        """Where a model lies. UnknownModel."""
        return self._place(name).folder

    def context(self, name: str) -> int:
        """Tokens for prompt and answer together. ValueError: why the model cannot be read."""
        return context_tokens(Checkpoint.open(self.folder(name), verify=False), self._options.context)

    def check(self, name: str) -> list[str]:
        """What a person should know. ValueError: what is wrong, as far as it can be seen without loading it."""
        place = self._place(name)
        checkpoint = Checkpoint.open(place.folder, verify=False)
        if name not in place.adapters:
            return []
        adapter = Adapter.read(place.adapters[name])
        adapter.places(checkpoint.config)
        return adapter.doubts(checkpoint)

    def load(self, name: str | None = None, *, progress: Progress | None = None) -> Served:
        """Load a model now, before there is a loop. ValueError: why it cannot be."""
        place = self._place(name)
        place.served = self._opened(place, opened(place.folder, progress), progress)
        return place.served

    def begin(self) -> None:
        """There is a loop now: what was loaded before it, and nobody asks for, counts as idle from here on."""
        for place in self._places.values():
            if place.served and not place.users and not place.leaving:
                self._rest(place)

    def idle_s(self, name: str) -> float | None:
        """Seconds until a model is taken out of memory if nobody asks for it from now on; None: it never is."""
        place = self._place(name)
        if not self._options.idle:
            return None
        if place.users or place.leaving is None:
            return self._options.idle * 60
        return max(0.0, place.leaving.when() - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def lend(self, name: str | None) -> AsyncIterator[Served]:
        """The model of this name, None for the default, for the time of the context.

        UnknownModel. NotLoaded: it is served, but cannot be loaded.
        """
        place = self._place(name)
        place.users += 1
        if place.leaving:
            place.leaving.cancel()
            place.leaving = None
        try:
            served = await self._loaded(place)
            yield served.adapters.get(name or "", served)
        finally:
            place.users -= 1
            if not place.users:
                self._rest(place)

    async def unload(self, name: str | None) -> bool:
        """Take a model out of memory, unless somebody uses it. Whether it is out."""
        place = self._place(name)
        async with self._room:
            return await _put_out(place)

    def close(self) -> None:
        """End all threads; requests in flight end with a RuntimeError."""
        for place in self._places.values():
            if place.served:
                place.served.thread.close()
                place.served = None

    # -- inside -----------------------------------------------------------------------------------------------

    def _place(self, name: str | None) -> _Place:
        if name is None:
            return next(iter(self._places.values()))
        if name not in self._named:
            raise UnknownModel(name, self.names)
        return self._named[name]

    async def _loaded(self, place: _Place) -> Served:
        """Whoever asks first begins the loading, which goes on even if nobody waits for it any more."""
        if place.served and place.served.thread.alive:
            return place.served
        if place.loading is None:
            place.loading = asyncio.create_task(self._load(place))
            place.loading.add_done_callback(partial(self._tried, place))
        return await asyncio.shield(place.loading)

    def _tried(self, place: _Place, task: asyncio.Task[Served]) -> None:
        place.loading = None
        if not task.cancelled() and not task.exception() and not place.users:
            self._rest(place)

    async def _load(self, place: _Place) -> Served:
        try:
            async with self._room:
                place.served = None  # a thread that has stopped
                place.served = await self._fitted(place)
                return place.served
        except (ValueError, OSError, MemoryError) as error:
            # its folder is nobody's business but the operator's
            raise NotLoaded(explained(error).replace(str(place.folder), place.name)) from error

    async def _fitted(self, place: _Place) -> Served:
        """Idle models make room, the longest idle first, until it fits or none is left."""
        checkpoint = await asyncio.to_thread(opened, place.folder)
        while True:
            try:
                return await asyncio.to_thread(self._opened, place, checkpoint, None)
            except NoRoom:
                idle = [other for other in self._places.values() if other.served and not other.users]
                if not idle:
                    raise
                await _put_out(min(idle, key=lambda other: other.left_s))

    def _opened(self, place: _Place, checkpoint: Checkpoint, progress: Progress | None) -> Served:
        many = self._options.conversations or _conversations(checkpoint, self._options)
        model = load_model(checkpoint, self._options, conversations=many, progress=progress)
        with_each = {
            name: adapted(model, name, Adapter.read(folder)) for name, folder in place.adapters.items()
        }
        served = Served(place.name, model, EngineThread(model.engine), self._watcher)
        served.adapters = {name: replace(served, name=name, model=own) for name, own in with_each.items()}
        return served

    def _rest(self, place: _Place) -> None:
        """Nobody uses it now. If that stays so for the time of the options, it goes."""
        place.left_s = time.monotonic()
        if place.leaving:
            place.leaving.cancel()
        if self._options.idle:
            loop = asyncio.get_running_loop()
            place.leaving = loop.call_later(self._options.idle * 60, self._idle, place.name)

    def _idle(self, name: str) -> None:
        self._place(name).leaving = None
        self._tidying = asyncio.create_task(self.unload(name))


async def _put_out(place: _Place) -> bool:
    """False: somebody uses it."""
    if place.users:
        return False
    if place.served:
        served, place.served = place.served, None
        await asyncio.to_thread(served.thread.close)
    return True


def _conversations(checkpoint: Checkpoint, options: ServeOptions) -> int:
    """As many as DEFAULT_CACHE_BYTES hold in full length, one at least."""
    context = context_tokens(checkpoint, options.context)
    each = cache_bytes(checkpoint.config, tokens=context, dtype=CACHES[options.cache])
    return max(1, min(MOST_LINES, DEFAULT_CACHE_BYTES // each))


def named_folders(models: Iterable[str]) -> dict[str, Path]:
    """Models as people write them, by name: NAME=PATH, a folder, a .gguf file, a name of the library; and adapters.

    ValueError: two of one name, an adapter before any model.
    """
    folders: dict[str, Path] = {}
    for model in models:
        alias, _, path = model.rpartition("=")
        folder = find(path)
        name = alias or _name(folder)
        if is_adapter(folder) and not folders:
            raise ValueError(
                say(
                    f"{model}: this is an adapter; name the model that it belongs to before it",
                    f"{model}：这是适配器；请先写出它所属的模型",
                )
            )
        if name in folders:
            raise ValueError(
                say(
                    f"{model}: there is a model {name} already; give it another name: NAME={path}",
                    f"{model}：已有名为 {name} 的模型；请另取名称：名称={path}",
                )
            )
        folders[name] = folder
    return folders


def _name(folder: Path) -> str:
    """The library's, the first word of the manifest's, or the folder's own."""
    for entry in entries():
        if entry.folder == folder:
            return entry.name
    manifest = Manifest.read(folder) if folder.is_dir() else None
    named = str(manifest.source.get("name", "")).split() if manifest else []
    return one_line(named[0] if named else folder.resolve().name.removesuffix(".gguf"))
