"""Where the steps of a build run: on this machine, on Ray or through Slurm, by datatrove's executors.

A stage is one step with so many tasks; a task that is done leaves a mark and is not done again. It does not know what
steps do. Executors, marks and logs are those of huggingface/datatrove 0.10.1.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.utils.logging import logger

from haina.options.data import BuildOptions
from haina.wording import say

MEMORY_GB = 1.0  # of a task
TICK_S = 1.0
Step = Callable[[object, int, int], None]


@dataclass(frozen=True)
class Stage:
    """A step to run, its name in English and Chinese, and how many tasks it has."""

    name: str
    en: str
    zh: str
    step: Step
    tasks: int


class Local(LocalPipelineExecutor):  # type: ignore[misc]
    """Without datatrove's words on the terminal."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


def run(stages: Sequence[Stage], work: Path, options: BuildOptions, report: Callable[[str], None]) -> bool:
    """Run the stages one after another; whether they are done: of Slurm, they are only handed over."""
    logger.disable("datatrove")
    try:
        if options.executor == "slurm":
            _slurm(stages, work, options)
            return False
        if options.executor == "ray":
            _start_ray(options)
        for stage in stages:
            with _told(stage, work, report):
                _done(_executor(stage, work, options), stage, work)
        return True
    finally:
        logger.enable("datatrove")


@contextmanager
def _told(stage: Stage, work: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Says every TICK_S how many tasks of the stage have left their mark, and how long it takes by now."""
    began, over = time.monotonic(), threading.Event()
    marks = work / "logs" / stage.name / "completions"

    def tell() -> None:
        while True:
            done = f"{sum(1 for _ in marks.glob('*'))}/{stage.tasks}" if stage.tasks > 1 else ""
            minutes, seconds = divmod(int(time.monotonic() - began), 60)
            report(
                say(
                    f"{stage.en} {done} … {minutes}:{seconds:02}",
                    f"{stage.zh} {done}…… {minutes}:{seconds:02}",
                )
            )
            if over.wait(TICK_S):
                return

    teller = threading.Thread(target=tell)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _executor(stage: Stage, work: Path, options: BuildOptions) -> Any:
    workers = min(options.workers or os.cpu_count() or 1, stage.tasks)
    about = {"pipeline": [stage.step], "tasks": stage.tasks, "logging_dir": str(work / "logs" / stage.name)}
    if options.executor == "local" or stage.tasks == 1:
        return Local(**about, workers=workers)
    from datatrove.executor.ray import RayPipelineExecutor

    return RayPipelineExecutor(**about, workers=workers, mem_per_cpu_gb=MEMORY_GB)


def _done(executor: Any, stage: Stage, work: Path) -> None:
    executor.run()
    if left := executor.get_incomplete_ranks():
        raise ValueError(
            say(
                f"{stage.en}: {len(left)} of {stage.tasks} tasks failed; {work}/logs/{stage.name} says why; "
                "a new call goes on from here",
                f"{stage.zh}：{stage.tasks} 个任务中有 {len(left)} 个失败，原因见 {work}/logs/{stage.name}；"
                "再次运行则继续",
            )
        )


def _start_ray(options: BuildOptions) -> None:
    import ray

    if not ray.is_initialized():
        cores = None if "RAY_ADDRESS" in os.environ else options.workers or os.cpu_count()
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _slurm(stages: Sequence[Stage], work: Path, options: BuildOptions) -> None:
    from datatrove.executor.slurm import SlurmPipelineExecutor

    before = None
    for stage in stages:
        before = SlurmPipelineExecutor(
            pipeline=[stage.step],
            tasks=stage.tasks,
            workers=options.workers or -1,
            time=options.slurm_time,
            partition=options.slurm_partition,
            job_name=f"haina-{stage.name}",
            logging_dir=str(work / "logs" / stage.name),
            depends=before,
        )
    assert before
    before.run()
