"""What one export reads and writes: the checkpoint, the type of the weights, and the weights a few rows at a time.

Shared by `export_folder` and `export_gguf`. It does not know how others name or lay out tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from haina.checkpoint.checkpoint import Checkpoint, require_in_range
from haina.checkpoint.manifest import FileRecord, Progress
from haina.checkpoint.raw import Raw, chunks, tensor_bytes
from haina.text.messages import Template, template_for

_MATRIX = "model.layers.0.mlp.gate_proj.weight"  # stands for all


@dataclass
class ExportPlan:
    """One export. Tensors by our names; `progress` hears (what, bytes of the source done, of all)."""

    checkpoint: Checkpoint
    place: Path  # where the folder will be, for messages
    what: str  # for progress
    progress: Progress
    fold: bool = True  # a NormHead is written as a plain head
    _done_bytes: int = field(default=0, repr=False)

    @property
    def template(self) -> Template | None:
        return template_for(self.checkpoint.config.architecture, self.checkpoint.generation)

    def rows(self, name: str, dtype: str, *, whole: bool = False) -> Iterator[Raw]:
        """A tensor in this type, a few rows at a time or whole. ValueError: NaN, infinite, or too large for it."""
        shape, total = self.checkpoint.shape(name), sum(map(self._source_bytes, self.checkpoint.names()))
        for start, stop in [(0, shape[0])] if whole else chunks(shape):
            rows = self.checkpoint.rows(name, start, stop, fold=self.fold).rounded(dtype)
            require_in_range(self.checkpoint.folder, name, rows)
            yield rows
            self._done_bytes += tensor_bytes(self.checkpoint.dtype(name), rows.shape)
            self.progress(self.what, self._done_bytes, total)
        self.checkpoint.give_back(name)

    def _source_bytes(self, name: str) -> int:
        return tensor_bytes(self.checkpoint.dtype(name), self.checkpoint.shape(name))


def stored_type(checkpoint: Checkpoint) -> str:
    """The type that weights keep unless another is asked for: their own, F16 if they are in a code."""
    coding = checkpoint.coding(_MATRIX)
    return coding if coding in ("F32", "F16", "BF16") else "F16"


class HashedFile:
    """A new file, written front to back, with the sha256 of what was written."""

    def __init__(self, path: Path):
        self._file, self._sha256, self._bytes = path.open("xb"), hashlib.sha256(), 0

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self._bytes += len(data)

    def record(self) -> FileRecord:
        return FileRecord(self._bytes, self._sha256.hexdigest())
