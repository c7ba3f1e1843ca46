"""The vocabulary of a GGUF file as a SentencePiece model, which `Tokenizer` reads and checks like any other.

llama.cpp's converter takes a tokenizer.model apart into pieces, scores and types, and leaves its character map
behind; here it is put together again. What else the converter does is undone: padding up to the rows of the
embedding; user-defined pieces, which older files call normal. Byte-level vocabularies ("gpt2") are refused.

Not known here: the pieces' meaning, tensors.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from haina.checkpoint.read_gguf import Gguf, damaged
from haina.text import spm
from haina.text.tokenizer import LARGEST_FILE_BYTES
from haina.wording import say

_PADDING = re.compile(r"\[PAD\d+\]|<dummy\d+>")  # pieces that converters add up to the rows of the embedding


def tokenizer_model(gguf: Gguf) -> tuple[bytes, bool]:
    """The serialized model, and whether it is the published one: a tokenizer.model beside it with the same pieces."""
    composed, file = vocabulary(gguf), gguf.path.parent / "tokenizer.model"
    if not file.exists() or file.stat().st_size > LARGEST_FILE_BYTES:
        return composed, False
    published = file.read_bytes()
    ours, theirs = spm.read(composed, str(gguf.path)), spm.read(published, str(file))
    same = len(ours.pieces) == len(theirs.pieces) and all(
        text == other or kind != spm.NORMAL
        for text, other, kind in zip(ours.pieces, theirs.pieces, ours.kinds, strict=True)
    )
    return (published, True) if same else (composed, False)


def vocabulary(gguf: Gguf) -> bytes:
    """The vocabulary of a file as a serialized SentencePiece model, for `Tokenizer`, which checks it."""
    kind = gguf.value("tokenizer.ggml.model", "")
    if kind != "llama":
        raise ValueError(
            say(
                f"{gguf.path}: its vocabulary is of kind {kind[:40]!r}, not SentencePiece ('llama'); "
                "use another model",
                f"{gguf.path}：词表类型为 {kind[:40]!r}，不是 SentencePiece（'llama'）；请换一个模型",
            )
        )
    texts = gguf.metadata.get("tokenizer.ggml.tokens")
    scores, kinds = _column(gguf, "scores", "<f4", texts), _column(gguf, "token_type", "<i4", texts)
    assert isinstance(texts, list)
    n = len(texts)
    while n and _PADDING.fullmatch(texts[n - 1]):
        n -= 1
    bos, eos = (_token_id(gguf, key, n) for key in ("bos", "eos"))
    return spm.compose(
        list(zip(texts[:n], scores[:n].tolist(), _kinds(kinds[:n], bos, eos), strict=True)),
        bos_id=bos,
        eos_id=eos,
        add_dummy_prefix=gguf.value("tokenizer.ggml.add_space_prefix", True),
        remove_extra_whitespaces=gguf.value("tokenizer.ggml.remove_extra_whitespaces", False),
    )


def _column(gguf: Gguf, key: str, dtype: str, texts: Any) -> np.ndarray:
    """The numbers of all pieces under a key."""
    found = gguf.metadata.get(f"tokenizer.ggml.{key}")
    numbers = found if isinstance(found, np.ndarray) and found.dtype == dtype else None
    if isinstance(texts, list) and numbers is not None and len(numbers) == len(texts):
        return numbers
    en = f"its vocabulary has no tokenizer.ggml.{key} for each of tokenizer.ggml.tokens"
    raise damaged(gguf.path, en, f"词表的 tokenizer.ggml.{key} 与 tokenizer.ggml.tokens 对不上")


def _token_id(gguf: Gguf, name: str, n: int) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    id = gguf.metadata.get(key)
    if id is not None and (type(id) is not int or not 0 <= id < n):
        raise damaged(gguf.path, f"{key} = {str(id)[:40]!r}", f"{key} = {str(id)[:40]!r}")
    return id


def _kinds(kinds: np.ndarray, *special: int | None) -> list[int]:
    """SentencePiece's types, which are also GGUF's numbers.

    SentencePiece lays what it learns behind the byte pieces; a "normal" piece before them was user-defined
    (converters before 2024 did not say so). Begin and end are control pieces.
    """
    found = kinds.tolist()
    before = found.index(spm.BYTE) if spm.BYTE in found else 0
    found[:before] = [spm.USER_DEFINED if kind == spm.NORMAL else kind for kind in found[:before]]
    for id in special:
        if id is not None:
            found[id] = spm.CONTROL
    return [max(kind, 0) for kind in found]
