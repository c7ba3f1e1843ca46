"""Speculation: guesses, right or wrong, change nothing but the speed; and they never cost much."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.checkpoint.checkpoint import Checkpoint, save
from haina.engine.constraint import All, Allowed, Dense, Forced, Sparse, mask_of
from haina.engine.draft_model import DraftModel, check_tokens
from haina.engine.engine import Engine
from haina.engine.pace import MOST_GUESSES, Pace
from haina.engine.request import Request, Token
from haina.engine.sampling import Sampling
from haina.engine.speculate import (
    Drafter,
    Forking,
    Guesser,
    Lookup,
    Source,
    Speculation,
)
from haina.text.vocabulary import learn

Make = Callable[..., Engine]
GREEDY = Sampling(temperature=0)
SAMPLED = Sampling(temperature=0.7, seed=5)
PENALISED = Sampling(temperature=0.5, top_k=12, repetition_penalty=1.2, frequency_penalty=0.3, seed=6)
SAMPLINGS = pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, PENALISED])


class Fixed:
    """Drafters that feed what `say` says of a text, whatever it costs."""

    watching = True

    def __init__(self, say: Callable[[list[int]], Iterable[int]]):
        self.say = say

    def drafter(self, request: Request) -> Drafter:
        return self

    def guess(self, ids: list[int], most: int, ahead: Forking) -> list[int]:
        return list(self.say(ids))[: min(most, MOST_GUESSES)]

    def timed(self, rows: int, tokens: int, seconds: float | None) -> None:
        pass

    def judged(self, right: int) -> None:
        pass


class Bold(Fixed):
    """Drafters that feed `count` guesses of a source at every step."""

    def __init__(self, source: Callable[[Request], Source], count: int = 5):
        self.source, self.count = source, count

    def drafter(self, request: Request) -> Drafter:
        return Eager(self.source(request), self.count)


class Eager:
    def __init__(self, source: Source, count: int):
        self.source, self.count = source, count

    def guess(self, ids: list[int], most: int, ahead: Forking) -> list[int]:
        offered = len(list(self.source.chances(ids, min(most, self.count))))
        return self.source.guesses(ids, offered, ahead) if offered else []


@dataclass(frozen=True)
class Kinds:
    """A constraint of every kind in turn."""

    at: int = 0

    def start(self) -> Kinds:
        return self

    def allowed(self) -> Allowed:
        kinds = (
            Dense(mask_of(np.arange(0, 40, 2), 40)),
            All(),
            Dense(mask_of(np.arange(3, 40, 3), 40)),
            Forced((9, 10)),
            Forced((10,)),
            Sparse(np.array([3, 5, 8], np.int32)),
        )
        return kinds[self.at % 6]

    def step(self, token: int) -> Kinds | None:
        allowed = self.allowed()
        if isinstance(allowed, Dense):
            allows = bool(allowed.mask[token // 32] >> (token % 32) & 1)
        elif isinstance(allowed, Forced):
            allows = token == allowed.ids[0]
        else:
            allows = isinstance(allowed, All) or token in allowed.ids
        return replace(self, at=self.at + 1) if allows else None

    def accepting(self) -> bool:
        return self.at % 6 == 1

    def key(self) -> int:
        return self.at

    def bound(self) -> float:
        return 0.0


def answers(engine: Engine, requests: Sequence[Request]) -> list[list[Token]]:
    numbers = [engine.add(request) for request in requests]
    said: dict[int, list[Token]] = {number: [] for number in numbers}
    while engine.busy:
        for token in engine.step():
            assert isinstance(token, Token)
            said[token.request].append(replace(token, request=0))
    assert engine.pages.free == engine.pages.count and not any(engine.pages.readers)
    return [said[number] for number in numbers]


def ids(answer: list[Token]) -> list[int]:
    return [token.id for token in answer if token.finish != "error"]


def twin(engine: Engine, *, seed: int = 0, pages: int = 60) -> Any:
    """The same network with pages of its own; with a `seed`, one that often agrees."""
    runner: Any = type(engine.runner)(pages, 4, engine.config.vocab_size)  # type: ignore[call-arg]
    shape = runner.head_VD.shape
    runner.head_VD = runner.head_VD + 0.4 * (seed > 0) * np.random.default_rng(seed).standard_normal(
        shape, np.float32
    )
    return runner


# -- what is said -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_guess_changes_an_answer(remember: Make, data: st.DataObject) -> None:
    """Right ones, wrong ones, right ones before wrong ones; several answers, too few pages, constraints."""
    requests = data.draw(st.lists(REQUESTS, min_size=1, max_size=4))
    plain = answers(remember(pages=30), requests)
    texts = [[*request.ids, *ids(answer)] for request, answer in zip(requests, plain, strict=True)]

    def guess(text: list[int]) -> list[int]:
        right = next((t[len(text) :] for t in texts if t[: len(text)] == text), [])
        kept = data.draw(st.integers(0, len(right)))
        return right[:kept] + data.draw(st.lists(st.integers(0, 39), max_size=4))

    engine = remember(pages=data.draw(st.integers(11, 30)), drafters=Fixed(guess))
    assert answers(engine, requests) == plain


REQUESTS = st.builds(
    Request,
    st.lists(st.integers(0, 39), min_size=1, max_size=12).map(tuple),
    st.integers(1, 28),
    st.sampled_from([GREEDY, SAMPLED, PENALISED]),
    st.frozensets(st.integers(0, 39), max_size=2),
    constraint=st.sampled_from([None, Kinds()]),
)


def test_right_guesses_save_steps(remember: Make) -> None:
    request = Request((1, 2, 3), 30, SAMPLED, stop_loops=False)
    engine = remember(pages=10)
    (plain,) = answers(engine, [request])
    text = [1, 2, 3, *ids(plain)]
    fast = remember(pages=10, drafters=Fixed(lambda said: text[len(said) :][:4]))
    assert answers(fast, [request]) == [plain]
    assert fast.counts.drafted == fast.counts.accepted == 23
    assert (memory(engine).steps, memory(fast).steps) == (30, 7)


def memory(engine: Engine) -> Any:
    return engine.runner


def test_sampled_answers_have_the_distribution_of_plain_decoding(remember: Make) -> None:
    """Against the exact probabilities of all answers of three tokens; the guesses are those likeliest to mislead."""
    engine = remember(pages=10, vocabulary=3, drafters=Fixed(lambda said: [0, 1, 0]))
    prompt, runs = (2, 1), 2000
    counts = dict.fromkeys(product(range(3), repeat=3), 0)
    for seed in range(runs):
        (answer,) = answers(engine, [Request(prompt, 3, Sampling(temperature=3.0, seed=seed))])
        counts[tuple(ids(answer))] += 1
    chi_square = 0.0
    for answer_ids, count in counts.items():
        expected = float(runs)
        for i, id in enumerate(answer_ids):
            weight_V = np.exp(memory(engine).after([*prompt, *answer_ids[:i]]).astype(np.float64) / 3)
            expected *= weight_V[id] / weight_V.sum()
        chi_square += (count - expected) ** 2 / expected
    assert engine.counts.drafted >= runs > engine.counts.accepted > 0
    assert chi_square < 54.05  # 26 degrees of freedom: once in a thousand


def test_guesses_on_the_network_itself(small: Checkpoint) -> None:
    """Native code gives a fed guess the bits that it would have had alone: tokens and nats are equal."""
    rows = np.random.default_rng(0).integers(3, 560, (3, 40)).tolist()
    requests = [
        Request(tuple(row), 60, sampling)
        for row, sampling in zip(rows, (GREEDY, SAMPLED, PENALISED), strict=True)
    ]
    plain = answers(Engine.open(small, threads=2), requests)
    texts = [[*row, *ids(answer)] for row, answer in zip(rows, plain, strict=True)]

    def guess(said: list[int]) -> list[int]:
        """Two that are right, and two more."""
        (text,) = (text for text in texts if text[:40] == said[:40])
        return [*text[len(said) : len(said) + 2], 7, 8]

    fast = Engine.open(small, threads=2, drafters=Fixed(guess))
    assert answers(fast, requests) == plain
    assert 60 < fast.counts.accepted < fast.counts.drafted


def test_speculation_as_it_is_delivered(remember: Make) -> None:
    requests = [
        Request((5, 6, 7, 5, 6), 150, replace(SAMPLED, seed=seed), stop_loops=False) for seed in range(3)
    ]
    plain = answers(remember(pages=200, context=300), requests)
    assert answers(remember(pages=200, context=300, drafters=Speculation()), requests) == plain


# -- lookup -----------------------------------------------------------------------------------------------------


def looked(text: list[int], count: int, *, read: int = 0) -> list[int]:
    """The guesses after a text, of which `read` tokens were the prompt."""
    lookup = Lookup()
    for length in range(read or len(text), len(text) + 1):
        offered = len(list(lookup.chances(text[:length], count)))
    return lookup.guesses(text, offered, no_fork) if offered else []


def no_fork(line: object) -> Any:
    raise AssertionError("a lookup needs no network")


def test_what_followed_last_time_is_guessed() -> None:
    for read in (1, 3, 0):
        assert looked([1, 2, 3, 4, 9, 1, 2], 2, read=read) == [3, 4]
        assert looked([5, 1, 2, 3, 7, 1, 2, 4, 8, 5, 1, 2], 1, read=read) == [3], "a longer match counts more"
        assert looked([8, 1, 2, 1, 2], 5, read=read) == [1, 2, 1, 2, 1], "what repeats itself goes on so"
        assert looked([1, 2, 3, 4], 3, read=read) == []
    assert looked([1, 2, 3, 7, 1, 2, 4, 7, 9, 1, 2], 1) == [4], "a later one counts more"


# -- a draft model ----------------------------------------------------------------------------------------------


@SAMPLINGS
@pytest.mark.parametrize("constraint", [None, Kinds()])
def test_a_draft_that_thinks_alike_is_always_right(
    remember: Make, sampling: Sampling, constraint: Kinds | None
) -> None:
    requests = [Request((i, 2, 3, i), 30, sampling, constraint=constraint) for i in range(3)]
    plain = answers(remember(pages=60), requests)
    engine = remember(pages=60)
    model = DraftModel(engine.config, twin(engine))
    engine.drafters = Bold(model.source)
    assert answers(engine, requests) == plain
    assert engine.counts.drafted > 30 and engine.counts.accepted == engine.counts.drafted


@SAMPLINGS
@pytest.mark.parametrize("pages", [3, 11, 60])
def test_a_draft_with_other_thoughts(remember: Make, sampling: Sampling, pages: int) -> None:
    """Wrong guesses are written over; answers that take turns with few pages read again what they lost."""
    requests = [Request((i, *range(9), i), 26, sampling) for i in range(4)]
    plain = answers(remember(pages=60), requests)
    engine = remember(pages=60)
    model = DraftModel(engine.config, twin(engine, seed=1, pages=pages))
    engine.drafters = Bold(model.source)
    assert answers(engine, requests) == plain
    assert 0 < engine.counts.accepted < engine.counts.drafted or pages == 3
    assert sum(count > 0 for count in model.pages.readers) == pages - model.pages.free


def test_what_a_draft_guesses_is_what_it_would_say(remember: Make) -> None:
    """Whatever of its guesses has been written over."""
    engine = remember(pages=60)
    engine.runner = twin(engine, seed=1)
    source = DraftModel(engine.config, twin(engine, seed=1)).source(Request((0,)))
    dice, text = random.Random(3), [1, 2, 3]
    while len(text) < 30:
        source.chances(text, 4)
        (said,) = answers(engine, [Request(tuple(text), 4, GREEDY)])
        guesses = source.guesses(text, 4, Greedy)
        assert guesses == ids(said)
        text += [*guesses[: dice.randrange(5)], *dice.choices(range(40), k=dice.randrange(1, 4))]


class Greedy:
    done = False

    def __init__(self, line: Any):
        self.line = line

    def choose(self, row: np.ndarray) -> None:
        self.line.ids.append(int(row.argmax()))


def test_a_draft_finds_what_others_have_read(remember: Make) -> None:
    engine = remember(pages=60, context=100)
    model = DraftModel(engine.config, twin(engine))
    engine.drafters = Bold(model.source)
    first, second = (Request((*range(40), end), 6, GREEDY) for end in (1, 2))
    answers(engine, [first])
    alone = model._runner.tokens  # type: ignore[attr-defined]
    answers(engine, [second])
    assert model._runner.tokens - alone < 12 < 40 < alone  # type: ignore[attr-defined]


def test_a_draft_whose_device_fails_is_not_missed(remember: Make) -> None:
    class Broken:
        pages, page_tokens = 20, 4

        def step(self, step: object) -> Any:
            raise RuntimeError("out of memory")

    engine = remember(pages=20)
    model = DraftModel(engine.config, Broken())  # type: ignore[arg-type]
    engine.drafters = Bold(model.source)
    request = Request((1, 2, 3), 10, SAMPLED)
    assert answers(engine, [request]) == answers(remember(pages=20), [request])
    assert model.failed and engine.counts.drafted == 0


def test_a_draft_has_the_same_tokens_or_is_refused(small: Checkpoint, tmp_path: Path) -> None:
    check_tokens(small, small)
    wire = learn(["other words make other pieces", "别的文字"] * 20, pieces=500)
    save(tmp_path / "other", small.config, small.tensors(), tokenizer=wire, generation={}, source={})
    with pytest.raises(ValueError, match="choose a smaller model of its family"):
        check_tokens(Checkpoint.open(tmp_path / "other"), small)


# -- how much ---------------------------------------------------------------------------------------------------

Cost = Callable[[int], float]
COSTS: dict[str, Cost] = {  # of a step of so many tokens
    "every token costs the same": lambda n: float(n),
    "half of it": lambda n: 1 + 0.5 * (n - 1),
    "a CPU, measured": lambda n: float(np.interp(n, [1, 2, 4, 8, 16, 64], [1, 1.3, 1.35, 2.1, 4, 16])),
    "dear from eight on": lambda n: 1.0 if n < 8 else float(n),
    "a GPU": lambda n: 1 + 0.01 * n,
}
DICE = random.Random(0)


def zipf(vocabulary: int, count: int) -> list[int]:
    return DICE.choices(range(vocabulary), [1 / (i + 1) for i in range(vocabulary)], k=count)


def patchwork(count: int, longest: int) -> list[int]:
    """Pieces of one passage, so that every match is broken off."""
    passage = zipf(5000, 300)
    text: list[int] = []
    while len(text) < count:
        at, length = DICE.randrange(250), DICE.randrange(1, longest)
        text += [*passage[at : at + length], DICE.randrange(5000)]
    return text[:count]


PASSAGE = [DICE.randrange(5000) for _ in range(700)]
TEXTS = {
    "few words": zipf(50, 1400),
    "many words": zipf(5000, 1400),
    "short pieces": patchwork(1400, 4),
    "long pieces": patchwork(1400, 24),
    "a copy": PASSAGE + PASSAGE,
}


def taken(
    speculation: Speculation, texts: Sequence[list[int]], cost: Cost, *, noise: float = 0.0
) -> tuple[float, float]:
    """Seconds for the second halves of texts, side by side, by the clock of `cost`; and without guesses."""
    halves = [len(text) // 2 for text in texts]
    drafters = [
        speculation.drafter(Request(tuple(text[:half]))) for text, half in zip(texts, halves, strict=True)
    ]
    lengths, seconds, plain, dice = list(halves), 0.0, 0.0, random.Random(0)
    while running := [i for i, text in enumerate(texts) if lengths[i] < len(text)]:
        right, fed = [], 0
        for i in running:
            text, length = texts[i], lengths[i]
            guesses = drafters[i].guess(text[:length], len(text) - length - 1, no_fork)
            agree = [a == b for a, b in zip(guesses, text[length:], strict=False)]
            right.append((i, len(guesses), [*agree, False].index(False)))
            fed += 1 + len(guesses)
        seconds += cost(fed)
        if speculation.watching:
            speculation.timed(len(running), fed, cost(fed) * (1 + noise * dice.expovariate(1)))
        for i, guessed, accepted in right:
            if guessed:
                speculation.judged(accepted)
            lengths[i] = min(lengths[i] + 1 + accepted, len(texts[i]))
            plain += (1 + accepted) * cost(len(running)) / len(running)
    return seconds, plain


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_guessing_never_costs_three_percent(text: str, cost: str, noise: float) -> None:
    speculation, whole, plain = Speculation(), 0.0, 0.0
    for _ in range(3):
        seconds, without = taken(speculation, [TEXTS[text]], COSTS[cost], noise=noise)
        whole, plain = whole + seconds, plain + without
    assert plain > 0.97 * whole


@pytest.mark.parametrize("cost", COSTS)
def test_nor_with_several_answers_at_once(cost: str) -> None:
    for texts in (list(TEXTS.values())[:4], [TEXTS["few words"]] * 8):
        seconds, plain = taken(Speculation(), texts, COSTS[cost])
        assert plain > 0.97 * seconds


def test_a_copy_is_more_than_twice_as_fast() -> None:
    for cost, times in (("a CPU, measured", 3.0), ("a GPU", 8.0)):
        seconds, plain = taken(Speculation(), [TEXTS["a copy"]], COSTS[cost])
        assert plain > times * seconds


class Liar:
    """A source that is sure, and always wrong."""

    guess_s = 0.0

    def chances(self, ids: list[int], most: int) -> Iterable[float]:
        return repeat(0.95, most)

    def guesses(self, ids: list[int], count: int, ahead: Forking) -> list[int]:
        return [-1] * count


@pytest.mark.parametrize("cost", COSTS)
def test_the_books_are_kept_whatever_a_source_promises(cost: str) -> None:
    pace, seconds = Pace(), 0.0
    guesser = Guesser(pace, [Liar()])
    for length in range(5000):
        fed = 1 + len(guesser.guess([1] * length, 100, no_fork))
        seconds += COSTS[cost](fed)
        if pace.watching:
            pace.timed(1, fed, COSTS[cost](fed))
    assert 5000 * COSTS[cost](1) > 0.97 * seconds
