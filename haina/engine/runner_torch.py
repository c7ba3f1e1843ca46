"""TorchRunner: model/decoder.py over a paged cache, for GPUs, and for the CPU to compare with.

A Step is ragged and the Decoder takes rectangles: rows that feed about as many tokens run together, where a shorter
row repeats its last token, which writes once more what it has written. Attention is scaled_dot_product_attention
over the gathered slots of each row. Rectangles depend on the company, so the same request may differ in its last
bits from step to step: the engine's bitwise promise is the native runner's. It does not know requests.
FlexAttention (arXiv:2412.05496) would read the pages in place and spare ALiBi its bias in memory; it has to be compiled
and judged on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from haina.checkpoint.adapter import Pair
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.raw import chunks
from haina.engine.memory import WORK_BYTES, available_bytes
from haina.engine.runner import Device, Gpu, Out, Step
from haina.engine.runner_native import PAGE_TOKENS
from haina.model.config import ModelConfig
from haina.model.decoder import Angles, Decoder, Rope
from haina.model.linear import AdaptedLinear
from haina.wording import say


class TorchRunner:
    """The network on a torch device. Weights and cache: bfloat16, float16 on a GPU without it, float32 on the CPU."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: Device,
        *,
        cache_tokens: int,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ):
        """`threads`: torch's on the CPU, in the whole process. ValueError if the device has too little memory."""
        self.device, self.dtype = torch.device("cpu" if device == "torch" else device), _dtype(device)
        self.page_tokens, self.pages = PAGE_TOKENS, -(-cache_tokens // PAGE_TOKENS)
        self.config = checkpoint.config
        self.adapters, self.rows_of = 0, dict[int, Tensor]()  # of the rectangle being computed
        if threads:
            torch.set_num_threads(threads)
        try:
            self.decoder = _load(checkpoint, self.device, self.dtype, progress)
            self.cache = PagedCache(self.config, self.pages * PAGE_TOKENS, self.device, self.dtype)
        except torch.OutOfMemoryError:
            raise _too_large(device) from None
        if self.config.position == "rope":
            positions = min(self.config.max_position_embeddings, self.pages * PAGE_TOKENS)
            self.decoder.model.position = RopeTable(self.config, positions, self.device)

    def step(self, step: Step) -> Out:
        """As Runner.step. MemoryError: the step can be run again; what it has written, it writes again."""
        try:
            return self._step(step)
        except torch.OutOfMemoryError:
            raise MemoryError from None

    @torch.inference_mode()
    def _step(self, step: Step) -> Out:
        shape = len(step.ids_N), self.config.hidden_size
        state_ND, ids_N = torch.empty(shape, dtype=self.dtype, device=self.device), self._tensor(step.ids_N)
        for rows in _groups(self.config, step, self.dtype.itemsize):
            rectangle = _rectangle(step, rows, self.page_tokens, self.cache.nowhere)
            fed_BT, at_BT, slots_BS = map(self._tensor, rectangle)
            self._use(step, rows)
            state_ND[fed_BT] = self.decoder.hidden(ids_N[fed_BT], at_BT, self.cache.at(slots_BS))
        wanted_MD, hidden_MD = (state_ND[self._tensor(index)] for index in (step.want_M, step.hidden_M))
        return Out(_array(self.decoder.lm_head(wanted_MD)), _array(hidden_MD))

    def add_adapter(self, changes: Mapping[str, Pair]) -> None:
        for name, pair in changes.items():
            layer = self.decoder.get_submodule(path := name.removesuffix(".weight"))
            if not isinstance(layer, AdaptedLinear):
                layer = AdaptedLinear(layer, self.rows_of)
                self.decoder.set_submodule(path, layer)
            a_RI, b_OR = (torch.from_numpy(array).to(self.device, self.dtype) for array in pair)
            layer.pairs[self.adapters] = a_RI, b_OR
        self.adapters += 1

    def _use(self, step: Step, rows: np.ndarray) -> None:
        """Which of these rows, which are computed next, use which adapter."""
        used_B = step.adapter_B[rows] if step.adapter_B is not None else np.zeros(0, np.int32)
        self.rows_of.clear()
        self.rows_of.update((int(a), self._tensor(np.flatnonzero(used_B == a))) for a in set(used_B) - {-1})

    @torch.inference_mode()
    def head(self, hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        states_MD = torch.from_numpy(hidden_MD).to(self.device, self.dtype)
        return _array(F.linear(states_MD, self.decoder.lm_head.weight[self._tensor(ids)]))

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        slots = np.arange(self.page_tokens)
        source_N, target_N = (
            self._tensor(np.add.outer(np.asarray(pages) * self.page_tokens, slots).ravel())
            for pages in (sources, targets)
        )
        self.cache.kv_L2PKE[:, :, target_N] = self.cache.kv_L2PKE[:, :, source_N]

    def _tensor(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(index.astype(np.int64)).to(self.device)


class PagedCache:
    """The Decoder's Cache: keys and values of all rows in slots, P of them; a row's may lie anywhere.

    One slot more is `nowhere`, all zeros: the slots of a row that is shorter than its neighbours. What earlier rows
    left in a page is never gathered: masked or not, a NaN there would spread.
    """

    def __init__(self, config: ModelConfig, slots: int, device: torch.device, dtype: torch.dtype):
        shape = (config.num_hidden_layers, 2, slots + 1, config.num_key_value_heads, config.head_dim)
        self.kv_L2PKE = torch.zeros(shape, device=device, dtype=dtype)
        self.nowhere, self.slots = slots, 0

    def at(self, slots_BS: Tensor) -> PagedCache:
        """Prepare for a step of rows whose positions 0 … S - 1 lie in these slots."""
        self.slots_BS, self.slots = slots_BS, slots_BS.shape[1]
        return self

    def store(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor, at_BT: Tensor) -> tuple[Tensor, Tensor]:
        k_PKE, v_PKE = self.kv_L2PKE[layer]
        fed_BT = self.slots_BS.gather(1, at_BT)
        k_PKE[fed_BT], v_PKE[fed_BT] = k_BKTE.transpose(1, 2), v_BKTE.transpose(1, 2)
        return k_PKE[self.slots_BS].transpose(1, 2), v_PKE[self.slots_BS].transpose(1, 2)


class RopeTable(Rope):
    """Rope whose angles are looked up: computed once on the CPU in double, which Apple's GPUs do not have."""

    def __init__(self, config: ModelConfig, positions: int, device: torch.device):
        super().__init__(config)
        cos, sin = super().angles(torch.arange(positions)[None])
        self.cos_PR, self.sin_PR = cos[0, 0].to(device), sin[0, 0].to(device)

    def angles(self, at_BT: Tensor) -> Angles:
        return self.cos_PR[at_BT][:, None], self.sin_PR[at_BT][:, None]


def free_bytes(device: Gpu) -> int | None:
    """Bytes that can be taken on a GPU now; None if torch has no such GPU. Apple's shares the machine's memory."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    if not torch.backends.mps.is_available():
        return None
    room = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(room, available_bytes() or room)


def _dtype(device: Device) -> torch.dtype:
    """Not every macOS has bfloat16 on its GPU, so there it is float16."""
    if device == "torch":
        return torch.float32
    bf16 = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if bf16 else torch.float16


def _load(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    progress: Callable[[int, int], None] | None,
) -> Decoder:
    """The Decoder with a checkpoint's weights, a few rows in float32 at a time; a NormHead comes folded, as plain."""
    config = replace(checkpoint.config, head="plain")
    with torch.device("meta"):
        decoder = Decoder(config).to(dtype)
    decoder = decoder.to_empty(device=device).requires_grad_(False)
    if config.tie_word_embeddings:
        decoder.lm_head.weight = decoder.model.embed_tokens.weight
    weights = dict(decoder.named_parameters())
    for done, name in enumerate(names := checkpoint.names(), 1):
        for start, stop in chunks(checkpoint.shape(name)):
            weights[name][start:stop] = torch.from_numpy(checkpoint.rows(name, start, stop).float32())
        checkpoint.give_back(name)
        if progress:
            progress(done, len(names))
    return decoder


def _groups(config: ModelConfig, step: Step, item_bytes: int) -> Iterator[np.ndarray]:
    """Which rows make a rectangle: their numbers of fed tokens are within a factor of two, so that little is wasted,
    and all their slots in one layer take no more than WORK_BYTES. Rows of like length stand together.
    """
    starts = step.row_start_B1
    fed_B, last = np.diff(starts), starts[1:] - 1
    rows = np.flatnonzero(fed_B)
    kind = {int(b): int(fed_B[b] - 1).bit_length() for b in rows}
    slots = {int(b): int(step.at_N[last[b]]) + 1 for b in rows}
    group: list[int] = []
    for b in sorted(kind, key=lambda b: (kind[b], slots[b])):
        work_bytes = (len(group) + 1) * slots[b] * _slot_bytes(config, 1 << kind[b], item_bytes)
        if group and (kind[b] != kind[group[0]] or work_bytes > WORK_BYTES):
            yield np.array(group)
            group = []
        group.append(b)
    if group:
        yield np.array(group)


def _slot_bytes(config: ModelConfig, fed: int, item_bytes: int) -> int:
    """Work space of a slot that `fed` tokens look at: key, value, mask; with ALiBi float32 copies, bias and scores."""
    kept = 2 * config.num_key_value_heads * config.head_dim
    if config.position == "alibi":
        return (item_bytes + 4) * kept + 8 * config.num_attention_heads * fed
    return item_bytes * kept + fed


def _rectangle(
    step: Step, rows: np.ndarray, page_tokens: int, nowhere: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """fed_BT: indices of fed tokens, the last of a row repeated; at_BT: their positions; slots_BS: where each position
    of a row lies, `nowhere` after its last.
    """
    start_B1, page_start_B1 = step.row_start_B1[rows, None], step.page_start_B1[rows, None]
    count_B1 = step.row_start_B1[rows + 1, None] - start_B1
    fed_BT = start_B1 + np.minimum(np.arange(count_B1.max()), count_B1 - 1)
    at_BT = step.at_N[fed_BT]
    last_B1 = at_BT[:, -1:]
    at_S = np.arange(last_B1.max() + 1)
    page_BS = step.pages[page_start_B1 + np.minimum(at_S, last_B1) // page_tokens]
    slots_BS = page_BS.astype(np.int64) * page_tokens + at_S % page_tokens
    return fed_BT, at_BT, np.where(at_S <= last_B1, slots_BS, nowhere)


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _too_large(device: Device) -> ValueError:
    return ValueError(
        say(
            f"--device {device}: its memory is full before the model is loaded; lower --context, or use --device cpu",
            f"--device {device}：模型尚未载入，显存已满；请减小 --context，或使用 --device cpu",
        )
    )
