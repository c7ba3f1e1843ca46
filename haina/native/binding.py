"""The Python face of libhaina: weights, cache and steps as pointers. What it lets through cannot crash C.

It knows our tensor names (LLaMA's), shapes and dtypes; it does not know files, families or requests. Arrays are
checked here (checks.py, step.py), the numbers of a step in forward.cpp.
ctypes rather than an extension module: one library serves every Python, the C header is the document, and the
GIL is released during a call. N fed tokens of B rows, V vocabulary, D width; the rest of the legend is in haina.h.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from ctypes import byref
from dataclasses import dataclass
from typing import Literal

import numpy as np

from haina.native.checks import check_status, out_of_range, pointer, refuse, vector
from haina.native.library import CCache, CInside, CLayer, CMatrix, CModel, CStep, Status, library
from haina.native.machine import Isa, hands
from haina.native.packing import DTYPE_NUMBERS, PACKED, packed_bytes
from haina.native.step import Changes, ask, make_step, refusal, use

CacheDtype = Literal["F32", "F16", "BF16", "I8"]

MAX_PAGE_TOKENS = 256
PAGE_STEP = 16  # the tokens of a page are a multiple of it
DTYPES = {"F32": 0, "F16": 1, "BF16": 2, "I8": 3, **DTYPE_NUMBERS}
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}
WEIGHT_DTYPES = ("F32", "F16", "BF16", *PACKED)


@dataclass(frozen=True)
class Matrix:
    """A weight matrix as it lies in memory or in a mapped file. [rows = outputs, cols = inputs], C order.

    data: uint8 [rows * cols * item bytes], aligned to the element; of W8 and W4 [packed_bytes], docs/formats.md.
    """

    dtype: str
    data: np.ndarray
    rows: int
    cols: int

    @classmethod
    def of(cls, array: np.ndarray) -> Matrix:
        """View a 2-D float32 or float16 array; nothing is copied. ValueError for anything else."""
        dtype = {"float32": "F32", "float16": "F16"}.get(array.dtype.name)
        if dtype is None or array.ndim != 2 or not array.flags.c_contiguous:
            raise refuse(
                "matrix",
                "must be 2-D C-contiguous float32 or float16",
                "须为二维、C 连续的 float32 或 float16",
            )
        return cls(dtype, array.reshape(-1).view(np.uint8), array.shape[0], array.shape[1])

    def c(self, name: str = "matrix") -> CMatrix:
        """The C struct; `self` must outlive it. ValueError naming `name` if the bytes are not what is claimed."""
        if self.dtype not in WEIGHT_DTYPES:
            known = ", ".join(WEIGHT_DTYPES)
            raise refuse(name, f"dtype {self.dtype} is not one of {known}", f"不支持的类型 {self.dtype}")
        item_bytes = ITEM_BYTES.get(self.dtype, 1)
        if self.rows < 1 or self.cols < 1 or self.data.ctypes.data % item_bytes:
            raise refuse(name, "empty, or not aligned to its elements", "矩阵为空，或未按元素大小对齐")
        plain_bytes = self.rows * self.cols * item_bytes
        n_bytes = packed_bytes(self.dtype, self.rows, self.cols) if self.dtype in PACKED else plain_bytes
        vector(name, self.data, np.uint8, n_bytes)
        return CMatrix(self.data.ctypes.data, self.rows, self.cols, DTYPES[self.dtype])


class NativeModel:
    """The weights of one network as C pointers. It keeps the arrays alive and copies none of them.

    tensors: our names (LLaMA's) to Matrix or arrays; vectors are float32. A name that is absent switches its
    part off: `q_proj.bias`, `q_norm.weight` (and their companions); `lm_head.weight` absent means tied.
    slopes_H: ALiBi, float32 [H], or None. rotary_dim: 0 for no rotation.
    ValueError names the tensor that is missing, unknown or of the wrong shape, or the size that cannot be.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        vocab_size: int,
        rms_norm_eps: float,
        rope_theta: float,
        rotary_dim: int,
        slopes_H: np.ndarray | None,
        tensors: Mapping[str, Matrix | np.ndarray],
    ):
        library()
        self.D, self.F, self.V, self.E = hidden_size, intermediate_size, vocab_size, head_dim
        self.H, self.K, self.layers = num_attention_heads, num_key_value_heads, num_hidden_layers
        self._check_sizes(rotary_dim, rope_theta, rms_norm_eps)
        self._tensors = dict(tensors)
        self._kept: list[object] = []
        self.layer = (CLayer * self.layers)(*(self._layer(f"model.layers.{i}.") for i in range(self.layers)))
        embedding = self._matrix("model.embed_tokens.weight", self.V, self.D)
        tied = "lm_head.weight" not in self._tensors
        if slopes_H is not None:
            self._kept.append(vector("slopes_H", slopes_H, np.float32, self.H))
        sizes = (self.layers, self.D, self.H, self.K, self.E, rotary_dim, self.F, self.V)
        self.c = CModel(
            *sizes,
            rms_norm_eps,
            0,
            rope_theta,
            pointer(slopes_H),
            self._vector("model.norm.weight", self.D),
            self.layer,
            embedding,
            embedding if tied else self._matrix("lm_head.weight", self.V, self.D),
        )
        if self._tensors:
            raise refuse(min(self._tensors), "this network has no such tensor", "此网络没有这个张量")

    def _check_sizes(self, rotary_dim: int, theta: float, eps: float) -> None:
        sizes = (self.D, self.F, self.V, self.E, self.H, self.K, self.layers)
        if not all(0 < size < 1 << 24 for size in sizes) or max(self.H, self.K) * self.E >= 1 << 24:
            raise refuse("NativeModel", f"sizes {sizes} are out of range", f"尺寸 {sizes} 超出范围")
        if self.H % self.K or rotary_dim % 2 or not 0 <= rotary_dim <= self.E:
            raise refuse(
                "NativeModel",
                f"{self.H} heads, {self.K} key heads, {rotary_dim} of {self.E} dims rotated do not fit",
                f"{self.H} 个头、{self.K} 个键头、旋转 {self.E} 维中的 {rotary_dim} 维，三者不相容",
            )
        if not (0 < theta < math.inf and 0 < eps < math.inf):
            raise refuse("NativeModel", "theta and eps must be positive", "theta 与 eps 须为正数")

    def _layer(self, at: str) -> CLayer:
        D, q, kv = self.D, self.H * self.E, self.K * self.E
        attn = at + "self_attn."
        return CLayer(
            self._vector(at + "input_layernorm.weight", D),
            self._vector(at + "post_attention_layernorm.weight", D),
            *self._optional({attn + "q_proj.bias": q, attn + "k_proj.bias": kv, attn + "v_proj.bias": kv}),
            *self._optional({attn + "q_norm.weight": self.E, attn + "k_norm.weight": self.E}),
            self._matrix(attn + "q_proj.weight", q, D),
            self._matrix(attn + "k_proj.weight", kv, D),
            self._matrix(attn + "v_proj.weight", kv, D),
            self._matrix(attn + "o_proj.weight", D, q),
            self._matrix(at + "mlp.gate_proj.weight", self.F, D),
            self._matrix(at + "mlp.up_proj.weight", self.F, D),
            self._matrix(at + "mlp.down_proj.weight", D, self.F),
        )

    def _take(self, name: str) -> Matrix | np.ndarray:
        if name not in self._tensors:
            raise refuse(name, "the tensor is missing", "缺少这个张量")
        tensor = self._tensors.pop(name)
        self._kept.append(tensor)
        return tensor

    def _matrix(self, name: str, rows: int, cols: int) -> CMatrix:
        tensor = self._take(name)
        matrix = tensor if isinstance(tensor, Matrix) else Matrix.of(tensor)
        if (matrix.rows, matrix.cols) != (rows, cols):
            found = f"[{matrix.rows}, {matrix.cols}]"
            raise refuse(
                name,
                f"shape {found} where [{rows}, {cols}] is needed",
                f"形状为 {found}，应为 [{rows}, {cols}]",
            )
        return matrix.c(name)

    def _vector(self, name: str, size: int) -> int | None:
        return pointer(vector(name, self._take(name), np.float32, size))

    def _optional(self, sizes: dict[str, int]) -> list[int | None]:
        """Pointers of companions: all of them, or none."""
        if not any(name in self._tensors for name in sizes):
            return [None] * len(sizes)
        return [self._vector(name, size) for name, size in sizes.items()]


class NativeCache:
    """Pages of keys and values for all layers of a model. Memory is taken as pages are written.

    keys [layers, pages, K, E, page_tokens], values [layers, pages, K, page_tokens, E], stored as CACHE_DTYPES says;
    key_scale, value_scale [layers, pages, K, page_tokens], float32, for I8 alone.
    page_tokens: a multiple of PAGE_STEP up to MAX_PAGE_TOKENS.
    ValueError for sizes out of range or more memory than the machine can promise.
    """

    def __init__(self, model: NativeModel, *, pages: int, page_tokens: int = 32, dtype: CacheDtype = "F32"):
        good = 0 < page_tokens <= MAX_PAGE_TOKENS and page_tokens % PAGE_STEP == 0 and dtype in CACHE_DTYPES
        if not good or not 0 < pages < 1 << 31:
            sizes, known = f"{PAGE_STEP}, {2 * PAGE_STEP}, …, {MAX_PAGE_TOKENS}", ", ".join(CACHE_DTYPES)
            raise refuse(
                "NativeCache",
                f"{pages} pages of {page_tokens} tokens in {dtype}; pages hold {sizes}, in {known}",
                f"{pages} 页，每页 {page_tokens} 个词元，类型 {dtype}；每页限 {sizes} 个，类型限 {known}",
            )
        self.pages, self.page_tokens, self.dtype = pages, page_tokens, dtype
        self.shape = (model.layers, pages, model.K, page_tokens, model.E)
        *outer, _, _ = self.shape
        self.nbytes = 2 * math.prod(self.shape) * ITEM_BYTES[dtype]
        if dtype == "I8":
            self.nbytes += 2 * math.prod(self.shape[:4]) * 4
        try:
            self.keys = _zeros((*outer, model.E, page_tokens), CACHE_DTYPES[dtype])
            self.values = _zeros(self.shape, CACHE_DTYPES[dtype])
            scaled = self.shape[:4] if dtype == "I8" else (0,)
            self.key_scale, self.value_scale = _zeros(scaled, np.float32), _zeros(scaled, np.float32)
        except (MemoryError, ValueError):
            raise refuse(
                "NativeCache",
                f"{self.nbytes / 1e9:.1f} GB of keys and values do not fit in memory; ask for a shorter context",
                f"键值缓存需 {self.nbytes / 1e9:.1f} GB，内存不足；请缩短上下文",
            ) from None
        arrays = (self.keys, self.values, self.key_scale, self.value_scale)
        pointers = (pointer(array) if array.size else None for array in arrays)
        self.c = CCache(*pointers, pages, page_tokens, DTYPES[dtype])

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Make each page of `targets` equal to its page of `sources`, in all layers.

        ValueError unless all are pages, as many of both, and each target is named once and is no source.
        """
        for name, pages in (("sources", sources), ("targets", targets)):
            if not all(0 <= page < self.pages for page in pages):
                raise out_of_range(name, self.pages)
        if len(sources) != len(targets) or len({*sources, *targets}) != len({*sources}) + len(targets):
            raise refuse(
                "targets",
                "must be other pages than the sources, one for each",
                "须与 sources 一一对应，互不重复，且不与之重叠",
            )
        scales = (self.key_scale, self.value_scale) if self.dtype == "I8" else ()
        for array in (self.keys, self.values, *scales):
            for source, target in zip(sources, targets, strict=True):
                array[:, target] = array[:, source]


CACHE_DTYPES: dict[CacheDtype, type[np.generic]] = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I8": np.int8,
}


def _zeros(shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """np.zeros that begins at a cache line, so that no vector lies across two."""
    n_bytes, line = math.prod(shape) * np.dtype(dtype).itemsize, 64
    memory = np.zeros(n_bytes + line, np.uint8)
    start = -memory.ctypes.data % line
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def forward(
    model: NativeModel,
    cache: NativeCache,
    *,
    ids: np.ndarray,
    at: np.ndarray,
    row_start_B1: np.ndarray,
    pages: np.ndarray,
    page_start_B1: np.ndarray,
    want: np.ndarray,
    hidden: np.ndarray,
    adapter_B: np.ndarray | None = None,
    adapters: Sequence[Changes] = (),
    threads: int | None = None,
    isa: Isa = "best",
) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over a ragged batch; keys and values of all N fed tokens go into the cache.

    ids, at: int32 [N], the fed tokens of all rows, one row after another, and the position of each.
    row_start_B1: int32 [B+1]; row b feeds row_start[b] .. row_start[b+1].
    pages, page_start_B1: int32; row b's position p is slot p % page_tokens of its page p // page_tokens.
    Rows may share pages, but not write the same slot; what one feeds, the others see in the same step.
    want: int32 [M], fed tokens (0 .. N-1) whose logits to return; hidden: the same for states after the last norm.
    adapter_B: int32 [B], which of `adapters` each row uses, -1: none; None: no row uses one.
    Returns float32 [M, V] and float32 [M2, D]. threads: None is one per usable CPU.
    ValueError names the argument that is wrong; MemoryError if the work memory cannot be had.
    """
    step = make_step(ids, at, row_start_B1, pages, page_start_B1)
    logits_MV = np.empty((vector("want", want, np.int32).size, model.V), np.float32)
    hidden_MD = np.empty((vector("hidden", hidden, np.int32).size, model.D), np.float32)
    ask(step, want, hidden, logits_MV, hidden_MD)
    if any(adapter.model is not model for adapter in adapters):
        raise refuse("adapters", "one was made for another model", "其中有属于另一个模型的")
    kept = use(step, adapter_B, adapters) if adapter_B is not None else None
    run(library().haina_forward, model, cache, step, threads=threads, isa=isa)
    del kept
    return logits_MV, hidden_MD


@dataclass(frozen=True)
class Inside:
    """What the products of a model's last layer are given, and the state after it; float32, N fed tokens."""

    attention: np.ndarray  # [N, D]: the input of q_proj, k_proj, v_proj
    wo: np.ndarray  # [N, H*E]: of o_proj
    ffn: np.ndarray  # [N, D]: of gate_proj, up_proj
    down: np.ndarray  # [N, F]: of down_proj
    state: np.ndarray  # [N, D]: before the last norm


def inside(
    model: NativeModel,
    cache: NativeCache,
    *,
    ids: np.ndarray,
    at: np.ndarray,
    row_start_B1: np.ndarray,
    pages: np.ndarray,
    page_start_B1: np.ndarray,
    threads: int | None = None,
) -> Inside:
    """Run the network as `forward` does, without the head, and look into its last layer."""
    step = make_step(ids, at, row_start_B1, pages, page_start_B1)
    widths = (model.D, model.H * model.E, model.D, model.F, model.D)
    found = Inside(*(np.empty((ids.size, width), np.float32) for width in widths))
    seen = CInside(*(pointer(array) for array in vars(found).values()))
    step.inside = ctypes.pointer(seen)
    run(library().haina_forward, model, cache, step, threads=threads)
    return found


def run(
    function: Callable[..., int],
    model: NativeModel,
    cache: NativeCache,
    step: CStep,
    *more: object,
    threads: int | None = None,
    isa: Isa = "best",
) -> None:
    """Call haina_forward or a part of it. ValueError and MemoryError as `forward` says."""
    if cache.shape != (model.layers, cache.pages, model.K, cache.page_tokens, model.E):
        raise refuse("cache", "was made for another model", "缓存属于另一个模型")
    step.threads, step.isa = hands(threads, isa)
    status = function(byref(model.c), byref(cache.c), byref(step), *more)
    if status >= Status.BAD_IDS:
        raise refusal(status, model.c, cache.c, step)
    check_status(status)
