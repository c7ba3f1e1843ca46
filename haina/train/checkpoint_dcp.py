"""Tensors of several processes as one folder, PyTorch's distributed checkpoint (DCP): each writes its shares.

    .metadata       what lies where; written last
    __R_N.distcp    the shares of process R

Any world, or one process, reads it back. Single processes write safetensors instead (train/state.py): one file,
nothing pickled. It does not know what the tensors are for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

METADATA = ".metadata"


def write(folder: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> Future[Any]:
    """Begin to write; what the tensors are now is kept. All processes call it; `group` is for this alone."""
    made = async_save(dict(tensors), checkpoint_id=folder, process_group=group)
    assert isinstance(made, Future)
    return made


def shapes(folder: Path) -> dict[str, torch.Size]:
    """The shape of each whole tensor by name."""
    found = FileSystemReader(folder).read_metadata().state_dict_metadata
    return {name: entry.size for name, entry in found.items() if isinstance(entry, TensorStorageMetadata)}


def read(folder: Path, targets: dict[str, Tensor]) -> None:
    """Fill tensors, or this process's shares of them, by name. Nothing is exchanged: each reads what it needs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # "assuming the intent …": yes
        load(targets, checkpoint_id=folder, no_dist=True)
