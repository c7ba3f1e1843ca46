"""Answers: exact counts, whole characters, and nothing left behind by whoever goes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from haina.engine.sampling import Sampling
from haina.serve.answers import Piece, Question, TooLong, Usage, answer, prompt_ids
from haina.serve.shelf import Served, Shelf
from haina.serve.tools import CallReader, Tool, Turn, grammar, in_words
from haina.serve.vectors import embed
from haina.text.messages import Message

GREEDY = Sampling(temperature=0)
HELLO = (Message("user", "你好"),)


@pytest.fixture
def served(shelf: Shelf) -> Served:
    return shelf.loaded[0] if shelf.loaded else shelf.load()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


async def pieces(served: Served, question: Question, usage: Usage | None = None) -> list[Piece]:
    items = answer(served, question, usage or Usage())
    return [item async for item in items if isinstance(item, Piece)]


def test_counts_are_exact(served: Served) -> None:
    usage = Usage()
    question = Question(HELLO, sampling=GREEDY, max_new_tokens=40, logprobs=True)
    said = run(pieces(served, question, usage))
    assert usage.prompt_tokens == len(prompt_ids(served, question)) == 3
    assert usage.new_tokens == sum(len(piece.said) for piece in said) + 1  # the end
    assert said[-1].finish == "stop" and [piece.finish for piece in said[:-1]] == [None] * (len(said) - 1)


def test_a_prompt_that_was_read_before_is_counted(served: Served) -> None:
    question = Question((Message("user", "山" * 100),), sampling=GREEDY, max_new_tokens=1)
    first, second = Usage(), Usage()
    run(pieces(served, question, first))
    run(pieces(served, question, second))
    assert first.cached_tokens == 0 and 64 <= second.cached_tokens < second.prompt_tokens


def test_the_stop_string_is_named(served: Served) -> None:
    text = "".join(piece.text for piece in run(pieces(served, Question(HELLO, sampling=GREEDY))))
    question = Question(HELLO, sampling=GREEDY, stop=("没有", text[2:4], text[2:5]))
    *_, last = said = run(pieces(served, question))
    assert "".join(piece.text for piece in said) == text[:2]
    assert last.finish == "stop" and last.stop_string == text[2:4]


def test_an_answer_that_a_stop_string_ended_is_no_longer_made(served: Served) -> None:
    hot = Sampling(temperature=2, seed=3, logit_bias=((2, -100),))
    question = Question(prompt="春", sampling=hot, max_new_tokens=200, n=2)
    said = run(pieces(served, question))
    texts = ["".join(piece.text for piece in said if piece.choice == choice) for choice in (0, 1)]
    stop = next(char for char in texts[0][3:] if char not in texts[1])
    steps, fed = served.model.engine.counts, served.model.engine.counts.fed
    run(pieces(served, replace(question, stop=(stop,))))
    assert steps.fed - fed < 320, "without the end of the first one, 400"


def test_what_is_too_long_is_refused_with_the_numbers(served: Served) -> None:
    for question, new in (
        (Question((Message("user", "长" * 600),)), 0),
        (Question(HELLO, max_new_tokens=510), 510),
    ):
        with pytest.raises(TooLong) as error:
            run(pieces(served, question))
        assert (error.value.new_tokens, error.value.context) == (new, 512)
    with pytest.raises(TooLong):
        run(embed(served, ["长" * 600], Usage()))


def test_the_models_own_length_fits_into_what_is_left(served: Served) -> None:
    usage = Usage()
    question = Question(prompt=tuple([300] * 508), sampling=Sampling(seed=1, logit_bias=((2, -100),)))
    *_, last = run(pieces(served, question, usage))
    assert last.finish == "length" and usage.new_tokens == 4


def test_whoever_leaves_frees_the_pages(served: Served) -> None:
    async def leave() -> None:
        items = answer(served, Question(prompt="春", max_new_tokens=400), Usage())
        await anext(items)
        await items.aclose()

    run(leave())
    engine, end = served.model.engine, time.monotonic() + 2
    while engine.busy and time.monotonic() < end:
        time.sleep(0.005)
    assert not engine.busy and engine.pages.free == engine.pages.count


@pytest.mark.parametrize("name", ["f", "名", 'a"b'])
def test_calls_side_by_side(served: Served, name: str) -> None:
    tools = (
        Tool(name, "", {"properties": {"x": {"enum": ['}\\"', 1]}}, "required": ["x"]}),
        Tool("g", "", {}),
    )
    question = Question(HELLO, sampling=Sampling(seed=3), tools=tools, tool_choice=name, max_new_tokens=300)
    calls = [piece.call for piece in run(pieces(served, question)) if piece.call]
    names = [call.name for call in calls if call.name]
    assert names and set(names) == {name} and calls[0].id != ""
    whole = [call.index for call in calls if call.name]
    assert whole == list(range(len(names)))
    first = "".join(call.arguments for call in calls if call.index == 0)
    assert json.loads(first)["x"] in ('}\\"', 1)


def test_a_call_is_read_however_it_is_cut() -> None:
    text = (
        '<tool_call>\n{"name": "f", "arguments": {"a": "}{\\"", "b": {"c": []}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    )
    for size in (1, 2, 7, len(text)):
        reader, arguments = CallReader(), ["", ""]
        for at in range(0, len(text), size):
            for call in reader.push(text[at : at + size]):
                arguments[call.index] += call.arguments
        assert arguments == ['{"a": "}{\\"", "b": {"c": []}}', "{}"] and reader.is_text is False


def test_text_that_begins_like_a_call_is_text() -> None:
    for text in ("<", "<b>", "", "<tool", "<t"):
        reader = CallReader()
        assert reader.push(text) == []
        reader.close()
        assert reader.is_text is not text.startswith("<t")  # the grammar lets no other text begin so


def test_a_conversation_in_words() -> None:
    tool = Tool("f", "d", {"type": "object"})
    turns = [
        Turn("user", "问"),
        Turn("assistant", "", (("f", "{}"),)),
        Turn("tool", "果"),
        Turn("system", "晚"),
    ]
    system, user, call, result = in_words(turns, [tool])
    assert system.role == "system" and system.content.startswith("晚") and '"f"' in system.content
    assert user == Message("user", "问") and '{"name": "f", "arguments": {}}' in call.content
    assert result.role == "user" and "果" in result.content
    assert in_words(turns[:1], [tool], "none") == (Message("user", "问"),)


def test_a_tool_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the tools"):
        grammar([Tool("f", "", {})], "g", parallel=True, text=None)
