"""Vectors: texts in, one vector of length 1 for each. What the dialects share; it knows no HTTP and no dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np

from haina.engine.request import Embed, Vector
from haina.serve.answers import TooLong, Usage, check_length, text_ids, unhurried
from haina.wording import say

if TYPE_CHECKING:
    from haina.serve.shelf import Served

Texts = Sequence[str] | Sequence[str | tuple[int, ...]] | Sequence[tuple[int, ...]]
AT_ONCE = 64  # texts of one request that the engine has; the others wait here, where waiting costs nothing


async def embed(
    served: Served, texts: Texts, usage: Usage, *, tenant: str = "", dimensions: int | None = None
) -> np.ndarray:
    """One vector of length 1 for each text: float32 (B, D). TooLong, ValueError: one is refused.

    `dimensions`: the first so many numbers of each, its length 1 again, as OpenAI shortens vectors.
    """
    rows = await unhurried(sum(map(len, texts)), lambda: [_row(served, text) for text in texts])
    usage.prompt_tokens += sum(map(len, rows))
    vectors, waiting = [np.empty(0)] * len(rows), enumerate(rows)

    async def one_after_another() -> None:
        for at, ids in waiting:
            vectors[at] = await _vector(served, ids, tenant)

    tasks = [asyncio.create_task(one_after_another()) for _ in range(min(AT_ONCE, len(rows)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return shortened(np.stack(vectors), dimensions)


def _row(served: Served, text: str | tuple[int, ...]) -> tuple[int, ...]:
    check_length(served, [text])
    ids = text_ids(served, text)
    if not ids:
        raise ValueError(
            say("a text is empty; give one character or more", "有一段文本为空；请至少给出一个字符")
        )
    if len(ids) > served.model.context:
        raise TooLong(len(ids), 0, served.model.context)
    return ids


async def _vector(served: Served, ids: tuple[int, ...], tenant: str) -> np.ndarray:
    async with aclosing(served.events(Embed(ids, tenant=tenant))) as events:
        async for event in events:
            if isinstance(event, Vector):
                if event.error:
                    raise ValueError(event.error)
                return event.vector_D
    raise AssertionError("an Embed ended without a vector")


def shortened(vectors_BD: np.ndarray, dimensions: int | None) -> np.ndarray:
    """The first so many numbers of each vector, its length 1 again. ValueError: there are not so many."""
    if dimensions is None:
        return vectors_BD
    if dimensions > vectors_BD.shape[1]:
        raise ValueError(
            say(
                f"dimensions is {dimensions}, and this model's vectors have {vectors_BD.shape[1]}; ask for fewer",
                f"dimensions 为 {dimensions}，而此模型的向量只有 {vectors_BD.shape[1]} 维；请调小",
            )
        )
    short_BD = vectors_BD[:, :dimensions]
    unit_BD: np.ndarray = short_BD / np.linalg.norm(short_BD, axis=1, keepdims=True)
    return unit_BD
