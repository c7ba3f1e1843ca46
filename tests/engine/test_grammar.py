"""Grammars: whatever is offered parses and validates, what validates is accepted, and what is no grammar is refused."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import haina
from haina.engine.combine import And
from haina.engine.constraint import (
    Constraint,
    Dense,
    Forced,
    Sparse,
    State,
    dead_end,
    ids_of,
    nothing_follows,
)
from haina.engine.grammar import Grammars
from haina.engine.rule import Not, Text, Then, Until, Vocabulary
from haina.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    """Over the embedded model's vocabulary, with some rows to spare."""
    tokenizer = Tokenizer.open(Path(haina.__file__).parent / "weights" / "tokenizer.model")
    return Grammars(Vocabulary(tokenizer, tokenizer.size + 50))


def offered(state: State) -> list[int]:
    allowed = state.allowed()
    ways = allowed.ways if isinstance(allowed, Forced) else allowed
    assert isinstance(ways, Sparse | Dense)
    ids: list[int] = (ids_of(ways.mask) if isinstance(ways, Dense) else ways.ids).tolist()
    return ids


def ending(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """Of the ids those that close something, if there are any: a random walk shall come to an end."""
    closing = [id for id in ids if tokenizer.piece_bytes(id) in (b'"', b"}", b"]", b"0", b"1", b",", b":")]
    return closing or [id for id in ids if len(tokenizer.piece_bytes(id)) == 1] or ids


def write(
    constraint: Constraint, tokenizer: Tokenizer, chance: random.Random, *, most: int = 400
) -> str | None:
    """A random text; None when it has not come to an end."""
    state, written = constraint.start(), b""
    for count in range(most):
        assert not nothing_follows(state), dead_end(state)
        if state.accepting() and (not offered(state) or chance.random() < 0.5):
            return written.decode()
        allowed = state.allowed()
        ids = offered(state)
        hurry = count > 40 or chance.random() < 0.5
        forced = allowed.ids if isinstance(allowed, Forced) else ()
        for id in forced or [chance.choice(ending(ids, tokenizer) if hurry else ids)]:
            after = state.step(id)
            assert after is not None
            state, written = after, written + tokenizer.piece_bytes(id)
    return None


def accepts(constraint: Constraint, ids: list[int]) -> bool:
    state: State | None = constraint.start()
    for id in ids:
        state = None if state is None else state.step(id)
    return state is not None and state.accepting()


# -- JSON -------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["name", "年龄", "a b", 'q"', "order", "orderId"])
LEAVES = st.sampled_from(
    [
        {"type": "string", "maxLength": 8},
        {"type": "string", "pattern": "^[a-z]{2,4}$"},
        {"type": "integer", "minimum": -3, "maximum": 120},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["红", "蓝", 3, None]},
        {"const": {"x": [1]}},
        {"type": "string", "format": "date"},
        {"type": ["integer", "string"], "maxLength": 3, "maximum": 9},
    ]
)


def larger(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(NAMES, parts, max_size=3)
    objects = st.tuples(properties, st.booleans(), st.randoms(use_true_random=False)).map(
        lambda drawn: {
            "type": "object",
            "properties": drawn[0],
            "required": [name for name in drawn[0] if drawn[2].random() < 0.7],
            "additionalProperties": {"type": "boolean"} if drawn[1] else False,
        }
    )
    arrays = st.builds(
        lambda items, least, more: {
            "type": "array",
            "items": items,
            "minItems": least,
            "maxItems": least + more,
        },
        parts,
        st.integers(0, 2),
        st.integers(0, 2),
    )
    return objects | arrays | st.builds(lambda a, b: {"anyOf": [a, b]}, parts, parts)


SCHEMAS = st.recursive(LEAVES, larger, max_leaves=5)


@settings(max_examples=60, deadline=None)
@given(schema=SCHEMAS, chance=st.randoms(use_true_random=False))
def test_what_is_written_validates(grammars: Grammars, schema: dict[str, Any], chance: random.Random) -> None:
    constraint = grammars.json_schema(schema)
    text = write(constraint, grammars.vocabulary.tokenizer, chance)
    if text is not None:
        jsonschema.validate(json.loads(text), schema)


def test_most_walks_come_to_an_end(grammars: Grammars) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string"}}},
        "required": ["a"],
    }
    constraint, tokenizer = grammars.json_schema(schema), grammars.vocabulary.tokenizer
    texts = [write(constraint, tokenizer, random.Random(seed)) for seed in range(12)]
    ended = [json.loads(text) for text in texts if text is not None]
    assert len(ended) > 6
    for value in ended:
        jsonschema.validate(value, schema)


@pytest.mark.parametrize(
    "value",
    [
        {"name": "张三丰", "age": 100},
        {"name": "龘\n\"'\\🙂", "age": 0, "tags": []},
        {"name": "", "age": 7, "tags": [1.5e3]},
    ],
)
@pytest.mark.parametrize("style", [{"separators": (",", ":")}, {}, {"indent": 4}])
def test_what_validates_is_accepted_in_any_cut(grammars: Grammars, value: Any, style: dict[str, Any]) -> None:
    """Also characters without a piece, as bytes; compact, with spaces and on several lines."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["name", "age"],
    }
    jsonschema.validate(value, schema)
    constraint, tokenizer = grammars.json_schema(json.dumps(schema)), grammars.vocabulary.tokenizer
    text = json.dumps(value, ensure_ascii=False, **style)
    assert accepts(constraint, tokenizer.encode(text))
    characters = [id for char in text for id in tokenizer.encode(char)]
    assert accepts(constraint, characters) and not accepts(constraint, characters[:-1])


def test_names_are_forced(grammars: Grammars) -> None:
    schema = {"type": "object", "properties": {"description": {"type": "null"}}, "required": ["description"]}
    constraint, tokenizer = grammars.json_schema(schema), grammars.vocabulary.tokenizer
    state: State | None = constraint.start()
    for id in tokenizer.encode('{"'):
        assert state is not None
        state = state.step(id)
    assert state is not None
    allowed = state.allowed()
    assert isinstance(allowed, Forced) and not state.accepting()
    assert "".join(map(tokenizer.piece, allowed.ids)) == 'description"'


def test_a_name_that_has_its_own_schema_does_not_come_as_any_other(grammars: Grammars) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "additionalProperties": {"type": "boolean"},
    }
    constraint, encode = grammars.json_schema(schema), grammars.vocabulary.tokenizer.encode
    assert accepts(constraint, encode('{"a": 1, "b": true}')) and accepts(constraint, encode('{"b": true}'))
    for wrong in ('{"a": true}', '{"b": true, "a": false}', '{"\\u0061": true}', '{"a": 1, "a": 2}'):
        assert not accepts(constraint, encode(wrong)), wrong


def test_any_object(grammars: Grammars) -> None:
    encode = grammars.vocabulary.tokenizer.encode
    assert accepts(grammars.json_object(), encode('{"a": [1, {"b": null}], "中": "文"}'))
    assert not accepts(grammars.json_object(), encode("[1]"))
    assert accepts(grammars.json_schema(True), encode("[1]"))


# -- the others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [r"\d{3}-[a-c]+", "(春|夏)*。", r"[^\n]{1,5}\n"])
def test_a_regular_expression_is_matched(grammars: Grammars, pattern: str) -> None:
    constraint, tokenizer = grammars.regex(pattern), grammars.vocabulary.tokenizer
    texts = [write(constraint, tokenizer, random.Random(seed), most=60) for seed in range(15)]
    ended = [text for text in texts if text is not None]
    assert ended and all(re.fullmatch(pattern, text) for text in ended)


def test_a_choice_is_one_of_them(grammars: Grammars) -> None:
    texts = ["北京", "北方", 'say "no"\n', "back\\slash", "龘"]
    constraint, tokenizer = grammars.choice(texts), grammars.vocabulary.tokenizer
    written = {write(constraint, tokenizer, random.Random(seed)) for seed in range(60)}
    assert written == set(texts)
    assert isinstance(constraint.start().allowed(), Sparse)


def test_a_grammar_and_a_rule_together(grammars: Grammars) -> None:
    """A number of up to three digits in brackets, by grammar; and never a 7, by rule."""
    grammar = grammars.lark('start: "[" NUMBER "]"\nNUMBER: /[0-9]{1,3}/')
    vocabulary = grammars.vocabulary
    no_seven = vocabulary.lift(Not(Then(Until(Text("7")), Not(None))))
    both = And((grammar, no_seven))
    encode = vocabulary.tokenizer.encode
    assert (
        accepts(grammar, encode("[172]"))
        and accepts(both, encode("[182]"))
        and not accepts(both, encode("[172]"))
    )
    for seed in range(10):
        text = write(both, vocabulary.tokenizer, random.Random(seed))
        assert text is not None and re.fullmatch(r"\[[0-689]{1,3}\]", text)


def test_text_that_a_tokenizer_folds_is_kept_as_it_is(data: Path) -> None:
    """This one writes full widths as half ones and puts a space before every text; its names are bytes to it."""
    tokenizer = Tokenizer.open(data / "baichuan-fixtures" / "7b-style" / "tokenizer.model")
    grammars = Grammars(Vocabulary(tokenizer, 1344))
    texts = ["ＡＢ １", "全　角", "\tthe\n", "㎏"]
    constraint = grammars.choice(texts)
    assert {write(constraint, tokenizer, random.Random(seed)) for seed in range(40)} == set(texts)
    jsonschema.validate(
        json.loads(write(grammars.json_schema({"const": texts}), tokenizer, random.Random(1)) or ""),
        {"const": texts},
    )


# -- states -----------------------------------------------------------------------------------------------------------


def test_states_stay_as_they_are(grammars: Grammars) -> None:
    """Steps on one branch change nothing for another, in any order."""
    encode, constraint = grammars.vocabulary.tokenizer.encode, grammars.choice(["abcd", "abxy"])
    start = constraint.start()
    fork = start.step(encode("a")[0])
    assert fork is not None
    middle = fork.step(encode("b")[0])
    assert middle is not None
    before = offered(middle)
    for text, end in (("c", "d"), ("x", "y"), ("c", "d")):
        after = middle.step(encode(text)[0])
        assert after is not None and after.step(encode(end)[0]) is not None
    assert offered(middle) == before and middle.step(encode("z")[0]) is None
    again = constraint.start().step(encode("ab")[0]) if len(encode("ab")) == 1 else middle
    assert again is not None and again.key() == middle.key() != start.key()
    assert grammars.choice(["abcd", "abxy"]) is constraint  # compiled once


def test_no_control_piece_comes_through(grammars: Grammars) -> None:
    tokenizer = grammars.vocabulary.tokenizer
    role = max(tokenizer.control_ids)
    state = grammars.lark(f'start: "a" | <[{role}]>').start()
    assert role not in offered(state) and state.step(role) is None and state.step(tokenizer.eos_id) is None
    with pytest.raises(ValueError, match="no text satisfies it"):
        grammars.lark(f"start: <[{role}]>")
    anything = grammars.regex(r"(.|\n)*").start()
    assert not tokenizer.control_ids & set(offered(anything)) and max(offered(anything)) < tokenizer.size
    assert anything.accepting() and isinstance(anything.allowed(), Dense)
    assert anything.step(tokenizer.size) is None and anything.step(10**7) is None


def test_a_state_shows_its_text(grammars: Grammars) -> None:
    state: State | None = grammars.choice(["你好\n吗"]).start()
    for id in grammars.vocabulary.tokenizer.encode("你好\n"):
        assert state is not None
        state = state.step(id)
    assert str(state) == r"'你好\n'"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("{", "Expecting property name"),
        ("[1]", "it is no object"),
        (False, "it is no object"),
        ({"type": "objekt"}, "Invalid type: objekt"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"x-guidance": {"lenient": True}, "type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "http://example.com/a"}, "registry"),
        ({"enum": []}, "Unsatisfiable"),
        ({"type": "object", "minProperties": 3}, "minProperties = 3 with 0 required names"),
        ({"type": "object", "x": {1, 2}}, "not JSON serializable"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused(grammars: Grammars, schema: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^JSON schema: .*{re.escape(reason)}.*; correct it$") as error:
        grammars.json_schema(schema)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "(?=a)b", r"\k", "\ud800", r"[^\s\S]", "a[^\\s\\S]", None, b"a"]
)
def test_what_is_no_regular_expression_is_refused(grammars: Grammars, pattern: Any) -> None:
    with pytest.raises(ValueError, match=r"^regular expression: .+; correct it$") as error:
        grammars.regex(pattern)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "grammar",
    ["", "hello", "start: b", 'start: "a', "start: /(/", '{"grammars": [', "start: /[^\\s\\S]/", 5, None],
)
def test_what_is_no_grammar_is_refused(
    grammars: Grammars, grammar: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"^grammar: .+; correct it$") as error:
        grammars.lark(grammar)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match=r"^文法：.+；请改正$"):
        grammars.lark(grammar)


@pytest.mark.parametrize("texts", [[], [""], ["a", ""], ["a", "\ud800"], ["a", 5], [None]])
def test_nothing_to_choose_from_is_refused(grammars: Grammars, texts: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"^choice: "):
        grammars.choice(texts)


def test_large_ones_are_no_trouble(grammars: Grammars) -> None:
    encode = grammars.vocabulary.tokenizer.encode
    assert accepts(grammars.choice([f"word{i}" for i in range(5000)]), encode("word4321"))
    many = {"type": "object", "properties": {f"k{i}": {"type": "integer"} for i in range(1000)}}
    assert accepts(grammars.json_schema(many), encode('{"k7": 1, "k999": 2}'))


def test_a_grammar_without_an_end_is_no_hang(grammars: Grammars) -> None:
    state: State = grammars.lark('start: "a" start').start()
    allowed = state.allowed()
    assert isinstance(allowed, Forced) and len(allowed.ids) <= 64
    with pytest.raises(ValueError, match="no text satisfies it"):
        grammars.json_schema({"$ref": "#"})


def test_masks_have_the_width_of_the_model(grammars: Grammars) -> None:
    allowed = grammars.regex("[^\n]*").start().allowed()
    assert isinstance(allowed, Dense) and allowed.mask.dtype == np.uint32
    assert len(allowed.mask) == -(-grammars.vocabulary.size // 32)
