"""Engine: one checkpoint serving requests. Ids in, ids out: generate, score, embed.

Requests join and leave between steps; a step feeds every running request a chunk of its prompt or its last
token, in one ragged batch. It is synchronous and belongs to one thread. It does not know text, templates, HTTP
or policy: stop strings live in text/stream.py, stopping is `cancel`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.pages import Pages
from haina.engine.runner import Runner, Step
from haina.engine.runner_native import NativeRunner
from haina.engine.sampling import Sampler, Sampling, log_sum_exp
from haina.model.config import ModelConfig
from haina.native.binding import ITEM_BYTES, CacheDtype
from haina.wording import say

Ids = Sequence[int]
Part = tuple[list[int], int, Ids]  # what one row feeds: its pages, the position of the first id, the ids
# Of a prompt, in one step: others, progress and Ctrl-C wait no longer than this. A larger model gets fewer tokens, but
# not fewer than its products need to be fast (docs/benchmarks.md, "matrix products alone"): 98 with a 13B.
CHUNK_TOKENS = 256
CHUNK_MULTIPLY_ADDS = 13 * 10**11
SCORE_TOKENS = 64  # whose logits are held at once: 32 MB with a vocabulary of 125,696
DEFAULT_CACHE_BYTES = 256 << 20


def chunk_tokens(config: ModelConfig) -> int:
    """Tokens of a prompt fed in one step: fewer, the larger the model. A weight is one multiply-add a token."""
    return max(16, min(CHUNK_TOKENS, CHUNK_MULTIPLY_ADDS // config.parameters))


def cache_token_bytes(config: ModelConfig, dtype: CacheDtype) -> int:
    """Bytes of the keys and values of one token. I8 has a float32 scale for each slot and key head."""
    scales = 2 * config.num_hidden_layers * config.num_key_value_heads * 4 if dtype == "I8" else 0
    return config.kv_bytes_per_token(ITEM_BYTES[dtype]) + scales


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
    """One new id of request `request`; `finish` says why it was the last one.

    "error": there is no id (-1), the request has ended, and `error` says why; other requests do not notice.
    """

    request: int
    id: int
    logprob_nats: float
    finish: Literal["stop", "length", "error"] | None = None
    error: str = ""


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
        bits: Literal[16, 8, 4] = 16,
        cache_bytes: int | None = None,
        cache_dtype: CacheDtype = "F16",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ):
        """Load the weights; `progress` hears how many tensors are there, and of how many.

        The cache takes `cache_bytes`; without it, one full context or DEFAULT_CACHE_BYTES, whichever is more.
        """
        self.config = checkpoint.config
        per_token = cache_token_bytes(self.config, cache_dtype)
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
        self.chunk_tokens = chunk_tokens(self.config)
        self.pages = Pages(self.runner.pages, self.runner.page_tokens)
        self.running: dict[int, _Row] = {}
        self.waiting: deque[_Row] = deque()
        self._mail: dict[int, deque[Token]] = {}  # request → where the `generate` that asked for it looks
        self._numbers = itertools.count()

    # -- generate ---------------------------------------------------------------------------------------------

    def generate(
        self, requests: Iterable[Request], *, on_prefill: Callable[[int, int], None] | None = None
    ) -> Generator[Token, None, None]:
        """Serve requests until all have ended; tokens come as they are made, `on_prefill(done, all)` before them.

        Several may run at once: each step serves all of them. ValueError when a request is refused, or fails.
        """
        mail: deque[Token] = deque()
        numbers: set[int] = set()
        try:
            for request in requests:
                numbers.add(number := self.add(request))
                self._mail[number] = mail
            while mine := self._unfinished(numbers):
                done, total = self.prefilled(min(mine))
                if on_prefill and done < total:
                    on_prefill(done, total)
                self.step()
                yield from _opened(mail)
            yield from _opened(mail)
        finally:
            for number in numbers:
                self._mail.pop(number, None)
                self.cancel(number)

    def _unfinished(self, numbers: set[int]) -> set[int]:
        return numbers & (self.running.keys() | {row.number for row in self.waiting})

    def add(self, request: Request) -> int:
        """Queue a request; returns its number. ValueError when it can never be served, with the figures."""
        context = self.config.max_position_embeddings
        self._check(request.ids)
        if request.max_new_tokens < 1:
            raise ValueError(
                say(
                    f"max_new_tokens = {request.max_new_tokens}: nothing to generate; ask for 1 or more",
                    f"max_new_tokens = {request.max_new_tokens}：没有可生成的内容；请至少要 1 个词元",
                )
            )
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
        """Admit what fits, feed one batch, choose a token for every row whose ids are all fed.

        When the runner fails (MemoryError) every row stands where it stood, and the next step tries again.
        """
        self._admit()
        rows = list(self.running.values())
        if not rows:
            return []
        parts: list[Part] = [
            (row.pages, row.fed, row.ids[row.fed : row.fed + self.chunk_tokens]) for row in rows
        ]
        ends = np.cumsum([len(ids) for _, _, ids in parts]) - 1
        fed = [at + len(ids) for _, at, ids in parts]
        whole = [b for b, row in enumerate(rows) if fed[b] == len(row.ids)]
        logits_MV = self.runner.step(_batch(parts, [int(ends[b]) for b in whole]))
        for row, position in zip(rows, fed, strict=True):
            row.fed = position
        tokens = [self._choose(rows[b], logits_V) for b, logits_V in zip(whole, logits_MV, strict=True)]
        for token in tokens:
            if token.request in self._mail:
                self._mail[token.request].append(token)
        return tokens

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
        """How many of a request's prompt tokens have been read, and how many there are."""
        rows = itertools.chain(self.running.values(), self.waiting)
        row = next((row for row in rows if row.number == number), None)
        return (min(row.fed, len(row.request.ids)), len(row.request.ids)) if row else (0, 0)

    def _choose(self, row: _Row, logits_V: np.ndarray) -> Token:
        try:
            id, logprob = row.sampler.choose(logits_V)
        except ValueError as error:
            self.cancel(row.number)
            return Token(row.number, -1, -np.inf, "error", str(error))
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
        """Overwrites the slots of the answer before it; holds the logits of a few tokens at a time."""
        nats = _nats(first_V, answer[0]) if answer else 0.0
        for start in range(0, len(answer) - 1, SCORE_TOKENS):
            fed = answer[start : min(start + SCORE_TOKENS, len(answer) - 1)]
            logits_TV = self._run(pages, at + start, fed)
            nats += sum(_nats(logits_TV[t], answer[start + t + 1]) for t in range(len(fed)))
        return nats

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
        for start in range(0, len(ids), self.chunk_tokens):
            part = ids[start : start + self.chunk_tokens]
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


def _opened(mail: deque[Token]) -> Iterator[Token]:
    """Its tokens, until it is empty; ValueError in place of one that says "error"."""
    while mail:
        token = mail.popleft()
        if token.finish == "error":
            raise ValueError(token.error)
        yield token


def _nats(logits_V: np.ndarray, id: int) -> float:
    return float(logits_V[id]) - log_sum_exp(logits_V)


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
