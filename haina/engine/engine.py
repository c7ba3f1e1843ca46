"""Engine: one checkpoint serving requests. Ids in, ids out: generate, score, embed.

Requests join and leave between steps; a step feeds every running request a chunk of its prompt or its last
token, in one ragged batch. It is synchronous and belongs to one thread. It does not know text, templates, HTTP
or policy: stop strings live in text/stream.py, stopping is `cancel`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.pages import Pages
from haina.engine.runner import Runner, Step
from haina.engine.runner_native import NativeRunner
from haina.engine.sampling import Sampler, Sampling
from haina.wording import say

Ids = Sequence[int]
Part = tuple[list[int], int, Ids]  # what one row feeds: its pages, the position of the first id, the ids
CHUNK_TOKENS = 256  # of a prompt fed in one step: others wait no longer than this
DEFAULT_CACHE_BYTES = 256 << 20


@dataclass(frozen=True)
class Request:
    """Everything the engine knows about a user."""

    ids: tuple[int, ...]
    max_new_tokens: int = 512
    sampling: Sampling = Sampling()
    stop_ids: frozenset[int] = frozenset()
    banned_ids: frozenset[int] = frozenset()  # never chosen: reserved pieces, rows without a piece


@dataclass(frozen=True)
class Token:
    """One new id of request `request`; `finish` says why it was the last one."""

    request: int
    id: int
    logprob_nats: float
    finish: Literal["stop", "length"] | None = None


@dataclass
class _Row:
    """A request being served: `fed` of its ids have keys and values in `pages`."""

    number: int
    request: Request
    sampler: Sampler
    ids: list[int]
    limit: int  # length at which it ends
    pages: list[int] = field(default_factory=list)
    fed: int = 0


class Engine:
    """Weights, a cache and the requests in flight."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        bits: Literal[16, 8] = 16,
        cache_bytes: int | None = None,
        cache_dtype: Literal["F16", "F32"] = "F16",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ):
        """Load the weights; `progress` hears how many tensors are there, and of how many.

        The cache takes `cache_bytes`; without it, one full context or DEFAULT_CACHE_BYTES, whichever is more.
        """
        self.config = checkpoint.config
        per_token = self.config.kv_bytes_per_token(2 if cache_dtype == "F16" else 4)
        context = self.config.max_position_embeddings
        tokens = cache_bytes // per_token if cache_bytes else max(context, DEFAULT_CACHE_BYTES // per_token)
        self.runner: Runner = NativeRunner(
            checkpoint,
            bits=bits,
            cache_tokens=tokens,
            cache_dtype=cache_dtype,
            threads=threads,
            progress=progress,
        )
        self.pages = Pages(self.runner.pages, self.runner.page_tokens)
        self.running: dict[int, _Row] = {}
        self.waiting: deque[_Row] = deque()
        self._numbers = itertools.count()

    # -- generate ---------------------------------------------------------------------------------------------

    def generate(
        self, requests: Iterable[Request], *, on_prefill: Callable[[int, int], None] | None = None
    ) -> Generator[Token, None, None]:
        """Serve requests until all have ended; tokens come as they are made, `on_prefill(done, all)` before them."""
        numbers = {self.add(request) for request in requests}
        try:
            while mine := numbers & (self.running.keys() | {row.number for row in self.waiting}):
                tokens = self.step()
                if on_prefill and not tokens:
                    on_prefill(*self.prefilled(min(mine)))
                yield from (token for token in tokens if token.request in numbers)
        finally:
            for number in numbers:
                self.cancel(number)

    def add(self, request: Request) -> int:
        """Queue a request; returns its number. ValueError when it can never be served, with the figures."""
        context = self.config.max_position_embeddings
        self._check(request.ids)
        if len(request.ids) >= context:
            raise ValueError(
                say(
                    f"the prompt has {len(request.ids)} tokens and the model's context is {context}; shorten it",
                    f"提示共 {len(request.ids)} 个词元，而模型的上下文只有 {context}；请缩短提示",
                )
            )
        limit = min(len(request.ids) + request.max_new_tokens, context)
        if self.pages.needed(limit) > self.pages.count:
            raise ValueError(
                say(
                    f"the request needs {limit} tokens of cache and there are "
                    f"{self.pages.count * self.pages.page_tokens}; ask for fewer new tokens or a larger cache",
                    f"该请求需要 {limit} 个词元的缓存，而总共只有 {self.pages.count * self.pages.page_tokens} 个；"
                    "请减少生成长度或增大缓存",
                )
            )
        banned = np.array(sorted(i for i in request.banned_ids if i < self.config.vocab_size), np.int64)
        sampler = Sampler(request.sampling, np.array(request.ids), banned)
        row = _Row(next(self._numbers), request, sampler, list(request.ids), limit)
        self.waiting.append(row)
        return row.number

    def step(self) -> list[Token]:
        """Admit what fits, feed one batch, choose a token for every row whose ids are all fed."""
        self._admit()
        rows = list(self.running.values())
        if not rows:
            return []
        parts: list[Part] = [(row.pages, row.fed, row.ids[row.fed : row.fed + CHUNK_TOKENS]) for row in rows]
        for row, (_, _, ids) in zip(rows, parts, strict=True):
            row.fed += len(ids)
        ends = np.cumsum([len(ids) for _, _, ids in parts]) - 1
        ready = [(row, int(end)) for row, end in zip(rows, ends, strict=True) if row.fed == len(row.ids)]
        logits_MV = self.runner.step(_batch(parts, [end for _, end in ready]))
        return [self._choose(row, logits_V) for (row, _), logits_V in zip(ready, logits_MV, strict=True)]

    def _admit(self) -> None:
        """First come, first served: the oldest waiting request gets its pages as soon as they are free."""
        while self.waiting and (pages := self.pages.take(self.waiting[0].limit)) is not None:
            row = self.waiting.popleft()
            row.pages = pages
            self.running[row.number] = row

    def cancel(self, number: int) -> None:
        """End a request, whatever its state; its pages are free before the next step."""
        if number in self.running:
            self.pages.give_back(self.running.pop(number).pages)
        else:
            self.waiting = deque(row for row in self.waiting if row.number != number)

    def prefilled(self, number: int) -> tuple[int, int]:
        """How many of a running request's prompt tokens have been read, and how many there are."""
        row = self.running.get(number)
        return (min(row.fed, len(row.request.ids)), len(row.request.ids)) if row else (0, 0)

    def _choose(self, row: _Row, logits_V: np.ndarray) -> Token:
        id, logprob = row.sampler.choose(logits_V)
        row.ids.append(id)
        finish: Literal["stop", "length"] | None = None
        if id in row.request.stop_ids:
            finish = "stop"
        elif len(row.ids) >= row.limit:
            finish = "length"
        if finish:
            self.cancel(row.number)
        return Token(row.number, id, logprob, finish)

    # -- score, embed -----------------------------------------------------------------------------------------

    def score(self, prompt: Ids, answers: Sequence[Ids]) -> list[float]:
        """Nats of each answer after the prompt: the sum of its tokens' log-probabilities. The prompt runs once."""
        for ids in (prompt, *filter(None, answers)):
            self._check(ids)
        pages = self._borrow(len(prompt) + max(map(len, answers), default=0))
        try:
            first_V = self._run(pages, 0, prompt, last_only=True)[-1]
            return [self._nats(pages, len(prompt), first_V, answer) for answer in answers]
        finally:
            self.pages.give_back(pages)

    def _nats(self, pages: list[int], at: int, first_V: np.ndarray, answer: Ids) -> float:
        logits_TV = first_V[None]
        if len(answer) > 1:  # overwrites the slots of the answer before it
            logits_TV = np.concatenate([logits_TV, self._run(pages, at, answer[:-1])])
        logits_TV = logits_TV[: len(answer)].astype(np.float64)
        top_T = logits_TV.max(axis=1, keepdims=True, initial=-np.inf)
        log_sum_T = np.log(np.exp(logits_TV - top_T).sum(axis=1)) + top_T[:, 0]
        return float((logits_TV[np.arange(len(answer)), list(answer)] - log_sum_T).sum())

    def embed(self, rows: Sequence[Ids]) -> np.ndarray:
        """(B, D) float32: the mean of each row's hidden states after the last norm, scaled to length 1."""
        vectors = [self._embed(ids) for ids in rows]
        return np.stack(vectors) if vectors else np.zeros((0, self.config.hidden_size), np.float32)

    def _embed(self, ids: Ids) -> np.ndarray:
        self._check(ids)
        pages = self._borrow(len(ids))
        try:
            mean_D = self._run(pages, 0, ids, hidden=True).mean(axis=0, dtype=np.float64)
        finally:
            self.pages.give_back(pages)
        length = max(float(np.linalg.norm(mean_D)), 1e-12)
        return np.asarray(mean_D / length, np.float32)

    def _borrow(self, tokens: int) -> list[int]:
        pages = self.pages.take(tokens)
        if pages is None or tokens > self.config.max_position_embeddings:
            self.pages.give_back(pages or [])
            context = self.config.max_position_embeddings
            raise ValueError(
                say(
                    f"{tokens} tokens do not fit into the context of {context} or the free cache; shorten the text",
                    f"{tokens} 个词元放不进 {context} 的上下文或剩余的缓存；请缩短文本",
                )
            )
        return pages

    # -- one batch --------------------------------------------------------------------------------------------

    def _run(
        self, pages: list[int], at: int, ids: Ids, *, last_only: bool = False, hidden: bool = False
    ) -> np.ndarray:
        """Feed one row from position `at`, in chunks; logits (or hidden states) of every token or of the last."""
        out = []
        for start in range(0, len(ids), CHUNK_TOKENS):
            part = ids[start : start + CHUNK_TOKENS]
            end = start + len(part) == len(ids)
            want = list(range(len(part))) if not last_only else ([len(part) - 1] if end else [])
            out.append(self.runner.step(_batch([(pages, at + start, part)], want, hidden)))
        return np.concatenate(out)

    def _check(self, ids: Ids) -> None:
        size = self.config.vocab_size
        if not ids:
            raise ValueError(
                say(
                    "an empty prompt has nothing to continue; give one token or more",
                    "提示为空，无从续写；请至少给出一个词元",
                )
            )
        wrong = next((i for i in ids if not 0 <= i < size), None)
        if wrong is not None:
            raise ValueError(
                say(
                    f"token id {wrong} is not one of the model's {size}",
                    f"词元编号 {wrong} 不在模型的 {size} 个之内",
                )
            )


def _batch(parts: list[Part], want: list[int], hidden: bool = False) -> Step:
    """(pages, first position, ids) of each row → the arrays of a Step."""
    int32 = np.int32
    return Step(
        ids_N=np.array([i for _, _, ids in parts for i in ids], int32),
        at_N=np.concatenate([np.arange(at, at + len(ids), dtype=int32) for _, at, ids in parts]),
        row_start_B1=np.cumsum([0] + [len(ids) for _, _, ids in parts], dtype=int32),
        pages=np.array([page for pages, _, _ in parts for page in pages], int32),
        page_start_B1=np.cumsum([0] + [len(pages) for pages, _, _ in parts], dtype=int32),
        want_M=np.array(want, int32),
        hidden=hidden,
    )
