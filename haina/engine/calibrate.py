"""Calibration: the rounding of a W4 model that suits the inputs which a text gives to its matrices.

The text goes through the network one layer at a time, with the weights of the source; for each of the four inputs
of a layer E[x xᵀ] is summed up, and gptq.py rounds the matrices that read it. So memory is one layer, the states of
the text and at most one layer's sums, whatever the depth (13B, 32,768 tokens: about 5 GB). A layer depends on the
source alone, not on how others were rounded: rounding may stop and go on at any tensor, and the KL of the result was
not worse for it (docs/log.md). It knows ids, not text, and nothing of files that are written.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np

from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import RoundRows
from haina.engine.gptq import Feedback
from haina.engine.runner_native import PAGE_TOKENS, native_model, pointer
from haina.native.binding import Inside, Matrix, NativeCache, NativeModel, inside
from haina.wording import say

PART_ROWS = 4  # rows that go through a layer together
EMBEDDING = "model.embed_tokens.weight"
INPUTS = {  # the input (binding.Inside) of each matrix
    "q": "attention", "k": "attention", "v": "attention", "o": "wo", "gate": "ffn", "up": "ffn", "down": "down",
}  # fmt: skip


class Calibration:
    """A Rounding for convert(): `of` must be asked in the order of the network.

    rows_BT: int32, the ids of the text in rows that do not see each other.
    ValueError if a layer gives values that are not finite, or too large to be summed up.
    """

    def __init__(self, checkpoint: Checkpoint, rows_BT: np.ndarray, *, threads: int | None = None):
        self.checkpoint, self.threads = checkpoint, threads
        self.B, self.T = rows_BT.shape
        self.identity = hashlib.sha256(rows_BT.astype("<i4").tobytes()).hexdigest()
        rows = (checkpoint.rows(EMBEDDING, int(i), int(i) + 1).float32() for i in rows_BT.flat)
        self._states_ND = np.concatenate(list(rows))
        self._next = 0  # the layer that the states are fed to next
        self._moments: dict[str, np.ndarray] = {}  # E[x xᵀ] by input, of the layer before
        self._input = ""  # that the feedback is for
        self._feedback: Feedback | None = None

    def of(self, name: str) -> RoundRows | None:
        """How rows of this tensor are rounded; None for what is not a matrix of a layer."""
        found = re.fullmatch(r"model\.layers\.(\d+)\.\w+\.(\w+)_proj\.weight", name)
        if not found:
            return None
        layer, where = int(found[1]), INPUTS[found[2]]
        while self._next <= layer:
            self._feed(look=self._next == layer)
        if self._input != f"{layer}.{where}":
            self._feedback = None  # let go of the old one before the new one is made
            try:
                self._input, self._feedback = f"{layer}.{where}", Feedback.of(self._moments.pop(where))
            except np.linalg.LinAlgError:
                raise _not_finite(self.checkpoint, layer) from None
        assert self._feedback
        return self._feedback.pack

    def _feed(self, *, look: bool) -> None:
        """The states through the next layer; with `look` the moments of its inputs are summed up."""
        self._moments = {}
        model = self._layer(self._next)
        for b in range(0, self.B, PART_ROWS):
            tokens = np.arange(b * self.T, min(b + PART_ROWS, self.B) * self.T, dtype=np.int32)
            seen = self._run(model, tokens)
            self._states_ND[tokens] = seen.state
            for where in set(INPUTS.values()) if look else ():
                x = getattr(seen, where) / np.float32(self.B * self.T) ** 0.5
                with np.errstate(over="ignore", invalid="ignore"):  # Feedback.of refuses what is not finite
                    self._moments[where] = self._moments.get(where, 0) + x.T @ x
        if not np.isfinite(self._states_ND).all():
            raise _not_finite(self.checkpoint, self._next)
        self._next += 1

    def _layer(self, layer: int) -> NativeModel:
        """One layer as a network whose token n is state n."""
        here, tensors = f"model.layers.{layer}.", {}
        for name in self.checkpoint.names():
            if name.startswith(here):
                tensors[name.replace(here, "model.layers.0.")] = pointer(self.checkpoint.tensor(name))
        tensors[EMBEDDING] = Matrix.of(self._states_ND)
        tensors["model.norm.weight"] = np.ones(self._states_ND.shape[1], np.float32)
        config = replace(self.checkpoint.config, num_hidden_layers=1, vocab_size=self.B * self.T)
        return native_model(config, tensors)

    def _run(self, model: NativeModel, tokens: np.ndarray) -> Inside:
        rows, pages = tokens.size // self.T, -(-self.T // PAGE_TOKENS)
        counts = np.arange(rows + 1, dtype=np.int32)
        cache = NativeCache(model, pages=rows * pages, page_tokens=PAGE_TOKENS)
        return inside(
            model,
            cache,
            ids=tokens,
            at=np.tile(np.arange(self.T, dtype=np.int32), rows),
            row_start_B1=counts * np.int32(self.T),
            pages=np.arange(rows * pages, dtype=np.int32),
            page_start_B1=counts * np.int32(pages),
            threads=self.threads,
        )


def _not_finite(checkpoint: Checkpoint, layer: int) -> ValueError:
    return ValueError(
        say(
            f"{checkpoint.folder}: with this text layer {layer} gives NaN, infinity or values too large to work "
            "with; the weights are damaged, download them again",
            f"{checkpoint.folder}：用此文本计算时第 {layer} 层得到 NaN、无穷或过大的数值；权重已损坏，请重新下载",
        )
    )
