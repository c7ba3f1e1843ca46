"""Where a pre-training runs: in this process, in those that torchrun or srun started, or in workers of Ray Train.

Each process calls `here`, which finds the others by itself; Ray's TorchTrainer calls it in its workers. It knows
neither the network nor the loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from haina.options.training import PretrainOptions
from haina.train.deepspeed import migrated
from haina.train.distributed import joined, started
from haina.train.pretrain import Device, chosen_device, prepare, refuse, run
from haina.wording import say

FAILURES = 3  # of workers, after which Ray gives up

Available = Callable[[Device], "int | None"]
Ask = Callable[[bool], None]


def here(text: Path, asked: PretrainOptions, *, available: Available, ask: Ask) -> None:
    """Plan, ask, train and publish, in all processes of this world at once.

    available: bytes of memory of a device. ask: called with whether it goes without saying; raises if it does not.
    ValueError names what is amiss.
    """
    asked, told = migrated(asked, started())
    device = chosen_device(asked.device)
    with joined(device, replicas=asked.replicas, tensor=asked.tensor_parallel) as world:
        for line in told:
            print(line, flush=True)
        job = prepare(text, asked, available=available, world=world)
        print(job.plan.text(), flush=True)
        refuse(job)
        world.from_first(lambda: ask(asked.yes or (job.folder / "states").exists()))
        model = run(job)
        if model is not None:
            print(
                say(
                    f"{model}: done; let it continue a text: haina run {model} --raw",
                    f"{model}：完成；让它续写文本：haina run {model} --raw",
                )
            )


def on_ray(text: Path, asked: PretrainOptions, *, available: Available, ask: Ask) -> None:
    """`here` in `asked.workers` workers of Ray Train, started again from the last state if one is lost.

    A running cluster is found by RAY_ADDRESS; else Ray starts on this machine. Folders lie on a file system that all
    machines share. ValueError: what a worker found amiss.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    cuda = chosen_device(asked.device) == "cuda"
    absolute: dict[str, Any] = {
        name: str(Path(path).resolve())
        for name in ("out", "tokenizer", "deepspeed")
        if (path := getattr(asked, name))
    }
    given = {"text": text.resolve(), "asked": replace(asked, **absolute), "available": available, "ask": ask}
    if not ray.is_initialized():
        processes = None if "RAY_ADDRESS" in os.environ else asked.workers + 1
        once = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}  # or whatever a worker prints is shown twice
        ray.init(num_cpus=processes, runtime_env={"env_vars": once})
    trainer = TorchTrainer(
        _work,
        train_loop_config=given,
        torch_config=TorchConfig("cpu:gloo,cuda:nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(num_workers=asked.workers, use_gpu=cuda),
        run_config=RunConfig(
            name="ray", storage_path=absolute["out"], failure_config=FailureConfig(max_failures=FAILURES)
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise _first_cause(error) from error


def _work(given: dict[str, Any]) -> None:
    here(**given)


def _first_cause(error: Any) -> BaseException:
    """What a worker found amiss, if it was our own word; else Ray's."""
    failures = getattr(error, "worker_failures", {}).values()
    return next((why for why in failures if isinstance(why, ValueError)), error)
