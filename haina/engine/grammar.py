"""Grammars: JSON schemas, regular expressions, Lark grammars and lists of texts as constraints.

The work is llguidance's (guidance-ai/llguidance@c75b0d9, MIT): an Earley parser over a lexer of derivatives, walked
against the trie of the vocabulary's bytes; so, unlike a Rule, a grammar can say characters that only byte pieces
spell. It is imported here alone. A state owns a matcher that is never moved: a step copies it, in 10 µs, and copies
share what the lexer has learnt. No control piece is ever offered, whatever the grammar names.

Departures from JSON Schema are the library's (its docs/json_schema.md): properties come in the order of the schema,
and keywords it does not implement are refused. White space between tokens is at most LONGEST_SPACE characters, or a
small model would go on with it for ever.

Not known here: what asks for JSON, and how a refused grammar is reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from haina.engine.constraint import (
    SPARSE_SHARE,
    Allowed,
    Constraint,
    Dense,
    Forced,
    Sparse,
    State,
    ids_of,
    mask_of,
    nothing_follows,
    shorten,
)
from haina.engine.rule import LONGEST_CERTAIN, Vocabulary
from haina.wording import say

COMPILED = 64  # grammars kept for a vocabulary
LONGEST_SPACE = 24  # characters: a new line and an indent of a few levels
DEAD_END = "NoExtensionBias"  # what the matcher calls it: no error of ours, nothing is allowed
LIMITS = LLParserLimits(verbose_errors=False, max_items_in_row=20_000)  # 2,000 is 500 optional names


class Grammars:
    """Compiles grammars for one vocabulary. Every method gives a constraint that requests may share.

    ValueError, one line: it is none, no text satisfies it, or llguidance cannot do it, for the library's reason.

    What is compiled, and what its lexer has learnt, serves whoever asks next, so timing tells that somebody has used
    the same grammar; tenants who must not learn that of each other need Grammars each.
    """

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        pieces = _Pieces(vocabulary)
        self._tokenizer = LLTokenizer(TokenizerWrapper(pieces))  # 0.3 s with 64,000 pieces
        pieces.longest = self._tokenizer.greedy_tokenize
        self._compiled = lru_cache(COMPILED)(self._compile)
        self._silent = vocabulary.tokenizer.control_ids
        self._speakable = ~mask_of(np.array(sorted(self._silent), np.int32), vocabulary.size)

    def json_schema(self, schema: str | bool | dict[str, Any]) -> Constraint:
        """JSON that validates against a schema, given as it is or as JSON text."""
        if isinstance(schema, str):
            schema = _parsed(schema)
        if schema is True:
            schema = {}
        try:
            if not isinstance(schema, dict):
                raise ValueError(say("it is no object", "不是对象"))
            _check_least(schema)
            grammar = LLMatcher.grammar_from_json_schema(
                json.dumps(schema),
                overrides={  # over what the schema says of itself in "x-guidance"
                    "whitespace_pattern": rf"[ \n]{{1,{LONGEST_SPACE}}}",
                    "lenient": False,
                    "coerce_one_of": False,
                    "json_allowed_escapes": 'nrbtf\\"',  # not u, which could spell a name past its own schema
                },
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise _refused("JSON schema", "JSON Schema", str(error)) from None
        return self._compiled("JSON schema", "JSON Schema", grammar)

    def json_object(self) -> Constraint:
        """Any JSON object."""
        return self.json_schema({"type": "object"})

    def regex(self, pattern: str) -> Constraint:
        """A text that the whole of a regular expression matches (Rust's syntax, without look-around)."""
        return self._of("regular expression", "正则表达式", LLMatcher.grammar_from_regex, pattern)

    def lark(self, grammar: str) -> Constraint:
        """A text of a grammar in llguidance's variant of Lark (its docs/syntax.md)."""
        return self._of("grammar", "文法", LLMatcher.grammar_from_lark, grammar)

    def choice(self, texts: Sequence[str]) -> Constraint:
        """One of these texts."""
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise ValueError(
                say(
                    "choice: there is nothing to choose from, or something that is no text; give one text or more",
                    "choice：没有可选项，或有的选项为空、不是文本；请至少给出一个非空文本",
                )
            )
        quoted = " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)
        return self._of("choice", "选项", LLMatcher.grammar_from_lark, f"start: TEXT\nTEXT: {quoted}")

    def _of(self, en: str, zh: str, form: Callable[[str], str], text: str) -> Constraint:
        if not isinstance(text, str):
            raise _refused(en, zh, say("it is no text", "不是文本"))
        try:
            return self._compiled(en, zh, form(text))
        except UnicodeEncodeError:
            raise _refused(en, zh, say("it is not valid Unicode", "不是有效的 Unicode")) from None

    def _compile(self, en: str, zh: str, grammar: str) -> Constraint:
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise _refused(en, zh, matcher.get_error())
        compiled = _Grammar(self, matcher)
        if nothing_follows(compiled.start()):
            raise _refused(en, zh, say("no text satisfies it", "没有任何文本能满足它"))
        return compiled

    def ways(self, mask: bytes) -> Sparse | Dense:
        """llguidance's mask, which has the end in it, without what is no text."""
        words = np.frombuffer(mask, np.uint32)[: len(self._speakable)] & self._speakable
        count = int.from_bytes(words.tobytes(), "little").bit_count()
        return Dense(words) if count > self.vocabulary.size // SPARSE_SHARE else Sparse(ids_of(words))

    def bytes_of(self, id: int) -> bytes:
        return self.vocabulary.tokenizer.piece_bytes(id)

    def says(self, id: int) -> bool:
        """Whether an id is text."""
        return 0 <= id < self.vocabulary.size and id not in self._silent


class _Pieces:
    """The vocabulary as llguidance wants to see it: the bytes of each id, and how text is cut."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary):
        tokenizer = vocabulary.tokenizer
        self.vocabulary = vocabulary
        self.longest: Callable[[str], list[int]] = vocabulary.cut  # for what the tokenizer folds
        self.eos_token_id = tokenizer.eos_id
        self.tokens = [tokenizer.piece_bytes(id) for id in range(vocabulary.size)]
        self.special_token_ids = sorted(tokenizer.control_ids)
        for id in self.special_token_ids:
            self.tokens[id] = tokenizer.piece(id).encode()

    def __call__(self, text: str) -> list[int]:
        return self.vocabulary.cut(text) or self.longest(text)


@dataclass(frozen=True, eq=False)
class _Grammar:
    grammars: Grammars
    matcher: LLMatcher

    def start(self) -> State:
        return _State(self, self.matcher)


@dataclass(frozen=True, eq=False)
class _State:
    grammar: _Grammar
    matcher: LLMatcher  # stays where it is
    text: bytes = b""

    def allowed(self) -> Allowed:
        return self._allowed

    @cached_property
    def _allowed(self) -> Allowed:
        forced = self.matcher.compute_ff_tokens()[:LONGEST_CERTAIN]
        if forced and all(map(self.grammar.grammars.says, forced)):
            return Forced(tuple(forced))
        ways = self.grammar.grammars.ways(self.matcher.compute_bitmask())
        _check(self.matcher)
        if isinstance(ways, Sparse) and len(ways.ids) == 1 and not self.accepting():
            return Forced((int(ways.ids[0]),))
        return ways

    def step(self, token: int) -> State | None:
        if not self.grammar.grammars.says(token):
            return None
        after = self.matcher.deep_copy()
        consumed = after.try_consume_tokens([token])
        _check(after)
        text = self.text + self.grammar.grammars.bytes_of(token)
        return _State(self.grammar, after, text) if consumed else None

    def accepting(self) -> bool:
        return self.matcher.is_accepting()

    def key(self) -> Hashable:
        return (self.grammar, self.text)

    def bound(self) -> float:
        return 0.0

    def __str__(self) -> str:
        return repr(self.text.decode(errors="replace"))


def _check(matcher: LLMatcher) -> None:
    if matcher.is_error() and not matcher.get_error().startswith(DEAD_END):
        reason = _reason(matcher.get_error())
        raise ValueError(
            say(
                f"the grammar has become too much for llguidance here ({reason}); simplify it",
                f"文法在此处超出了 llguidance 的处理能力（{reason}）；请简化文法",
            )
        )


def _refused(en: str, zh: str, message: str) -> ValueError:
    reason = _reason(message)
    return ValueError(say(f"{en}: {reason}; correct it", f"{zh}：{reason}；请改正"))


def _reason(message: str) -> str:
    """The line of llguidance's message that says what is wrong."""
    lines = [line for line in message.splitlines() if line.strip()] or ["?"]
    error = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return shorten(error)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused("JSON schema", "JSON Schema", str(error)) from None


def _check_least(schema: Any) -> None:
    """Refuses a schema that asks for several names without giving them: llguidance lets a name come twice."""
    if isinstance(schema, list):
        for part in schema:
            _check_least(part)
    if not isinstance(schema, dict):
        return
    least, named = schema.get("minProperties"), schema.get("required", ())
    if isinstance(least, int) and least > max(1, len(named)):
        raise ValueError(
            say(
                f"minProperties = {least} with {len(named)} required names cannot be kept",
                f"minProperties = {least} 而 required 中只有 {len(named)} 个名称，无法保证",
            )
        )
    for part in schema.values():
        _check_least(part)
