"""BeamSearch: wide enough it finds what trying everything finds; nothing but the request decides what it finds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.constraint import Allowed, Dense, Forced, Sparse, mask_of
from haina.engine.engine import Engine
from haina.engine.request import Beams, Finish, Request, Token
from haina.engine.rule import Either, Text, Vocabulary
from haina.engine.sampling import Sampling, log_sum_exp

Make = Callable[..., Engine]
Ids = tuple[int, ...]
GREEDY = Sampling(temperature=0)
V, STOP = 40, 9
PROMPT = (11, 12, 13, 14, 15, 16)
WIDE = Beams(64, exact=True)


def answers(engine: Engine, request: Request) -> list[list[Token]]:
    """The tokens of each choice, whatever the request's number. All pages come back."""
    found = by_choice(engine.generate([request]))
    assert engine.pages.free == engine.pages.count
    return found


def by_choice(tokens: Iterable[Token]) -> list[list[Token]]:
    found: dict[int, list[Token]] = {}
    for token in tokens:
        found.setdefault(token.choice, []).append(replace(token, request=0))
    assert [*found] == [*range(len(found))], "not the best first"
    return [*found.values()]


def ids_of(answer: Sequence[Token]) -> Ids:
    return tuple(token.id for token in answer)


def nats_of(engine: Engine, ids: Ids, *, raw: bool = False) -> list[float]:
    """Of each id after PROMPT, by logits without a cache: log-probabilities or raw logits."""
    rows = [engine.runner.after([*PROMPT, *ids[:i]]) for i in range(len(ids))]
    return [float(row[id]) - (0 if raw else log_sum_exp(row)) for row, id in zip(rows, ids, strict=True)]


@dataclass(frozen=True)
class Words:
    """One of these texts, allowed in the form that `form` names for what has been said; `bias` of each id."""

    words: frozenset[Ids]
    form: Callable[[Ids], str]
    bias: tuple[tuple[int, float], ...] = ()
    dead: frozenset[Ids] = frozenset()  # texts after which nothing may come
    tells: bool = True  # whether `bound` says so
    said: Ids = ()

    def start(self) -> Words:
        return self

    def _left(self, said: Ids) -> list[int]:
        if said in self.dead:
            return []
        n = len(said)
        return sorted({word[n] for word in self.words if word[:n] == said and len(word) > n})

    def allowed(self) -> Allowed:
        ids, form = self._left(self.said), self.form(self.said)
        if form == "forced" and len(ids) == 1 and not self.accepting():
            text = (*self.said, *ids)
            while len(more := self._left(text)) == 1 and text not in self.words:
                text = (*text, *more)
            return Forced(text[len(self.said) :])
        bias = np.array([dict(self.bias).get(id, 0.0) for id in range(V)], np.float32)
        if form == "dense":
            return Dense(mask_of(np.array(ids, np.int32), V), bias)
        return Sparse(np.array(ids, np.int32), bias[ids])

    def step(self, token: int) -> Words | None:
        return replace(self, said=(*self.said, token)) if token in self._left(self.said) else None

    def accepting(self) -> bool:
        return self.said in self.words and self.said not in self.dead

    def key(self) -> Hashable:
        return self.said

    def bound(self) -> float:
        """The most bias that a word may still bring."""
        if self.said in self.dead:
            return -math.inf if self.tells else 0.0
        n, bias = len(self.said), dict(self.bias)
        return max(sum(bias.get(i, 0.0) for i in word[n:]) for word in self.words if word[:n] == self.said)


FORMS: dict[str, Callable[[Ids], str]] = {
    "sparse": lambda said: "sparse",
    "dense": lambda said: "dense",
    "forced": lambda said: "forced",
    "mixed": lambda said: ("sparse", "dense", "forced")[sum(said) % 3],
}
random = np.random.default_rng(7)
WORDS = frozenset(
    (*random.integers(20, 24, 3).tolist(), 30, *random.integers(31, 33, 2).tolist()) for _ in range(30)
)


# -- against trying everything ------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_a_wide_beam_finds_what_trying_everything_finds(remember: Make, penalty: float) -> None:
    engine = remember(pages=60)
    said = (3, 5, 7)
    texts = [(*some, STOP) for n in range(4) for some in itertools.product(said, repeat=n)]
    texts += itertools.product(said, repeat=4)
    rank = {ids: sum(nats_of(engine, ids)) / len(ids) ** penalty for ids in texts}
    best = sorted(texts, key=lambda ids: -rank[ids])[:12]
    banned = frozenset(range(V)) - {*said, STOP}
    request = Request(PROMPT, 4, stop_ids=frozenset({STOP}), banned_ids=banned, n=12)
    found = answers(engine, replace(request, beams=replace(WIDE, width=27, length_penalty=penalty)))
    assert [ids_of(answer) for answer in found] == best
    for answer in found:
        nats = [token.logprob_nats for token in answer]
        assert nats == pytest.approx(nats_of(engine, ids_of(answer)), abs=1e-5)
        last: Finish = "stop" if answer[-1].id == STOP else "length"
        assert [token.finish for token in answer] == [None] * (len(answer) - 1) + [last]


@pytest.mark.parametrize("stop_ids", [frozenset(), frozenset({STOP})])
@pytest.mark.parametrize("form", FORMS)
def test_the_best_of_a_rule_in_any_form(remember: Make, form: str, stop_ids: frozenset[int]) -> None:
    engine = remember(pages=200)
    bias = ((20, 1.5), (32, -1.0))
    rank = {
        word: sum(nats_of(engine, (*word, *stop_ids))) + sum(dict(bias).get(i, 0) for i in word)
        for word in WORDS
    }
    best = sorted(WORDS, key=lambda word: -rank[word])[:8]
    if form in ("forced", "mixed"):  # what must follow has no bias
        bias = ()
        best = sorted(WORDS, key=lambda word: -sum(nats_of(engine, (*word, *stop_ids))))[:8]
    constraint = Words(WORDS, FORMS[form], bias)
    found = answers(engine, Request(PROMPT, 9, stop_ids=stop_ids, constraint=constraint, n=8, beams=WIDE))
    assert [ids_of(answer) for answer in found] == [(*word, *stop_ids) for word in best]
    assert {answer[-1].finish for answer in found} == {"stop"}


def test_what_must_follow_counts(remember: Make) -> None:
    """It takes no step of its own, and its nats are the network's."""
    engine = remember(pages=20)
    tail = tuple(range(20, 38))
    words = frozenset({(3, *tail), (5, *tail[::-1])})
    request = Request(PROMPT, 30, constraint=Words(words, FORMS["forced"]), n=2, beams=Beams(2))
    for exact in (False, True):
        steps = engine.runner.steps
        found = answers(engine, replace(request, beams=Beams(2, exact=exact)))
        assert engine.runner.steps - steps <= 4  # the prompt, and the tails in a chunk or two
        best = sorted(words, key=lambda word: -sum(nats_of(engine, word)))
        assert {ids_of(answer) for answer in found} == words
        if exact:
            assert [ids_of(answer) for answer in found] == best
            nats = [token.logprob_nats for token in found[0]]
            assert nats == pytest.approx(nats_of(engine, best[0]), abs=1e-5)


def test_a_text_that_begins_another_pays_for_its_end(remember: Make) -> None:
    engine = remember(pages=200)
    words = frozenset({(20,), (20, 21), (20, 21, 22), (23,)})
    constraint = Words(words, FORMS["forced"])
    request = Request(PROMPT, 9, stop_ids=frozenset({STOP}), constraint=constraint, n=4, beams=WIDE)
    best = sorted(words, key=lambda word: -sum(nats_of(engine, (*word, STOP))))
    assert [ids_of(answer) for answer in answers(engine, request)] == [(*word, STOP) for word in best]


# -- what is measured -----------------------------------------------------------------------------------------------


def test_few_ids_count_their_raw_logits_and_exact_ones_do_not(remember: Make) -> None:
    engine = remember(pages=200)
    request = Request(PROMPT, 9, constraint=Words(WORDS, FORMS["sparse"]), n=3, beams=Beams(64))
    for exact in (False, True):
        (best, *_) = answers(engine, replace(request, beams=Beams(64, exact=exact)))
        nats = [token.logprob_nats for token in best]
        assert nats == pytest.approx(nats_of(engine, ids_of(best), raw=not exact), abs=1e-5)


def test_where_log_z_is_zero_few_rows_of_the_head_are_exact(remember: Make) -> None:
    engine = remember(pages=200)
    raw = engine.runner.logits
    engine.runner.logits = lambda state_D: (raw(state_D) - log_sum_exp(raw(state_D))).astype(np.float32)
    request = Request(PROMPT, 9, constraint=Words(WORDS, FORMS["sparse"]), n=8, beams=Beams(8))
    few, exact = (answers(engine, replace(request, beams=Beams(8, exact=exact))) for exact in (False, True))
    assert list(map(ids_of, few)) == list(map(ids_of, exact))
    for one, other in zip(few, exact, strict=True):
        assert [t.logprob_nats for t in one] == pytest.approx([t.logprob_nats for t in other], abs=1e-5)


def test_in_one_step_all_beams_are_measured_alike(remember: Make) -> None:
    """Where one needs the whole head, the others count log-probabilities, too."""
    engine = remember(pages=200)
    words = frozenset({(3, 20, 21), (3, 22, 23), (5, 20, 21), (5, 22, 23)})
    constraint = Words(words, lambda said: "dense" if said[:1] == (3,) and len(said) == 1 else "sparse")
    for answer in answers(engine, Request(PROMPT, 9, constraint=constraint, n=4, beams=Beams(4))):
        logits, nats = (nats_of(engine, ids_of(answer), raw=raw) for raw in (True, False))
        said = [token.logprob_nats for token in answer]
        assert said == pytest.approx([logits[0], nats[1], logits[2]], abs=1e-5)


# -- narrow beams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [None, "sparse", "dense", "forced"])
def test_the_narrowest_beam_is_greedy(remember: Make, form: str | None) -> None:
    engine = remember(pages=60, context=60)
    for first in range(6):
        constraint = Words(WORDS, FORMS[form]) if form else None
        request = Request(
            (first, 7), 20, GREEDY, constraint=constraint, stop_ids=frozenset({8, STOP} if not form else ())
        )
        (found,) = answers(engine, replace(request, sampling=Sampling(), beams=Beams(1, exact=True)))
        (greedy,) = answers(engine, request)
        assert ids_of(found) == ids_of(greedy) and found[-1].finish == greedy[-1].finish
        if not form:
            assert found == greedy


def test_the_n_best_are_sorted_and_differ(engine: Engine) -> None:
    request = Request(tuple(range(40, 80)), 12, stop_ids=frozenset({2}), n=6)
    found = answers(engine, replace(request, beams=Beams(6)))
    totals = [sum(token.logprob_nats for token in answer) for answer in found]
    assert len({ids_of(answer) for answer in found}) == 6 and totals == sorted(totals, reverse=True)
    assert totals == pytest.approx(engine.score(request.ids, [ids_of(answer) for answer in found]), abs=1e-4)


def test_bounds_lead_the_way(remember: Make) -> None:
    """A bias at the end of a text is worth as much at its beginning, where `bound` promises it."""
    engine = remember(pages=20)
    texts = [(3, 20, 30), (5, 21, 31), (7, 22, 32)]
    worst = min(texts, key=lambda word: nats_of(engine, word)[0])
    constraint = Words(frozenset(texts), FORMS["sparse"], ((worst[-1], 50.0),))
    (found,) = answers(engine, Request(PROMPT, 9, constraint=constraint, beams=Beams(1)))
    assert ids_of(found) == worst


def test_a_search_ends_when_nothing_can_overtake(remember: Make) -> None:
    engine = remember(pages=60)
    (found,) = answers(engine, Request(PROMPT, 30, stop_ids=frozenset(range(0, V, 2)), beams=Beams(4)))
    assert found[-1].finish == "stop" and engine.runner.steps < 10


@pytest.mark.parametrize("seed", [0, 1, 13, 41])  # with 13 and 41 it does
def test_with_a_length_penalty_a_longer_text_may_overtake_later(remember: Make, seed: int) -> None:
    engine = remember(pages=200)
    random = np.random.default_rng(seed)
    words = frozenset((first, *random.integers(20, V, first).tolist()) for first in range(12))
    request = Request(PROMPT, 20, constraint=Words(words, FORMS["sparse"]))
    (found,) = answers(engine, replace(request, beams=Beams(12, length_penalty=1.0, exact=True)))
    assert ids_of(found) == max(words, key=lambda word: np.mean(nats_of(engine, word)))


# -- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tells", [True, False])
def test_dead_ends_are_left_and_reported_only_where_there_is_nothing_else(
    remember: Make, tells: bool
) -> None:
    engine = remember(pages=20)
    texts = [(3, 20), (5, 20), (7, 20)]
    (likely, *_) = sorted(texts, key=lambda word: -nats_of(engine, word, raw=True)[0])
    some = Words(frozenset(texts), FORMS["sparse"], dead=frozenset({likely[:1]}), tells=tells)
    width = 1 if tells else 2
    found = answers(engine, Request(PROMPT, 9, constraint=some, beams=Beams(width)))
    assert ids_of(found[0]) in set(texts) - {likely}
    none = replace(some, dead=frozenset(word[:1] for word in texts))
    for new in (9, 1):
        with pytest.raises(ValueError, match="dead end"):
            answers(engine, Request(PROMPT, new, constraint=none, beams=Beams(2)))
    with pytest.raises(ValueError, match="no token may be chosen"):
        answers(engine, Request(PROMPT, 9, banned_ids=frozenset(range(V)), beams=Beams(2)))
    assert engine.pages.free == engine.pages.count


def test_a_rule_that_allows_only_what_is_banned_is_a_dead_end(engine: Engine) -> None:
    """Few rows of the head are none at all. The native runner."""
    constraint = Words(frozenset({(20, 21)}), FORMS["sparse"])
    with pytest.raises(ValueError, match="dead end"):
        answers(engine, Request(PROMPT, 9, constraint=constraint, banned_ids=frozenset({20}), beams=Beams(2)))


def test_where_a_constraint_has_fewer_texts_there_are_fewer_answers(remember: Make) -> None:
    constraint = Words(frozenset({(3, 20), (5, 20)}), FORMS["sparse"])
    found = answers(remember(pages=20), Request(PROMPT, 9, constraint=constraint, n=5, beams=Beams(5)))
    assert {ids_of(answer) for answer in found} == {(3, 20), (5, 20)}


def test_a_network_that_gives_no_number_is_named(remember: Make) -> None:
    engine = remember(pages=20)
    engine.runner.head_VD[:, 0] = np.nan
    for form in ("sparse", "dense"):
        constraint = Words(WORDS, FORMS[form])
        with pytest.raises(ValueError, match="not a number"):
            answers(engine, Request(PROMPT, 9, constraint=constraint, beams=Beams(3)))
    assert engine.pages.free == engine.pages.count


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ({"n": 3, "beams": Beams(2)}, "beams = 2"),
        ({"beams": Beams(65)}, "64"),
        ({"beams": Beams(4), "best_of": 2}, "best_of"),
    ],
)
def test_what_makes_no_sense_is_refused(remember: Make, field: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        remember(pages=200).add(Request(PROMPT, 3, **field))
    with pytest.raises(ValueError, match="length_penalty = nan"):
        Beams(2, math.nan)


# -- pages and companions -------------------------------------------------------------------------------------------


def test_beams_share_what_is_the_same(remember: Make) -> None:
    """The prompt is read once, and of every beam one token a step."""
    engine = remember(pages=60)
    answers(engine, Request(PROMPT * 3, 12, n=5, beams=Beams(5)))
    assert engine.runner.tokens <= len(PROMPT * 3) + 5 * 11


def test_a_search_that_just_fits_is_served_and_with_one_page_less_refused(remember: Make) -> None:
    request = Request(PROMPT, 18, n=4, beams=Beams(4))  # 24 tokens: one page shared, 4 times 5 more
    assert answers(remember(pages=21), request) == answers(remember(pages=200), request)
    with pytest.raises(ValueError, match="84 tokens of cache and there are 80"):
        remember(pages=20).add(request)


SEARCHES = [
    Request(PROMPT, 18, n=4, beams=Beams(4)),
    Request(PROMPT, 9, constraint=Words(WORDS, FORMS["mixed"]), n=4, beams=Beams(5, exact=True)),
    Request(PROMPT * 3, 9, constraint=Words(WORDS, FORMS["forced"]), n=4, beams=Beams(5)),
]


@pytest.mark.parametrize("search", SEARCHES)
def test_pages_lost_on_the_way_change_no_answer(remember: Make, search: Request) -> None:
    """Older requests take the pages of a search, which reads its beams again."""
    expected = answers(remember(pages=200), search)
    preempted = 0
    for pages in range(21, 31):
        engine = remember(pages=pages)
        others = [engine.add(Request((i, 17, 18), 30, GREEDY)) for i in range(3)]
        number = engine.add(search)
        said: list[Token] = []
        while engine.busy:
            said += engine.step()
        assert by_choice(token for token in said if token.request == number) == expected
        assert {token.request for token in said} == {*others, number}
        assert engine.pages.free == engine.pages.count
        preempted += engine.counts.preempted
    assert preempted > 2


def test_companions_change_no_bit(engine: Engine) -> None:
    """The native runner."""
    words = frozenset(tuple(ids) for ids in np.random.default_rng(3).integers(20, 40, (40, 6)).tolist())
    searches = [
        Request(tuple(range(40, 90)), 10, stop_ids=frozenset({2}), n=4, beams=Beams(4)),
        Request(tuple(range(41, 90)), 10, constraint=Words(words, FORMS["sparse"]), n=4, beams=Beams(6)),
    ]
    alone = [answers(engine, search) for search in searches]
    companions = [Request((i, *range(5 * i, 9 * i)), 3 * i, Sampling(seed=i)) for i in range(1, 7)]
    for companion in companions[:3]:
        engine.add(companion)
    said = engine.step()
    numbers = [engine.add(asked) for asked in (*searches, *companions[3:])]
    while engine.busy:
        said += engine.step()
    for number, expected in zip(numbers, alone, strict=False):
        assert by_choice(token for token in said if token.request == number) == expected
    assert engine.pages.free == engine.pages.count


def test_a_rule_over_characters(small: Checkpoint, engine: Engine) -> None:
    """All its texts are found, and nothing else; their nats are what `score` gives."""
    texts = ["海纳百川，有容乃大。", "海纳百川。", "白日依山尽", "黄河入海流。", "2023"]
    rule = Vocabulary(small.tokenizer, small.config.vocab_size).lift(Either(frozenset(map(Text, texts))))
    request = Request(tuple(range(40, 60)), 30, constraint=rule, stop_ids=frozenset({2}), n=5)
    found = answers(engine, replace(request, beams=Beams(32, exact=True)))
    said = ["".join(small.tokenizer.piece(id) for id in ids_of(answer[:-1])) for answer in found]
    assert len(said) == 5 and set(said) <= set(texts)
    totals = [sum(token.logprob_nats for token in answer) for answer in found]
    assert totals == sorted(totals, reverse=True)
    assert totals == pytest.approx(engine.score(request.ids, [ids_of(answer) for answer in found]), abs=1e-3)


def test_a_search_can_be_cancelled(remember: Make) -> None:
    engine = remember(pages=60)
    number = engine.add(Request(PROMPT, 18, n=4, beams=Beams(4)))
    for _ in range(5):
        engine.step()
    assert engine.pages.free < engine.pages.count
    engine.cancel(number)
    assert engine.pages.free == engine.pages.count and not engine.busy
