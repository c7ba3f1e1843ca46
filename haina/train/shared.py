"""The folder of a run that several processes, perhaps on several machines, train in: one lock, one set of states.

A state is written while the training goes on: the tensors are copied, a thread writes them, and when all processes
have written theirs the first one gives the folder its name. A run that is killed meanwhile goes on from the state
before. It does not know when to save, nor what the tensors are.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException

from haina.checkpoint.manifest import Manifest
from haina.checkpoint.new_folder import alone, put_in_place
from haina.model.decoder import Decoder
from haina.train import checkpoint_dcp
from haina.train.distributed import World
from haina.train.state import Progress, States, tensors
from haina.wording import say, system_reason


def states_of(world: World, folder: Path, keep: int) -> States:
    """The states of a run, written by the processes of a world."""
    return States(folder, keep) if world.mesh is None else SharedStates(folder, keep, world)


class SharedStates(States):
    """States that several processes write, one at a time and each its shares; all must call every method."""

    def __init__(self, folder: Path, keep: int, world: World):
        super().__init__(folder, keep)
        self.world = world
        self.pending: Future[Any] | None = None
        self.thread = ThreadPoolExecutor(1, "states")

    def save(self, now: Progress, decoder: Decoder, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Begin to write the state, after the one before is written. ValueError: that one could not be."""
        self.wait()
        place = self.folder / f"{now.step:08}"
        part = self.folder / f".{place.name}.unfinished-shared"
        if not self.world.from_first(lambda: begun(place, part)):
            return
        written = checkpoint_dcp.write(part, tensors(decoder, optimisers), self.world.saving)
        self.pending = self.thread.submit(self._finish, written, now, part, place)

    def wait(self) -> None:
        """Return when the last state lies on the disk. ValueError: it does not; those before it are whole."""
        if self.pending is None:
            return
        pending, self.pending = self.pending, None
        self.world.from_first(pending.result)
        if not self.world.first:
            pending.result()

    def newest(self) -> tuple[Path, Progress] | None:
        self.wait()
        return self.world.from_first(super().newest)

    def _finish(self, written: Future[Any], now: Progress, part: Path, place: Path) -> None:
        """In the thread: once all have written, the first process makes the folder a state."""
        try:
            written.result()
            if not self.world.first:
                return
            (part / "progress.json").write_text(json.dumps(asdict(now)) + "\n", "utf-8")
            Manifest.of(part, {"made": "haina train"}).write(part)
            put_in_place(part, place)
            self._retire()
        except CheckpointException as error:  # of whichever process
            why, *_ = (failure for failure, _ in error.failures.values())
            raise _not_written(place, why) from None
        except OSError as error:
            raise _not_written(place, error) from error


def begun(place: Path, part: Path) -> bool:
    """Whether `place` is still to be written; then an empty folder is at `part`."""
    if place.exists():
        return False
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return True


@contextmanager
def alone_in(folder: Path, world: World) -> Iterator[None]:
    """Hold the run's folder as its only world. ValueError: another trains here, or the folder is not one for all."""
    busy = say(
        f"{folder}: another process trains here; wait for it, or choose another folder",
        f"{folder}：另有进程正在此目录训练；请等它结束，或换一个目录",
    )
    with ExitStack() as stack:
        world.from_first(lambda: stack.enter_context(alone(folder / ".lock", busy)))
        if world.mesh is not None:
            require_one(folder, world)
        yield


def require_one(folder: Path, world: World) -> None:
    """ValueError if the folder is not the same one for all processes."""
    mark = folder / world.from_first(lambda: Path(tempfile.mkstemp(prefix=".seen-", dir=folder)[1]).name)
    apart = world.any(not mark.exists())
    if world.first:
        mark.unlink()
    if apart:
        raise ValueError(
            say(
                f"{folder}: is not one folder for all machines; put the run on a file system that they share",
                f"{folder}：各机器看到的不是同一个目录；请把训练目录放在共享文件系统上",
            )
        )


def _not_written(place: Path, why: BaseException) -> ValueError:
    reason = system_reason(why) if isinstance(why, OSError) else str(why).splitlines()[0]
    return ValueError(
        say(
            f"{place}: not written: {reason}; make room or choose another place",
            f"{place}：未能写入：{reason}；请腾出空间或换个位置",
        )
    )
