"""The processes of one run: who each is, how they share the parts of a batch, and what they agree on.

torchrun, Ray Train or srun starts them; `joined` reads what they left in the environment. A process that nobody
started with others is a World by itself, in which nothing is exchanged. It knows neither networks nor files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from haina.wording import say

Found = TypeVar("Found")
PATIENCE = timedelta(days=2)  # for what one process does while the others wait, such as encoding a corpus


@dataclass(frozen=True)
class World:
    """The processes of a run. mesh: replicas × shards × tensor, None if there is but this one.

    Processes that share the matrices of a block (tensor) read the same rows and count as one reader. patient: all
    of them, for waiting long; saving: all of them, for the thread that writes states.
    """

    mesh: DeviceMesh | None = None
    patient: dist.ProcessGroup | None = None
    saving: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that talks and writes."""
        return self.mesh is None or dist.get_rank() == 0

    @property
    def processes(self) -> int:
        return self.mesh.size() if self.mesh else 1

    @property
    def shares(self) -> int:
        """Into how many shares the weights are split."""
        return self.mesh.size(1) * self.mesh.size(2) if self.mesh else 1

    @property
    def readers(self) -> int:
        return self.mesh.size(0) * self.mesh.size(1) if self.mesh else 1

    @property
    def reader(self) -> int:
        """Number of the reader that this process is, or belongs to."""
        return (
            self.mesh.get_local_rank(0) * self.mesh.size(1) + self.mesh.get_local_rank(1) if self.mesh else 0
        )

    def parts(self, count: int) -> list[int]:
        """Which of `count` parts are this reader's. All have equally many, since each exchange takes all of them:
        a number from `count` on is computed but counts nothing."""
        return list(range(self.reader, -(-count // self.readers) * self.readers, self.readers))

    def total(self, *numbers: float) -> list[float]:
        """The sum of each number over all readers, the same bits everywhere."""
        if self.mesh is None:
            return list(numbers)
        counts = self.mesh.get_local_rank(2) == 0
        summed = torch.tensor(numbers, dtype=torch.float64) * counts
        dist.all_reduce(summed)
        return summed.tolist()

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        if self.mesh is None:
            return here
        found = torch.tensor(float(here))
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def from_first(self, work: Callable[[], Found]) -> Found:
        """What `work` gives in the first process, in all of them; a ValueError is raised in all of them, too."""
        if self.mesh is None:
            return work()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = work()
            except ValueError as error:
                told[1] = error
        dist.broadcast_object_list(told, group=self.patient)
        if told[1] is not None:
            raise told[1]
        return told[0]


ALONE = World()


@contextmanager
def joined(device: str, *, replicas: int = 1, tensor: int = 1) -> Iterator[World]:
    """The world that this process was started into; of its processes only the first says anything on stdout.

    replicas: groups of processes that hold all weights each; tensor: processes that share the matrices of a block.
    ValueError: so many processes cannot be split like that.
    """
    size = started()
    require_split(size, replicas, tensor)
    if size == 1:
        yield ALONE
        return
    ours = not dist.is_initialized()  # Ray Train has done it already
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if ours:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    shape = (replicas, size // (replicas * tensor), tensor)
    mesh = init_device_mesh(device, shape, mesh_dim_names=("replica", "shard", "tensor"))
    patient, saving = (dist.new_group(backend="gloo", timeout=PATIENCE) for _ in range(2))
    world = World(mesh, patient, saving)
    with open(os.devnull, "w") as nowhere, redirect_stdout(sys.stdout if world.first else nowhere):
        yield world
    if ours:
        dist.barrier(group=patient)  # gloo aborts if one process is gone before another is done
        dist.destroy_process_group()


def started() -> int:
    """How many processes were started for this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_split(size: int, replicas: int, tensor: int) -> None:
    """ValueError if so many processes cannot be split like that."""
    if size % (replicas * tensor):
        raise ValueError(
            say(
                f"{size} processes cannot be split into {replicas} replicas × {tensor} for each matrix; "
                "change --replicas, --tensor-parallel or the number of processes",
                f"{size} 个进程无法分为 {replicas} 个副本 × 每个矩阵 {tensor} 份；"
                "请调整 --replicas、--tensor-parallel 或进程数",
            )
        )
