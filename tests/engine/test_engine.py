"""Engine: a row's answer depends on its own input and seed alone; refusals come with figures."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.memory import cache_token_bytes
from haina.engine.request import Event, Request, Score, Scores, Token
from haina.engine.runner import Out, Runner, Step
from haina.engine.runner_native import NativeRunner
from haina.engine.sampling import Sampling
from haina.engine.scheduler import CHUNK_TOKENS, chunk_tokens
from haina.engine.speculate import Speculation
from haina.model.config import SIZES
from haina.native.binding import CacheDtype

GREEDY = Sampling(temperature=0)


def answer(engine: Engine, request: Request) -> list[int]:
    return [token.id for token in engine.generate([request])]


def test_a_request_does_not_know_its_companions(engine: Engine) -> None:
    random = np.random.default_rng(1)
    requests = [
        Request(tuple(random.integers(3, 560, length).tolist()), new, Sampling(seed=length))
        for length, new in ((1, 9), (5, 30), (40, 3), (CHUNK_TOKENS + 3, 12), (2, 1))
    ]
    alone = [answer(engine, request) for request in requests]
    together: dict[int, list[int]] = {}
    numbers = [engine.add(request) for request in requests]
    while engine.busy:
        for token in engine.step():
            assert isinstance(token, Token)
            together.setdefault(token.request, []).append(token.id)
    assert [together[number] for number in numbers] == alone
    assert [len(ids) for ids in alone] == [9, 30, 3, 12, 1]


def test_random_companions_change_no_bit(small: Checkpoint) -> None:
    """Arriving at random, some cancelled, some preempted, all guessed for: ids and nats are those of each alone."""
    random = np.random.default_rng(4)
    engine = Engine.open(small, threads=2, cache_bytes=600 * 2 * 2 * 2 * 48, drafters=Speculation())
    plain = Engine.open(small, threads=1)
    waiting = [wish(random) for _ in range(40)]
    numbers: dict[int, Request] = {}
    heard: dict[int, list[tuple[int, float, str | None]]] = {}
    while waiting or engine.busy:
        while waiting and random.random() < 0.4:
            request = waiting.pop()
            numbers[engine.add(request)] = request
        for token in engine.step():
            assert isinstance(token, Token)
            heard.setdefault(token.request, []).append((token.id, token.logprob_nats, token.finish))
        if heard and random.random() < 0.02:
            engine.cancel(int(random.choice(list(heard))))
    assert engine.counts.preempted and engine.counts.shared and engine.pages.free == engine.pages.count
    for number, tokens in heard.items():
        alone = plain.generate([numbers[number]])
        assert tokens == [(token.id, token.logprob_nats, token.finish) for token in alone][: len(tokens)]


def wish(random: np.random.Generator) -> Request:
    shared, own = (
        range(5, 5 + int(random.integers(0, 90))),
        random.integers(3, 560, 1 + random.integers(0, 20)),
    )
    sampling = Sampling(
        temperature=float(random.integers(0, 2)), top_p=0.9, seed=int(random.integers(1 << 30))
    )
    priority = int(random.integers(0, 2))
    return Request((*shared, *own.tolist()), int(random.integers(1, 60)), sampling, priority=priority)


def test_logprobs_are_the_score_of_what_was_said(engine: Engine) -> None:
    prompt = tuple(range(10, 30))
    tokens = list(engine.generate([Request(prompt, 6, Sampling(seed=3))]))
    ids = [token.id for token in tokens]
    nats = engine.score(prompt, [ids, ids[:1], []])
    assert nats[0] == pytest.approx(sum(token.logprob_nats for token in tokens), abs=1e-4)
    assert nats[1] == pytest.approx(tokens[0].logprob_nats, abs=1e-4) and nats[2] == 0.0


def test_a_long_prompt_in_chunks_scores_as_its_parts(engine: Engine) -> None:
    ids = tuple(np.random.default_rng(2).integers(3, 560, 2 * CHUNK_TOKENS + 7).tolist())
    whole = engine.score(ids[:1], [ids[1:]])[0]
    cut = CHUNK_TOKENS + 11
    assert whole == pytest.approx(
        engine.score(ids[:1], [ids[1:cut]])[0] + engine.score(ids[:cut], [ids[cut:]])[0]
    )


def test_stop_length_and_cancel(engine: Engine) -> None:
    prompt = tuple(range(5, 12))
    first = answer(engine, Request(prompt, 20, GREEDY))
    stopped = list(engine.generate([Request(prompt, 20, GREEDY, stop_ids=frozenset({first[4]}))]))
    assert [token.id for token in stopped] == first[: first.index(first[4]) + 1]
    assert stopped[-1].finish == "stop"
    assert list(engine.generate([Request(prompt, 3, GREEDY)]))[-1].finish == "length"
    free = engine.pages.free
    stream = engine.generate([Request(prompt, 500, GREEDY)])
    assert [next(stream).id for _ in range(3)] == first[:3]
    stream.close()  # a consumer that goes away
    assert engine.pages.free == free and not engine.busy


def test_one_answer_of_several_is_cancelled(engine: Engine) -> None:
    asked = Request((300, 301), 30, Sampling(seed=1, logit_bias=((2, -100.0),)), n=3, stop_loops=False)
    whole = list(engine.generate([asked]))
    number, heard = engine.add(asked), []
    while len(heard) < 15:
        heard += engine.step()
    engine.cancel(number, 1)
    while engine.busy:
        heard += engine.step()
    counts = [sum(token.choice == choice for token in heard) for choice in range(3)]
    assert counts[0] == counts[2] == 30 and counts[1] < 10
    for choice in (0, 2):
        ids = [[t.id for t in tokens if t.choice == choice] for tokens in (heard, whole)]
        assert ids[0] == ids[1]
    assert engine.pages.free == engine.pages.count


def test_the_context_ends_an_answer(engine: Engine) -> None:
    tokens = list(engine.generate([Request(tuple([7] * 1020), 100, GREEDY)]))
    assert len(tokens) == 4 and tokens[-1].finish == "length"


def test_prefill_is_reported(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    request = Request(tuple([9] * 700), 2, GREEDY)
    list(engine.generate([request], on_prefill=lambda done, total: seen.append((done, total))))
    assert seen == [(0, 700), (CHUNK_TOKENS, 700), (2 * CHUNK_TOKENS, 700)]


def test_a_chunk_is_smaller_for_a_larger_model(engine: Engine) -> None:
    """So that progress and Ctrl-C are not deaf for a minute; a chunk of a 13B is seconds on a slow CPU."""
    assert engine.chunk_tokens == CHUNK_TOKENS
    seven, thirteen = chunk_tokens(SIZES["baichuan-7b"]), chunk_tokens(SIZES["baichuan-13b"])
    assert 16 < thirteen < seven < CHUNK_TOKENS
    assert chunk_tokens(replace(SIZES["baichuan-13b"], num_hidden_layers=400)) == 16


class Flawed:
    """The real runner, but `flaw` gets each result first, with the number of the step."""

    def __init__(self, runner: Runner, flaw: Callable[[int, Step, Out], None]):
        self.runner, self.flaw, self.steps = runner, flaw, 0
        self.pages, self.page_tokens = runner.pages, runner.page_tokens
        self.head, self.copy = runner.head, runner.copy

    def step(self, step: Step) -> Out:
        out = self.runner.step(step)
        self.steps += 1
        self.flaw(self.steps, step, out)
        return out


THREE = [Request((5, 6, 7), 6, GREEDY), Request((8, 9), 6, GREEDY), Request((10,), 6, Sampling(seed=1))]


def flawed(small: Checkpoint, flaw: Callable[[int, Step, Out], None]) -> Engine:
    engine = Engine.open(small, threads=2)
    return Engine(engine.config, Flawed(engine.runner, flaw))


def said(engine: Engine, numbers: list[int]) -> list[list[Token]]:
    tokens = [token for _ in range(30) for token in engine.step() if isinstance(token, Token)]
    assert not engine.busy and engine.pages.free == engine.pages.count
    return [[token for token in tokens if token.request == number] for number in numbers]


def test_a_row_whose_logits_are_no_numbers_ends_alone(engine: Engine, small: Checkpoint) -> None:
    def flaw(step: int, fed: Step, out: Out) -> None:
        if step == 3:
            out.logits_MV[1] = np.nan

    broken = flawed(small, flaw)
    answers = said(broken, [broken.add(request) for request in THREE])
    first, second, third = (answer(engine, request) for request in THREE)
    assert [[token.id for token in tokens] for tokens in answers] == [first, [*second[:2], -1], third]
    assert answers[1][-1].finish == "error" and "not a number" in answers[1][-1].error


def test_a_failure_reaches_whoever_asked(engine: Engine, small: Checkpoint) -> None:
    def flaw(step: int, fed: Step, out: Out) -> None:
        if step == 3:
            out.logits_MV[1] = np.nan

    broken = flawed(small, flaw)
    good, bad = (broken.generate([request]) for request in THREE[:2])
    ids = [next(good).id]  # step 1: the first alone
    next(bad)  # step 2: both, by the second
    ids += [token.id for token in good]
    assert ids == answer(engine, THREE[0])
    with pytest.raises(ValueError, match="not a number"):
        next(bad)
    assert broken.pages.free == broken.pages.count


@pytest.mark.parametrize(
    ("error", "named"), [(MemoryError(), "not enough memory"), (RuntimeError("CUDA: assert"), "CUDA: assert")]
)
def test_when_the_runner_fails_in_mid_batch_only_the_guilty_ends(
    engine: Engine, small: Checkpoint, error: Exception, named: str
) -> None:
    whole = [answer(engine, request) for request in THREE]
    bad = whole[1][2]
    assert bad not in whole[0] + whole[2], "choose another token"

    def flaw(step: int, fed: Step, out: Out) -> None:
        if bad in fed.ids_N:
            raise error

    broken = flawed(small, flaw)
    answers = said(broken, [broken.add(request) for request in THREE])
    assert [[token.id for token in tokens] for tokens in answers] == [whole[0], [*whole[1][:3], -1], whole[2]]
    assert answers[1][-1].finish == "error" and named in answers[1][-1].error


def test_a_batch_that_fails_as_a_whole_is_fed_line_by_line(engine: Engine, small: Checkpoint) -> None:
    def flaw(step: int, fed: Step, out: Out) -> None:
        if len(fed.row_start_B1) > 2:
            raise MemoryError

    broken = flawed(small, flaw)
    answers = said(broken, [broken.add(request) for request in THREE])
    assert [[token.id for token in tokens] for tokens in answers] == [answer(engine, one) for one in THREE]


def test_two_streams_side_by_side_lose_nothing(engine: Engine) -> None:
    long = replace(THREE[0], max_new_tokens=9)
    one, two = engine.generate([long]), engine.generate(THREE[1:])
    first, second = [], []
    for _ in range(5):
        first.append(next(one).id)
        second.append(next(two))
    first += [token.id for token in one]
    second += two
    assert first == answer(engine, long)
    for request, number in zip(THREE[1:], sorted({token.request for token in second}), strict=True):
        assert [token.id for token in second if token.request == number] == answer(engine, request)


def test_when_one_of_several_is_refused_none_is_left_behind(engine: Engine) -> None:
    with pytest.raises(ValueError, match="600"):
        list(engine.generate([Request((5, 6)), Request((600,))]))
    assert not engine.busy


@pytest.mark.parametrize("count", [0, -3])
def test_no_new_tokens_are_refused(engine: Engine, count: int) -> None:
    with pytest.raises(ValueError, match=f"max_new_tokens = {count}"):
        engine.add(Request((5, 6), count))


def test_a_score_holds_the_logits_of_a_few_tokens(small: Checkpoint) -> None:
    engine = Engine.open(small, cache_bytes=1 << 20)
    ids = [7] * 1000  # float32 logits of all: 2.4 MB
    tracemalloc.start()
    engine.score((5,), [ids])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 500_000


def test_a_score_tells_of_every_token_if_asked_to(engine: Engine) -> None:
    prompt, answers = tuple(range(5, 12)), ((20, 21, 22), (23,), ())
    plain = engine.score(prompt, answers)
    engine.add(Score(prompt, answers, top_logprobs=3))
    heard: list[Event] = []
    while engine.busy:
        heard += engine.step()
    (scores,) = heard
    assert isinstance(scores, Scores) and list(scores.nats) == plain
    assert [sum(token.nats for token in tokens) for tokens in scores.tokens] == pytest.approx(plain)
    for token in [token for tokens in scores.tokens for token in tokens]:
        values = [nats for _, nats in token.top]
        assert len(values) == 3 and values == sorted(values, reverse=True) and values[0] >= token.nats


def test_banned_ids_stay_away(engine: Engine) -> None:
    prompt = tuple(range(5, 12))
    free = answer(engine, Request(prompt, 8, GREEDY))
    banned = answer(engine, Request(prompt, 8, GREEDY, banned_ids=frozenset(free)))
    assert not set(free) & set(banned)


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        ((), "empty prompt"),
        ((600,), "600"),
        ((-1,), "-1"),
        (tuple([5] * 1024), "1024"),
        ((5,) * 1030, "1030"),
    ],
)
def test_what_can_never_be_served_is_refused_with_the_figure(
    engine: Engine, ids: tuple[int, ...], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        engine.add(Request(ids))


def test_embed_gives_unit_vectors(engine: Engine) -> None:
    vectors = engine.embed([(5, 6, 7), (5, 6, 7, 8), (5, 6, 7)])
    assert vectors.shape == (3, 48) and np.linalg.norm(vectors, axis=1) == pytest.approx(1.0)
    assert (vectors[0] == vectors[2]).all() and not np.allclose(vectors[0], vectors[1])


def test_eight_bits_stay_close(small: Checkpoint, engine: Engine) -> None:
    ids = [list(range(20, 60))]
    rounded = Engine.open(small, bits=8)
    assert rounded.score((5,), ids)[0] == pytest.approx(engine.score((5,), ids)[0], rel=0.03)


def test_one_thread_says_what_two_say(small: Checkpoint, engine: Engine) -> None:
    request = Request(tuple(range(30, 70)), 20, Sampling(seed=5))
    assert answer(Engine.open(small, threads=1), request) == answer(engine, request)
    assert answer(engine, replace(request, sampling=Sampling(seed=6))) != answer(engine, request)


SCORED = [int(i) for i in np.random.default_rng(2).integers(5, 90, 90)]


def nats_with(checkpoint: Checkpoint, dtype: CacheDtype) -> list[float]:
    engine = Engine.open(checkpoint, cache_bytes=1 << 20, cache_dtype=dtype, threads=1)
    return engine.score(SCORED[:60], [SCORED[60:], SCORED[70:]])


@pytest.mark.parametrize(("dtype", "most"), [("F16", 0.05), ("BF16", 0.5), ("I8", 0.5)])
def test_a_rounded_cache_changes_scores_a_little(small: Checkpoint, dtype: CacheDtype, most: float) -> None:
    exact, rounded = nats_with(small, "F32"), nats_with(small, dtype)  # about -260 and -180
    assert 0 < np.abs(np.subtract(exact, rounded)).max() < most


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I8"])
def test_a_cache_is_as_large_as_it_was_counted(small: Checkpoint, dtype: CacheDtype) -> None:
    engine = Engine.open(small, cache_bytes=1 << 20, cache_dtype=dtype)
    assert isinstance(engine.runner, NativeRunner)
    page_bytes = cache_token_bytes(small.config, dtype) * engine.pages.page_tokens
    assert engine.runner.cache.nbytes == engine.pages.count * page_bytes
    assert 0 <= engine.runner.cache.nbytes - (1 << 20) < page_bytes


def test_int8_holds_nearly_twice_the_tokens(small: Checkpoint) -> None:
    pages = {
        dtype: Engine.open(small, cache_bytes=1 << 20, cache_dtype=dtype).pages.count
        for dtype in ("F16", "I8")
    }
    per_head = small.config.head_dim
    assert pages["I8"] / pages["F16"] == pytest.approx(2 * per_head / (per_head + 4), rel=0.05)
