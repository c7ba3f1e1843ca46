"""merge: a model folder with an adapter's change added to its weights, for programs that know no adapters.

A few rows are float32 at a time. It does not know training; `train/lora.py` merges in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from haina.checkpoint.adapter import Adapter, Pair
from haina.checkpoint.checkpoint import Checkpoint, require_in_range, save
from haina.checkpoint.new_folder import refuse_occupied
from haina.checkpoint.raw import Raw, chunks, tensor_bytes
from haina.native.packing import PACKED

Dtype = Literal["f32", "f16", "bf16"]


def merge(
    checkpoint: Checkpoint,
    adapter: Adapter,
    destination: str | Path,
    *,
    dtype: Dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write weight + scale·B·A of each matrix that the adapter changes, and the rest as it is, to a new folder.

    dtype: of all weights; without it each keeps its own, packed ones (4 and 8 bits) become F16. `progress` hears how
    many tensors are written, and of how many. ValueError: the adapter is not for this model, the place is taken, the
    disk full, or a sum too large for its type.
    """
    refuse_occupied(Path(destination), source=checkpoint.folder)
    changes = adapter.changes(checkpoint.config)
    save(
        destination,
        checkpoint.config,
        _tensors(checkpoint, changes, dtype, progress),
        tokenizer=checkpoint.tokenizer_bytes(),
        generation=checkpoint.generation | dict(adapter.generation),
        source=_source(checkpoint, adapter),
        files={path.name: path.read_bytes() for path in checkpoint.license_files()},
    )


def _tensors(
    checkpoint: Checkpoint,
    changes: dict[str, Pair],
    dtype: Dtype | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[str, Raw]]:
    names = checkpoint.names()
    for done, name in enumerate(names, 1):
        own = checkpoint.dtype(name)
        kind = dtype.upper() if dtype else "F16" if own in PACKED else own
        yield name, _merged(checkpoint, name, changes.get(name), kind)
        checkpoint.give_back(name)
        if progress:
            progress(done, len(names))


def _merged(checkpoint: Checkpoint, name: str, pair: Pair | None, dtype: str) -> Raw:
    shape = checkpoint.shape(name)
    raw = Raw(dtype, shape, np.empty(tensor_bytes(dtype, shape), np.uint8))
    for start, stop in chunks(shape):
        part = checkpoint.rows(name, start, stop, fold=False)
        if pair is not None:
            values = part.float32()
            values += pair.b_OR[start:stop] @ pair.a_RI
            part = Raw.of(values)
        raw.rows(start, stop).data[:] = part.rounded(dtype).data
    require_in_range(checkpoint.folder, name, raw)
    return raw


def _source(checkpoint: Checkpoint, adapter: Adapter) -> dict[str, Any]:
    """Where the weights come from and how they were made, for the manifest."""
    source = dict(checkpoint.manifest.source) if checkpoint.manifest else {}
    made = f"haina merge, adapter {Path(adapter.where).resolve().name}"
    source["made"] = f"{source['made']}; {made}" if "made" in source else made
    source["from"] = checkpoint.folder.resolve().name
    return source
