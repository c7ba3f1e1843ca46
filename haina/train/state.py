"""States of a run on the disk: all that is needed to go on bitwise as if nothing had happened.

    states/00000400/    a folder per state, named by the steps done; it appears whole or not at all
        state.safetensors   weights, and of each optimiser what it keeps for each weight
        progress.json       Progress: the numbers that are not tensors
        manifest.json       the sha256 of all files

Of several processes each writes its shares (train/checkpoint_dcp.py) in place of state.safetensors; the tensors and
their names are the same, so that any number of processes goes on from either.

A state that is cut short or changed is found by its sha256 and the one before it is taken. There are no random
numbers to keep: the order of the data is a function of the seed and the sample's index. It does not know when to save.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from haina.checkpoint.manifest import Manifest
from haina.checkpoint.new_folder import new_folder
from haina.checkpoint.read_json import read_json_object
from haina.checkpoint.read_safetensors import SafetensorsWriter
from haina.model.decoder import Decoder
from haina.train import checkpoint_dcp
from haina.train.sharding import fill
from haina.wording import say

DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.int64: "I64"}


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    step: steps done. batch: the batch that comes next; it runs ahead of `step` by the batches that were left out
    after rolling back. recent: loss and norm of the gradient of the last good steps. skipped: steps in a row that
    changed nothing. rollbacks: times the run went back to this very state.
    """

    step: int = 0
    batch: int = 0
    recent: tuple[tuple[float, float], ...] = ()
    skipped: int = 0
    rollbacks: int = 0


class States:
    """The states of one run; at most `keep` of them stay."""

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep

    def save(self, now: Progress, decoder: Decoder, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Write the state, then remove the oldest. ValueError: the disk is full; what was there before is whole."""
        place = self.folder / f"{now.step:08}"
        if not place.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with new_folder(place) as part:
                write_tensors(part / "state.safetensors", tensors(decoder, optimisers))
                (part / "progress.json").write_text(json.dumps(asdict(now)) + "\n", "utf-8")
                Manifest.of(part, {"made": "haina train"}).write(part)
        self._retire()

    def _retire(self) -> None:
        for old in self.found()[self.keep :]:
            shutil.rmtree(old)

    def found(self) -> list[Path]:
        """The folders of the states, newest first."""
        return sorted(self.folder.glob("[0-9]" * 8), reverse=True)

    def wait(self) -> None:
        """Return when nothing is being written any more."""

    def load(self, decoder: Decoder, optimisers: Sequence[torch.optim.Optimizer]) -> Progress | None:
        """Take up the newest whole state; None if the run has none yet. A damaged one is named and removed.

        ValueError: every state is damaged.
        """
        found = self.newest()
        if found is None:
            return None
        state, progress = found
        take_up(state, decoder, optimisers)
        return progress

    def newest(self) -> tuple[Path, Progress] | None:
        """The newest whole state, after what is damaged or half written is gone."""
        for left in self.folder.glob(".*.unfinished-*"):  # of a process that was killed while it wrote
            shutil.rmtree(left)
        damaged: list[str] = []
        for state in self.found():
            try:
                progress = verified(state)
            except ValueError as error:
                damaged.append(str(error))
                continue
            self._forget_newer(state, damaged)
            return state, progress
        if damaged:
            raise ValueError(
                say(
                    f"{self.folder}: no state is whole ({damaged[0]}); choose another folder to begin again",
                    f"{self.folder}：没有完好的状态（{damaged[0]}）；请换一个目录重新开始",
                )
            )
        return None

    def _forget_newer(self, state: Path, damaged: Iterable[str]) -> None:
        for message in damaged:
            print(
                say(f"{message}; going on from {state.name}", f"{message}；改从 {state.name} 继续"),
                flush=True,
            )
        for newer in self.found():
            if newer.name > state.name:
                shutil.rmtree(newer)


def verified(state: Path) -> Progress:
    """The progress of a state, once all its bytes are what they were. ValueError: they are not."""
    manifest = Manifest.read(state)
    if manifest is None:
        raise ValueError(say(f"{state}: no manifest.json", f"{state}：缺少 manifest.json"))
    manifest.verify(state)
    content = read_json_object(state / "progress.json")
    return Progress(**content | {"recent": tuple((nats, norm) for nats, norm in content["recent"])})


def tensors(decoder: Decoder, optimisers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Every tensor of a run by name: model.NAME, and optim.OPTIMISER.INDEX.KEY, the index of the weight in it.

    A weight that is frozen stays as it was and is not kept.
    """
    found = {f"model.{name}": w.detach() for name, w in decoder.named_parameters() if w.requires_grad}
    for number, optimiser in enumerate(optimisers):
        for index, values in optimiser.state_dict()["state"].items():
            found |= {f"optim.{number}.{index}.{key}": torch.as_tensor(v) for key, v in values.items()}
    return found


@torch.no_grad()
def take_up(state: Path, decoder: Decoder, optimisers: Sequence[torch.optim.Optimizer]) -> None:
    """Put what `tensors` gave, back into a decoder and optimisers of the same whole shapes, however they are spread."""
    if (state / checkpoint_dcp.METADATA).exists():
        found = room(checkpoint_dcp.shapes(state), decoder, optimisers)
        checkpoint_dcp.read(state, found)
    else:
        with safe_open(state / "state.safetensors", "pt") as file:
            shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            found = room(shapes, decoder, optimisers)
            for name, target in found.items():
                fill(target, file.get_tensor(name))
    for number, optimiser in enumerate(optimisers):
        values: dict[int, dict[str, Tensor]] = {}
        for key, tensor in found.items():
            if key.startswith(f"optim.{number}."):
                _, _, index, name = key.split(".")
                values.setdefault(int(index), {})[name] = tensor
        optimiser.load_state_dict({"state": values, "param_groups": optimiser.state_dict()["param_groups"]})


def room(
    shapes: Mapping[str, torch.Size], decoder: Decoder, optimisers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """Tensors to be filled, by name: the weights themselves; for the optimisers new ones, spread like the weights."""
    weights = {f"model.{name}": weight.detach() for name, weight in decoder.named_parameters()}
    found = {}
    for name, shape in shapes.items():
        if name in weights:
            found[name] = weights[name]
            continue
        _, number, index, _ = name.split(".")
        weight = [w for group in optimisers[int(number)].param_groups for w in group["params"]][int(index)]
        alike = shape == weight.shape
        found[name] = torch.zeros_like(weight, requires_grad=False) if alike else torch.zeros(shape)
    return found


def write_tensors(file: Path, found: Mapping[str, Tensor]) -> None:
    """A safetensors file, tensor by tensor. OSError, such as for a full disk, is the system's own."""
    names = len(found), sum(len(name.encode()) for name in found)
    with SafetensorsWriter(file, names=names[0], name_bytes=names[1]) as writer:
        for name, tensor in found.items():
            at_bytes = writer.add(name, DTYPES[tensor.dtype], tuple(tensor.shape))
            flat = tensor.cpu().contiguous().reshape(-1).view(torch.uint8)
            writer.write(at_bytes, flat.numpy())
