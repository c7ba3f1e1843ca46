"""EngineThread: an engine on a thread of its own, with a face for asyncio. The only place where the two meet.

The engine is synchronous; HTTP is not. Requests, cancellations and questions go in by one queue, and are done between
two steps; events go out to the loops that wait for them, all of a step in one call. It does not know HTTP or text.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from haina.engine.engine import Engine
from haina.engine.request import Asked, Event
from haina.wording import say


@dataclass(frozen=True)
class Progress:
    """So many of a prompt's tokens have been read, of all."""

    done: int
    total: int


class EngineStopped(RuntimeError):
    """The thread has ended, and whatever it served with it."""

    def __init__(self) -> None:
        super().__init__(say("the engine has stopped; start the server again", "引擎已停止；请重新启动服务"))


class Ended:
    """Nothing more comes."""


Said = Event | Progress | Ended | Exception


@dataclass(eq=False)
class _Stream:
    """Whoever waits for a request: its loop, and the queue that only that loop touches."""

    asked: Asked
    loop: asyncio.AbstractEventLoop
    said: asyncio.Queue[Said] = field(default_factory=asyncio.Queue)
    number: int | None = None  # the thread's


class EngineThread:
    """`events` from any task of any loop, `close` once. When the thread ends, requests end with EngineStopped."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # over `alive`: once it is False, no order is put
        self.alive = True
        self._streams: dict[int, _Stream] = {}
        self._reading: dict[int, Progress | None] = {}  # those whose first event has not come: what they know
        self._thread = threading.Thread(target=self._run, name="haina-engine", daemon=True)
        self._thread.start()

    async def events(self, asked: Asked) -> AsyncGenerator[Event | Progress, None]:
        """What a request gives, until it ends. Whoever stops listening cancels it.

        ValueError: it was refused. EngineStopped.
        """
        stream = _Stream(asked, asyncio.get_running_loop())
        if not self._order(lambda: self._begin(stream)):
            raise EngineStopped
        try:
            while not isinstance(said := await stream.said.get(), Ended):
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self._order(lambda: self._forget(stream))

    def end_choice(self, number: int, choice: int) -> None:
        """Nobody needs more of this answer: before the next step its pages are free. The request's others go on."""
        self._order(lambda: self._end_choice(number, choice))

    def close(self) -> None:
        """End the thread after the step it is in."""
        self._order(None)
        self._thread.join()

    def _order(self, order: Callable[[], None] | None) -> bool:
        """To be done on the thread, before the next step. False: there is none any more."""
        with self._lock:
            if self.alive:
                self._orders.put(order)
            return self.alive

    # -- on the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._obey():
                self._tell(self.engine.step())
        finally:  # nothing asks the engine from here on: it may be what has failed
            with self._lock:
                self.alive = False
            while not self._orders.empty():  # requests that came too late
                if order := self._orders.get():
                    order()
            _deliver([(stream, [EngineStopped()]) for stream in self._streams.values()])

    def _obey(self) -> bool:
        """Do all that was ordered; sleep while there is nothing to do. False: the end."""
        while True:
            try:
                order = self._orders.get(block=not self.engine.busy)
            except queue.Empty:
                return True
            if order is None:
                return False
            order()

    def _begin(self, stream: _Stream) -> None:
        refusal: Exception | None = EngineStopped()
        try:
            if self.alive:
                stream.number, refusal = self.engine.add(stream.asked), None
        except ValueError as error:
            refusal = error
        finally:
            if refusal:
                _deliver([(stream, [refusal])])
        if stream.number is not None:
            self._streams[stream.number] = stream
            self._reading[stream.number] = None

    def _forget(self, stream: _Stream) -> None:
        """Done with, or left: then its pages are free before the next step."""
        if stream.number is not None and stream.number in self._streams:
            del self._streams[stream.number]
            self._reading.pop(stream.number, None)
            if self.alive:
                self.engine.cancel(stream.number)

    def _end_choice(self, number: int, choice: int) -> None:
        if self.alive and number in self._streams:
            self.engine.cancel(number, choice)
            if not self.engine.serves(number):  # it was the last one
                self._tell_all({number: []})

    def _tell(self, events: list[Event]) -> None:
        said: dict[int, list[Said]] = {}
        for event in events:
            said.setdefault(event.request, []).append(event)
            self._reading.pop(event.request, None)
        for number, known in self._reading.items():
            if (progress := Progress(*self.engine.prefilled(number))) != known:
                self._reading[number] = progress
                said[number] = [progress]
        self._tell_all(said)

    def _tell_all(self, said: dict[int, list[Said]]) -> None:
        """What each request hears; of one that is over, the end, too. Those who have left hear nothing."""
        heard: list[tuple[_Stream, list[Said]]] = []
        for number, items in said.items():
            if stream := self._streams.get(number):
                if not self.engine.serves(number):
                    items.append(Ended())
                    del self._streams[number]
                heard.append((stream, items))
        for stream in _deliver(heard):
            self._forget(stream)


def _deliver(heard: Sequence[tuple[_Stream, list[Said]]]) -> list[_Stream]:
    """Wakes each loop once, whoever of its tasks it is for. The streams whose loop is closed."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Stream, list[Said]]]] = {}
    for stream, items in heard:
        by_loop.setdefault(stream.loop, []).append((stream, items))
    gone: list[_Stream] = []
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put, theirs)
        except RuntimeError:  # it is closed
            gone += [stream for stream, _ in theirs]
    return gone


def _put(heard: Sequence[tuple[_Stream, list[Said]]]) -> None:
    """On the loop: each stream's items into its queue."""
    for stream, items in heard:
        for item in items:
            stream.said.put_nowait(item)
