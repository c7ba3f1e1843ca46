"""libhaina as ctypes sees it: the structs of haina.h, and the library found, compared with them and loaded.

It knows where the library lies and what its structs look like; binding.py and step.py know what may be put into them.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from ctypes import POINTER, Structure, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from enum import IntEnum
from pathlib import Path

import haina.native
from haina.wording import say

ABI = 9  # HAINA_ABI of the header that this file repeats
MAX_TOP = 64  # HAINA_MAX_TOP
MAX_RANK = 256  # HAINA_MAX_RANK


class Status(IntEnum):
    """haina_status: what a call returns."""

    OK = 0
    NO_MEMORY = 1
    BAD_ARGUMENT = 2
    BAD_IDS = 3
    BAD_AT = 4
    BAD_ROW_START = 5
    BAD_PAGES = 6
    BAD_PAGE_START = 7
    BAD_WANT = 8
    BAD_WANT_HIDDEN = 9
    AT_FALLS = 10
    TOO_FEW_PAGES = 11
    SAME_SLOT = 12
    NOT_A_NUMBER = 13
    NO_CHOICE = 14
    BAD_ADAPTER = 15


class CMatrix(Structure):
    _fields_ = (
        ("data", c_void_p),
        ("rows", c_int64),
        ("cols", c_int64),
        ("dtype", c_int32),
        ("reserved", c_int32),
    )


class CLayer(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("attention_norm", "ffn_norm", "bq", "bk", "bv", "q_norm", "k_norm")),
        *((name, CMatrix) for name in ("wq", "wk", "wv", "wo", "gate", "up", "down")),
    )


class CModel(Structure):
    _fields_ = (
        *(
            (n, c_int32)
            for n in ("layers", "width", "heads", "key_heads", "head_width", "rotary", "ffn", "vocab")
        ),
        ("eps", c_float),
        ("reserved", c_float),
        ("theta", c_double),
        ("slopes", c_void_p),
        ("norm", c_void_p),
        ("layer", POINTER(CLayer)),
        ("embedding", CMatrix),
        ("head", CMatrix),
    )


class CCache(Structure):
    _fields_ = (
        ("keys", c_void_p),
        ("values", c_void_p),
        ("key_scale", c_void_p),
        ("value_scale", c_void_p),
        ("pages", c_int32),
        ("page_tokens", c_int32),
        ("dtype", c_int32),
        ("reserved", c_int32),
    )


class CInside(Structure):
    _fields_ = tuple((name, c_void_p) for name in ("attention", "wo", "ffn", "down", "state"))


class CStep(Structure):
    _fields_ = (
        *(
            (name, c_void_p)
            for name in ("ids", "at", "row_start", "pages", "page_start", "want", "want_hidden")
        ),
        ("logits", c_void_p),
        ("hidden", c_void_p),
        ("inside", POINTER(CInside)),
        ("row_adapter", c_void_p),
        ("adapters", c_void_p),
        *((name, c_int32) for name in ("rows", "tokens", "owned", "wanted", "wanted_hidden")),
        *((name, c_int32) for name in ("threads", "isa", "adapter_count")),
    )


class CRule(Structure):
    _fields_ = (
        *(
            (name, c_double)
            for name in ("temperature", "top_p", "min_p", "typical_p", "frequency", "presence")
        ),
        ("biased", c_void_p),
        ("bias", c_void_p),
        ("repetition", c_float),
        *((name, c_int32) for name in ("top_k", "biases", "top")),
    )


class CHistory(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("seen", "times", "repeating", "nats")),
        ("seens", c_int32),
        ("repeats", c_int32),
    )


class CChosen(Structure):
    _fields_ = (
        ("nats", c_double),
        ("top_nats", c_double * MAX_TOP),
        ("top_ids", c_int32 * MAX_TOP),
        ("id", c_int32),
        ("tops", c_int32),
    )


class CLowRank(Structure):
    _fields_ = (("a", c_void_p), ("b", c_void_p), ("rank", c_int64))


class CTrie(Structure):
    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            *("first", "entry_start", "entry_word", "char_start"),
            *("syllable", "chars", "entry_cost", "known"),
        )
    )


class CPrior(Structure):
    _fields_ = (
        *(
            (name, c_void_p)
            for name in (
                *("cost", "backoff", "pair_cost", "context_backoff", "triple_cost", "kind", "liking"),
                *("pair_word", "triple_word", "pair_start", "context", "triple_start"),
            )
        ),
        *((name, c_int64) for name in ("common", "contexts", "kinds")),
        *((name, c_uint32) for name in ("boundary", "other")),
    )


class CEdge(Structure):
    _fields_ = (("from", c_int32), ("syllable", c_int32), ("cost", c_float), ("open", c_int32))


class CTyped(Structure):
    _fields_ = tuple((name, c_int32) for name in ("from", "to", "word", "trie"))


STRUCTS = (
    *(CMatrix, CLayer, CModel, CCache, CInside, CStep, CRule, CHistory, CChosen, CLowRank),
    *(CTrie, CPrior, CEdge, CTyped),
)


@functools.cache
def library() -> ctypes.CDLL:
    """libhaina, loaded once. ValueError if there is none or it was built from other sources."""
    name = {"win32": "haina.dll", "darwin": "libhaina.dylib"}.get(sys.platform, "libhaina.so")
    found = [file for folder in haina.native.__path__ if (file := Path(folder) / name).is_file()]
    if not found:
        where = next(iter(haina.native.__path__))
        raise ValueError(
            say(
                f"{Path(where) / name}: the native library is missing; run `make native` or reinstall haina",
                f"{Path(where) / name}：缺少本机计算库；请运行 `make native` 或重新安装 haina",
            )
        )
    try:
        lib = ctypes.CDLL(str(found[0]))
        lib.haina_sizeof.restype = c_size_t
        same = lib.haina_abi() == ABI and all(
            lib.haina_sizeof(i) == ctypes.sizeof(struct) for i, struct in enumerate(STRUCTS)
        )
    except (OSError, AttributeError):
        same = False
    if not same:
        raise ValueError(
            say(
                f"{found[0]}: the native library does not fit this haina; run `make native` or reinstall haina",
                f"{found[0]}：本机计算库与当前版本的 haina 不匹配；请运行 `make native` 或重新安装 haina",
            )
        )
    return lib
