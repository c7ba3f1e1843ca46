"""Rules: what they mean as sets of texts, and that the tokens offered are those, all of those and no trap."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import haina
from haina.engine.constraint import Allowed, Dense, Forced, Sparse, State, dead_end, ids_of, nothing_follows
from haina.engine.rule import Both, Either, Not, Rule, Text, Then, Until, Vocabulary
from haina.text import spm
from haina.text.tokenizer import Tokenizer

# -- vocabularies -------------------------------------------------------------------------------------------------


def make(
    pieces: Iterable[str], *, with_bytes: bool = True, size: int | None = None, ahead: int = 500
) -> Vocabulary:
    control = [("<unk>", 0.0, spm.UNKNOWN), ("<s>", 0.0, spm.CONTROL), ("</s>", 0.0, spm.CONTROL)]
    bytes_ = [(f"<0x{byte:02X}>", 0.0, spm.BYTE) for byte in range(256 * with_bytes)]
    texts = [(piece.replace(" ", "▁"), -float(rank), spm.NORMAL) for rank, piece in enumerate(pieces)]
    wire = spm.compose(
        [*control, *bytes_, *texts],
        bos_id=1,
        eos_id=2,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
    )
    return Vocabulary(Tokenizer(wire), size, ahead=ahead)


@pytest.fixture(scope="module")
def brook() -> Vocabulary:
    """The embedded model's."""
    return Vocabulary(Tokenizer.open(Path(haina.__file__).parent / "weights" / "tokenizer.model"))


@pytest.fixture(scope="module")
def small() -> Vocabulary:
    return make(["a", "b", "ab", "ba", "aab", "bbb", "天", "地", "天地"])


def offered(allowed: Allowed) -> list[int]:
    """The ids that may come first, in any cut."""
    ways = allowed.ways if isinstance(allowed, Forced) else allowed
    assert isinstance(ways, Sparse | Dense)
    ids = ids_of(ways.mask) if isinstance(ways, Dense) else ways.ids
    listed: list[int] = ids.tolist()
    assert listed == sorted(set(listed)) and ids.dtype == np.int32
    return listed


def walk(state: State, pick: Callable[[Sequence[int]], int], *, most: int = 200) -> tuple[list[int], State]:
    """Ids until the text ends or `most` came: what is forced is taken, of the rest one is picked; never a dead end."""
    ids: list[int] = []
    while len(ids) < most:
        assert not nothing_follows(state), dead_end(state)
        allowed = state.allowed()
        choices = offered(allowed)
        if not choices or (state.accepting() and pick([0, 1])):
            break
        for id in allowed.ids if isinstance(allowed, Forced) else [pick(choices)]:
            after = state.step(id)
            assert after is not None
            state = after
            ids.append(id)
    return ids, state


# -- what a rule means: the texts of two letters, up to five of them ------------------------------------------------

TEXTS = ["".join(chars) for length in range(6) for chars in product("ab", repeat=length)]


def texts_of(rule: Rule) -> set[str]:
    """By definition: the texts themselves, made of the texts of the parts."""
    if isinstance(rule, Text):
        return {rule.text}
    if isinstance(rule, Either):
        return set().union(*map(texts_of, rule.rules))
    if isinstance(rule, Both):
        return texts_of(rule.a) & texts_of(rule.b)
    if isinstance(rule, Then):
        return {a + b for a in texts_of(rule.first) for b in texts_of(rule.second)}
    if isinstance(rule, Not):
        return set(TEXTS) - texts_of(rule.rule) if rule.rule else set(TEXTS)
    assert isinstance(rule, Until)
    ends = texts_of(rule.stop) - {""}
    stops = [any(text.endswith(end) for end in ends) for text in TEXTS]
    stopped = {text for text, stop in zip(TEXTS, stops, strict=True) if stop}
    return {text for text in stopped if not any(text[:at] in stopped for at in range(len(text)))}


def combined(parts: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    return (
        st.builds(Either, st.frozensets(parts, min_size=1, max_size=3))
        | st.builds(Both, parts, parts)
        | st.builds(Then, parts, parts)
        | st.builds(Not, parts)
        | st.builds(Until, parts)
    )


RULES = st.recursive(st.builds(Text, st.text("ab", max_size=3)), combined, max_leaves=4)


@settings(max_examples=200, deadline=None)
@given(RULES)
def test_a_rule_means_its_texts(rule: Rule) -> None:
    means = texts_of(rule)
    for text in TEXTS:
        state: Rule | None = rule
        for char in text:
            few = None if state is None else state.chars()
            after = None if state is None else state.step(char)
            assert after is None or few is None or char in few  # `chars` leaves none out
            state = after
        assert (state is not None and state.complete()) == (text in means), text


def test_ways_that_meet_again_become_one() -> None:
    """Without that, rules grow with the text."""
    rule: Rule | None = Then(Not(None), Then(Not(None), Text("b")))
    sizes = []
    for _ in range(8):
        rule = rule.step("a") if rule else None
        sizes.append(len(repr(rule)))
    assert rule is not None and sizes[-1] == sizes[1]


# -- tokens: brute force over a small vocabulary ----------------------------------------------------------------------


def reachable(rule: Rule, vocabulary: Vocabulary, most: int = 150) -> dict[Rule, dict[int, Rule]]:
    """Every rule that ids lead to, and where each id leads; the test is left when there are too many."""
    found: dict[Rule, dict[int, Rule]] = {}
    new = [rule]
    while new:
        here = new.pop()
        if here in found:
            continue
        found[here] = {}
        for id, text in enumerate(vocabulary.texts):
            after: Rule | None = here if text else None
            for char in text:
                after = None if after is None else after.step(char)
            if after is not None:
                found[here][id] = after
        new += found[here].values()
        assume(len(found) <= most)
    return found


def leading_on(graph: dict[Rule, dict[int, Rule]]) -> set[Rule]:
    """The rules from which an end can be reached, backwards from the ends."""
    good = {rule for rule in graph if rule.complete()}
    while new := {rule for rule in graph.keys() - good if good & set(graph[rule].values())}:
        good |= new
    return good


VOCABULARIES = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6, unique=True).map(
    lambda pieces: make(pieces, with_bytes=False)
)


@settings(max_examples=60, deadline=None)
@given(RULES, VOCABULARIES)
def test_the_ids_are_those_of_brute_force(rule: Rule, vocabulary: Vocabulary) -> None:
    graph = reachable(rule, vocabulary)
    good = leading_on(graph)
    vocabulary.lift(rule).start()
    for here in graph:
        if here in good:
            expected = [id for id, after in graph[here].items() if after in good]
            assert offered(vocabulary.allowed(here)) == expected


@settings(max_examples=60, deadline=None)
@given(RULES, VOCABULARIES, st.randoms(use_true_random=False))
def test_no_walk_ends_in_a_dead_end(rule: Rule, vocabulary: Vocabulary, chance: random.Random) -> None:
    good = leading_on(reachable(rule, vocabulary))
    state = vocabulary.lift(rule).start()
    assert nothing_follows(state) == (rule not in good) and (state.bound() == -np.inf) == (rule not in good)
    if rule in good:
        ids, _ = walk(state, chance.choice, most=20)
        here: Rule | None = rule
        for char in "".join(vocabulary.texts[id] for id in ids):
            here = None if here is None else here.step(char)
        assert here is not None


@settings(max_examples=60, deadline=None)
@given(RULES, st.randoms(use_true_random=False))
def test_every_text_is_accepted_in_any_cut(rule: Rule, chance: random.Random) -> None:
    vocabulary = make(["a", "b", "ab", "ba", "aab", "bbb"])
    for text in sorted(texts_of(rule))[:20]:
        state: State | None = vocabulary.lift(rule).start()
        at = 0
        while at < len(text):
            ends = [end for end in range(at + 1, len(text) + 1) if text[at:end] in vocabulary.texts]
            end = chance.choice(ends)
            state = None if state is None else state.step(vocabulary.texts.index(text[at:end]))
            at = end
        assert state is not None and state.accepting()


# -- three laws as an app writes them ---------------------------------------------------------------------------------

READINGS = {
    "ni": "你拟泥",
    "hao": "好号浩",
    "shi": "是时十世",
    "jie": "界节接",
    "xi": "西习喜",
    "an": "安暗岸",
    "xian": "先现线",
}


@lru_cache
def syllables(keys: str) -> tuple[str, ...]:
    """Where a syllable may end after the beginning of the keys: xian is one, or xi and an."""
    return tuple(s for s in READINGS if keys.startswith(s))


@dataclass(frozen=True)
class Pinyin(Rule):
    keys: str

    def step(self, char: str) -> Rule | None:
        ways = frozenset(Pinyin(self.keys[len(s) :]) for s in syllables(self.keys) if char in READINGS[s])
        return next(iter(ways)) if len(ways) == 1 else Either(ways) if ways else None

    def complete(self) -> bool:
        return not self.keys

    def chars(self) -> Iterable[str]:
        return "".join(READINGS[s] for s in syllables(self.keys))


RHYMES = ("光霜乡床长香", "风中空红东同", "山间闲还关颜")
PLAIN = "明月天地人心花鸟云水春秋日夜江海"


@dataclass(frozen=True)
class Verse(Rule):
    """Four lines of five characters, none twice; the second and the fourth line rhyme."""

    at: int = 0
    rhyme: str = ""
    used: frozenset[str] = frozenset()

    def step(self, char: str) -> Rule | None:
        line, place = divmod(self.at, 6)
        if place == 5:
            return replace(self, at=self.at + 1) if char == "，。，。"[line] and line < 4 else None
        if line > 3 or char in self.used:
            return None
        rhyme = self.rhyme
        if place == 4 and line % 2:
            rhyme = next((group for group in RHYMES if char in group), "")
            if not rhyme or self.rhyme not in ("", rhyme):
                return None
        elif char not in PLAIN and not any(char in group for group in RHYMES):
            return None
        return Verse(self.at + 1, rhyme, self.used | {char})

    def complete(self) -> bool:
        return self.at == 24

    def bound(self) -> float:
        return -np.inf if self.at < 24 and self.rhyme and self._spent() else 0.0

    def _spent(self) -> bool:
        return self.at < 23 and not set(self.rhyme) - self.used

    def chars(self) -> Iterable[str]:
        return "，。" if self.at % 6 == 5 else PLAIN + "".join(RHYMES)


@dataclass(frozen=True)
class Brackets(Rule):
    """Nested lists of digits, as JSON writes them, to any depth."""

    depth: int = 0
    state: str = "value"  # or first, after, end

    def step(self, char: str) -> Rule | None:
        if char == "[" and self.state in ("value", "first"):
            return Brackets(self.depth + 1, "first")
        if char == "]" and self.depth and self.state in ("first", "after"):
            return Brackets(self.depth - 1, "after" if self.depth > 1 else "end")
        if char.isdigit() and char.isascii() and self.state in ("value", "first") and self.depth:
            return replace(self, state="after")
        return replace(self, state="value") if char == "," and self.state == "after" else None

    def complete(self) -> bool:
        return self.state == "end"


def test_pinyin_keeps_to_the_keys(brook: Vocabulary) -> None:
    constraint = brook.lift(Pinyin("nihaoshijie"))
    seen = set()
    for seed in range(40):
        ids, state = walk(constraint.start(), random.Random(seed).choice)
        text = "".join(brook.texts[id] for id in ids)
        assert state.accepting() and len(text) == 4
        assert all(c in READINGS[s] for c, s in zip(text, ("ni", "hao", "shi", "jie"), strict=True))
        seen.add(text)
    assert len(seen) > 10
    state: State | None = constraint.start()
    for id in brook.tokenizer.encode("你好世界"):
        assert state is not None and id in offered(state.allowed())
        state = state.step(id)
    assert state is not None and state.accepting() and offered(state.allowed()) == []
    both = brook.lift(Pinyin("xian")).start()  # 先, or 西安
    assert {brook.texts[id][0] for id in offered(both.allowed())} == set("先现线西习喜")


def test_a_verse_rhymes_and_never_runs_out_of_rhymes(brook: Vocabulary) -> None:
    for seed in range(15):
        ids, state = walk(brook.lift(Verse()).start(), random.Random(seed).choice)
        text = "".join(brook.texts[id] for id in ids)
        assert state.accepting() and len(text) == 24 and text[5::6] == "，。，。"
        assert len(set(text) - set("，。")) == 20
        assert any({text[10], text[22]} <= set(group) for group in RHYMES)


def test_what_was_used_up_is_a_dead_end_before_it_is_reached(brook: Vocabulary) -> None:
    """All but one of a rhyme group are in use, and the last place needs one."""
    near = Verse(20, RHYMES[0], frozenset(RHYMES[0][:-1]))
    after = {brook.texts[id][0] for id in offered(brook.lift(near).start().allowed())}
    assert after and RHYMES[0][-1] not in after


def test_brackets_close(brook: Vocabulary) -> None:
    finished = 0
    for seed in range(20):
        chance = random.Random(seed)
        ids, state = walk(brook.lift(Brackets()).start(), lambda ids, c=chance: c.choice(ids), most=60)  # type: ignore[misc]
        text = "".join(brook.texts[id] for id in ids)
        assert text.startswith("[") and text.count("[") >= text.count("]")
        if state.accepting():
            finished += 1
            assert isinstance(eval(text.replace("[,", "[")), list)
    assert finished


# -- what is certain --------------------------------------------------------------------------------------------------

TEXT = "The answer, 床前明月光，疑是地上霜。\n"


def test_a_certain_text_is_the_tokenizers_own(brook: Vocabulary) -> None:
    ids, state = walk(brook.lift(Text(TEXT)).start(), lambda ids: pytest.fail("nothing is left to choose"))
    assert ids == brook.tokenizer.encode(TEXT) and state.accepting()


def test_the_end_of_a_certain_text_stays_open(brook: Vocabulary) -> None:
    """ "the fi" is certain; but the i may be one with the r behind it, so it is not forced."""
    wholes = ["the first", "the fire"]
    constraint = brook.lift(Either(frozenset(map(Text, wholes))))
    cuts = [brook.tokenizer.encode(whole) for whole in wholes]
    assert [[brook.texts[id] for id in cut[3:]] for cut in cuts] == [["ir", "st"], ["i", "re"]]
    allowed = constraint.start().allowed()
    assert isinstance(allowed, Forced) and list(allowed.ids) == cuts[0][:3] == cuts[1][:3]
    for cut in cuts:
        state: State | None = constraint.start()
        for id in cut:
            assert state is not None and id in offered(state.allowed())
            state = state.step(id)
        assert state is not None and state.accepting()


def test_nothing_is_forced_where_the_text_may_end(small: Vocabulary) -> None:
    state = small.lift(Either(frozenset([Text("ab"), Text("abab")]))).start()
    texts = []
    while offered(state.allowed()):
        allowed = state.allowed()
        assert not (state.accepting() and isinstance(allowed, Forced))
        after = state.step(offered(allowed)[-1])
        assert after is not None
        state = after
        texts.append(state.accepting())
    assert texts[-1]


# -- pieces that are no text ------------------------------------------------------------------------------------------


def test_bytes_and_control_pieces_are_never_offered(small: Vocabulary) -> None:
    anything = small.lift(Not(None)).start()
    texts = {small.tokenizer.piece(id) for id in offered(anything.allowed())}
    assert {"a", "天地"} < texts and not {"<s>", "</s>", "<unk>", "<0xE5>"} & texts
    assert all(anything.step(id) is None for id in (0, 1, 2, 3 + 0xE5, -1, 10**6))


def test_an_ascii_byte_stands_in_for_a_character_without_a_piece(small: Vocabulary) -> None:
    newline, letter = 3 + 0x0A, 3 + ord("a")
    anything = small.lift(Not(None)).start()
    assert newline in offered(anything.allowed()) and letter not in offered(anything.allowed())
    allowed = small.lift(Text("天地\n")).start().allowed()
    assert isinstance(allowed, Forced) and allowed.ids == tuple(small.tokenizer.encode("天地\n"))


def test_a_character_without_a_piece_is_a_dead_end_from_the_start(small: Vocabulary) -> None:
    state = small.lift(Text("天地玄黄")).start()
    assert nothing_follows(state) and state.bound() == -np.inf and "天地玄黄" in dead_end(state)


def test_a_vocabulary_may_be_smaller_than_the_model() -> None:
    vocabulary = make("abc", size=1000)
    allowed = vocabulary.lift(Not(None)).start().allowed()
    assert (
        isinstance(allowed, Dense)
        and len(allowed.mask) == 32
        and max(offered(allowed)) < vocabulary.tokenizer.size
    )


def test_the_space_of_a_piece_counts() -> None:
    """In the middle of a text "▁a" is a space and an a; one piece is not another's dummy prefix."""
    vocabulary = make(["▁a", "a", "▁"])
    assert [vocabulary.texts[id] for id in offered(vocabulary.lift(Text(" a")).start().allowed())] == [
        " a",
        " ",
    ]
    assert [vocabulary.texts[id] for id in offered(vocabulary.lift(Text("a")).start().allowed())] == ["a"]


# -- what is kept -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counted(Rule):
    """Any letters of a row of them, and a note of every question asked."""

    letters: str
    asked: Asked

    def step(self, char: str) -> Rule | None:
        self.asked.count += 1
        return self if char in self.letters else None

    def complete(self) -> bool:
        return True


class Asked:
    count = 0


def test_equal_rules_are_asked_once(small: Vocabulary) -> None:
    asked = Asked()
    first = small.lift(Counted("ab", asked)).start().allowed()
    count = asked.count
    assert count > 0
    assert small.lift(Counted("ab", asked)).start().allowed() is first and asked.count == count
    for array in [first.mask if isinstance(first, Dense) else getattr(first, "ids", None)]:
        assert isinstance(array, np.ndarray) and not array.flags.writeable


def test_the_step_of_an_equal_rule_is_taken_once(small: Vocabulary) -> None:
    asked = Asked()
    first = small.step(Counted("ab", asked), small.texts.index("aab"))
    assert first is not None and asked.count == 3
    assert small.step(Counted("ab", asked), small.texts.index("aab")) is first and asked.count == 3
    assert small.step(Counted("ab", asked), small.texts.index("天")) is None and asked.count == 4


def test_equal_states_have_equal_keys(small: Vocabulary) -> None:
    def behind(*texts: str) -> State:
        state: State | None = small.lift(Until(Text("b"))).start()
        for text in texts:
            assert state is not None
            state = state.step(small.texts.index(text))
        assert state is not None
        return state

    assert behind("a", "a", "b").key() == behind("aab").key() == behind("ab").key() != behind("a").key()
    assert behind("a") == behind("天地")
