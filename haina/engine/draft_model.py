"""DraftModel: a small network with the same tokens that guesses what a large one will say.

Its guesses are chosen as the large one's tokens are: by a copy of the answer's sampler with the same uniform numbers,
under the same constraint; so both agree as often as their logits let them. It keeps its own keys and values of every
text: what was guessed right is not read again, what was wrong is written over. Pages go to whoever guesses now; a text
that has lost its own is read again, so nobody has to tell it that an answer has ended. Answers guess one by one: with
several at once that costs more than one batch of them would, which their bets account for (pace.py).
It does not know the large network, nor how many guesses are worth their time.
Source of the idea: speculative decoding (arXiv:2211.17192, arXiv:2302.01318).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from statistics import median
from typing import Literal

import numpy as np

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.devices import open_runner
from haina.engine.line import Line
from haina.engine.memory import Bits
from haina.engine.pace import Odds
from haina.engine.pages import Pages, first_key
from haina.engine.request import Request
from haina.engine.runner import Device, Runner, Step
from haina.engine.scheduler import chunk_tokens
from haina.engine.speculate import Ahead, Forking, common
from haina.model.config import ModelConfig
from haina.native.binding import CacheDtype
from haina.wording import say

CHANCE = 0.7  # that a guess is right, until more is known
TRIES = 4  # in a row without one right guess; then it rests
REST_TOKENS, MOST_DOUBLINGS = 64, 3  # and twice as long each time, up to 512
SAMPLES = 9


class DraftModel:
    """The Sources (speculate.py) that share one small network and its pages."""

    def __init__(self, config: ModelConfig, runner: Runner):
        self.context = config.max_position_embeddings
        self.pages = Pages(runner.pages, runner.page_tokens)
        self.odds = Odds((CHANCE,), weight=8, memory=256)
        self.failed = False  # its device raised something: answers go on without it
        self._runner, self._chunk_tokens = runner, chunk_tokens(config)
        self._lines: dict[Line, None] = {}  # those that hold pages, the least recently served first
        self._seconds: deque[float] = deque(maxlen=SAMPLES)  # of guesses that had nothing else to read

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        *,
        target: Checkpoint,
        device: Device | Literal["auto"] = "cpu",
        bits: Bits = 16,
        cache_tokens: int,
        cache_dtype: CacheDtype = "F16",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> DraftModel:
        """Load a draft model for `target`. ValueError: its tokens are others; or as `open_runner`."""
        check_tokens(checkpoint, target)
        runner = open_runner(
            checkpoint,
            device=device,
            bits=bits,
            cache_tokens=cache_tokens,
            cache_dtype=cache_dtype,
            threads=threads,
            progress=progress,
        )
        return cls(checkpoint.config, runner)

    @property
    def guess_s(self) -> float:
        """What one guess takes; 0 at first, so that it is tried."""
        return median(self._seconds) if self._seconds else 0.0

    def source(self, request: Request) -> Drafted:
        return Drafted(self, request.tenant)

    def write(self, line: Line, count: int, ahead: Forking) -> list[int]:
        """Append up to `count` guesses to a line, whose ids are all sure, as its drafts.

        Fewer if the pages are full. None while the text is long: it is read a chunk at a time, so that nobody waits.
        """
        self._lines.pop(line, None)
        self._lines[line] = None
        self._find(line)
        sure = len(line.ids)
        if line.unfed > self._chunk_tokens:
            self._read(line, line.fed + self._chunk_tokens)
        else:
            answer = ahead(line)
            while len(line.ids) < sure + count and not answer.done and self._guess(line, answer):
                pass
        line.drafts = len(line.ids) - sure
        line.name_pages(self.pages)
        return line.ids[sure : sure + count]

    def _guess(self, line: Line, answer: Ahead) -> bool:
        """One more. False: there is no room, or it cannot go on from here (whether it comes here is not known)."""
        began, unfed = time.perf_counter(), line.unfed
        row = self._read(line, len(line.ids))
        if row is None:
            return False
        try:
            answer.choose(row)
        except ValueError:
            return False
        if unfed <= 2:  # the last guess, and what was said after it
            self._seconds.append(time.perf_counter() - began)
        return True

    def _read(self, line: Line, end: int) -> np.ndarray | None:
        """Feed a line until `end`; the logits (V) of the last id. None: no room."""
        if not self._room(line, end):
            return None
        logits_MV = self._runner.step(_step(line, end)).logits_MV
        line.fed = end
        row: np.ndarray = logits_MV[0]
        return row

    def _find(self, line: Line) -> None:
        """A line without pages takes those that another has read."""
        size = self.pages.page_tokens
        while line.fed == len(line.pages) * size == line.named * size < line.sure - size:
            key = line.key(line.named, size)
            page = self.pages.find(key) if key else None
            if page is None:
                return
            line.pages.append(page)
            line.fed += size
            line.named += 1

    def _room(self, line: Line, tokens: int) -> bool:
        """Pages for so many tokens of a line, if need be from those that guessed longest ago."""
        missing = self.pages.needed(tokens) - len(line.pages)
        while missing > self.pages.free:
            oldest = next(iter(self._lines))
            if oldest is line:
                return False
            del self._lines[oldest]
            self.pages.give_back(oldest.pages)
            oldest.pages, oldest.fed, oldest.named = [], 0, 0
        line.pages += self.pages.take(max(0, missing)) or []
        return True


class Drafted:
    """The guesses of one answer (speculate.py, Source)."""

    def __init__(self, model: DraftModel, tenant: str):
        self._model, self._line = model, Line([], 0, first_key(tenant))
        self._odds = Odds(model.odds.chance, weight=4, memory=64)
        self._failures = 0  # in a row
        self._rests_until = 0  # the text is so long

    @property
    def guess_s(self) -> float:
        return self._model.guess_s

    def chances(self, ids: list[int], most: int) -> Iterable[float]:
        self._follow(ids)
        if self._model.failed or len(ids) < self._rests_until:
            return ()
        return repeat(self._odds.chance[0], min(most, max(0, self._model.context - len(ids))))

    def guesses(self, ids: list[int], count: int, ahead: Forking) -> list[int]:
        try:
            return self._model.write(self._line, count, ahead)
        except Exception:  # whatever a device may raise; an answer does not need guesses
            self._model.failed = True
            return []

    def _follow(self, ids: list[int]) -> None:
        """The line becomes this text; what was guessed right need not be read again."""
        line, sure = self._line, self._line.sure
        right = common(line.ids[sure:], ids[sure:])
        if line.drafts:
            self._judge(right, line.drafts, len(ids))
        line.ids[sure + right :] = ids[sure + right :]
        line.drafts, line.fed = 0, min(line.fed, sure + right, len(ids) - 1)

    def _judge(self, right: int, guessed: int, length: int) -> None:
        for odds in (self._odds, self._model.odds):
            for i in range(min(right + 1, guessed)):
                odds.saw(0, i < right)
        self._failures = 0 if right else self._failures + 1
        if self._failures >= TRIES:
            self._rests_until = length + (REST_TOKENS << min(self._failures - TRIES, MOST_DOUBLINGS))
            self._odds = Odds((CHANCE,), weight=2, memory=64)


def check_tokens(checkpoint: Checkpoint, target: Checkpoint) -> None:
    """ValueError unless both have the same tokens."""
    same = checkpoint.tokenizer_bytes() == target.tokenizer_bytes()
    if same and checkpoint.config.vocab_size == target.config.vocab_size:
        return
    raise ValueError(
        say(
            f"{checkpoint.folder}: not the tokens of {target.folder}; as a draft, choose a smaller model of its family",
            f"{checkpoint.folder}：词表与 {target.folder} 不同；草稿模型请选用同一系列中较小的模型",
        )
    )


def _step(line: Line, end: int) -> Step:
    """A line alone, fed until `end`; the logits of the last token."""
    count = end - line.fed
    arrays = (
        line.ids[line.fed : end],
        range(line.fed, end),
        (0, count),
        line.pages,
        (0, len(line.pages)),
        (count - 1,),
        (),
    )
    return Step(*(np.array(values, np.int32) for values in arrays))
